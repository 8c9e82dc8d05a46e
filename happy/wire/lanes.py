"""Doing what is owed to the world: some at once, the rest in turn, and an end in bounded time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from happy.effects import Owed

log = Logger()

Lane = Callable[[deque[Owed]], Coroutine[Any, Any, None]]
"""Performs the first debts of a queue, taking at least one, and the next as it sees fit."""


class Ending:
    """How many lanes there are, and an end to all of them in bounded time."""

    def __init__(self, clock: IReactorTime) -> None:
        self.lanes = 0
        self._clock = clock
        self._ended: Deferred[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._ended is not None

    def lane_ended(self) -> None:
        """Count one lane less."""
        self.lanes -= 1
        if self._ended is not None and not self.lanes:
            self._ended.callback(None)

    def stop(
        self, let_go: Callable[[], None], timeout_s: int, cut: Callable[[], None]
    ) -> Deferred[None]:
        """Call ``let_go``, of all that waits; fires when all lanes have ended.

        After ``timeout_s`` ``cut`` is called: it must make them end.
        """
        if self._ended is not None:
            return self._ended
        ended: Deferred[None] = Deferred()
        self._ended = ended
        let_go()
        if not self.lanes and not ended.called:
            ended.callback(None)
        if ended.called:
            return ended
        alarm = self._clock.callLater(timeout_s, cut)

        def done(_: None) -> None:
            if alarm.active():
                alarm.cancel()

        return ended.addCallback(done)


class Lanes:
    """A queue of debts and at most ``lanes_max`` lanes that work it off."""

    def __init__(self, lane: Lane, lanes_max: int, clock: IReactorTime) -> None:
        self._lane = lane
        self._lanes_max = lanes_max
        self._waiting: deque[Owed] = deque()
        self._ending = Ending(clock)

    @property
    def stopping(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._ending.stopping

    def add(self, owed: Owed) -> None:
        """Have a debt performed when its turn comes; after ``stop`` it just stays owed."""
        if self.stopping:
            return
        self._waiting.append(owed)
        if self._ending.lanes < self._lanes_max:
            self._ending.lanes += 1
            Deferred.fromCoroutine(self._run())

    def stop(self, timeout_s: int, cut: Callable[[], None]) -> Deferred[None]:
        """Begin nothing more; fires when all lanes have ended.

        After ``timeout_s`` ``cut`` is called: it must make them end.
        """
        return self._ending.stop(self._waiting.clear, timeout_s, cut)

    async def _run(self) -> None:
        while self._waiting:
            try:
                await self._lane(self._waiting)
            except Exception:  # noqa: BLE001 - one debt's trouble must not keep back the others
                log.failure("a debt could not be performed; it stays owed until the next start")
        self._ending.lane_ended()
