"""Reading a journal from its beginning, and giving the pen to who writes on.

Every frame is checked as it is read: its checksums, its place, and the chain that ties it to
all before it. Only at the end of the last segment can anything be cut off; everywhere else a
fault is damage, and the journal is not opened. What was read is what an ``Appender`` needs to
continue, and there is no other way to get one: nobody writes who has not read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import Final

import attrs

from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import Disk
from happy.journal.frame import (
    SEGMENT_HEADER_SIZE,
    Content,
    Frame,
    Kind,
    SegmentHeader,
    decode_frame_header,
    decode_segment_header,
    first_chain,
)
from happy.journal.names import (
    BLOBS,
    LOCK,
    SNAPSHOTS,
    TORN,
    is_headless_name,
    is_part,
    segment_name,
    segment_seq,
    torn_name,
    unfinished_name,
)
from happy.journal.recovery import (
    DECISIONS,
    Decision,
    Finding,
    Place,
    Position,
    Start,
    after,
    next_frame,
    start_of,
)

PIECE_SIZE: Final = 1024 * 1024
"""How much of a file is read at once: enough to be fast, little beside what a state takes."""


@attrs.frozen
class Segment:
    """One file of the journal and its header."""

    name: str
    header: SegmentHeader


@attrs.frozen
class Tail:
    """Where a journal ends: all that an appender needs to continue it."""

    segment: Segment
    position: Position
    last: Kind | None
    """The kind of the last frame of this segment, None when it has none."""
    unproven: int
    """Where the last write began, which no later one vouches for; the position when none."""

    @property
    def closed(self) -> bool:
        """Whether the journal ends with a close mark: its last writer stopped in good order."""
        return self.last is Kind.CLOSE_MARK

    @classmethod
    def behind(cls, segment: Segment, frame: Frame) -> Tail:
        """Return how a journal ends whose last frame this is."""
        unproven = min(max(frame.durable_end, SEGMENT_HEADER_SIZE), frame.offset)
        return cls(segment, after(frame), frame.kind, unproven)


@attrs.frozen
class Torn:
    """A tail that was cut off: never answered, unless it is a loss that was accepted."""

    segment: str
    offset: int
    finding: Finding
    size: int
    """How many bytes there are, without the zeros at their end."""
    seq: int
    """The first seq that is not there any more."""
    count: int | None
    """How many events its first frame had; None when even its header cannot be read."""
    accepted: bool
    """Whether it may have been answered, and was cut off because somebody said so."""
    kept: str = ""
    """The file that keeps its bytes; empty when the journal was only looked at."""


class FileBytes:
    """The bytes of a file as it is now, to be sliced; a piece of them is in memory at a time."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._size = disk.size(name)
        self._start = 0
        self._piece = memoryview(b"")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> memoryview:
        start, stop, _ = part.indices(self._size)
        stop = max(start, stop)
        first = start - self._start
        if first < 0 or stop - self._start > len(self._piece):
            self._piece = memoryview(b"")  # never two of them
            size = max(stop - start, min(PIECE_SIZE, self._size - start))
            self._piece = memoryview(self._disk.read(self._name, start, size))
            self._start = start
            first = 0
        return self._piece[first : stop - self._start]


def trace_of(disk: Disk) -> str | None:
    """Return a file that is there only because a journal had events; None when there is none."""
    for folder in (SNAPSHOTS, BLOBS, TORN):
        for name in disk.names(folder):
            if not (is_part(name) or is_headless_name(name) or name.endswith(f"/{LOCK}")):
                return name
    return None


def may_begin_anew(disk: Disk, name: str) -> bool:
    """Say whether a headless segment that is the only one may be let go: nothing misses it."""
    return name == segment_name(1) and trace_of(disk) is None


