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


class Lanes:
    """A queue of debts and at most ``lanes_max`` lanes that work it off."""

    def __init__(self, lane: Lane, lanes_max: int, clock: IReactorTime) -> None:
        self._lane = lane
        self._lanes_max = lanes_max
        self._clock = clock
        self._waiting: deque[Owed] = deque()
        self._running = 0
        self._stopped: Deferred[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether nothing new is begun any more."""
        return self._stopped is not None

    def add(self, owed: Owed) -> None:
        """Have a debt performed when its turn comes; after ``stop`` it just stays owed."""
        if self.stopping:
            return
        self._waiting.append(owed)
        if self._running < self._lanes_max:
            self._running += 1
            Deferred.fromCoroutine(self._run())

    def stop(self, timeout_s: int, cut: Callable[[], None]) -> Deferred[None]:
        """Begin nothing more; fires when all lanes have ended.

        After ``timeout_s`` ``cut`` is called: it must make them end.
        """
        if self._stopped is not None:
            return self._stopped
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._waiting.clear()
        if not self._running:
            stopped.callback(None)
            return stopped
        alarm = self._clock.callLater(timeout_s, cut)

        def done(_: None) -> None:
            if alarm.active():
                alarm.cancel()

        return stopped.addCallback(done)

    async def _run(self) -> None:
        while self._waiting:
            try:
                await self._lane(self._waiting)
            except Exception:  # noqa: BLE001 - one debt's trouble must not keep back the others
                log.failure("a debt could not be performed; it stays owed until the next start")
        self._running -= 1
        if self._stopped is not None and not self._running:
            self._stopped.callback(None)
