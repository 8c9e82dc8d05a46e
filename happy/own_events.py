"""The events that nobody at a door has sent: what the configuration says, and timers that fire.

They go through the order like any other. No peer waits for their outcomes, so what matters is
only that they get in: what is refused for now is put to the order again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from happy.debts import AGAIN_S
from happy.errors import HandlerFailed, Refused, Unavailable
from happy.event import Configured, Exchange

Submit = Callable[[object, Exchange], Deferred[Any]]


class OwnEvents:
    """Submits the events of happy itself to one stream."""

    def __init__(self, submit: Submit, clock: IReactorTime) -> None:
        self._submit = submit
        self._clock = clock

    def submit(self, event: object, source: str = "timer") -> Deferred[Any]:
        """Submit what no peer waits for; only that it was not admitted comes back."""

        def said(failure: Failure) -> None:
            failure.trap(Refused, HandlerFailed)

        return self._submit(event, Exchange(source)).addErrback(said)

    def configure(self, configured: Configured, is_news: Callable[[Configured], bool]) -> None:
        """Submit what the configuration says, for as long as it is news and finds no room."""
        if not is_news(configured):
            return

        def again(failure: Failure) -> None:
            failure.trap(Unavailable)
            self._clock.callLater(AGAIN_S, self.configure, configured, is_news)

        self.submit(configured, "configuration").addErrback(again)
