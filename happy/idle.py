"""Noticing that nothing has happened for a while, without a timer for everything that happens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class IdleWatch:
    """Calls ``at_rest`` once when ``pause_s`` seconds have passed since the last ``touch``.

    There is one delayed call for many touches: when it comes too early, it is made again.
    """

    def __init__(self, clock: IReactorTime, pause_s: float, at_rest: Callable[[], None]) -> None:
        self._clock = clock
        self._pause_s = pause_s
        self._at_rest = at_rest
        self._touched_s = 0.0
        self._call: IDelayedCall | None = None

    def touch(self) -> None:
        """Say that something happened just now."""
        self._touched_s = self._clock.seconds()
        if self._call is None:
            self._call = self._clock.callLater(self._pause_s, self._look)

    def stop(self) -> None:
        """Forget what happened, until the next touch."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        left_s = self._touched_s + self._pause_s - self._clock.seconds()
        if 0 < left_s <= self._pause_s:
            self._call = self._clock.callLater(left_s, self._look)
        else:
            self._at_rest()
