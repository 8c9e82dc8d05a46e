"""The machine: a state and entries in, outcomes out; the same on every replay.

This is a fold, and the only place that runs handlers. It knows no clock, no chance and no
disk: the moment is the entry's, the random generator is seeded from the journal's identity and
the entry's seq, and what a handler owes to the world is kept in its context until it has
returned. A handler that raises leaves nothing behind - no change, no debt - and its outcome,
*refused* or *failed*, is as much a part of history as a reply: a replay comes to it again.

What does not repeat itself must not become history. An event that fails for want of memory,
or because somebody pressed Ctrl-C, might well succeed in the next replay; such an end is taken
back and raised, and the stream halts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from happy.app import Definition
from happy.bounces import Bounces, as_digested
from happy.bulk import Happened
from happy.codec import EventDecoder, settings_at
from happy.context import Context, seed_of
from happy.digest import hexdigest
from happy.effects import SETTLING, Outbox, Timer
from happy.errors import Refused, UnknownEvent
from happy.event import (
    Configured,
    Entry,
    FailedOutcome,
    Mail,
    MailAcknowledged,
    Outcome,
    RefusedOutcome,
    Reply,
    Scheduled,
    ScheduleFired,
    TimerFired,
)
from happy.guard import closed
from happy.holds import HOLDING, Holds
from happy.keys import Keys, Remembered
from happy.outcomes import OutcomeDigest
from happy.return_paths import ReturnPaths
from happy.schedule import Schedules
from happy.system_events import SYSTEM_EVENTS, MailBounced, MailHeld, MailReleased, MailReturned
from happy.unacknowledged import Unacknowledged
from happy.undo import Undo

if TYPE_CHECKING:
    from happy.marks import DigestMark

_PLAIN: Final = frozenset((int, str, bytes, bool, tuple))  # never awaited
_NOTHING: Final = Reply(None)
# One look for all the other events.
_OURS: Final = frozenset(SYSTEM_EVENTS)


_time_of = attrgetter("time_ns")


class RandomSource(Protocol):
    """What handlers draw from; ``random.Random`` outside the tests."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class Machine:
    """One application's state and the fold that moves it; see the head of this module."""

    def __init__(
        self,
        definition: Definition,
        journal_id: bytes,
        random_of: Callable[[int], Any],
    ) -> None:
        self.journal_id = journal_id
        self.state = definition.state()
        self.outbox = Outbox()
        self.schedules = Schedules()
        self.configured = Configured(b"")
        self.keys = Keys(self.configured.keys_remembered_max)
        self.unacknowledged = Unacknowledged()
        self.bounces = Bounces(ReturnPaths.of(journal_id))
        self.holds = Holds()
        self.seq = 0
        self.time_ns = 0
        self.failed = 0
        self.outcomes = OutcomeDigest()
        self.agreed: DigestMark | None = None
        """What it last was known to be right as: the mark that its replay agreed with, or what
        the snapshot said that it began with."""
        self._app = definition.app
        self._handlers = definition.handlers
        self._plain = {kind: h for kind, h in definition.handlers.items() if kind not in _OURS}
        self._undo = Undo(self.state)
        self._log = self._undo.log
        self._read = self._undo.read
        self._events = definition.events
        self._decoder: EventDecoder | None = None
        returns = self._return_paths = self.bounces.return_paths
        self._context = Context(
            lambda seq: random_of(seed_of(journal_id, seq)), self.outbox, returns
        )
        self._quarantined: frozenset[int] = frozenset()

    def quarantine(self, seqs: Collection[int]) -> None:
        """Let entries that are still to come fail, their handlers not run."""
        if seqs:
            self._quarantined |= frozenset(seqs)

    def apply(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Apply entries in their order; one outcome each.

        Raises ``ValueError`` when an entry is not the next one: the caller lost its place.
        """
        outcomes: list[Outcome] = []
        for time_ns, batch in groupby(entries, _time_of):
            happened = list(batch)
            for seq, entry in enumerate(happened, self.seq + 1):
                if entry.seq != seq:
                    raise ValueError(f"entry {entry.seq} after {seq - 1}: not the next one")
            outcomes += self._take(time_ns, happened)
        self._undo.tidy()
        return outcomes

    def replay(self, time_ns: int, happened: Sequence[Happened]) -> list[Outcome]:
        """Apply what happened next, all at one moment, as part of a history; one outcome each."""
        outcomes = self._take(time_ns, happened)
        self._undo.tidy(replaying=True)
        return outcomes

    def _take(self, time_ns: int, happened: Sequence[Happened]) -> list[Outcome]:
        if self._quarantined:
            return self._take_around(time_ns, happened)
        with closed:
            outcomes = self._in_a_row(time_ns, happened)
        self.outcomes.add(outcomes)
        return outcomes

    def _take_around(self, time_ns: int, happened: Sequence[Happened]) -> list[Outcome]:
        """Apply one by one, for some may be quarantined."""
        quarantined, self._quarantined = self._quarantined, frozenset()
        handlers = self._handlers, self._plain
        failing = dict.fromkeys(self._handlers, _fail), dict.fromkeys(self._plain, _fail)
        outcomes: list[Outcome] = []
        for one in happened:
            self._handlers, self._plain = failing if self.seq + 1 in quarantined else handlers
            outcomes += self._take(time_ns, (one,))
        self._handlers, self._plain = handlers
        self._quarantined = frozenset(seq for seq in quarantined if seq > self.seq)
        return outcomes

    def _in_a_row(self, time_ns: int, happened: Sequence[Happened]) -> list[Outcome]:
        """Apply in a row; an application's own event without a key takes the short way.

        That way is ``_run`` and what it calls, written out: calls cost more than what they do.
        """
        outcomes: list[Outcome] = []
        add, handlers, read, state = outcomes.append, self._plain, self._read, self.state
        context, undo, log = self._context, self._undo, self._log
        context.used = True  # whatever its last event was, this is another moment
        seq = self.seq
        for one in happened:
            seq += 1
            event = one.event
            handler = handlers.get(type(event))
            if handler is None or one.key is not None:
                add(self._keyed(seq, time_ns, one))
                context.used = True
            else:
                if read is not None:
                    undo.saved = read(state)
                log.mark = len(log)
                try:
                    if context.used:
                        context.enter(seq, time_ns)
                    else:
                        context.seq = seq
                    value = handler(state, event, context)
                    if value is not None and type(value) not in _PLAIN:
                        _check_reply(value)
                    if context.used and (context.owed or context.cancelled):
                        self._settle_up()
                    elif log.deleted or log.broken is not None:
                        undo.commit()
                    add(_NOTHING if value is None else Reply(value))
                except BaseException as error:  # noqa: BLE001 - raised again when no outcome
                    add(self._undone(seq, error))
            self.seq = seq
            self.time_ns = time_ns
        return outcomes

    def digest(self) -> str:
        """Return the digest of all that history determines: 32 hexadecimal digits.

        Two machines that applied the same events, in whatever batches, have the same. It costs
        in proportion to what changed since the last time.
        """
        parts: tuple[Any, ...] = (
            self._undo.digest(),
            self.outbox.digest(),
            tuple(self.schedules),
            self.keys.digest(),
            as_digested(self.configured),
            self.failed,
            self.seq,
            self.time_ns,
        )
        # Marks were made before there were such memories, and must still agree.
        more = (self.unacknowledged.digest(),) if self.unacknowledged else ()
        bounces = ("bounces", self.bounces.digest()) if self.bounces else ()
        holds = ("holds", self.holds.digest()) if self.holds else ()
        return hexdigest(parts + more + bounces + holds)

    def get_ready(self) -> None:
        """Do what somebody would wait for who asks as soon as it serves; after a replay."""
        self._undo.put_in_order(anew=True)

    def resume(self, configured: Configured, failed: int) -> None:
        """Take over what an image says of an earlier machine; its state is put in besides."""
        settings = settings_at(self.seq, configured.settings, self._app.Settings)
        self._context.configure(settings, configured.domains)
        self._remember(configured)
        self.failed = failed

    def _keyed(self, seq: int, time_ns: int, one: Happened) -> Outcome:
        """Apply an event that may have a key, and may be one of happy's own."""
        key = one.key
        if key is None:
            return self._handle(seq, time_ns, one.event)
        known = self.keys.get(key)
        if known is not None:
            return known.outcome
        outcome = self._handle(seq, time_ns, one.event)
        kept = outcome
        if isinstance(outcome, FailedOutcome):
            # Its exception holds on to all that the handler had in hand.
            kept = FailedOutcome(outcome.seq)
        self.keys.add(key, Remembered(one.fingerprint, seq, kept))
        return outcome

    def _handle(self, seq: int, time_ns: int, event: object) -> Outcome:
        ours = type(event) in _OURS
        return self._ours(seq, time_ns, event) if ours else self._tell(seq, time_ns, event)

    def _ours(self, seq: int, time_ns: int, event: object) -> Outcome:
        """Take in a fact, and let a handler see it; the fact stays when the handler raises.

        Only what is raised from here, and is no outcome, takes it back.
        """
        match event:
            case Configured():
                return self._configure(seq, time_ns, event)
            case Mail():
                return self._take_mail(seq, time_ns, event)
        places = self.schedules.places
        try:
            brought, due_ns = self._take_in(seq, time_ns, event)
            outcome = self._tell(seq, time_ns, brought, due_ns)
            if isinstance(brought, HOLDING):
                self.holds.owe(brought, seq, time_ns, self.outbox)
        except BaseException:
            self.outbox.rollback()
            self.schedules.places = places
            raise
        self.outbox.commit()
        self.bounces.take(event, time_ns)
        self.holds.take(event, seq, time_ns)
        return outcome

    def _take_mail(self, seq: int, time_ns: int, mail: Mail) -> Outcome:
        outcome = self._tell(seq, time_ns, self._return_paths.left_of(mail))
        self.unacknowledged.forget(mail.acknowledged)
        if mail.early or not isinstance(outcome, RefusedOutcome):  # else the peer hears no 250
            self.unacknowledged.take(seq, time_ns, mail)
        return outcome

    def _take_in(self, seq: int, time_ns: int, event: object) -> tuple[object, int | None]:
        """Return the event that a handler is to see (None: nobody), and when it was due."""
        match event:
            case MailAcknowledged(acknowledged):
                self.unacknowledged.forget(acknowledged)
            case MailBounced():
                return self.bounces.completed(event), None
            case MailHeld() | MailReleased() | MailReturned():
                event = self.holds.news(event, self.outbox)
            case Scheduled():
                self.schedules.declare(event, time_ns)
            case ScheduleFired(name, due_ns, record):
                if not self.schedules.fire(event):
                    return None, None
                return self._scheduled_event(seq, name, record), due_ns
            case _ if isinstance(event, SETTLING):
                owed = self.outbox.settle(event)
                if isinstance(event, TimerFired):
                    if owed is None:
                        return None, None
                    assert isinstance(owed.effect, Timer)
                    return owed.effect.event, owed.due_ns
        return event, None

    def _scheduled_event(self, seq: int, name: str, record: bytes) -> object:
        if self._decoder is None:
            # It takes longer to make than all the rest of a machine, and few have schedules.
            self._decoder = EventDecoder(self._events)
        try:
            return self._decoder.entry(seq, 0, record).event
        except (ValueError, msgspec.MsgspecError) as error:
            raise UnknownEvent(
                f"seq {seq}: what the schedule {name!r} brought is no event: {error}"
            ) from None

    def _tell(self, seq: int, time_ns: int, event: object, due_ns: int | None = None) -> Outcome:
        handler = self._handlers.get(type(event))
        return Reply(None) if handler is None else self._run(handler, seq, time_ns, event, due_ns)

    def _configure(self, seq: int, time_ns: int, configured: Configured) -> Outcome:
        settings = settings_at(seq, configured.settings, self._app.Settings)
        context = self._context
        before = (context.settings, context.domains)
        try:
            context.configure(settings, configured.domains)
            outcome = self._tell(seq, time_ns, configured)
        except BaseException:
            context.configure(*before)
            raise
        self._remember(configured)
        return outcome

    def _remember(self, configured: Configured) -> None:
        self.keys.remembered_max = configured.keys_remembered_max
        self.bounces.configure(configured)
        self.holds.configure(configured)
        self.configured = configured

    def _run(
        self,
        handler: Callable[..., Any],
        seq: int,
        time_ns: int,
        event: object,
        due_ns: int | None = None,
    ) -> Outcome:
        context = self._context
        self._undo.save()
        try:
            context.enter(seq, time_ns, due_ns)
            value = handler(self.state, event, context)
            _check_reply(value)
            if context.owed or context.cancelled:
                self._settle_up()
            else:
                self._undo.commit()
        except BaseException as error:  # noqa: BLE001 - raised again when no outcome
            return self._undone(seq, error)
        return Reply(value)

    def _undone(self, seq: int, error: BaseException) -> Outcome:
        """Take back what a handler did; return the outcome, or raise again what is none."""
        self._undo.rollback()
        if isinstance(error, Refused):
            return RefusedOutcome(str(error), error.http_status, error.smtp_code, error.smtp_status)
        if isinstance(error, MemoryError) or not isinstance(error, Exception):
            raise error
        self.failed += 1
        return FailedOutcome(seq, error)

    def _settle_up(self) -> None:
        """Keep what the handler did, its debts too: all of it, or nothing and raise."""
        context, outbox = self._context, self.outbox
        before = outbox.changes
        try:
            for owed in context.owed:
                outbox.owe(owed)
            for timer_id in context.cancelled:
                outbox.cancel(timer_id)
            self._undo.commit()
        except BaseException:
            outbox.rollback(before)
            raise
        if not before:
            outbox.commit()


def _check_reply(value: Any) -> None:
    if hasattr(value, "__await__"):
        raise TypeError(f"a handler returned {value!r}: a reply is a value, never awaited")


def _fail(_state: Any, _event: object, _context: Context) -> None:
    raise RuntimeError("quarantined: the handler ended the program each time it was run")
