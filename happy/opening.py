"""Opening an application: its journal is read, its state rebuilt, its next place known."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import Disk
from happy.journal.frame import Frame, Kind, records_of
from happy.journal.names import NEXT_SEGMENT
from happy.journal.replay import Reader, Tail
from happy.limits import Limits
from happy.world import World

log = Logger()


@frozen
class Opened:
    """An application whose whole history has been applied."""

    journal_id: bytes
    machine: Machine
    appender: Appender
    tail: Tail


def replay_frame(machine: Machine, decoder: EventDecoder, frame: Frame) -> None:
    """Apply a frame's events to a machine; marks change nothing."""
    if frame.kind is Kind.EVENTS:
        machine.apply(
            [
                decoder.entry(frame.first_seq + n, frame.time_ns, record)
                for n, record in enumerate(records_of(frame))
            ]
        )


def open_application(  # noqa: PLR0913 - all it is made of
    name: str,
    definition: Definition,
    decoder: EventDecoder,
    disk: Disk,
    world: World,
    limits: Limits,
) -> Opened:
    """Read a locked journal to its end, or begin one; a ``JournalError`` says why not."""

    def progress(done: int, total: int) -> None:
        if total > 1:
            log.info(
                "{name}: replayed {done} of {total} segments, up to seq {seq}",
                name=name,
                done=done,
                total=total,
                seq=machine.seq,
            )

    def machine_of(journal_id: bytes) -> Machine:
        return Machine(definition, journal_id, world.random_of, limits.keys_remembered_max)

    def new_salt() -> int:
        return int.from_bytes(world.random_bytes(4), "little")

    reader = Reader(disk, cut=True)
    frames = reader.frames(progress)
    first = next(frames, None)
    if reader.segments:
        journal_id = reader.segments[0].header.journal_id
        machine = machine_of(journal_id)
        if first is not None:
            replay_frame(machine, decoder, first)
        for frame in frames:
            replay_frame(machine, decoder, frame)
        assert reader.tail is not None
        tail = reader.tail
        _report(name, machine, reader)
    else:
        journal_id = world.random_bytes(16)
        machine = machine_of(journal_id)
        tail = create_journal(
            disk, journal_id, new_salt(), world.time_ns(), limits.segment_bytes_max
        )
        log.info("{name}: a new journal was begun", name=name)
    if NEXT_SEGMENT in disk.names():
        disk.remove(NEXT_SEGMENT)
    appender = Appender(disk, tail, segment_bytes_max=limits.segment_bytes_max, new_salt=new_salt)
    return Opened(journal_id, machine, appender, tail)


def _report(name: str, machine: Machine, reader: Reader) -> None:
    if reader.torn is not None:
        log.warn(
            "{name}: {finding} at the end of {segment}, offset {offset}: it was never answered "
            "and was cut off; its bytes are kept in {kept}",
            name=name,
            finding=reader.torn.finding.value,
            segment=reader.torn.segment,
            offset=reader.torn.offset,
            kept=reader.torn.kept,
        )
    log.info(
        "{name}: replayed {count} events from {segments} segments",
        name=name,
        count=machine.seq,
        segments=len(reader.segments),
    )
