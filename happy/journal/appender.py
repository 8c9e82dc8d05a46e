"""Writing: one frame for a batch, one write and one sync for a frame.

All of this runs in the journal's own thread, one call at a time, and each call returns only
when the disk has what it was given. Room is taken ahead: a segment is preallocated, so that
an append changes no file's size, and the next one is prepared when the present one is half
full, so that a full disk is met before anything is written and costs nobody an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from happy.errors import NoRoom
from happy.journal.disk import Disk
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    Kind,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
)
from happy.journal.names import NEXT_SEGMENT, segment_name
from happy.journal.recovery import Position, start_of
from happy.journal.replay import Segment, Tail

_RECORD_OVERHEAD: Final = 4


def create_journal(
    disk: Disk, journal_id: bytes, salt: int, time_ns: int, segment_bytes_max: int
) -> Tail:
    """Begin a journal on an empty disk; return its tail, where the first event will stand."""
    header = SegmentHeader(journal_id, 1, 1, time_ns, 0, first_chain(journal_id), salt)
    segment = _begin_segment(disk, header, segment_bytes_max)
    return Tail(segment, start_of(header), closed=True)


def _begin_segment(disk: Disk, header: SegmentHeader, size: int, *, ready: bool = False) -> Segment:
    """Write a segment's header beside, and give it its name when it is durable."""
    if not ready:
        disk.create(NEXT_SEGMENT, size)
    disk.write(NEXT_SEGMENT, 0, encode_segment_header(header))
    disk.sync(NEXT_SEGMENT)
    name = segment_name(header.first_seq)
    disk.rename(NEXT_SEGMENT, name)
    return Segment(name, header)


class Appender:
    """Appends to a journal from its ``Tail`` on; made once, by who has read it to the end."""

    def __init__(
        self, disk: Disk, tail: Tail, *, segment_bytes_max: int, new_salt: Callable[[], int]
    ) -> None:
        self._disk = disk
        self._segment = tail.segment
        self._at = tail.position
        self._capacity = segment_bytes_max
        self._new_salt = new_salt
        self._prepared = False
        # What was read may be in the page cache only, left there by a process that died.
        disk.sync(self._segment.name)

    @property
    def next_seq(self) -> int:
        """The seq that the next record will have."""
        return self._at.next_seq

    def append(self, records: Sequence[bytes], time_ns: int) -> None:
        """Make a batch durable; ``time_ns`` must not be less than that of the batch before.

        Raises ``NoRoom`` when nothing was written, ``SyncFailed`` when nobody can know.
        """
        size = sum(map(len, records)) + len(records) * _RECORD_OVERHEAD
        self._make_room(FRAME_HEADER_SIZE + size + 8, time_ns)
        self._write(Kind.EVENTS, records, time_ns)
        self._prepare()

    def mark(self, kind: Kind, time_ns: int) -> None:
        """Write a mark: it vouches for the frame before it."""
        self._make_room(FRAME_HEADER_SIZE, time_ns)
        self._write(kind, (), time_ns)

    def _write(self, kind: Kind, records: Sequence[bytes], time_ns: int) -> None:
        at = self._at
        name = self._segment.name
        frame, chain = encode_frame(
            kind,
            records,
            first_seq=at.next_seq,
            time_ns=time_ns,
            offset=at.offset,
            durable_end=at.offset,
            salt=self._segment.header.salt,
            chain=at.chain,
        )
        try:
            self._disk.write(name, at.offset, frame)
        except NoRoom:
            self._disk.truncate(name, at.offset)  # part of it may stand there
            raise
        self._disk.sync(name)
        self._at = Position(at.offset + len(frame), at.next_seq + len(records), time_ns, chain)

    def _make_room(self, size: int, time_ns: int) -> None:
        at = self._at
        if at.offset + size <= self._capacity or at.offset == SEGMENT_HEADER_SIZE:
            return
        header = SegmentHeader(
            self._segment.header.journal_id,
            self._segment.header.number + 1,
            at.next_seq,
            time_ns,
            at.offset,
            at.chain,
            self._new_salt(),
        )
        sealed = self._segment.name
        if header.first_seq == self._segment.header.first_seq:
            return  # only marks so far: the segment has no successor to give way to
        self._segment = _begin_segment(self._disk, header, self._capacity, ready=self._prepared)
        self._prepared = False
        self._at = start_of(header, at.time_ns)
        self._disk.truncate(sealed, at.offset)
        self._disk.forget(sealed)

    def _prepare(self) -> None:
        if self._prepared or self._at.offset < self._capacity // 2:
            return
        try:
            self._disk.create(NEXT_SEGMENT, self._capacity)
        except NoRoom:
            return  # the segment in use has room yet; refusing comes when it is full
        self._prepared = True
