"""Writing: one frame for a batch, one write and one sync for a frame.

A digest mark and a backlog mark have no write of their own: they go before the frame that is
written anyway, in the same write.

All of this runs in the journal's own thread, one call at a time, and each call returns only
when the disk has what it was given. Room is taken ahead: a segment is preallocated, so that
an append changes no file's size, and the next one is prepared when the present one is half
full, so that a full disk is met before anything is written and costs nobody an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from happy.errors import NoRoom, SyncFailed
from happy.journal.disk import Disk
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    Kind,
    Packed,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
)
from happy.journal.names import NEXT_SEGMENT, segment_name
from happy.journal.recovery import Position, start_of
from happy.journal.replay import Segment, Tail

_TOUCH_SIZE: Final = 512 * 1024  # the sync that covers it takes about 1 ms; one in 31 of 16 KiB
_NONE: Final = Packed(0, b"")
_PREPARE_TRIES: Final = 16  # in a segment: on a full disk each of them takes its time


def create_journal(
    disk: Disk, journal_id: bytes, salt: int, time_ns: int, segment_bytes_max: int
) -> Tail:
    """Begin a journal on an empty disk; return its tail, where the first event will stand."""
    header = SegmentHeader(journal_id, 1, 1, time_ns, 0, first_chain(journal_id), salt)
    segment = _begin_segment(disk, header, segment_bytes_max)
    position = start_of(header)
    return Tail(segment, position, last=None, unproven=position.offset)


def _begin_segment(disk: Disk, header: SegmentHeader, size: int, *, ready: bool = False) -> Segment:
    """Write a segment's header beside, and give it its name when it is durable."""
    if not ready:
        disk.create(NEXT_SEGMENT, size)
    disk.write(NEXT_SEGMENT, 0, encode_segment_header(header))
    disk.sync(NEXT_SEGMENT)
    name = segment_name(header.first_seq)
    disk.rename(NEXT_SEGMENT, name)
    return Segment(name, header)


