"""Reading a journal from its beginning, and giving the pen to who writes on.

Every frame is checked as it is read: its checksums, its place, and the chain that ties it to
all before it. Only at the end of the last segment can anything be cut off; everywhere else a
fault is damage, and the journal is not opened. What was read is what an ``Appender`` needs to
continue, and there is no other way to get one: nobody writes who has not read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

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
from happy.journal.names import segment_name, segment_seq, torn_name
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


@attrs.frozen
class Torn:
    """A tail that was never answered."""

    segment: str
    offset: int
    finding: Finding
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
        position: Position | None = None
        for number, name in enumerate(names):
            last = number == len(names) - 1
            segment = self._open(name, position)
            self.segments.append(segment)
            place = Place.LAST_SEGMENT if last else Place.EARLIER_SEGMENT
            position = yield from self._segment(segment, position, place)
            if progress is not None:
                progress(number + 1, len(names))

    def _open(self, name: str, position: Position | None) -> Segment:
        """Return a segment whose header continues what was read."""
        block = self._disk.read(name, 0, SEGMENT_HEADER_SIZE)
        try:
            header = decode_segment_header(block)
        except ValueError as error:
            raise NotAJournal(f"{name}: {error}; restore it from a backup") from None
        if segment_name(header.first_seq) != name:
            raise Corrupt(
                f"{name}: this is the segment that begins with seq {header.first_seq}; "
                "give it its own name again"
            )
        if position is None:
            if header.number != 1 or header.chain != first_chain(header.journal_id):
                raise Corrupt(
                    f"{name}: this is segment {header.number} of its journal and the ones "
                    "before it are missing; restore them from a backup"
                )
            return Segment(name, header)
        before = self.segments[-1]
        if header.journal_id != before.header.journal_id:
            raise Corrupt(f"{name}: it belongs to another journal; move it away")
        if (
            header.number != before.header.number + 1
            or header.previous_end != position.offset
            or header.chain != position.chain
            or header.first_seq != position.next_seq
        ):
            raise Corrupt(
                f"{name}: it does not continue {before.name}, which ends before seq "
                f"{position.next_seq}; a segment is missing or was changed: restore it"
            )
        return Segment(name, header)

    def _segment(
        self, segment: Segment, before: Position | None, place: Place
    ) -> Generator[Frame, None, Position]:
        buffer = memoryview(self._disk.read(segment.name))
        position = start_of(segment.header, before.time_ns if before else 0)
        closed = False
        while True:
            found = next_frame(buffer, segment.header, position)
            if isinstance(found, Finding):
                break
            yield found
            closed = found.kind is Kind.CLOSE_MARK
            position = after(found)
        self._judge(segment, position, found, place)
        if place is Place.LAST_SEGMENT:
            self.tail = Tail(segment, position, closed)
        return position

    def _judge(self, segment: Segment, at: Position, found: Finding, place: Place) -> None:
        where = f"{segment.name}, offset {at.offset}, from seq {at.next_seq} on"
        match DECISIONS[found, place]:
            case Decision.USE:
                return
            case Decision.CUT:
                self.torn = self._keep_aside(segment, at, found)
            case Decision.REFUSE_CORRUPT:
                raise Corrupt(
                    f"{where}: {found.value}, {place.value}: the journal is damaged; restore "
                    "it from a backup"
                )
            case Decision.REFUSE_AMBIGUOUS:
                raise Ambiguous(
                    f"{where}: {found.value}, {place.value}: damage and a torn write look the "
                    "same here; restore it from a backup"
                )

    def _keep_aside(self, segment: Segment, at: Position, found: Finding) -> Torn:
        if not self._cut:
            return Torn(segment.name, at.offset, found)
        kept = torn_name(segment.name, at.offset)
        bytes_torn = self._disk.read(segment.name, at.offset).rstrip(b"\0")
        self._disk.create(kept, 0)
        self._disk.write(kept, 0, bytes_torn)
        self._disk.sync(kept)
        self._disk.truncate(segment.name, at.offset)
        self._disk.sync(segment.name)
        return Torn(segment.name, at.offset, found, kept)
