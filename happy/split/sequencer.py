"""The seam between those who make events and those who apply them: order, and what is durable.

A ``Sequencer`` takes batches of encoded events, gives them their places and makes them durable;
whoever follows it gets the frames, in order, each once. It never decodes an event. Here is the
one over a journal; another engine can take its place, if it can do these four things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from happy.errors import NotAJournal
from happy.journal.appender import Appender
from happy.journal.disk import Disk
from happy.journal.frame import (
    SEGMENT_HEADER_SIZE,
    Packed,
    decode_frame_header,
    decode_segment_header,
    encode_segment_header,
)
from happy.journal.names import segment_seq
from happy.journal.replay import PIECE_SIZE, FileBytes


class Follower(Protocol):
    """Somebody who reads along."""

    def more(self) -> bytes:
        """Return what is durable and was not returned yet, a piece of it; empty when all was."""


class Sequencer(Protocol):
    """One stream's order; see the head of this module."""

    @property
    def identity(self) -> bytes:
        """The identity of the journal: 16 bytes."""

    @property
    def next_seq(self) -> int:
        """The seq that the next event will have."""

    def publish(self, batches: Sequence[Packed]) -> range:
        """Make batches durable, as one frame; return their seqs.

        Raises ``NoRoom`` when nothing was written, ``SyncFailed`` when nobody can know.
        """

    def follow(self, first_seq: int = 1) -> Follower:
        """Return a reader of the stream of frames from the frame on that holds a seq."""


class JournalSequencer:
    """The order of one journal; it writes in the thread that publishes."""

    def __init__(self, disk: Disk, appender: Appender, now_ns: Callable[[], int]) -> None:
        self._disk = disk
        self._appender = appender
        self._now_ns = now_ns
        self._end = self._durable_end()

    @property
    def identity(self) -> bytes:
        """See ``Sequencer``."""
        return self._appender.segment.header.journal_id

    @property
    def next_seq(self) -> int:
        """See ``Sequencer``."""
        return self._appender.next_seq

    def publish(self, batches: Sequence[Packed]) -> range:
        """See ``Sequencer``."""
        appender = self._appender
        first = appender.next_seq
        now_ns = max(self._now_ns(), appender.position.time_ns)
        appender.append(Packed.joined(batches), now_ns)
        self._end = self._durable_end()
        return range(first, appender.next_seq)

    def follow(self, first_seq: int = 1) -> JournalFollower:
        """See ``Sequencer``. Raises ``NotAJournal`` when that seq is not kept any more."""
        return JournalFollower(self._disk, lambda: self._end, first_seq)

    def _durable_end(self) -> tuple[str, int]:
        return self._appender.segment.name, self._appender.position.offset


class JournalFollower:
    """Reads a journal along, from the disk: what ``happy journal cat --follow`` writes."""

    def __init__(
        self, disk: Disk, durable_end: Callable[[], tuple[str, int]], first_seq: int
    ) -> None:
        self._disk = disk
        self._durable_end = durable_end
        names = [name for name in disk.names() if segment_seq(name) is not None]
        before = [name for name in names if (segment_seq(name) or 0) <= first_seq]
        if not before:
            raise NotAJournal(f"seq {first_seq} is not kept any more; the oldest is in {names[0]}")
        self._name = before[-1]
        self._offset = SEGMENT_HEADER_SIZE
        self._block = self._begin(first_seq)

    def more(self) -> bytes:
        """See ``Follower``."""
        block, self._block = self._block, b""
        name, end = self._durable_end()
        following = None if name == self._name else self._following()
        if following is not None:
            end = following[1]
        size = min(end - self._offset, PIECE_SIZE)
        found = self._disk.read(self._name, self._offset, size) if size > 0 else b""
        self._offset += len(found)
        if following is not None and self._offset == end:
            self._name, self._offset = following[0], SEGMENT_HEADER_SIZE
            self._block = following[2]
            return block + found or self.more()
        return block + found

    def _following(self) -> tuple[str, int, bytes] | None:
        """Return the next segment, where the frames of this one end, and the next one's block."""
        names = [n for n in self._disk.names() if segment_seq(n) is not None and n > self._name]
        if not names:
            return None
        block = self._disk.read(names[0], 0, SEGMENT_HEADER_SIZE)
        return names[0], decode_segment_header(block).previous_end, block

    def _begin(self, first_seq: int) -> bytes:
        """Find the frame that holds a seq; return the block that says what is before it."""
        block = self._disk.read(self._name, 0, SEGMENT_HEADER_SIZE)
        header = decode_segment_header(block)
        content = FileBytes(self._disk, self._name)
        at, chain = header.first_seq, header.chain
        while (head := decode_frame_header(content, self._offset)) is not None:
            if head.first_seq + head.count > first_seq or head.salt != header.salt:
                break
            self._offset += head.size
            at, chain = head.first_seq + head.count, head.chain
        if self._offset == SEGMENT_HEADER_SIZE:
            return block
        return encode_segment_header(attrs.evolve(header, first_seq=at, chain=chain))
