"""The events that nobody at a door has sent: what the configuration says, and timers that fire.

They go through the order like any other. No peer waits for their outcomes, so what matters is
only that they get in: what is refused for now is put to the order again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from happy.errors import HandlerFailed, Refused, Unavailable
from happy.event import Configured, Exchange
from happy.firing import AGAIN_S
from happy.limits import Limits

Submit = Callable[[object, Exchange], Deferred[Any]]


def with_bounds(configured: Configured, limits: Limits) -> Configured:
    """Return a configuration with the bounds that a replay has to know."""
    return Configured(
        configured.settings,
        configured.domains,
        keys_remembered_max=limits.keys_remembered_max,
        mail_failures_max=limits.mail_failures_max,
        mail_returns_max=limits.mail_returns_max,
        mail_unreached_max=limits.mail_unreached_max,
        mail_held_max=limits.mail_held_max,
    )


class OwnEvents:
    """Submits the events of happy itself to one stream."""

    def __init__(self, submit: Submit, clock: IReactorTime) -> None:
        self._submit = submit
        self._clock = clock
        self._stopped = False

    def stop(self) -> None:
        """Tell nothing any more."""
        self._stopped = True

    def submit(self, event: object, source: str = "timer") -> Deferred[Any]:
        """Submit what no peer waits for; only that it was not admitted comes back."""

        def said(failure: Failure) -> None:
            failure.trap(Refused, HandlerFailed)

        return self._submit(event, Exchange(source)).addErrback(said)

    def tell(self, event: object, source: str, is_news: Callable[[], bool]) -> Deferred[Any]:
        """Submit what a start has to tell, for as long as it is news and finds no room.

        Fires when it was told, or found no room for the first time.
        """
        if self._stopped or not is_news():
            return succeed(None)

        def again(failure: Failure) -> None:
            failure.trap(Unavailable)
            self._clock.callLater(AGAIN_S, self.tell, event, source, is_news)

        return self.submit(event, source).addErrback(again)
