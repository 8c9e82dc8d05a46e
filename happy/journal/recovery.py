"""What a scan of a segment can find, and what is done about it: a table.

Frames are read in order until one is not good. What is there instead, and whether anything
good comes after it, decides. The rule behind the table: a frame is written only after the one
before it was synced, so a bad frame with a good one after it was once good, and its events
were answered: that is damage, and opening would lose them. A bad frame with nothing after it
was never answered if it is visibly unfinished: the power went while it was written, and it is
cut off, its bytes kept aside. A last frame that is all there and yet wrong may be either, and
only a person can say.

Unfinished is visible because a disk writes a sector whole or not at all, what is not written
yet reads as zeros, and no sector of a good frame is all zeros.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs
import msgspec

from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    SECTOR_SIZE,
    SEGMENT_HEADER_SIZE,
    Content,
    Frame,
    Kind,
    SegmentHeader,
    body_of,
    chain_after,
    decode_frame_header,
    unmasked,
)


class Finding(Enum):
    """What stands where the next frame would be."""

    NOTHING = "nothing but zeros"
    HEADLESS = "a segment header cut short by the end of the file"
    SHORT = "a frame cut short by the end of the file"
    UNWRITTEN = "a frame with a sector that was never written"
    FOLLOWED = "a bad frame with a good one after it"
    FOREIGN = "a good frame that does not continue this journal"
    BAD = "a whole frame with a wrong checksum"


class Place(Enum):
    """Where it was found."""

    ONLY_SEGMENT = "in the only segment"
    LAST_SEGMENT = "in the last segment"
    EARLIER_SEGMENT = "in an earlier segment"


class Decision(Enum):
    """What is done."""

    USE = "use what was read"
    CUT = "cut it off and keep its bytes aside"
    REFUSE_CORRUPT = "refuse: damaged"
    REFUSE_AMBIGUOUS = "refuse unless told to accept the loss"


_USE: Final = Decision.USE
_CUT: Final = Decision.CUT
_CORRUPT: Final = Decision.REFUSE_CORRUPT
_AMBIGUOUS: Final = Decision.REFUSE_AMBIGUOUS

# A segment is named when its header is durable, so a header that is cut short was cut later,
# by a hand or a copy; it is let go where the segments before it are whole. With none before it
# the journal begins anew, unless something tells that there were events (``replay.trace_of``
# looks for that). An earlier segment was whole when the next one was begun.
_TABLE: Final = (
    # what is found      in the only   in the last   in an earlier segment
    (Finding.NOTHING, (_USE, _USE, _USE)),
    (Finding.HEADLESS, (_CUT, _CUT, _CORRUPT)),
    (Finding.SHORT, (_CUT, _CUT, _CORRUPT)),
    (Finding.UNWRITTEN, (_CUT, _CUT, _CORRUPT)),
    (Finding.FOLLOWED, (_CORRUPT, _CORRUPT, _CORRUPT)),
    (Finding.FOREIGN, (_CORRUPT, _CORRUPT, _CORRUPT)),
    (Finding.BAD, (_AMBIGUOUS, _AMBIGUOUS, _CORRUPT)),
)

DECISIONS: Final[dict[tuple[Finding, Place], Decision]] = {
    (finding, place): decision
    for finding, decisions in _TABLE
    for place, decision in zip(Place, decisions, strict=True)
}


_KINDS: Final = {int(kind): kind for kind in Kind}
_LOOK_SIZE: Final = 65_536
_ZEROS: Final = bytes(_LOOK_SIZE)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a reader stands: what the next frame must continue."""

    offset: int
    next_seq: int
    time_ns: int
    chain: bytes


@attrs.frozen
class Start:
    """What a snapshot covers: a reader that brings one needs nothing of what is before it."""

    seq: int
    """The last seq that the snapshot holds."""
    chain: bytes
    """The chain after a frame that ends with it, or after a mark behind that."""
    time_ns: int
    """The time of that frame."""


def start_of(header: SegmentHeader, time_ns: int = 0) -> Position:
    """Return the position before the first frame of a segment."""
    return Position(SEGMENT_HEADER_SIZE, header.first_seq, time_ns, header.chain)


def next_frame(content: Content, header: SegmentHeader, at: Position) -> Frame | Finding:
    """Return the good frame at a position, or what is found instead of one."""
    raw = bytes(content[at.offset : at.offset + FRAME_HEADER_SIZE])
    head = decode_frame_header(raw, 0)
    if head is None:
        return _no_header(content, header, at)
    kind = _KINDS.get(head.kind)
    if head.salt != header.salt or head.reserved or kind is None:
        return Finding.FOREIGN
    body = body_of(content, at.offset, head)
    if body is None:
        return _unfinished(content, header, at, head.size)
    chain = chain_after(at.chain, raw, body)
    if chain != head.chain or head.first_seq != at.next_seq or head.time_ns < at.time_ns:
        return Finding.FOREIGN
    return Frame(
        kind,
        head.first_seq,
        head.count,
        head.time_ns,
        head.durable_end,
        chain,
        unmasked(body, head.mask),
        at.offset,
        at.offset + head.size,
    )


def after(frame: Frame) -> Position:
    """Return the position after a frame."""
    return Position(frame.end, frame.first_seq + frame.count, frame.time_ns, frame.chain)


def _no_header(content: Content, header: SegmentHeader, at: Position) -> Finding:
    if _zeros(content, at.offset, len(content)):
        return Finding.NOTHING
    # How long the frame was meant to be is not known, but its header alone tells enough.
    return _unfinished(content, header, at, FRAME_HEADER_SIZE)


def _unfinished(content: Content, header: SegmentHeader, at: Position, size: int) -> Finding:
    """Say what became of the write of a frame whose first ``size`` bytes are known to be its."""
    if _good_frame_after(content, header, at):
        return Finding.FOLLOWED
    start, end = at.offset, at.offset + size
    if len(content) < end:
        return Finding.SHORT
    while start < end:
        following = min(start + SECTOR_SIZE - start % SECTOR_SIZE, end)
        if _zeros(content, start, following):
            return Finding.UNWRITTEN
        start = following
    return Finding.BAD


def _zeros(content: Content, start: int, end: int) -> bool:
    for first in range(start, end, _LOOK_SIZE):
        piece = bytes(content[first : min(first + _LOOK_SIZE, end)])
        if piece != _ZEROS[: len(piece)]:
            return False
    return True


def _good_frame_after(content: Content, header: SegmentHeader, at: Position) -> bool:
    """Say whether a frame of this segment that was written later stands behind a position."""
    for first in range(at.offset + 1, len(content), _LOOK_SIZE):
        piece = bytes(content[first : first + _LOOK_SIZE + FRAME_HEADER_SIZE - 1])
        found = piece.find(FRAME_MAGIC)
        while 0 <= found < _LOOK_SIZE:
            head = decode_frame_header(piece, found)
            if (
                head is not None
                and head.salt == header.salt
                and head.first_seq >= at.next_seq
                and head.durable_end > at.offset
            ):
                return True
            found = piece.find(FRAME_MAGIC, found + 1)
    return False