class Reader:
    """Reads a journal's frames in order; ``tail`` and ``torn`` are known when it is through.

    With ``cut``, a torn tail is cut off and its bytes are kept aside; without it nothing is
    written, so that a journal in use can be looked at. With ``accept_tail_loss``, an ambiguous
    tail is taken for torn. When all there is of a journal was cut off, there is a ``torn`` and no
    ``tail``: it may begin anew. With ``start``, only the frames behind what a snapshot covers are
    yielded, and the segments before it need not be there; that the journal is the one of the
    snapshot, its chain proves. ``ahead`` is given where a segment begins, and returns from where
    on to read it: what is before that was read elsewhere, is good, and is not yielded.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        cut: bool,
        accept_tail_loss: bool = False,
        start: Start | None = None,
        ahead: Callable[[Tail], Tail] = lambda begin: begin,
    ) -> None:
        self._disk = disk
        self._cut = cut
        self._accept_tail_loss = accept_tail_loss
        self._start = start
        self._started = start is None
        self._ahead = ahead
        self.segments: list[Segment] = []
        self.tail: Tail | None = None
        self.torn: Torn | None = None
        self.size_bytes = 0
        """How many bytes of frames were yielded."""

    def only_look(self) -> None:
        """Cut nothing off from now on: the journal will not be used."""
        self._cut = False

    def frames(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Frame]:
        """Yield every good frame; raise ``Corrupt`` or ``Ambiguous`` where one cannot go on.

        ``progress`` is told, segment by segment, how many of how many were read.
        """
        names = self._names()
        tail: Tail | None = None
        for number, name in enumerate(names):
            last = number == len(names) - 1
            if not last:
                place = Place.EARLIER_SEGMENT
            else:
                place = Place.LAST_SEGMENT if number else Place.ONLY_SEGMENT
            segment = self._open(name, tail, place)
            if segment is not None:
                self.segments.append(segment)
                tail = yield from self._segment(segment, tail, place)
            if progress is not None:
                progress(number + 1, len(names))
        self.tail = tail

    def _names(self) -> list[str]:
        """Return the segments to be read: from that on which holds the last seq of the start."""
        names = [name for name in self._disk.names() if segment_seq(name) is not None]
        if self._start is None:
            return names
        last = self._start.seq
        covered = sum(1 for name in names if (segment_seq(name) or 0) <= last)
        return names[max(covered - 1, 0) :]

    def _open(self, name: str, before: Tail | None, place: Place) -> Segment | None:
        """Return a segment whose header continues what was read; None when it has none."""
        block = self._disk.read(name, 0, SEGMENT_HEADER_SIZE)
        if len(block) < SEGMENT_HEADER_SIZE:
            self._judge(name, 0, segment_seq(name) or 0, Finding.HEADLESS, place)
            return None
        try:
            header = decode_segment_header(block)
        except ValueError as error:
            raise Corrupt(
                f"{name}, offset 0, from seq {segment_seq(name)} on: {error}: the journal is "
                "damaged; restore it from a backup"
            ) from None
        except NotAJournal as error:
            raise NotAJournal(f"{name}: {error}; use the program that wrote it") from None
        if segment_name(header.first_seq) != name:
            raise Corrupt(
                f"{name}: this is the segment that begins with seq {header.first_seq}; "
                "give it its own name again"
            )
        segment = Segment(name, header)
        if before is not None:
            _check_continues(before, segment)
        else:
            self._check_first(segment)
        return segment

    def _check_first(self, segment: Segment) -> None:
        """Raise ``Corrupt`` unless a journal, or what follows the start, can begin so."""
        name, header, start = segment.name, segment.header, self._start
        if header.number == 1 and header.chain == first_chain(header.journal_id):
            return
        if start is None or header.number == 1:
            raise Corrupt(
                f"{name}: this is segment {header.number} of its journal, and the ones before it, "
                f"from {segment_name(1)} on, are missing; restore them from a backup"
            )
        if header.first_seq > start.seq + 1:
            raise Corrupt(
                f"{name}: the snapshot ends with seq {start.seq}, and the segments between are "
                "missing; restore them from a backup"
            )

    def _segment(
        self, segment: Segment, before: Tail | None, place: Place
    ) -> Generator[Frame, None, Tail]:
        content = FileBytes(self._disk, segment.name)
        begin = start_of(segment.header, self._time_before(segment, before))
        self._look_for_start(segment.name, begin)
        tail = Tail(segment, begin, None, begin.offset)
        if self._started:
            tail = self._ahead(tail)
        position = tail.position
        frame: Frame | None = None
        while not isinstance(found := next_frame(content, segment.header, position), Finding):
            if self._started:
                self.size_bytes += found.end - found.offset
                yield found
            frame = found
            position = after(found)
            self._look_for_start(segment.name, position)
        self._judge(segment.name, position.offset, position.next_seq, found, place)
        return tail if frame is None else Tail.behind(segment, frame)

    def _time_before(self, segment: Segment, before: Tail | None) -> int:
        """Return the time that no frame of a segment may be before."""
        if before is not None:
            return before.position.time_ns
        start = self._start
        begins = start is not None and segment.header.first_seq == start.seq + 1
        return start.time_ns if start is not None and begins else 0

    def _look_for_start(self, name: str, at: Position) -> None:
        """Note when what the snapshot covers has been read; ``Corrupt`` when it is another."""
        start = self._start
        if self._started or start is None:
            return
        self._started = at.next_seq == start.seq + 1 and at.chain == start.chain
        if at.next_seq > start.seq + 1:
            raise Corrupt(_other_history(name, start))

    def _judge(self, name: str, offset: int, seq: int, found: Finding, place: Place) -> None:
        where = f"{name}, offset {offset}, from seq {seq} on: {found.value}, {place.value}"
        decision = DECISIONS[found, place]
        accepted = decision is Decision.REFUSE_AMBIGUOUS and self._accept_tail_loss
        if decision is Decision.REFUSE_CORRUPT:
            raise Corrupt(f"{where}: the journal is damaged; restore it from a backup")
        if decision is Decision.REFUSE_AMBIGUOUS and not accepted:
            raise Ambiguous(
                f"{where}: damage and a torn write look the same here; restore it from a backup"
            )
        if place is not Place.EARLIER_SEGMENT and self._start is not None and not self._started:
            raise Corrupt(_other_history(name, self._start))
        if found is Finding.HEADLESS and place is Place.ONLY_SEGMENT:
            self._check_may_begin_anew(name, where)
        if decision is not Decision.USE:
            self.torn = self._keep_aside(name, offset, seq, found, accepted=accepted)

    def _check_may_begin_anew(self, name: str, where: str) -> None:
        if not may_begin_anew(self._disk, name):
            trace = trace_of(self._disk) or "its name"
            raise Corrupt(f"{where}: {trace} tells of events; restore the journal from a backup")

    def _keep_aside(
        self, name: str, offset: int, seq: int, found: Finding, *, accepted: bool
    ) -> Torn:
        content = FileBytes(self._disk, name)
        head = decode_frame_header(content, offset)
        count = None if head is None else head.count
        end = _end_of(content, offset)
        lost = Torn(name, offset, found, end - offset, seq, count, accepted)
        if not self._cut:
            return lost
        torn = self._disk.read(name, offset, end - offset)
        kept = self._kept_name(name, offset, torn)
        # On a full disk, the room is taken from what this file does not need.
        self._disk.truncate(name, end)
        # Also when it is there: who was killed here may not have made its name durable.
        part = unfinished_name(kept)
        self._disk.create(part)
        self._disk.write(part, 0, torn)
        self._disk.sync(part)
        self._disk.rename(part, kept)
        if found is Finding.HEADLESS:
            self._disk.remove(name)
        else:
            self._disk.truncate(name, offset)
            self._disk.sync(name)
        return attrs.evolve(lost, kept=kept)

    def _kept_name(self, name: str, offset: int, torn: bytes) -> str:
        """Return where to keep bytes: never over others, and once if a cut is done again."""
        there = self._disk.names(TORN)
        names = (torn_name(name, offset, number) for number in count(1))
        return next(n for n in names if n not in there or self._disk.read(n) == torn)


def _end_of(content: Content, offset: int) -> int:
    """Return where the zeros at the end of a file begin, ``offset`` when all behind it is zeros."""
    end = len(content)
    while end > offset:
        first = max(offset, end - PIECE_SIZE)
        size = len(bytes(content[first:end]).rstrip(b"\0"))
        if size:
            return first + size
        end = first
    return offset


def _other_history(name: str, start: Start) -> str:
    return (
        f"{name}: the snapshot that ends with seq {start.seq} is not of this journal's history; "
        "restore both from one backup"
    )


def _check_continues(before: Tail, segment: Segment) -> None:
    """Raise ``Corrupt`` unless a segment begins where the one before it ends."""
    name, header = segment.name, segment.header
    sealed, end = before.segment, before.position
    if header.journal_id != sealed.header.journal_id:
        raise Corrupt(f"{name}: it belongs to another journal than {sealed.name}; move it away")
    if header.number != sealed.header.number + 1:
        raise Corrupt(
            f"{name}: this is segment {header.number} of its journal and follows segment "
            f"{sealed.header.number}: {segment_name(end.next_seq)} is missing; restore it "
            "from a backup"
        )
    if end.offset < header.previous_end:
        raise Corrupt(
            f"{sealed.name}, offset {end.offset}, from seq {end.next_seq} on: frames are "
            f"missing up to offset {header.previous_end}, {Place.EARLIER_SEGMENT.value}: the "
            "journal is damaged; restore it from a backup"
        )
    if (header.previous_end, header.first_seq, header.chain) != (
        end.offset,
        end.next_seq,
        end.chain,
    ):
        raise Corrupt(
            f"{name}: it does not continue {sealed.name}, which ends before seq "
            f"{end.next_seq}: one of them was changed; restore both from a backup"
        )
