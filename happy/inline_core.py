"""Where the machine of a stream runs: here, in the same process; and what a stream asks of it.

A stream hands over what is durable, and hears what became of it; it asks queries and for digest
marks; and it looks at what is owed, scheduled and remembered. That is a ``Core``. The machine
beside it is the simplest one: whatever it is asked, it has done when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.python.failure import Failure

from happy.apply import Machine
from happy.applying import Applying
from happy.bounces import Bounces
from happy.effects import Outbox
from happy.event import Configured, Entry, Outcome, Waiting
from happy.guard import closed
from happy.holds import Holds
from happy.keys import Keys
from happy.marks import DigestMark, mark_of
from happy.memory import state_bytes
from happy.schedule import Schedules
from happy.unacknowledged import Unacknowledged

Query = Callable[..., Any]


@frozen
class Events:
    """What a stream wants to hear of its core, and its time."""

    back: Callable[[], None]
    """It is there again, and may have come to something else meanwhile."""
    halt: Callable[[Failure], None]
    """The journal could not be written to."""
    now_ns: Callable[[], int]


class Core(Protocol):
    """The machine of one stream, wherever it runs."""

    @property
    def outbox(self) -> Outbox:
        """What is owed."""

    @property
    def schedules(self) -> Schedules:
        """The schedules that the journal knows."""

    @property
    def keys(self) -> Keys:
        """The idempotency keys that are remembered."""

    @property
    def unacknowledged(self) -> Unacknowledged:
        """The messages whose 250 may not have been read."""

    @property
    def bounces(self) -> Bounces:
        """The mail that may come back, and the addresses where it failed."""

    @property
    def holds(self) -> Holds:
        """What an operator has said of mail that came."""

    @property
    def seq(self) -> int:
        """The last event that was applied."""

    @property
    def failed(self) -> int:
        """How many events have failed."""

    @property
    def configured(self) -> Configured:
        """What the application was told last."""

    @property
    def agreed(self) -> DigestMark | None:
        """What it last was known to be right as; see ``Machine.agreed``."""

    @property
    def has_room(self) -> bool:
        """Whether another batch may be written now."""

    @property
    def at_rest(self) -> bool:
        """Whether all that was handed over has been applied, so that marks may be written."""

    @property
    def ahead(self) -> bool:
        """Whether the journal may run ahead of it: mail is accepted before it is applied."""

    @property
    def backlog(self) -> int | None:
        """From which seq on nothing was applied, when that is to be said in the journal."""

    @property
    def away(self) -> str | None:
        """Why nothing can be handed over at present; None when it can."""

    @property
    def quarantined(self) -> tuple[int, ...]:
        """The events that were quarantined since the journal was opened."""

    def begin(self, events: Events) -> None:
        """Serve from now on."""

    def apply(
        self, entries: Sequence[Entry], meanwhile: Callable[[], None], *, marking: bool
    ) -> list[Outcome] | Deferred[list[Outcome]]:
        """Apply a batch that is durable; return what became of it, one outcome for each entry.

        ``meanwhile`` is called when the next batch may be written. With ``marking`` a digest mark
        goes before that; then ``mark`` knows it. Fails with ``CoreLost`` when nobody can say.
        """

    def ask(self, query: Query, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Fire with what a query of the state returns."""

    def look(self, query: Query, arguments: Mapping[str, Any], waiter: Waiting) -> None:
        """Tell ``waiter`` what a query returns; may raise what it raises."""

    def mark(self) -> DigestMark | None:
        """Return the digest mark of all that was applied; None when it is not at hand."""

    def make_mark(self) -> Deferred[None]:
        """Fire when ``mark`` knows, or never will."""

    def state_bytes(self) -> int:
        """Return about how many bytes the state takes, and what is owed."""

    def status(self) -> dict[str, Any]:
        """Return what there is to say of it beside the application, for people and tools."""

    def stop(self) -> Deferred[None]:
        """Let go of it; fires when it has ended."""


class InlineCore:
    """A ``Core`` in this process."""

    has_room = at_rest = True
    ahead = False
    away = backlog = None
    quarantined = ()

    def __init__(self, machine: Machine, applying: Applying) -> None:
        self.machine = machine
        self.outbox = machine.outbox
        self.schedules = machine.schedules
        self.keys = machine.keys
        self.unacknowledged = machine.unacknowledged
        self.bounces = machine.bounces
        self.holds = machine.holds
        self._applying = applying

    @property
    def seq(self) -> int:
        """See ``Core``."""
        return self.machine.seq

    @property
    def failed(self) -> int:
        """See ``Core``."""
        return self.machine.failed

    @property
    def configured(self) -> Configured:
        """See ``Core``."""
        return self.machine.configured

    @property
    def agreed(self) -> DigestMark | None:
        """See ``Core``."""
        return self.machine.agreed

    def begin(self, events: Events) -> None:
        """See ``Core``."""

    def apply(
        self, entries: Sequence[Entry], meanwhile: Callable[[], None], *, marking: bool
    ) -> list[Outcome]:
        """See ``Core``. The next batch is on its way to the disk while this one is applied."""
        # A mark speaks of all that is in the journal, so all of it must have been applied.
        if not marking:
            meanwhile()
        outcomes = self._applying.apply(entries)
        if marking:
            meanwhile()
        return outcomes

    def ask(self, query: Query, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See ``Core``."""
        with closed:
            return maybeDeferred(query, self.machine.state, *args, **kwargs)

    def look(self, query: Query, arguments: Mapping[str, Any], waiter: Waiting) -> None:
        """See ``Core``."""
        with closed:
            found = query(self.machine.state, **arguments)
        waiter.replied(0, found)

    def mark(self) -> DigestMark:
        """See ``Core``."""
        return mark_of(self.machine)

    def make_mark(self) -> Deferred[None]:
        """See ``Core``."""
        return succeed(None)

    def state_bytes(self) -> int:
        """See ``Core``."""
        return state_bytes(self.machine.state, self.outbox)

    def status(self) -> dict[str, Any]:
        """See ``Core``."""
        return {}

    def stop(self) -> Deferred[None]:
        """See ``Core``."""
        return succeed(None)
