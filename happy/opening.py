"""Opening an application: its journal is read, its state rebuilt, its next place known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import msgspec
from attrs import evolve, frozen
from twisted.logger import Logger

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.applying import NOTE_BYTES, Applying, Note, Suspect
from happy.bulk import Happened
from happy.codec import EventDecoder
from happy.collecting import collecting_seldom
from happy.errors import Ambiguous, Corrupt, DeadlyEvent, Diverged, NotAJournal, UnknownEvent
from happy.event import Entry, Outcome
from happy.inline_core import Core, InlineCore
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import Disk
from happy.journal.frame import Frame, Kind, records_of
from happy.journal.names import NEXT_SEGMENT
from happy.journal.quarantine import Foresight
from happy.journal.recovery import Start
from happy.journal.replay import Reader, Tail, trace_of
from happy.journal.snapshots import Snapshot
from happy.limits import Limits
from happy.marks import Accepts, Marker, compare, mark_in, never
from happy.opening_reports import report_end, report_recall, report_replayed
from happy.poison import convict, report_poison, report_suspect
from happy.recall import Recall
from happy.unreadable import all_unknown
from happy.world import World

log = Logger()

_PROGRESS_EVERY_S = 5.0
"""How often a long replay says how far it is: a journal may have thousands of segments."""


@frozen
class Opened:
    """An application whose whole history has been applied."""

    journal_id: bytes
    core: Core
    """What applies from now on."""
    quarantined: tuple[int, ...]
    """The seqs that were passed over."""
    appender: Appender
    tail: Tail
    marker: Marker
    recalled: Snapshot | None
    """The snapshot that it began with, if any."""
    behind: Behind

    def status(self) -> dict[str, Any]:
        """Return how it is by now, for people and tools."""
        core = self.core
        return {
            "seq": core.seq,
            "failed": core.failed,
            "quarantined": (*self.quarantined, *core.quarantined),
            "keys": len(core.keys),
            "digest": self.marker.status(),
            **core.status(),
        }


@frozen
class Behind:
    """What was replayed, behind the snapshot if there was one, and how long that took."""

    events: int
    size_bytes: int
    seconds: float


def replay_frame(
    machine: Machine, decoder: EventDecoder, frame: Frame, accepts: Accepts = never
) -> list[Outcome]:
    """Apply the events of a frame that was foreseen to a machine, or compare a digest mark.

    Returns an outcome for each event. Marks change nothing. Raises ``Diverged`` where the two
    differ and that is not accepted.
    """
    if frame.kind is Kind.DIGEST_MARK:
        compare(machine, mark_in(frame), accepts)
    machine.quarantine(frame.quarantined)
    if frame.kind is not Kind.EVENTS:
        return []
    happened = happened_in(decoder, frame)
    if frame.first_seq == machine.seq + 1:
        return machine.replay(frame.time_ns, happened)
    return machine.apply(list(entries_of(decoder, frame)))


def happened_in(decoder: EventDecoder, frame: Frame) -> Sequence[Happened]:
    """Return what the events of a frame say, decoded at once if that can be; see ``entries_of``."""
    if frame.kind is not Kind.EVENTS:
        return ()
    try:
        happened = decoder.together([*records_of(frame)])
    except ValueError:
        happened = None
    return [*entries_of(decoder, frame)] if happened is None else happened


def entries_of(decoder: EventDecoder, frame: Frame) -> Iterator[Entry]:
    """Yield the entries of a frame; none of a mark.

    Raises ``Corrupt`` or ``UnknownEvent`` at the first that is none of this application.
    """
    if frame.kind is not Kind.EVENTS:
        return
    seq = frame.first_seq
    try:
        for record in records_of(frame):
            yield decoder.entry(seq, frame.time_ns, record)
            seq += 1
    except (ValueError, msgspec.MsgspecError) as error:
        raise Corrupt(
            f"seq {seq}: {error}, though the checksums are right: "
            "what wrote this journal was no happy program"
        ) from None


@frozen
class Replayed:
    """A core that has applied a journal, and how it came to that."""

    core: Core
    recalled: Snapshot | None
    events: int
    """How many there were behind the snapshot."""
    accepting: bool
    """Whether a divergence was accepted."""


class Replaying(Protocol):
    """Replays a journal that is read here, in this process or another."""

    quarantined: tuple[int, ...]

    @property
    def start(self) -> Start | None:
        """Where the journal is to be read from."""

    def read(self, reader: Reader) -> None:
        """Read all that is there."""

    def explain(self, error: Corrupt) -> Corrupt:
        """Return why the journal cannot be read, with all that is known."""

    def finish(self, journal_id: bytes, appender: Appender) -> Replayed:
        """Return the core, when all was read and can be written to."""


Elsewhere = Callable[[bool], Replaying]
"""Begins a replay in another process; is told whether to accept a divergence."""


def open_application(  # noqa: PLR0913 - all it is made of
    name: str,
    definition: Definition,
    decoder: EventDecoder,
    disk: Disk,
    world: World,
    limits: Limits,
    *,
    accept_tail_loss: bool = False,
    accept_divergence: bool = False,
    elsewhere: Replaying | None = None,
) -> Opened:
    """Read a locked journal to its end, or begin one; a ``JournalError`` says why not.

    ``elsewhere`` is who replays it, when that is not done here.
    """

    def new_salt() -> int:
        return int.from_bytes(world.random_bytes(4), "little")

    begun_s = world.clock.seconds()
    replay = elsewhere or _Replay(
        name, definition, decoder, disk, world, limits, accept_divergence=accept_divergence
    )
    reader = Reader(disk, cut=True, accept_tail_loss=accept_tail_loss, start=replay.start)
    try:
        with collecting_seldom():
            replay.read(reader)
    except Corrupt as error:
        raise replay.explain(error) from None
    except Ambiguous as error:
        raise Ambiguous(
            f"{error}, or start once with --accept-tail-loss {name}, which cuts it off"
        ) from None
    except Diverged as error:
        raise Diverged(
            f"{error}; or start once with --accept-divergence {name}, which goes on from what "
            "this replay makes of it",
            error.first_seq,
            error.last_seq,
        ) from None
    tail = reader.tail
    if tail is None:
        _check_new(disk)
        tail = create_journal(
            disk, world.random_bytes(16), new_salt(), world.time_ns(), limits.segment_bytes_max
        )
    journal_id = tail.segment.header.journal_id
    report_end(name, reader)
    if accept_tail_loss and (reader.torn is None or not reader.torn.accepted):
        log.warn("{name}: nothing had to be lost: leave --accept-tail-loss away", name=name)
    if NEXT_SEGMENT in disk.names():
        disk.remove(NEXT_SEGMENT)
    appender = Appender(disk, tail, segment_bytes_max=limits.segment_bytes_max, new_salt=new_salt)
    found = replay.finish(journal_id, appender)
    core = found.core
    behind = Behind(found.events, reader.size_bytes, world.clock.seconds() - begun_s)
    report_replayed(name, behind.events, reader)
    marker = Marker(core, limits.digest_events_max, world.time_ns(), accepting=found.accepting)
    tail = evolve(tail, position=appender.position)
    return Opened(
        journal_id, core, replay.quarantined, appender, tail, marker, found.recalled, behind
    )


class _Replay:
    """Applies a journal to a machine while it is read.

    What may never have been applied before waits until all was read and can be written to: one
    of those events may be poison.
    """

    def __init__(  # noqa: PLR0913 - what an application is opened with
        self,
        name: str,
        definition: Definition,
        decoder: EventDecoder,
        disk: Disk,
        world: World,
        limits: Limits,
        *,
        accept_divergence: bool,
    ) -> None:
        self.quarantined: tuple[int, ...] = ()
        self._name = name
        self._recall = Recall(definition, decoder, world.random_of)
        self._recalled = self._recall.newest(disk)
        report_recall(name, self._recall, self._recalled)
        self._begun_seq = 0 if self._recalled is None else self._recalled.machine.seq
        self._accepts = Acceptance(disk, now=accept_divergence, start=self.start)
        self._decoder = decoder
        self._note = Note(disk.shared_bytes(NOTE_BYTES))
        self._world = world
        self._limits = limits
        self._foresight = Foresight()
        self._decoded: deque[Sequence[Happened]] = deque()
        self._suspect: Suspect | None = None
        self._made: tuple[Machine, Applying] | None = None

    @property
    def start(self) -> Start | None:
        """See ``Replaying``."""
        return None if self._recalled is None else self._recalled.start

    def explain(self, error: Corrupt) -> Corrupt:
        """See ``Replaying``."""
        return self._recall.explain(error)

    def read(self, reader: Reader) -> None:
        """Read all, and apply what was applied before."""
        seq = 0
        told_s = -_PROGRESS_EVERY_S

        def progress(done: int, total: int) -> None:
            nonlocal told_s
            now_s = self._world.clock.seconds()
            if total > 1 and now_s - told_s >= _PROGRESS_EVERY_S:
                told_s = now_s
                log.info(
                    "{name}: replayed {done} of {total} segments, up to seq {seq}",
                    name=self._name,
                    done=done,
                    total=total,
                    seq=seq,
                )

        frames = reader.frames(progress)
        for frame in frames:
            seq = frame.first_seq + frame.count - 1
            try:
                self._decoded.append(happened_in(self._decoder, frame))
                for known in self._foresight.take(frame):
                    self._apply(reader.segments[0].header.journal_id, known)
            except UnknownEvent as error:
                reader.only_look()
                raise all_unknown(error, self._decoder, chain((frame,), frames)) from None

    def finish(self, journal_id: bytes, appender: Appender) -> Replayed:
        """Apply the rest, but for what is poison; return the core."""
        machine, applying = self._begun(journal_id)
        if self._suspect is not None:
            time_ns = max(self._world.time_ns(), appender.position.time_ns)
            convict(self._name, self._suspect, self._foresight, appender, time_ns, self._limits)
        for frame in self._foresight.rest():
            self._apply(journal_id, frame)
        self._note.clear()
        applying.suspect = None
        self._accepts.report(self._name)
        machine.get_ready()
        return Replayed(
            InlineCore(machine, applying),
            None if self._recalled is None else self._recalled.snapshot,
            machine.seq - self._begun_seq,
            self._accepts.first is not None,
        )

    def _begun(self, journal_id: bytes) -> tuple[Machine, Applying]:
        if self._made is None:
            limits, world = self._limits, self._world
            recalled = self._recalled
            machine = recalled.machine if recalled else self._recall.new_machine(journal_id)
            applying = Applying(machine, self._note, world.alarm, limits.handler_timeout_s)
            applying.suspect = self._suspect = self._note.suspect_of(journal_id)
            if self._suspect is not None:
                report_suspect(self._name, self._suspect, limits)
            self._made = machine, applying
        return self._made

    def _apply(self, journal_id: bytes, frame: Frame) -> None:
        machine, applying = self._begun(journal_id)
        self.quarantined += tuple(sorted(frame.quarantined))
        if self._suspect is not None:
            report_poison(self._name, self._suspect, frame, self._limits)
        try:
            if frame.kind is Kind.DIGEST_MARK:
                compare(machine, mark_in(frame), self._accepts)
            machine.quarantine(frame.quarantined)
            applying.replay(frame.time_ns, self._decoded.popleft())
        except (MemoryError, SystemExit) as error:
            raise DeadlyEvent(
                f"seq {machine.seq + 1}: its handler raised {type(error).__name__}; start again: "
                f"after {self._limits.poison_deaths_max} such ends it is quarantined"
            ) from error


def _check_new(disk: Disk) -> None:
    """Refuse to begin a journal where there was one: its events would be as if they never were."""
    left = trace_of(disk)
    if left is not None:
        raise NotAJournal(
            f"there is {left} and no segment of the journal that it belongs to; restore the "
            "journal from a backup, or give the application an empty directory"
        )
