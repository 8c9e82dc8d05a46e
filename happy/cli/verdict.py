"""Whether a journal is whole: everything in it is read, blobs too, and nothing is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from happy.cli.ahead import Ahead, Tell, processes_for, read_stretch
from happy.cli.bodies import gather
from happy.cli.keepsakes import Keepsakes, start_at
from happy.cli.output import counted
from happy.cli.segments import End, frames_of, header_of, segment_names
from happy.cli.statuses import Status
from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame
from happy.journal.names import BLOBS, blob_name, is_part
from happy.journal.recovery import Decision, Finding, Place, Position, Start
from happy.journal.replay import Reader, Segment, Tail

Progress = Callable[[int, int], None]
"""Is told how much of how much is done, in bytes."""

_TELL_BYTES: Final = 8 * 1024 * 1024


class Health(StrEnum):
    """What a journal is found to be."""

    WHOLE = "whole"
    TORN = "torn"
    CORRUPT = "corrupt"
    AMBIGUOUS = "ambiguous"
    NOT_A_JOURNAL = "not a journal"

    @property
    def status(self) -> Status:
        """What a command ends with that finds it so."""
        return _STATUSES[self]


_STATUSES: Final = {
    Health.WHOLE: Status.DONE,
    Health.TORN: Status.NOT_DONE,
    Health.CORRUPT: Status.DAMAGED,
    Health.AMBIGUOUS: Status.DAMAGED,
    Health.NOT_A_JOURNAL: Status.NOT_A_JOURNAL,
}


@attrs.frozen
class Verdict:
    """What was found, how much was good, and what to do, in a sentence."""

    health: Health
    sentence: str
    events: int = 0
    segments: int = 0
    blobs: int = 0
    closed: bool = False
    """Whether the last writer stopped in good order."""
    first_seq: int = 1
    """The first seq that is there; what was before was let go."""
    snapshots: int = 0
    complaints: tuple[str, ...] = ()
    """What is wrong with snapshots; the next start passes them over."""

    @property
    def good(self) -> str:
        """How much was good, in words."""
        return ", ".join(
            (
                counted(self.events - self.first_seq + 1, "event"),
                counted(self.segments, "segment"),
                counted(self.blobs, "blob"),
                *([counted(self.snapshots, "snapshot")] if self.snapshots else []),
            )
        )


class _Gauge:
    """Adds up how much of some files was read, by whichever process."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._read: dict[str, int] = {}
        self._done = self._told = 0

    def read(self, name: str, offset: int) -> None:
        """Take in up to which offset a file was read; what is read again does not count."""
        before = self._read.get(name, 0)
        self._read[name] = max(before, offset)
        self._done += self._read[name] - before
        if self._done - self._told >= _TELL_BYTES:
            self._told = self._done
            self._progress(self._done, self._total)


