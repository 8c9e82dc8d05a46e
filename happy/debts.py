"""Handing out what is owed when it falls due: mail and calls to their runners, timers back in.

Only an open stream has one of these, so a replay performs nothing. Schedules come due here, too,
so that there is one order for all that comes by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from happy.agenda import Agenda
from happy.effects import Outbox, Owed, Timer
from happy.event import TimerFired
from happy.firing import Firing, FiringQueue
from happy.stream_clock import StreamClock
from happy.world import World

log = Logger()

_NS: Final = 1_000_000_000
LOOK_S_MAX: Final = 60.0
"""The longest wait before looking at the clock again, which may have been set meanwhile."""


class Runner(Protocol):
    """Performs the debts of one kind; their ends come back as events."""

    def perform(self, owed: Owed) -> None:
        """Begin to perform a debt that is due."""

    def stop(self) -> Deferred[None]:
        """Stop; what is not done stays owed."""


class Debts:
    """Watches an outbox and an agenda; ``look`` after anything may have changed in them.

    ``submit`` takes an event and its source.
    """

    def __init__(  # noqa: PLR0913 - what it watches, and by what
        self,
        name: str,
        outbox: Outbox,
        agenda: Agenda,
        world: World,
        clock: StreamClock,
        submit: Callable[[object, str], Deferred[Any]],
    ) -> None:
        self.runners: dict[type, Runner] = {}
        """Who performs the debts of each kind of effect."""
        self.outbox = outbox
        """What is owed."""
        self._name = name
        self._agenda = agenda
        self._clock = world.clock
        self._now_ns = clock.now_ns
        self._firings = FiringQueue(world.clock, submit)
        self._alarm: IDelayedCall | None = None
        self._next_schedule: IDelayedCall | None = None
        self._stopped = False

    def look(self) -> None:
        """Hand out what is due, and set the alarms for what will be."""
        if self._stopped:
            return
        if len(self.outbox):
            self._look_at_outbox()
        if self._agenda.is_stale:
            self._look_at_agenda()
        self._firings.fire()

    def wait_ns(self) -> int | None:
        """Return how long it is until something falls due; None when nothing will."""
        waits = [self._agenda.next_in_ns()]
        due_ns = self.outbox.next_due_ns()
        if due_ns is not None:
            waits.append(due_ns - self._now_ns())
        return min((wait_ns for wait_ns in waits if wait_ns is not None), default=None)

    def status(self) -> dict[str, Any]:
        """Return how much is owed, and in how long the next timer or schedule is due."""
        outbox = self.outbox
        waits = [self._agenda.next_in_ns()]
        timer_ns = outbox.next_timer_ns()
        if timer_ns is not None:
            waits.append(timer_ns - self._now_ns())
        wait_ns = min((wait_ns for wait_ns in waits if wait_ns is not None), default=None)
        return {
            "owed": len(outbox),
            "held": outbox.held,
            "timers": outbox.count(Timer),
            "schedules": len(self._agenda),
            "next_due_s": None if wait_ns is None else max(wait_ns // _NS, 0),
        }

    def stop(self) -> None:
        """Hand out nothing any more."""
        self._stopped = True
        self._firings.stop()
        _silence(self._alarm)
        _silence(self._next_schedule)

    def _ring(self) -> None:
        # Both, whichever rang: what is due at one moment is put in the order together.
        self._look_at_outbox()
        self._look_at_agenda()
        self._firings.fire()

    def _look_at_outbox(self) -> None:
        for owed in self.outbox.due(self._now_ns()):
            self._perform(owed)
        due_ns = self.outbox.next_due_ns()
        _silence(self._alarm)
        self._alarm = None if due_ns is None else self._ring_in(due_ns - self._now_ns())

    def _look_at_agenda(self) -> None:
        for firing in self._agenda.due():
            self._firings.add(firing)
        wait_ns = self._agenda.next_in_ns()
        _silence(self._next_schedule)
        self._next_schedule = None if wait_ns is None else self._ring_in(wait_ns)

    def _ring_in(self, wait_ns: int) -> IDelayedCall | None:
        if self._stopped:
            return None
        return self._clock.callLater(min(max(wait_ns / _NS, 0.0), LOOK_S_MAX), self._ring)

    def _perform(self, owed: Owed) -> None:
        if isinstance(owed.effect, Timer):
            is_owed = partial(self.outbox.__contains__, owed.id)
            event = TimerFired(*owed.id)
            self._firings.add(Firing(owed.due_ns, (0, *owed.id), event, "timer", is_owed))
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


def _silence(alarm: IDelayedCall | None) -> None:
    if alarm is not None and alarm.active():
        alarm.cancel()
