"""The end of what is on its way: when it has come, something is done, once, and all hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed


class Drain:
    """Waits, once it was begun, for its end."""

    def __init__(self) -> None:
        self._end: Deferred[Any] | None = None

    @property
    def begun(self) -> bool:
        """Whether anybody wants the end."""
        return self._end is not None

    def begin(self, then: Callable[[], Deferred[Any]]) -> None:
        """Do ``then`` at the end; whoever waits, waits for that too."""
        self._end = Deferred()
        self._end.addCallback(lambda _: then())

    def end(self) -> None:
        """Say that nothing is on its way; nothing happens before it was begun, or twice."""
        if self._end is not None and not self._end.called:
            self._end.callback(None)

    def wait(self) -> Deferred[None]:
        """Return what fires when all is done; at once when it was not begun."""
        if self._end is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._end.addCallbacks(lambda _: done.callback(None), done.errback)
        return done
