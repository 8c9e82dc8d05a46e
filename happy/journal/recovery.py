"""What a scan of a segment can find, and what is done about it: a table.

Frames are read in order until one is not good. What is there instead, and whether anything
good comes after it, decides. The rule behind the table: a frame is written only after the one
before it was synced, so a bad frame with a good one after it was once good, and its events
were answered: that is damage, and opening would lose them. A bad frame with nothing after it
was never answered if it is visibly unfinished: the power went while it was written, and it is
cut off, its bytes kept aside. A last frame that is all there and yet wrong may be either, and
only a person can say.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs

from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    SECTOR_SIZE,
    SEGMENT_HEADER_SIZE,
    ZERO_SECTOR,
    Buffer,
    Frame,
    FrameHeader,
    Kind,
    SegmentHeader,
    body_of,
    chain_after,
    decode_frame_header,
)


class Finding(Enum):
    """What stands where the next frame would be."""

    NOTHING = "nothing but zeros"
    SHORT = "a frame cut short by the end of the file"
    UNWRITTEN = "a frame with a sector that was never written"
    FOLLOWED = "a bad frame with a good one after it"
    FOREIGN = "a good frame that does not continue this journal"
    BAD = "a whole frame with a wrong checksum"


class Place(Enum):
    """Where it was found."""

    LAST_SEGMENT = "in the last segment"
    EARLIER_SEGMENT = "in an earlier segment"


class Decision(Enum):
    """What is done."""

    USE = "use what was read"
    CUT = "cut it off and keep its bytes aside"
    REFUSE_CORRUPT = "refuse: damaged"
    REFUSE_AMBIGUOUS = "refuse unless told to accept the loss"


DECISIONS: Final[dict[tuple[Finding, Place], Decision]] = {
    (Finding.NOTHING, Place.LAST_SEGMENT): Decision.USE,
    (Finding.SHORT, Place.LAST_SEGMENT): Decision.CUT,
    (Finding.UNWRITTEN, Place.LAST_SEGMENT): Decision.CUT,
    (Finding.FOLLOWED, Place.LAST_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.FOREIGN, Place.LAST_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.BAD, Place.LAST_SEGMENT): Decision.REFUSE_AMBIGUOUS,
    # An earlier segment was whole when the next one was begun.
    (Finding.NOTHING, Place.EARLIER_SEGMENT): Decision.USE,
    (Finding.SHORT, Place.EARLIER_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.UNWRITTEN, Place.EARLIER_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.FOLLOWED, Place.EARLIER_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.FOREIGN, Place.EARLIER_SEGMENT): Decision.REFUSE_CORRUPT,
    (Finding.BAD, Place.EARLIER_SEGMENT): Decision.REFUSE_CORRUPT,
}


@attrs.frozen
class Position:
    """Where a reader stands: what the next frame must continue."""

    offset: int
    next_seq: int
    time_ns: int
    chain: bytes


def start_of(header: SegmentHeader, time_ns: int = 0) -> Position:
    """Return the position before the first frame of a segment."""
    return Position(SEGMENT_HEADER_SIZE, header.first_seq, time_ns, header.chain)


def next_frame(buffer: Buffer, header: SegmentHeader, at: Position) -> Frame | Finding:
    """Return the good frame at a position, or what is found instead of one."""
    head = decode_frame_header(buffer, at.offset)
    if head is None or head.salt != header.salt:
        return _no_header(buffer, header, at)
    body = body_of(buffer, at.offset, head)
    if body is None:
        return _bad_body(buffer, header, at, head)
    chain = chain_after(at.chain, buffer[at.offset : at.offset + FRAME_HEADER_SIZE], body)
    if chain != head.chain or head.first_seq != at.next_seq or head.time_ns < at.time_ns:
        return Finding.FOREIGN
    return Frame(
        Kind(head.kind),
        head.first_seq,
        head.count,
        head.time_ns,
        head.durable_end,
        chain,
        body,
        at.offset,
        at.offset + head.size,
    )


def after(frame: Frame) -> Position:
    """Return the position after a frame."""
    return Position(frame.end, frame.first_seq + frame.count, frame.time_ns, frame.chain)


def _no_header(buffer: Buffer, header: SegmentHeader, at: Position) -> Finding:
    rest = bytes(buffer[at.offset :])
    written = rest.rstrip(b"\0")
    if not written:
        return Finding.NOTHING
    if _good_frame_after(rest, 1, header, at):
        return Finding.FOLLOWED
    if not rest[:FRAME_HEADER_SIZE].strip(b"\0"):
        return Finding.UNWRITTEN
    if len(rest) < FRAME_HEADER_SIZE:
        return Finding.SHORT
    # Without its header nobody knows how long the frame was meant to be; its last byte that
    # is not zero lies within it.
    return _torn_or_bad(rest, at.offset, max(len(written), FRAME_HEADER_SIZE))


def _bad_body(buffer: Buffer, header: SegmentHeader, at: Position, head: FrameHeader) -> Finding:
    rest = bytes(buffer[at.offset :])
    if _good_frame_after(rest, 1, header, at):
        return Finding.FOLLOWED
    if head.size > len(rest):
        return Finding.SHORT
    if head.flags & ZERO_SECTOR:
        return Finding.BAD
    return _torn_or_bad(rest, at.offset, head.size)


def _torn_or_bad(rest: bytes, offset: int, size: int) -> Finding:
    """Tell a frame with an unwritten sector from one that is all there."""
    start = 0
    while start < size:
        end = min(start + SECTOR_SIZE - (offset + start) % SECTOR_SIZE, size)
        if not rest[start:end].strip(b"\0"):
            return Finding.UNWRITTEN
        start = end
    return Finding.BAD


def _good_frame_after(rest: bytes, start: int, header: SegmentHeader, at: Position) -> bool:
    """Say whether a frame of this segment that was written later stands in ``rest``."""
    found = rest.find(FRAME_MAGIC, start)
    while found >= 0:
        head = decode_frame_header(rest, found)
        if (
            head is not None
            and head.salt == header.salt
            and head.first_seq >= at.next_seq
            and head.durable_end > at.offset
        ):
            return True
        found = rest.find(FRAME_MAGIC, found + 1)
    return False
