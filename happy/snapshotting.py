"""Making a snapshot: the last one is read, what follows it is applied, and the result is written.

The journal may be in use: it is not locked and nothing of it is changed, and only what is
certainly durable in it is believed. Nothing here knows the application that serves; whoever
makes a snapshot has a machine of its own, and so every snapshot proves that the journal can be
replayed. Before it gets its name it is read back into another machine, which must have the
same digest.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder, decode_record
from happy.errors import Ambiguous, Corrupt, NotAJournal, UnfitSnapshot
from happy.image import Kind, Kinds
from happy.journal import frame as frames
from happy.journal.disk import Disk
from happy.journal.names import segment_seq
from happy.journal.quarantine import Foresight
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.journal.snapshot_format import SnapshotHeader
from happy.journal.snapshots import (
    Good,
    Snapshot,
    good_snapshots,
    sweep_snapshots,
    write_snapshot,
)
from happy.marks import Accepts
from happy.opening import replay_frame
from happy.recall import Recall


@attrs.frozen
class Made:
    """What came of making a snapshot."""

    name: str | None
    """The snapshot that was made; None when the last one covers all there is."""
    seq: int
    """The last seq that the newest snapshot covers; 0 when there is none."""
    events: int
    """How many events were applied, behind the snapshot it began with."""
    replay_s: float
    """How much processor time that took."""
    good: tuple[Good, ...]
    """The snapshots that are there and were found good, the newest first."""
    complaints: tuple[str, ...]
    """Why others were not used."""


class SnapshotMaker:
    """Makes a snapshot of one application's journal; ``make`` once."""

    def __init__(
        self,
        definition: Definition,
        disk: Disk,
        random_of: Callable[[int], Any],
        clock: Callable[[], float],
    ) -> None:
        """``clock`` tells seconds of processor time: the machine has other things to do."""
        self._clock = clock
        self._replay_s = 0.0
        self._disk = disk
        self._decoder = EventDecoder(definition.events)
        self._recall = Recall(definition, self._decoder, random_of)
        self._machine: Machine | None = None
        self._kinds: Kinds = {}
        self._start: Start | None = None

    def make(self, now_ns: int, *, kept: int) -> Made:
        """Make a snapshot of all that is durable, and remove all but the ``kept`` newest.

        Raises a ``JournalError`` when the journal cannot be read or the snapshot not written,
        and ``UnfitSnapshot`` when the state holds what cannot be.
        """
        last = self._read()
        begun_seq = 0 if last is None else last.header.seq
        seq = self._start.seq if self._start is not None else begun_seq
        made = self._write(now_ns) if seq > begun_seq else None
        good, complaints = good_snapshots(self._disk, self._check_fits)
        sweep_snapshots(self._disk, good, kept)
        passed_over = [passed.reason for passed in self._recall.passed_over]
        every = tuple(dict.fromkeys((*passed_over, *complaints)))
        return Made(made, seq, seq - begun_seq, self._replay_s, tuple(good[:kept]), every)

    def _check_fits(self, header: SnapshotHeader) -> None:
        self._recall.image.check_fits(header.description)

    def _read(self) -> Snapshot | None:
        """Bring a machine to where the journal is durable; return what it began with."""
        names = [name for name in self._disk.names() if segment_seq(name) is not None]
        if not names:
            raise NotAJournal("no journal is here")
        recalled = self._recall.newest(self._disk)
        if recalled is not None:
            self._machine, self._kinds = recalled.machine, recalled.kinds
        start = None if recalled is None else recalled.start
        reader = Reader(self._disk, cut=False, start=start)
        accepts = Acceptance(self._disk, start=start)
        begun_s = self._clock()
        try:
            for frame in settled_frames(reader, names[-1]):
                self._apply(reader, frame, accepts)
        except Corrupt as error:
            raise self._recall.explain(error) from None
        self._replay_s = self._clock() - begun_s
        return None if recalled is None else recalled.snapshot

    def _apply(self, reader: Reader, frame: frames.Frame, accepts: Accepts) -> None:
        if self._machine is None:
            self._machine = self._recall.new_machine(reader.segments[0].header.journal_id)
        replay_frame(self._machine, self._decoder, frame, accepts)
        if frame.kind is not frames.Kind.EVENTS:
            return
        self._start = Start(self._machine.seq, frame.chain, frame.time_ns)
        for seq, data in enumerate(frames.records_of(frame), frame.first_seq):
            record = decode_record(data)
            if (record.type, record.version) not in self._kinds:
                self._kinds[record.type, record.version] = Kind(
                    record.type, record.version, seq, frame.time_ns, bytes(data)
                )

    def _write(self, now_ns: int) -> str:
        machine, start = self._machine, self._start
        assert machine is not None
        assert start is not None
        image = self._recall.image
        header = SnapshotHeader(
            machine.journal_id,
            start.seq,
            start.time_ns,
            start.chain,
            now_ns,
            image.describe(machine, self._kinds),
        )
        blocks = image.take(machine, self._kinds)
        # Before the snapshot is read back, the machine goes: two would be twice the memory.
        self._machine = machine = None
        try:
            return write_snapshot(self._disk, header, blocks, self._check).name
        except (TypeError, RecursionError) as error:
            raise UnfitSnapshot(f"no snapshot can be made of this state: {error}") from None

    def _check(self, snapshot: Snapshot) -> None:
        gc.collect()
        self._recall.load(snapshot)


def settled_frames(reader: Reader, last_segment: str) -> Iterator[frames.Frame]:
    """Yield those frames of a journal in use that are certainly durable, and were applied.

    A batch is written after the one before it was synced, and may yet be found to be poison as
    long as no two are behind it; so the last ones are left away, unless a mark says that the
    journal was at rest. What looks damaged in ``last_segment`` or later may be being written, and
    ends it; before that it is damage, and raised.
    """
    foresight = Foresight()
    reading = reader.frames()
    while True:
        try:
            frame = next(reading)
        except StopIteration:
            return
        except (Corrupt, Ambiguous):
            if not reader.segments or reader.segments[-1].name < last_segment:
                raise
            return
        yield from foresight.take(frame)
