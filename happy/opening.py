"""Opening an application: its journal is read, its state rebuilt, its next place known."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import msgspec
from attrs import frozen
from twisted.logger import Logger

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.collecting import collecting_seldom
from happy.errors import Ambiguous, Corrupt, Diverged, NotAJournal, UnknownEvent
from happy.event import Entry
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import Disk
from happy.journal.frame import Frame, Kind, records_of
from happy.journal.names import NEXT_SEGMENT
from happy.journal.replay import Reader, Tail, Torn, trace_of
from happy.journal.snapshots import Snapshot
from happy.limits import Limits
from happy.marks import Accepts, Marker, compare, mark_in, never
from happy.recall import Recall, Recalled
from happy.unreadable import all_unknown
from happy.world import World

log = Logger()


@frozen
class Opened:
    """An application whose whole history has been applied."""

    journal_id: bytes
    machine: Machine
    appender: Appender
    tail: Tail
    marker: Marker
    recalled: Snapshot | None
    """The snapshot that it began with, if any."""
    behind: Behind


@frozen
class Behind:
    """What was replayed, behind the snapshot if there was one, and how long that took."""

    events: int
    size_bytes: int
    seconds: float


def replay_frame(
    machine: Machine, decoder: EventDecoder, frame: Frame, accepts: Accepts = never
) -> None:
    """Apply a frame's events to a machine, or compare it with a digest mark.

    Marks change nothing. Raises ``Diverged`` where the two differ and that is not accepted.
    """
    if frame.kind is Kind.DIGEST_MARK:
        compare(machine, mark_in(frame), accepts)
    if frame.kind is not Kind.EVENTS:
        return
    try:
        happened = decoder.together([*records_of(frame)])
    except ValueError:
        happened = None
    if happened is not None and frame.first_seq == machine.seq + 1:
        machine.replay(frame.time_ns, happened)
    else:
        machine.apply(list(entries_of(decoder, frame)))


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
) -> Opened:
    """Read a locked journal to its end, or begin one; a ``JournalError`` says why not."""

    def new_salt() -> int:
        return int.from_bytes(world.random_bytes(4), "little")

    recall = Recall(definition, decoder, world.random_of)
    recalled = recall.newest(disk)
    _report_recall(name, recall, recalled)
    start = None if recalled is None else recalled.start
    reader = Reader(disk, cut=True, accept_tail_loss=accept_tail_loss, start=start)
    machine = None if recalled is None else recalled.machine
    acceptance = Acceptance(disk, now=accept_divergence, start=start)
    begun_s, seq = world.clock.seconds(), machine.seq if machine is not None else 0
    try:
        with collecting_seldom():
            machine = _replay(name, recall, machine, decoder, reader, acceptance)
    except Corrupt as error:
        raise recall.explain(error) from None
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
    if machine is None:
        machine = recall.new_machine(journal_id)
    behind = Behind(machine.seq - seq, reader.size_bytes, world.clock.seconds() - begun_s)
    _report(name, behind, reader)
    acceptance.report(name)
    if accept_tail_loss and (reader.torn is None or not reader.torn.accepted):
        log.warn("{name}: nothing had to be lost: leave --accept-tail-loss away", name=name)
    if NEXT_SEGMENT in disk.names():
        disk.remove(NEXT_SEGMENT)
    appender = Appender(disk, tail, segment_bytes_max=limits.segment_bytes_max, new_salt=new_salt)
    accepting = acceptance.first is not None
    marker = Marker(machine, limits.digest_events_max, world.time_ns(), accepting=accepting)
    snapshot = None if recalled is None else recalled.snapshot
    return Opened(journal_id, machine, appender, tail, marker, snapshot, behind)


def _replay(  # noqa: PLR0913 - all it is made of
    name: str,
    recall: Recall,
    machine: Machine | None,
    decoder: EventDecoder,
    reader: Reader,
    accepts: Accepts,
) -> Machine | None:
    """Return a machine that everything was applied to; None when there is nothing."""

    def progress(done: int, total: int) -> None:
        if total > 1:
            log.info(
                "{name}: replayed {done} of {total} segments, up to seq {seq}",
                name=name,
                done=done,
                total=total,
                seq=machine.seq if machine is not None else 0,
            )

    frames = reader.frames(progress)
    for frame in frames:
        if machine is None:
            machine = recall.new_machine(reader.segments[0].header.journal_id)
        try:
            replay_frame(machine, decoder, frame, accepts)
        except UnknownEvent as error:
            reader.only_look()
            raise all_unknown(error, decoder, chain((frame,), frames)) from None
    return machine


def _check_new(disk: Disk) -> None:
    """Refuse to begin a journal where there was one: its events would be as if they never were."""
    left = trace_of(disk)
    if left is not None:
        raise NotAJournal(
            f"there is {left} and no segment of the journal that it belongs to; restore the "
            "journal from a backup, or give the application an empty directory"
        )


def _report_recall(name: str, recall: Recall, recalled: Recalled | None) -> None:
    for passed in recall.passed_over:
        tell = log.error if passed.damaged else log.warn
        tell("{name}: a snapshot is not used: {reason}", name=name, reason=passed.reason)
    if recalled is not None:
        log.info(
            "{name}: the state as of seq {seq} is taken from {snapshot}",
            name=name,
            seq=recalled.machine.seq,
            snapshot=recalled.snapshot.name,
        )


def _report(name: str, behind: Behind, reader: Reader) -> None:
    if not reader.segments:
        _report_new(name, reader.torn)
        return
    if reader.torn is not None:
        log.warn(
            "{name}: {finding} at the end of {segment}, offset {offset}: {so} and was cut off; "
            "its {size} bytes are kept in {kept}",
            name=name,
            finding=reader.torn.finding.value,
            segment=reader.torn.segment,
            offset=reader.torn.offset,
            so=_lost(reader.torn) if reader.torn.accepted else "it was never answered",
            size=reader.torn.size,
            kept=reader.torn.kept,
        )
    log.info(
        "{name}: replayed {count} events from {segments} segments",
        name=name,
        count=behind.events,
        segments=len(reader.segments),
    )


def _report_new(name: str, torn: Torn | None) -> None:
    if torn is not None:
        log.error(
            "{name}: {segment} was cut short inside of its header and nothing else was there; "
            "its {size} bytes are kept in {kept}. If it held events, stop and restore the "
            "journal from a backup",
            name=name,
            segment=torn.segment,
            size=torn.size,
            kept=torn.kept,
        )
    log.info("{name}: a new journal was begun", name=name)


def _lost(torn: Torn) -> str:
    """Return what was lost because somebody accepted it."""
    if not torn.count:  # not known, or a mark, behind which there may have been more
        return f"whatever had seq {torn.seq} or higher may have been answered, is lost"
    last = torn.seq + torn.count - 1
    return f"what had seq {torn.seq} to {last} may have been answered, is lost"
