"""One application's stations joined.

An event comes from a door, is encoded, admitted by the ``order``, made durable by the ``pen``,
applied by the ``machine``, and answered by the ``answers``.

While a batch is being synced the next one gathers; when the sync returns, the next batch is
sent to the disk first and the finished one is applied meanwhile. In a pause an idle mark is
written in the same way: it proves that the last batch was whole.

There are two ways to fail. No room: nothing was written, the batch is refused and the
application goes on. Anything else: nobody can know what is on the disk; the stream halts, the
process ends, and the next start reads what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.agenda import Agenda
from happy.answers import Answers, Waiter, fail_batch, turn_away
from happy.app import BlobReader, BlobWriter, Definition
from happy.backlog import Backlog
from happy.codec import EventDecoder
from happy.debts import Debts
from happy.drain import Drain
from happy.effects import EffectId, public_id
from happy.end_of_turn import EndOfTurn
from happy.errors import CoreLost, Halted, HappyError, JournalError, NoRoom, NotOpen
from happy.event import Blob, Configured, Exchange, Outcome, Prepared, Waiting
from happy.handing import Handing, Keys
from happy.housekeeping import Journaled
from happy.idle import IdleWatch
from happy.inline_core import Core, Events
from happy.journal.blobs import Blobs
from happy.journal.disk import Disk
from happy.journal.frame import Kind
from happy.lifecycle import Mood, not_open, step
from happy.limits import Limits
from happy.memory import MemoryWatch
from happy.opening import Elsewhere, Opened, open_application
from happy.order import Batch, Order
from happy.own_events import OwnEvents, with_bounds
from happy.pen import Pen
from happy.retransmission import Retransmissions
from happy.room import Room
from happy.stream_clock import StreamClock
from happy.world import World

log = Logger()

_OPEN: Final = Mood.OPEN  # to look at a member of an Enum is not free


class Stream:
    """The ordered stream of one application; see the head of this module."""

    def __init__(  # noqa: PLR0913 - all it is made of
        self,
        name: str,
        definition: Definition,
        disk: Disk,
        world: World,
        limits: Limits,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """``elsewhere`` starts a core in another process; without it the machine is here."""
        self.name = name
        self.mood = Mood.REPLAYING
        self.limits = limits
        self.journal_id = b""
        self.halted: Deferred[BaseException] = Deferred()
        """Fires with the reason when the stream halts."""
        self.clock = StreamClock(world.time_ns, world.clock.seconds)
        self.opened: Opened
        self.debts: Debts
        self._agenda: Agenda
        self._backlog: Backlog
        self._definition = definition
        self._elsewhere = elsewhere
        self._decoder = EventDecoder(definition.events)
        self._disk, self._world = disk, world
        self._blobs = Blobs(disk, world.run_aside)
        self._idle = IdleWatch(world.clock, limits.journal_idle_mark_ms / 1000, self._mark_idle)
        self._answers = Answers(name, lambda act: world.clock.callLater(0, act))
        self.soon = self._answers.soon
        self._own = OwnEvents(self.submit, world.clock)
        self._crowd = EndOfTurn(world.clock, self._pump)
        self._core: Core
        self._handing: Handing
        self._mail: Retransmissions
        self._memory: MemoryWatch
        self._order: Order
        self._pen: Pen
        self._room = Room(name, disk, limits)
        self._drain = Drain()

    # --- opening --------------------------------------------------------------------------

    def open(self, *, accept_tail_loss: bool = False, accept_divergence: bool = False) -> None:
        """Lock the journal, replay it, and admit events from now on.

        Raises a ``JournalError`` when the journal cannot be used; then nothing is left open. Ends
        that may be damaged are cut off with ``accept_tail_loss``; what a replay comes to counts
        with ``accept_divergence``.
        """
        self._disk.lock()
        try:
            opened = open_application(
                self.name,
                self._definition,
                self._decoder,
                self._disk,
                self._world,
                self.limits,
                accept_tail_loss=accept_tail_loss,
                accept_divergence=accept_divergence,
                elsewhere=self._elsewhere and self._elsewhere(accept_divergence),
            )
            self._blobs.sweep()
        except BaseException:
            self._disk.close()
            raise
        self.opened, self.journal_id = opened, opened.journal_id
        self._core = core = opened.core
        self.bounces, self.holds = core.bounces, core.holds
        self.return_paths = core.bounces.return_paths
        end = opened.tail.position
        self.clock.go_on_from(end.time_ns)
        self._pen = Pen(self.name, opened.appender, opened.marker, self._world, self.clock)
        self._order = Order(end.next_seq, self.limits)
        self._memory = MemoryWatch(
            self.name, core.state_bytes, self.limits, self._world.clock, self._world.footprint
        )
        self._mail = Retransmissions(
            self._order, core.unacknowledged, self.limits, self.clock, self._world.clock, self._pump
        )
        self._backlog = Backlog(self._order, self._answers, self._mail, core)
        self._handing = Handing(
            self._order, self._mail, core, self._answers, self._memory, self._decoder
        )
        self._agenda = Agenda(self._definition.schedules, core.schedules, self.clock, self.limits)
        self.debts = Debts(
            self.name, core.outbox, self._agenda, self._world, self.clock, self._own.submit
        )
        self.mood = step(self.mood, Mood.OPEN)

    def begin(self, configured: Configured) -> Deferred[Any]:
        """Perform debts; fires when the configuration was told, or there is no room for it now."""
        configured = with_bounds(configured, self.limits)
        core, agenda = self._core, self._agenda
        core.begin(Events(self._back, self._halt, self.clock.now_ns))
        self._memory.touch()
        told = self._own.tell(configured, "configuration", lambda: configured != core.configured)
        self._own.tell(agenda.declared, "schedules", lambda: agenda.is_news)
        self.debts.look()
        self._idle.touch()
        return told

    def stop(self) -> None:
        """Do nothing any more of its own accord, as when the process has ended."""
        for one in (self.debts, self._own, self._idle, self._crowd, self._mail):
            one.stop()

    # --- what doors see -------------------------------------------------------------------

    def submit(self, event: object, exchange: Exchange) -> Deferred[Any]:
        """Put an event in the order; see ``happy.app.StreamPort``."""
        if self.mood is not Mood.OPEN:
            return fail(not_open(self.mood))
        answer: Deferred[Any] = Deferred()
        try:
            self._handing.submit(event, exchange, Waiter(answer, exchange))
        except HappyError:
            return fail()
        self._pump()
        return answer

    def prepare(self, event: object, source: str) -> Prepared:
        """Encode an event and check that it can be read back; see ``happy.app.StreamPort``."""
        return self._decoder.prepared(event, source)

    def put(self, prepared: Prepared, waiter: Waiting) -> None:
        """Put a prepared event in the order; see ``happy.app.StreamPort``."""
        if self.mood is not _OPEN:
            raise not_open(self.mood)
        if self._core.away is not None:
            raise NotOpen(self._core.away)
        self._memory.check(prepared.event)
        self._order.admit(prepared.record, prepared, waiter)
        if not self._pen.busy:  # else its end takes what has gathered
            self._crowd.ask()

    def hand_over(self, records: Sequence[bytes], keys: Keys, waiters: Sequence[Waiting]) -> None:
        """Put events in the order that came together, encoded; see ``Handing.admit``."""
        if self.mood is not Mood.OPEN:
            raise not_open(self.mood)
        self._handing.admit(records, keys, waiters)
        if not self._pen.busy:
            self._crowd.ask()

    def look(
        self, query: Callable[..., Any], arguments: Mapping[str, Any], waiter: Waiting
    ) -> None:
        """Tell what a query returns; see ``happy.app.StreamPort``."""
        if self.mood is not _OPEN and self.mood is not Mood.DRAINING:
            raise not_open(self.mood)
        self._core.look(query, arguments, waiter)

    def ask(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Fire with what a query of the durable state returns."""
        if self.mood not in (Mood.OPEN, Mood.DRAINING):
            return fail(not_open(self.mood))
        return self._core.ask(query, *args, **kwargs)

    def trouble(self, size: int) -> HappyError | None:
        """Return why an event would not be admitted now; see ``happy.app.StreamPort``."""
        if self.mood is not Mood.OPEN:
            return not_open(self.mood)
        return self._room.trouble(size) or self._handing.trouble(size)

    def blob_writer(self) -> BlobWriter:
        """Return a place for a large body; ``NoRoom`` when the disk is full."""
        if self.mood is not Mood.OPEN:
            raise not_open(self.mood)
        return self._blobs.writer()

    def open_blob(self, blob: Blob) -> BlobReader:
        """Open a stored body."""
        return self._blobs.open(blob)

    def effect_key(self, effect_id: EffectId) -> str:
        """Return what the other side may know an effect by; see ``public_id``."""
        return public_id(self.journal_id, effect_id)

    def journaled(self) -> Journaled:
        """Return how far the journal is."""
        return Journaled(self._core.seq, self.opened.appender.appended_bytes)

    def status(self) -> dict[str, Any]:
        """Return how the application is, for people and tools."""
        return {
            "name": self.name,
            "mood": self.mood.value,
            "waiting": len(self._order),
            **self.debts.status(),
            "disk_full": self._room.is_full,
            "memory": self._memory.status(),
            **self.opened.status(),
        }

    # --- the way of an event --------------------------------------------------------------

    def _pump(self) -> None:
        if self._core.away is not None:  # nobody is to wait for it, however long it may be
            self._backlog.turn_away(self._core.away)
        if self._pen.busy or not self._order.waiting or not self._core.has_room:
            return
        batch = self._order.take()
        self._crowd.crowded = len(batch.records) > 1
        due = self.opened.marker.due_mark()
        written = self._pen.append(batch.records, due, self._core.backlog)
        moment = (batch, self._pen.time_ns)
        written.addCallbacks(self._durable, self._not_durable, moment, errbackArgs=(batch,))
        written.addErrback(self._halt, batch)

    def _durable(self, _: object, batch: Batch, time_ns: int) -> Deferred[None] | None:
        self._room.was_found()
        entries = self._order.place(batch, time_ns)
        self._pen.busy = False
        marking = self.opened.marker.due(entries[-1].seq)
        applied = self._core.apply(entries, self._pump, marking=marking)
        if isinstance(applied, list):
            self._applied(applied, batch)
            return None
        self._backlog.kept(batch)
        return applied.addCallbacks(self._applied, self._unknown, (batch,), errbackArgs=(batch,))

    def _applied(self, outcomes: list[Outcome], batch: Batch) -> None:
        self._backlog.applied(batch)
        self._answers.settle(batch, outcomes)
        self.debts.look()
        self._idle.touch()
        self._memory.touch()
        self._look_if_drained()

    def _unknown(self, failure: Failure, batch: Batch) -> None:
        failure.trap(CoreLost)
        self._backlog.lost(batch, failure.getErrorMessage())
        self._pump()
        self._look_if_drained()

    def _back(self) -> None:
        self._backlog.back()
        self.debts.look()
        self._idle.touch()
        self._memory.touch()
        self._pump()

    def _not_durable(self, failure: Failure, batch: Batch) -> Failure | None:
        if not failure.check(NoRoom):
            return failure
        self._room.was_missed(failure.getErrorMessage())
        self._order.settle(batch)
        self._pen.busy = False
        fail_batch(batch, NoRoom, failure.getErrorMessage())
        self._pump()
        self._look_if_drained()
        return None

    def _mark_idle(self) -> None:
        """Vouch for the last events; what comes meanwhile waits as it does for a batch."""
        at_rest = self.mood is Mood.OPEN and self._core.at_rest
        at_rest = at_rest and not (self._pen.busy or self._room.is_full)
        digest = self.opened.marker.due_mark() if at_rest else None
        if not at_rest or (self._pen.vouched and digest is None):
            return
        marked = self._pen.mark(Kind.IDLE_MARK, "idle mark", digest)
        marked.addCallback(self._marked).addErrback(self._halt)

    def _marked(self, _: object) -> None:
        self._pen.busy = False
        self._pump()

    def _halt(self, failure: Failure, batch: Batch | None = None) -> None:
        """Stop for good; whoever waits hears of it, those of ``batch`` that all is unknown."""
        first = self.mood is not Mood.HALTED
        if first:
            self.mood = step(self.mood, Mood.HALTED)
            reason = failure.getErrorMessage()
            log.critical("{name}: halted: {reason}", name=self.name, reason=reason)
            if not failure.check(JournalError):
                log.failure("{name}: halted", failure, name=self.name)
            self.stop()
        if batch is not None:
            fail_batch(batch, Halted, "a failure; whether this event was kept is not known")
        turn_away(self._order, Halted, "a failure; this event was not kept")
        if first:
            self._drain.end()
            assert failure.value is not None
            self.halted.callback(failure.value)

    # --- closing --------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Admit no more, finish what was admitted, write a close mark, let go of the disk."""
        match self.mood:
            case Mood.OPEN:
                self.mood = step(self.mood, Mood.DRAINING)
                self._mail.tell()
                self._pump()
                self.stop()
                self._drain.begin(self._seal)
                self._look_if_drained()
            case Mood.REPLAYING:
                self.mood = step(self.mood, Mood.CLOSED)
                self._disk.close()
            case Mood.HALTED if not self._drain.begun:
                self._drain.begin(self._seal)
                self._drain.end()
        return self._drain.wait()

    def abandon(self) -> None:
        """Let go of a journal that was opened and not begun; nothing is written."""
        self.mood = step(self.mood, Mood.HALTED)
        self._core.stop()
        self._disk.close()
        self._drain.begin(lambda: succeed(None))
        self._drain.end()

    def _look_if_drained(self) -> None:
        if self._backlog.is_told:
            self._drain.end()

    def _seal(self) -> Deferred[Any]:
        self._idle.stop()
        if self.mood is Mood.HALTED:
            # In the journal's own thread, which may be writing still.
            return self._world.run(self._disk.close).addCallback(lambda _: self._core.stop())

        def close(_: object) -> Deferred[None]:
            self._disk.close()
            if self.mood is not Mood.HALTED:
                self.mood = step(self.mood, Mood.CLOSED)
            return self._core.stop()

        # What may not have been applied has no mark behind it, so that it can be quarantined.
        sealed = self._core.make_mark().addCallback(self._mark_closed)
        return sealed.addErrback(self._halt).addCallback(close)

    def _mark_closed(self, _: object) -> Deferred[Any]:
        if not self._core.at_rest:
            return self._world.run(lambda: None)
        return self._pen.mark(Kind.CLOSE_MARK, "close mark", self.opened.marker.last_mark())
