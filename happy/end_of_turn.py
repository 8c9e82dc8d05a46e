"""Letting a crowd gather: what many want in one turn of the reactor is done once, at its end.

Who is alone does not wait. Only when the last time served several - they asked together, and so
will ask together again - the next ones are waited for until the reactor has dealt with all that
it has in hand: else the first of them would go alone, and the rest wait for it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class EndOfTurn:
    """Calls ``act`` for those who ``ask``: at once, or once for all of a turn."""

    def __init__(self, clock: IReactorTime, act: Callable[[], None]) -> None:
        self.crowded = False
        """Whether the last time served several; who acts says so."""
        self._clock = clock
        self._act = act
        self._call: IDelayedCall | None = None

    def ask(self) -> None:
        """Ask for it; to ask again in the same turn changes nothing."""
        if not self.crowded:
            self._act()
        elif self._call is None:
            self._call = self._clock.callLater(0, self._run)

    def stop(self) -> None:
        """Wait for nobody: it is not done for those who asked."""
        self.crowded = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _run(self) -> None:
        self._call = None
        self._act()
