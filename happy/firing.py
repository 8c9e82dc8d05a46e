"""Putting what has come due in the order: earliest first, each until it is taken.

When one is not admitted for now, all that are due wait with it for a moment, so that none
overtakes another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from happy.errors import Unavailable

AGAIN_S: Final = 1.0
"""The pause before an event of our own is put to the order again."""

Rank: TypeAlias = tuple[int, int | str, int]
"""The order of what is due at one moment: (0, seq, n) of a timer, (1, name, 0) of a schedule."""


@frozen(order=True)
class Firing:
    """An event that is to come at a moment; ``is_owed`` says whether it still is."""

    due_ns: int
    rank: Rank
    event: object = field(order=False)
    source: str = field(order=False)
    is_owed: Callable[[], bool] = field(order=False)


class FiringQueue:
    """Submits firings in their order; see the head of this module."""

    def __init__(self, clock: IReactorTime, submit: Callable[[object, str], Deferred[Any]]) -> None:
        self._clock = clock
        self._submit = submit
        self._due: list[Firing] = []
        self._pause: IDelayedCall | None = None
        self._firing = False
        self._stopped = False

    def add(self, firing: Firing) -> None:
        """Take on a firing; ``fire`` submits it."""
        heapq.heappush(self._due, firing)

    def fire(self) -> None:
        """Submit what is there, unless that waits for room."""
        if self._firing:
            return
        self._firing = True
        try:
            while self._due and self._pause is None and not self._stopped:
                self._fire(heapq.heappop(self._due))
        finally:
            self._firing = False

    def stop(self) -> None:
        """Submit nothing any more."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _fire(self, firing: Firing) -> None:
        if not firing.is_owed():
            return

        def again(failure: Failure) -> None:
            failure.trap(Unavailable)
            if not self._stopped:
                self.add(firing)
                if self._pause is None:
                    self._pause = self._clock.callLater(AGAIN_S, self._go_on)

        self._submit(firing.event, firing.source).addErrback(again)

    def _go_on(self) -> None:
        self._pause = None
        self.fire()
