"""Reading a journal from its beginning, and giving the pen to who writes on.

Every frame is checked as it is read: its checksums, its place, and the chain that ties it to
all before it. Only at the end of the last segment can anything be cut off; everywhere else a
fault is damage, and the journal is not opened. What was read is what an ``Appender`` needs to
continue, and there is no other way to get one: nobody writes who has not read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import count

import attrs

from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import Disk
from happy.journal.frame import (
    SEGMENT_HEADER_SIZE,
    Frame,
    Kind,
    SegmentHeader,
    decode_segment_header,
    first_chain,
)
from happy.journal.names import (
    QUARANTINE,
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
    after,
    next_frame,
    start_of,
)


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
    closed: bool
    """Whether the journal ends with a close mark: its last writer stopped in good order."""
    unproven: int
    """Where the last frame begins, which no later one vouches for; the position when none."""


@attrs.frozen
class Torn:
    """A tail that was never answered."""

    segment: str
    offset: int
    finding: Finding
    size: int
    """How many bytes there are, without the zeros at their end."""
    kept: str = ""
    """The file that keeps its bytes; empty when the journal was only looked at."""


class Reader:
    """Reads a journal's frames in order; ``tail`` and ``torn`` are known when it is through.

    With ``cut``, a torn tail is cut off and its bytes are kept aside; without it nothing is
    written, so that a journal in use can be looked at.
    """

    def __init__(self, disk: Disk, *, cut: bool) -> None:
        self._disk = disk
        self._cut = cut
        self.segments: list[Segment] = []
        self.tail: Tail | None = None
        self.torn: Torn | None = None

    def frames(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Frame]:
        """Yield every good frame; raise ``Corrupt`` or ``Ambiguous`` where one cannot go on.

        ``progress`` is told, segment by segment, how many of how many were read.
        """
        names = [n for n in self._disk.names() if segment_seq(n) is not None]
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

    def _open(self, name: str, before: Tail | None, place: Place) -> Segment | None:
        """Return a segment whose header continues what was read; None when it has none."""
        block = self._disk.read(name, 0, SEGMENT_HEADER_SIZE)
        if len(block) < SEGMENT_HEADER_SIZE:
            self._judge(name, 0, segment_seq(name), Finding.HEADLESS, place)
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
        elif header.number != 1 or header.chain != first_chain(header.journal_id):
            raise Corrupt(
                f"{name}: this is segment {header.number} of its journal and the ones "
                "before it are missing; restore them from a backup"
            )
        return segment

    def _segment(
        self, segment: Segment, before: Tail | None, place: Place
    ) -> Generator[Frame, None, Tail]:
        buffer = memoryview(self._disk.read(segment.name))
        position = start_of(segment.header, before.position.time_ns if before else 0)
        unproven = position.offset
        closed = False
        while True:
            found = next_frame(buffer, segment.header, position)
            if isinstance(found, Finding):
                break
            yield found
            closed = found.kind is Kind.CLOSE_MARK
            unproven = found.offset
            position = after(found)
        self._judge(segment.name, position.offset, position.next_seq, found, place)
        return Tail(segment, position, closed, unproven)

    def _judge(self, name: str, offset: int, seq: int | None, found: Finding, place: Place) -> None:
        where = f"{name}, offset {offset}, from seq {seq} on: {found.value}, {place.value}"
        match DECISIONS[found, place]:
            case Decision.USE:
                return
            case Decision.CUT:
                self.torn = self._keep_aside(name, offset, found)
            case Decision.REFUSE_CORRUPT:
                raise Corrupt(f"{where}: the journal is damaged; restore it from a backup")
            case Decision.REFUSE_AMBIGUOUS:
                raise Ambiguous(
                    f"{where}: damage and a torn write look the same here; restore it from a backup"
                )

    def _keep_aside(self, name: str, offset: int, found: Finding) -> Torn:
        torn = self._disk.read(name, offset).rstrip(b"\0")
        if not self._cut:
            return Torn(name, offset, found, len(torn))
        kept = self._kept_name(name, offset, torn)
        if kept not in self._disk.names(QUARANTINE):
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
        return Torn(name, offset, found, len(torn), kept)

    def _kept_name(self, name: str, offset: int, torn: bytes) -> str:
        """Return where to keep bytes: never over others, and once if a cut is done again."""
        there = self._disk.names(QUARANTINE)
        names = (torn_name(name, offset, number) for number in count(1))
        return next(n for n in names if n not in there or self._disk.read(n) == torn)


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