@attrs.frozen
class _Before:
    """A mark that goes before a frame, in the same write."""

    kind: Kind
    body: bytes

    @classmethod
    def digest(cls, body: bytes) -> _Before | None:
        return cls(Kind.DIGEST_MARK, body) if body else None


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
        self._prepare_at = segment_bytes_max // 2
        self._failed: BaseException | None = None
        self._last = tail.last
        self._touched = 0
        self.appended_bytes = 0
        """How many bytes of frames were written."""
        self._rewrite(tail.unproven)

    @property
    def next_seq(self) -> int:
        """The seq that the next record will have."""
        return self._at.next_seq

    @property
    def segment(self) -> Segment:
        """The segment that the next frame will stand in, unless it is full."""
        return self._segment

    @property
    def position(self) -> Position:
        """Where the next frame will stand, and what it must continue."""
        return self._at

    @property
    def vouched(self) -> bool:
        """Whether a mark, or a segment's header, stands behind the last events."""
        return self._last is not Kind.EVENTS

    def append(
        self,
        records: Sequence[bytes] | Packed,
        time_ns: int,
        digest: bytes = b"",
        *,
        backlog: bytes = b"",
    ) -> None:
        """Make a batch durable; ``time_ns`` must not be less than that of the batch before.

        What is ``Packed`` is written as it is: who packed it has checked it. ``digest`` is the
        body of a digest mark to go before it, ``backlog`` that of a backlog mark: never both.

        Raises ``NoRoom`` when nothing was written, ``SyncFailed`` when nobody can know; after
        that it writes no more.
        """
        packed = records if isinstance(records, Packed) else Packed.of(records)
        size = FRAME_HEADER_SIZE + len(packed.data) + 8
        before = _Before(Kind.BACKLOG_MARK, backlog) if backlog else _Before.digest(digest)
        self._put(Kind.EVENTS, packed, size, time_ns, before)

    def mark(self, kind: Kind, time_ns: int, digest: bytes = b"", *, body: bytes = b"") -> None:
        """Write a mark: it vouches for the frame before it. Raises as ``append``."""
        size = FRAME_HEADER_SIZE + len(body) + 8
        self._put(kind, _NONE, size, time_ns, _Before.digest(digest), body)

    def _put(  # noqa: PLR0913 - all that one write is made of
        self,
        kind: Kind,
        records: Packed,
        size: int,
        time_ns: int,
        before: _Before | None,
        body: bytes = b"",
    ) -> None:
        """Write a frame of at most ``size`` bytes, and keep from it what a reader would refuse."""
        if self._failed is not None:
            raise SyncFailed(f"nothing is written after a failure: {self._failed}")
        if time_ns < self._at.time_ns:
            raise ValueError(f"time goes backwards: {time_ns} after {self._at.time_ns}")
        if before is not None:
            size += FRAME_HEADER_SIZE + len(before.body) + 8
        try:
            self._make_room(size, time_ns)
            self._write(kind, records, time_ns, before, body)
            self._prepare()
        except NoRoom:
            raise
        except BaseException as error:
            self._failed = error  # what is on the disk is not known any more
            raise

    def _rewrite(self, start: int) -> None:
        """Write again what was written last, and sync.

        It was read, and yet may not be on the disk: after a sync that failed, the page cache
        shows what is lost, and takes it for clean. Every frame before it was synced.
        """
        name, end = self._segment.name, self._at.offset
        if start < end:
            self._disk.write(name, start, self._disk.read(name, start, end - start))
        self._disk.sync(name)

    def _write(
        self,
        kind: Kind,
        records: Packed,
        time_ns: int,
        before: _Before | None,
        body: bytes = b"",
    ) -> None:
        at = self._at
        name = self._segment.name
        written = b""
        chain = at.chain
        first = () if before is None else ((before.kind, _NONE, before.body),)
        for what, its_records, mark in (*first, (kind, records, body)):
            frame, chain = encode_frame(
                what,
                its_records,
                first_seq=at.next_seq,
                time_ns=time_ns,
                offset=at.offset + len(written),
                durable_end=at.offset,
                salt=self._segment.header.salt,
                chain=chain,
                mark=mark,
            )
            written = written + frame if written else frame
        end = at.offset + len(written)
        try:
            self._disk.write(name, at.offset, written)
            self._touch_ahead(end)
        except NoRoom:
            # Part of it may stand there, and must not be found between sectors of the next.
            self._disk.truncate(name, at.offset)
            self._disk.sync(name)
            raise
        self._disk.sync(name)
        self.appended_bytes += len(frame)
        self._at = Position(end, at.next_seq + len(records), time_ns, chain)
        self._last = kind

    def _touch_ahead(self, end: int) -> None:
        """Write zeros into the room behind ``end``, now and then a piece of it.

        In room that is taken and was never written, a write changes the file system's own
        books, and its sync waits for theirs; over zeros it waits for the disk alone.
        """
        if end <= self._touched:
            return
        self._touched = end + _TOUCH_SIZE
        name = self._segment.name
        room_end = min(self._touched, self._disk.size(name))
        if end < room_end:
            self._disk.write(name, end, bytes(room_end - end))

    def _make_room(self, size: int, time_ns: int) -> None:
        at = self._at
        if at.offset + size <= self._capacity or at.next_seq == self._segment.header.first_seq:
            return  # a segment without events has no successor: it would have the same name
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
        self._segment = _begin_segment(self._disk, header, self._capacity, ready=self._prepared)
        self._prepared = False
        self._prepare_at = self._capacity // 2
        self._at = start_of(header, at.time_ns)
        self._last = None
        self._touched = 0
        self._disk.truncate(sealed, at.offset)
        self._disk.forget(sealed)

    def _prepare(self) -> None:
        if self._prepared or self._at.offset < self._prepare_at:
            return
        try:
            self._disk.create(NEXT_SEGMENT, self._capacity)
        except NoRoom:
            # The segment in use has room yet; refusing comes when it is full.
            self._prepare_at = self._at.offset + self._capacity // _PREPARE_TRIES
            return
        self._prepared = True
