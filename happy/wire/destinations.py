"""Mail that waits, in one queue for each destination, so that none waits for another's sake.

A queue is worked off by lanes: so many for one destination, so many for all together, and where
those are taken each destination gets its turn. Who cannot be reached is asked by one lane only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from happy.effects import Owed
from happy.limits import Limits
from happy.wire.lanes import Ending

log = Logger()

_BURST_S: Final = 1.0  # what a destination may get at once, after a pause, of its rate
_TURN_MESSAGES: Final = 10  # then others who wait for a lane get theirs
_REMEMBERED: Final = 1_000  # destinations, before those with nothing to do are forgotten


class Queue:
    """What waits for one destination; a lane takes from it."""

    def __init__(self, name: str, owner: Destinations, lanes_max: int) -> None:
        self.name = name
        self.lanes = 0
        self.has_asked = False
        """Whether it stands in the row of those that wait for a lane."""
        self._waiting: deque[Owed] = deque()
        self._owner = owner
        self._lanes_max = self._window = lanes_max
        self._next_s = -inf  # when the next message would be sent at an even pace

    @property
    def wants_lane(self) -> bool:
        """Whether one more lane would have something to do."""
        return bool(self._waiting) and self.lanes < self._window

    def put(self, owed: Owed) -> None:
        """Add to the end."""
        self._waiting.append(owed)

    def clear(self) -> None:
        """Let go of all that waits."""
        self._waiting.clear()

    async def take(self, taken: int) -> Owed | None:
        """Return the next message when it may be sent; None when this lane is to end.

        ``taken`` is how many it has taken before.
        """
        if taken >= _TURN_MESSAGES and self._owner.others_wait:
            return None
        if self._waiting:
            await self._owner.pause(self._reserve(self._owner.now_s()))
        return self._waiting.popleft() if self._waiting else None

    def worked(self, reached: bool) -> None:
        """Take in whether the destination was reached: one lane is enough for who was not."""
        self._window = min(self._window + 1, self._lanes_max) if reached else 1
        self._owner.want(self)

    def is_idle(self, now_s: float) -> bool:
        """Say whether nothing is known of it that matters."""
        return not self._waiting and not self.lanes and self._next_s <= now_s

    def _reserve(self, now_s: float) -> float:
        """Take a place in the pace of this destination; return how long it is until then."""
        self._next_s = max(self._next_s, now_s - _BURST_S) + self._owner.interval_s
        return self._next_s - self._owner.interval_s - now_s


Lane = Callable[[Queue], Coroutine[Any, Any, None]]
"""Takes from a queue until it gets nothing more."""


class Destinations:
    """The queues of all destinations, and the lanes that work them off."""

    def __init__(self, lane: Lane, limits: Limits, clock: IReactorTime) -> None:
        self.interval_s = 60 / limits.mail_out_rate_per_minute_max
        self._lane = lane
        self._limits = limits
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._asking: deque[Queue] = deque()  # for a lane, in their turn
        self._ending = Ending(clock)
        self._filling = False
        self._forget_at = _REMEMBERED
        self._pauses: set[Deferred[None]] = set()

    @property
    def stopping(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._ending.stopping

    @property
    def others_wait(self) -> bool:
        """Whether a destination waits for a lane."""
        return bool(self._asking)

    def now_s(self) -> float:
        """Return the time of the clock."""
        return self._clock.seconds()

    def add(self, destination: str, owed: Owed) -> None:
        """Have a message sent when its turn comes; after ``stop`` it just stays owed."""
        if self.stopping:
            return
        queue = self._queues.get(destination)
        if queue is None:
            self._forget_some()
            queue = Queue(destination, self, self._limits.outbox_deliveries_max)
            self._queues[destination] = queue
        queue.put(owed)
        self.want(queue)

    def stop(self, timeout_s: int, cut: Callable[[], None]) -> Deferred[None]:
        """Begin nothing more; fires when all lanes have ended.

        After ``timeout_s`` ``cut`` is called: it must make them end.
        """
        return self._ending.stop(self._let_go, timeout_s, cut)

    def _let_go(self) -> None:
        for queue in self._queues.values():
            queue.clear()
        self._asking.clear()
        for pause in tuple(self._pauses):
            pause.callback(None)

    async def pause(self, pause_s: float) -> None:
        """Wait so long, or until ``stop``."""
        if pause_s <= 0 or self.stopping:
            return
        over: Deferred[None] = Deferred()
        call = self._clock.callLater(pause_s, over.callback, None)
        self._pauses.add(over)
        try:
            await over
        finally:
            self._pauses.discard(over)
            if call.active():
                call.cancel()

    def want(self, queue: Queue) -> None:
        """Begin one more lane for a queue that wants one, now or when it is its turn."""
        if queue.wants_lane and not queue.has_asked and not self.stopping:
            queue.has_asked = True
            self._asking.append(queue)
        self._fill()

    def _fill(self) -> None:
        if self._filling:  # a lane that ended at once, below: the loop goes on anyway
            return
        self._filling = True
        while self._asking and self._ending.lanes < self._limits.mail_out_connections_max:
            queue = self._asking.popleft()
            queue.has_asked = False
            if queue.wants_lane:
                self._ending.lanes += 1
                queue.lanes += 1
                Deferred.fromCoroutine(self._run(queue))
        self._filling = False

    async def _run(self, queue: Queue) -> None:
        try:
            await self._lane(queue)
        except Exception:  # noqa: BLE001 - one debt's trouble must not keep back the others
            log.failure("a message could not be sent; it stays owed until the next start")
        queue.lanes -= 1
        self._ending.lane_ended()
        self.want(queue)

    def _forget_some(self) -> None:
        if len(self._queues) >= self._forget_at:
            now_s = self.now_s()
            idle = [name for name, queue in self._queues.items() if queue.is_idle(now_s)]
            for name in idle:
                del self._queues[name]
            # Not before there are twice as many: else each new one would cost a look at all.
            self._forget_at = max(_REMEMBERED, 2 * len(self._queues))
