"""The stream of frames that a core reads: bytes in, as they come; checked frames out.

It is what ``happy journal cat`` writes: the header block of a segment, its frames, the block of
the next segment, and so on. Every frame is checked as in a file - its checksums, its place and
the chain that ties it to all before it - but nothing here can be torn or ambiguous: what is not
right is damage, and a stream that ends inside of a frame was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from happy.errors import Corrupt, NotAJournal
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    SEGMENT_HEADER_SIZE,
    SEGMENT_MAGIC,
    Frame,
    FrameHeader,
    Kind,
    SegmentHeader,
    body_of,
    chain_after,
    decode_frame_header,
    decode_segment_header,
    unmasked,
)
from happy.journal.recovery import Position, after, start_of
from happy.split.aside import ASIDE_MAGIC, Aside, decode_aside

Step = SegmentHeader | Frame | Aside
"""A segment where it begins, or the next frame of it; or an aside, where they are taken."""

_MAGIC_SIZE: Final = 8
_KINDS: Final = frozenset(Kind)
_NO_STREAM: Final = "this is no stream of frames: it does not begin with the header of a segment"


class FrameStream:
    """Reads one stream of frames; it holds what is left of a frame until the rest comes.

    The offsets of its frames are those in the stream. With ``asides``, they may stand anywhere
    behind the first block.
    """

    def __init__(self, *, asides: bool = False) -> None:
        self._asides = asides
        self._held = bytearray()
        self._passed = 0
        self._needed = _MAGIC_SIZE
        self._segment: SegmentHeader | None = None
        self._at: Position | None = None

    @property
    def next_seq(self) -> int:
        """The seq that comes next; 0 before the first block."""
        return 0 if self._at is None else self._at.next_seq

    def feed(self, data: bytes | memoryview) -> Iterator[Step]:
        """Take bytes in; yield what is whole by now.

        Raises ``NotAJournal`` when the stream begins with something else, ``Corrupt`` where it is
        damaged; all before that was yielded.
        """
        held = self._held
        held += data
        if len(held) < self._needed:
            return
        start = 0
        try:
            while step := self._next(start):
                start += _size_of(step)
                yield step
        finally:
            del held[:start]
            self._passed += start
            self._needed -= start

    def end(self) -> None:
        """Say that nothing comes any more; raises as ``feed`` when something was to come."""
        if self._segment is None:
            raise NotAJournal(_NO_STREAM)
        if self._held:
            raise Corrupt(
                f"{self._place()}: the stream ends inside of a frame, after {len(self._held)} "
                "bytes of it: what wrote it broke off"
            )

    def _next(self, start: int) -> Step | None:
        """Return what is whole at ``start``; else None, and take note of how much must be there."""
        held = self._held
        magic = held[start : start + _MAGIC_SIZE]
        if self._is_short(start, _MAGIC_SIZE):
            return None
        if magic == SEGMENT_MAGIC:
            if self._is_short(start, SEGMENT_HEADER_SIZE):
                return None
            return self._block(bytes(held[start : start + SEGMENT_HEADER_SIZE]))
        if self._segment is None:
            raise NotAJournal(_NO_STREAM)
        if self._asides and magic.startswith(ASIDE_MAGIC):
            return self._aside(start)
        return self._whole_frame(start, bytes(magic))

    def _aside(self, start: int) -> Aside | None:
        found = decode_aside(self._held, start)
        if isinstance(found, Aside):
            return found
        self._needed = found
        return None

    def _whole_frame(self, start: int, magic: bytes) -> Frame | None:
        held = self._held
        if magic[: len(FRAME_MAGIC)] != FRAME_MAGIC:
            raise Corrupt(f"{self._place()}: neither a frame nor a segment begins here")
        if self._is_short(start, FRAME_HEADER_SIZE):
            return None
        head = decode_frame_header(held, start)
        if head is None:
            raise Corrupt(f"{self._place()}: the checksum of a frame's header is wrong")
        if self._is_short(start, head.size):
            return None
        return self._frame(start, head)

    def _is_short(self, start: int, size: int) -> bool:
        self._needed = start + size
        return len(self._held) < self._needed

    def _block(self, block: bytes) -> SegmentHeader:
        try:
            header = decode_segment_header(block)
        except ValueError as error:
            raise Corrupt(f"{self._place()}, at the beginning of a segment: {error}") from None
        except NotAJournal as error:
            raise NotAJournal(f"{self._place()}, at the beginning of a segment: {error}") from None
        before, at = self._segment, self._at
        if before is not None and at is not None:
            if header.journal_id != before.journal_id:
                raise Corrupt(f"{self._place()}: the next segment is of another journal")
            if (header.number, header.first_seq, header.chain) != (
                before.number + 1,
                at.next_seq,
                at.chain,
            ):
                raise Corrupt(
                    f"{self._place()}: segment {header.number}, from seq {header.first_seq} on, "
                    f"does not continue segment {before.number}"
                )
        self._segment = header
        self._at = start_of(header, 0 if at is None else at.time_ns)
        return header

    def _frame(self, start: int, head: FrameHeader) -> Frame:
        segment, at = self._segment, self._at
        assert segment is not None
        assert at is not None
        body = body_of(self._held, start, head)
        if body is None:
            raise Corrupt(f"{self._place()}: the checksum of a frame's body is wrong")
        raw = self._held[start : start + FRAME_HEADER_SIZE]
        if (
            head.salt != segment.salt
            or head.reserved
            or head.kind not in _KINDS
            or (head.first_seq, head.chain) != (at.next_seq, chain_after(at.chain, raw, body))
            or head.time_ns < at.time_ns
        ):
            raise Corrupt(
                f"{self._place()}: a good frame, of seq {head.first_seq}, that does not continue "
                "what is before it"
            )
        frame = Frame(
            Kind(head.kind),
            head.first_seq,
            head.count,
            head.time_ns,
            head.durable_end,
            head.chain,
            unmasked(body, head.mask),
            self._passed + start,
            self._passed + start + head.size,
        )
        self._at = after(frame)
        return frame

    def _place(self) -> str:
        return f"seq {self.next_seq}"


def _size_of(step: Step) -> int:
    if isinstance(step, Frame):
        return step.end - step.offset
    return step.size if isinstance(step, Aside) else SEGMENT_HEADER_SIZE