class Verification:
    """Reads the journal in a directory; ``verdict`` is the whole of it.

    It is read in as many ``processes``, or as many as suit the journal and the machine.
    """

    def __init__(self, path: Path, progress: Progress, processes: int | None = None) -> None:
        self._path = path
        self._progress = progress
        self._processes = processes
        self._disk = FileDisk(path)
        self._keepsakes = Keepsakes(self._disk)
        self._first_seq = self._next_seq = 1
        self._before_ns = 0
        """The time of the last frame before the segment that is read."""
        self._segments = 0
        self._blobs_good = 0
        self._blobs: dict[str, int] = {}
        """The blobs that mails name, and the seq of the first mail that names each."""

    def verdict(self) -> Verdict:
        """Read everything and say how it is; a plain ``JournalError`` when it cannot be read."""
        try:
            names = segment_names(self._disk, self._path)
            stored = [name for name in self._disk.names(BLOBS) if not is_part(name)]
            size = sum(map(self._disk.size, names))
            gauge = _Gauge(size + sum(map(self._disk.size, stored)), self._progress)
            end = self._read_segments(names, size, gauge.read)
            self._read_blobs(stored, gauge.read)
            if self._segments:
                self._keepsakes.check(header_of(self._disk, names[0]), self._next_seq)
        except Ambiguous as error:
            return self._found(Health.AMBIGUOUS, str(error))
        except Corrupt as error:
            return self._found(Health.CORRUPT, str(error))
        except NotAJournal as error:
            return self._found(Health.NOT_A_JOURNAL, str(error))
        if end.decision(Place.LAST_SEGMENT) is Decision.USE:
            return self._found(Health.WHOLE, "whole", closed=end.closed)
        if not self._segments:
            return self._found(
                Health.TORN,
                f"nothing but {end.finding.value}: the next start begins anew and keeps its bytes "
                "aside; if there were events, restore the journal from a backup",
            )
        return self._found(
            Health.TORN,
            f"{end.finding.value}, after seq {self._next_seq - 1}: there is nothing to do, the "
            "next start cuts it off and keeps its bytes aside",
        )

    def _found(self, health: Health, sentence: str, *, closed: bool = False) -> Verdict:
        return Verdict(
            health,
            sentence,
            self._next_seq - 1,
            self._segments,
            self._blobs_good,
            closed,
            self._first_seq,
            self._keepsakes.good,
            tuple(self._keepsakes.complaints),
        )

    def _read_segments(self, names: list[str], size: int, tell: Tell) -> End:
        start = self._begin(names[0])
        processes = self._processes
        if processes is None:
            processes = processes_for(len(names), size)
        read = partial(read_stretch, self._disk, self._keepsakes)
        with Ahead(processes, names, read, tell) as ahead:
            reader = Reader(
                self._disk, cut=False, start=start, ahead=partial(self._read_ahead, ahead)
            )
            return self._read_in_order(reader, names, tell)

    def _read_ahead(self, ahead: Ahead, begin: Tail) -> Tail:
        """Take in what another process found of a segment; return from where on to read it."""
        self._before_ns = begin.position.time_ns
        stretch = ahead.take(begin.segment.name)
        if (
            stretch is None
            or stretch.tail.segment != begin.segment
            or stretch.first_ns < begin.position.time_ns
        ):
            return begin
        for sha256, seq in stretch.blobs.items():
            self._blobs.setdefault(sha256, seq)
        self._next_seq = stretch.tail.position.next_seq
        self._keepsakes.join(stretch.snapshots)
        return stretch.tail

    def _read_in_order(self, reader: Reader, names: list[str], tell: Tell) -> End:
        try:
            for frame in reader.frames():
                self._read_frame(frame)
                tell(reader.segments[-1].name, frame.end)
        except (Corrupt, Ambiguous):
            if not reader.segments or reader.segments[-1].name != names[-1]:
                raise
        else:
            tail, torn = reader.tail, reader.torn
            if tail is None:
                return End(Position(0, 1, 0, b""), Finding.HEADLESS, closed=False)
            if torn is None or torn.segment != tail.segment.name:
                finding = Finding.NOTHING if torn is None else torn.finding
                return End(tail.position, finding, tail.closed)
        finally:
            self._segments = len(reader.segments)
        # Beside a writer, half of what it writes looks like a fault: look again, and longer.
        segment = reader.segments[-1]
        end = self._look_again(segment)
        end.check(segment.name, Place.LAST_SEGMENT)
        return end

    def _begin(self, name: str) -> Start | None:
        """Return what to begin with: nothing, when it is a first segment or no segment at all."""
        try:
            header = header_of(self._disk, name)
        except (Corrupt, NotAJournal):
            return None  # the reader says it better
        start = start_at(header)
        if start is not None:
            self._first_seq = self._next_seq = header.first_seq
            self._keepsakes.look(header.first_seq, header.chain)
        return start

    def _look_again(self, segment: Segment) -> End:
        reading = frames_of(
            self._disk, segment.name, segment.header, Place.LAST_SEGMENT, self._before_ns
        )
        while True:
            try:
                frame = next(reading)
            except StopIteration as stop:
                end: End = stop.value
                return end
            if frame.first_seq >= self._next_seq:
                self._read_frame(frame)

    def _read_frame(self, frame: Frame) -> None:
        gather(frame, self._blobs)
        self._next_seq = frame.first_seq + frame.count
        self._keepsakes.look(self._next_seq, frame.chain)

    def _read_blobs(self, stored: list[str], tell: Tell) -> None:
        known = set(stored)
        faults = [
            f"the blob {sha256} of seq {seq} is missing"
            for sha256, seq in self._blobs.items()
            if blob_name(sha256) not in known
        ]
        for name in stored:
            if f"{BLOBS}/{self._digest_of(name)}" == name:
                self._blobs_good += 1
            else:
                faults.append(f"{name} is not what its name says")
            tell(name, self._disk.size(name))
        if faults:
            more = f" (and {len(faults) - 1} more)" if faults[1:] else ""
            raise Corrupt(f"{faults[0]}{more}; restore it from a backup")

    def _digest_of(self, name: str) -> str:
        with (self._path / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
