"""Handing out what is owed when it falls due: mail and calls to their runners, timers back in.

Only an open stream has one of these, so a replay performs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.effects import Outbox, Owed, Timer
from happy.errors import Unavailable
from happy.event import TimerFired
from happy.world import World

log = Logger()

_NS: Final = 1_000_000_000
AGAIN_S: Final = 1.0
"""The pause before an event of our own is put to the order again."""
_LOOK_S_MAX: Final = 60.0
"""The longest wait before looking at the clock again, which may have been set meanwhile."""


class Runner(Protocol):
    """Performs the debts of one kind; their ends come back as events."""

    def perform(self, owed: Owed) -> None:
        """Begin to perform a debt that is due."""

    def stop(self) -> Deferred[None]:
        """Stop; what is not done stays owed."""


class Debts:
    """Watches an outbox; ``look`` after anything may have changed in it."""

    def __init__(
        self, name: str, outbox: Outbox, world: World, submit: Callable[[object], Deferred[Any]]
    ) -> None:
        self.runners: dict[type, Runner] = {}
        """Who performs the debts of each kind of effect."""
        self._name = name
        self._outbox = outbox
        self._world = world
        self._submit = submit
        self._alarm: IDelayedCall | None = None
        self._stopped = False

    def look(self) -> None:
        """Hand out what is due, and set the alarm for what will be."""
        if self._stopped or not len(self._outbox):
            return
        for owed in self._outbox.due(self._world.time_ns()):
            self._perform(owed)
        due_ns = self._outbox.next_due_ns()
        self._silence()
        if due_ns is not None and not self._stopped:
            delay_s = max((due_ns - self._world.time_ns()) / _NS, 0.0)
            self._alarm = self._world.clock.callLater(min(delay_s, _LOOK_S_MAX), self._ring)

    def stop(self) -> None:
        """Hand out nothing any more."""
        self._stopped = True
        self._silence()

    def _ring(self) -> None:
        self._alarm = None
        self.look()

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _perform(self, owed: Owed) -> None:
        if isinstance(owed.effect, Timer):
            self._fire(owed)
            return
        runner = self.runners.get(type(owed.effect))
        if runner is not None:
            runner.perform(owed)
        else:
            log.warn(
                "{name}: {kind} is owed and nobody here performs it",
                name=self._name,
                kind=type(owed.effect).__name__,
            )

    def _fire(self, owed: Owed) -> None:
        if self._stopped or owed.id not in self._outbox:
            return

        def again(failure: Failure) -> None:
            failure.trap(Unavailable)
            if not self._stopped:
                self._world.clock.callLater(AGAIN_S, self._fire, owed)

        self._submit(TimerFired(*owed.id)).addErrback(again)
