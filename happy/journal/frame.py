"""The format of a journal, version 1: segments of frames, each frame a batch of records.

All numbers are little-endian. A *segment* is a file: a header block of 4,096 bytes, then
frames, then zeros up to the size it was preallocated to. A *frame* is the unit of durability:
it was written by one write and made durable by one sync, and it is believed whole or not at
all. A *record* is one event, opaque to this module (``happy.codec`` knows it).

Segment header::

     0   8  magic "HAPPYJNL"
     8   2  format version, 1
    10   2  zero
    12   4  salt: stands in every frame of this segment, so that stale bytes are not taken
            for frames of another segment
    16  16  identity of the journal: segments of another journal are refused
    32   8  number of this segment: 1, 2, 3 ...
    40   8  first seq that this segment will hold
    48   8  time of creation, nanoseconds since 1970
    56   8  where the frames of the segment before this one end, 0 in the first
    64  16  chain before the first frame
    80      zeros
  4092   4  CRC-32 of the 4,092 bytes before it

Frame::

     0   4  magic "HFRM"
     4   1  kind: 1 events, 2 idle mark, 3 close mark, 4 digest mark, 5 quarantine mark
     5   1  zero
     6   2  mask, nearly always 0: the body with its padding is XORed with these two bytes
     8   4  length of the body without its padding
    12   4  count of records
    16   4  salt of the segment
    20   4  CRC-32 of the body with its padding, as it stands in the file
    24   8  seq of the first record; of a mark: the next seq
    32   8  time of the batch, nanoseconds since 1970, never less than the frame before
    40   8  offset in this segment up to which all was durable before this frame was written
    48  16  chain: BLAKE2b-128 of the chain before, bytes 0 to 48 of this frame, and the body
            without its padding, as it stands in the file
    64   4  zero
    68   4  CRC-32 of bytes 0 to 68
    72      body: each record as its length in 4 bytes, then its bytes; of a digest mark, what
            ``happy.marks`` says, of a quarantine mark ``happy.journal.quarantine``; zeros up to
            a multiple of 8

The header has a checksum of its own, so that a length is never believed before it is checked.
The chain ties every frame to all that came before it, over segments, so that nothing can be
left out, doubled, swapped or put in; and a frame that is followed by another is vouched for
by it. The durable offset makes the difference between a torn write and damage provable: what
lies below the durable offset of any later frame was once whole. The mask is chosen so that no
part of a frame that lies in one disk sector is all zeros: where such a part is, a sector was
not written, whatever the records are.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, Protocol

import attrs
import msgspec

from happy.errors import NotAJournal

SEGMENT_MAGIC: Final = b"HAPPYJNL"
VERSION: Final = 1
SEGMENT_HEADER_SIZE: Final = 4096
FRAME_MAGIC: Final = b"HFRM"
FRAME_HEADER_SIZE: Final = 72
SECTOR_SIZE: Final = 512
_ZEROS: Final = bytes(SECTOR_SIZE)

_SEGMENT = struct.Struct("<8sHHI16sQQQQ16s")
_FRAME = struct.Struct("<4sBBHIIIIQQQ")
_FRAME_END = struct.Struct("<16sI")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")

Buffer = bytes | bytearray | memoryview


class Content(Protocol):
    """The bytes of a segment, to be sliced: in memory, or read piece by piece."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Buffer: ...


class Kind(IntEnum):
    """What a frame is for."""

    EVENTS = 1
    IDLE_MARK = 2
    CLOSE_MARK = 3
    DIGEST_MARK = 4
    QUARANTINE_MARK = 5
    BACKLOG_MARK = 6


@attrs.frozen
class SegmentHeader:
    """The first block of a segment."""

    journal_id: bytes
    number: int
    first_seq: int
    created_ns: int
    previous_end: int
    chain: bytes
    salt: int


@attrs.frozen
class Frame:
    """A frame that passed every check; ``end`` is the offset of the one after it."""

    kind: Kind
    first_seq: int
    count: int
    time_ns: int
    durable_end: int
    chain: bytes
    body: Buffer = attrs.field(repr=False)
    offset: int
    end: int
    quarantined: frozenset[int] = frozenset()
    """The seqs in it whose handlers are never run again; see ``happy.journal.quarantine``."""


@attrs.frozen
class Packed:
    """Records as they stand in the body of a frame, encoded elsewhere: nobody here looks in."""

    count: int
    data: bytes = attrs.field(repr=False)

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, records: Sequence[bytes]) -> Packed:
        """Put records one after the other, each behind its length."""
        pack = _U32.pack
        if len(records) == 1:
            return cls(1, pack(len(records[0])) + records[0])
        sizes = set(map(len, records))
        if len(sizes) == 1:
            length = pack(sizes.pop())
            return cls(len(records), length + length.join(records))
        parts = [part for record in records for part in (pack(len(record)), record)]
        return cls(len(records), b"".join(parts))

    @classmethod
    def joined(cls, batches: Sequence[Packed]) -> Packed:
        """Put batches one after the other."""
        if len(batches) == 1:
            return batches[0]
        return cls(sum(map(len, batches)), b"".join([batch.data for batch in batches]))

    def check(self) -> None:
        """Raise ``ValueError`` when count and lengths do not agree."""
        data, count = self.data, self.count
        size, rest = divmod(len(data), count) if count else (0, 1)
        length = _U32.pack(max(size - 4, 0))
        if rest or any(data[at::size] != length[at : at + 1] * count for at in range(min(size, 4))):
            deque(_one_by_one(data, count), maxlen=0)
        elif size < 4:
            raise ValueError("a frame holds fewer records than it says")


class FrameHeader(msgspec.Struct, frozen=True, gc=False):
    """A frame's header whose own checksum is right; nothing is known of its body yet."""

    kind: int
    reserved: int
    mask: int
    length: int
    count: int
    salt: int
    body_crc: int
    first_seq: int
    time_ns: int
    durable_end: int
    chain: bytes

    @property
    def size(self) -> int:
        """The bytes of the whole frame, padding included."""
        return FRAME_HEADER_SIZE + _padded(self.length)


def first_chain(journal_id: bytes) -> bytes:
    """Return the chain before the first frame of a journal."""
    return hashlib.blake2b(journal_id, digest_size=16, person=b"happy journal").digest()


def encode_segment_header(header: SegmentHeader) -> bytes:
    """Return the header block of a segment."""
    packed = _SEGMENT.pack(
        SEGMENT_MAGIC,
        VERSION,
        0,
        header.salt,
        header.journal_id,
        header.number,
        header.first_seq,
        header.created_ns,
        header.previous_end,
        header.chain,
    ).ljust(SEGMENT_HEADER_SIZE - 4, b"\0")
    return packed + _U32.pack(zlib.crc32(packed))


def decode_segment_header(block: Buffer) -> SegmentHeader:
    """Return a segment's header from the whole block.

    Raises ``ValueError`` when it is damaged, ``NotAJournal`` when it is whole and not of a
    version that is known here; the checksum has the same place in every version.
    """
    if len(block) < SEGMENT_HEADER_SIZE:
        raise ValueError(f"its header is cut short at {len(block)} bytes")
    block = block[:SEGMENT_HEADER_SIZE]
    if zlib.crc32(block[:-4]) != _U32.unpack_from(block, SEGMENT_HEADER_SIZE - 4)[0]:
        raise ValueError("the checksum of its header is wrong")
    if bytes(block[:8]) != SEGMENT_MAGIC:
        raise NotAJournal("it does not begin like a journal segment")
    _, version, _, salt, journal_id, number, first_seq, created_ns, previous_end, chain = (
        _SEGMENT.unpack_from(block)
    )
    if version != VERSION:
        raise NotAJournal(f"its format version is {version}, this program reads {VERSION}")
    return SegmentHeader(journal_id, number, first_seq, created_ns, previous_end, chain, salt)


def encode_frame(  # noqa: PLR0913 - a frame has as many parts
    kind: Kind,
    records: Sequence[bytes] | Packed,
    *,
    first_seq: int,
    time_ns: int,
    offset: int,
    durable_end: int,
    salt: int,
    chain: bytes,
    mark: bytes = b"",
) -> tuple[bytes, bytes]:
    """Return a frame to be written at ``offset``, and the chain after it.

    ``mark`` is the body of a mark, which has no records.
    """
    packed = records if isinstance(records, Packed) else Packed.of(records)
    body = packed.data or mark
    length = len(body)
    body = body.ljust(_padded(length), b"\0")
    mask = _mask_for(body, offset + FRAME_HEADER_SIZE)
    body = _masked(body, mask)
    head = _FRAME.pack(
        FRAME_MAGIC,
        kind,
        0,
        mask,
        length,
        len(records),
        salt,
        zlib.crc32(body),
        first_seq,
        time_ns,
        durable_end,
    )
    after = chain_after(chain, head, body[:length])
    head += _FRAME_END.pack(after, 0)
    return b"".join((head, _U32.pack(zlib.crc32(head)), body)), after


def decode_frame_header(content: Content, offset: int) -> FrameHeader | None:
    """Return the frame header at ``offset``, or None when none is there whose checksum holds."""
    head = content[offset : offset + FRAME_HEADER_SIZE]
    if len(head) < FRAME_HEADER_SIZE or head[:4] != FRAME_MAGIC:
        return None
    if zlib.crc32(head[:-4]) != _U32.unpack_from(head, FRAME_HEADER_SIZE - 4)[0]:
        return None
    _, kind, zero, mask, length, count, salt, body_crc, first_seq, time_ns, durable_end = (
        _FRAME.unpack_from(head)
    )
    chain, more_zero = _FRAME_END.unpack_from(head, _FRAME.size)
    return FrameHeader(
        kind,
        zero | more_zero,
        mask,
        length,
        count,
        salt,
        body_crc,
        first_seq,
        time_ns,
        durable_end,
        chain,
    )


def body_of(content: Content, offset: int, header: FrameHeader) -> Buffer | None:
    """Return a frame's body as it stands in the file, or None when its checksum is wrong."""
    end = offset + header.size
    if end > len(content):
        return None
    padded = content[offset + FRAME_HEADER_SIZE : end]
    if zlib.crc32(padded) != header.body_crc:
        return None
    return padded[: header.length]


def chain_after(chain: bytes, head: Buffer, body: Buffer) -> bytes:
    """Return the chain after a frame; of its header, only the bytes before the chain count."""
    hashed = b"".join((chain, head[: _FRAME.size], body))
    return hashlib.blake2b(hashed, digest_size=16).digest()


def unmasked(body: Buffer, mask: int) -> Buffer:
    """Return the body that its writer meant."""
    return _masked(body, mask) if mask else body


_WITH_BODIES: Final = (Kind.DIGEST_MARK, Kind.QUARANTINE_MARK, Kind.BACKLOG_MARK)


def records_of(frame: Frame) -> Iterator[bytes]:
    """Iterate over a frame's records; ``ValueError`` where its count and lengths do not agree.

    A mark has no records, whatever its body is.
    """
    if frame.kind in _WITH_BODIES:
        return iter(())
    body = bytes(frame.body)
    return iter(_of_one_length(body, frame.count) or _one_by_one(body, frame.count))


def _of_one_length(body: bytes, count: int) -> Sequence[bytes]:
    """Return records that are all equally long, as small ones often are; else nothing."""
    size, rest = divmod(len(body), count) if count else (0, 1)
    if rest or size < 4:
        return ()
    first = body[:size]
    if body == first * count and _U32.unpack_from(first)[0] == size - 4:
        return [first[4:]] * count
    lengths, records = zip(*struct.iter_unpack(f"<I{size - 4}s", body), strict=True)
    return records if set(lengths) == {size - 4} else ()


def _one_by_one(body: bytes, count: int) -> Iterator[bytes]:
    length_at, size = _U32.unpack_from, len(body)
    end = 0
    for _ in range(count):
        start = end + 4
        if start > size:
            raise ValueError("a frame holds fewer records than it says")
        end = start + length_at(body, end)[0]
        if end > size:
            raise ValueError("a record is longer than its frame")
        yield body[start:end]
    if end != size:
        raise ValueError("a frame holds more bytes than its records")


def _padded(length: int) -> int:
    return (length + 7) & ~7


def _mask_for(body: bytes, start: int) -> int:
    """Return the least mask that leaves no sector of a body to be written at ``start`` zeros.

    The sector that it shares with its header is never all zeros.
    """
    first = -start % SECTOR_SIZE
    end = (start + len(body)) % SECTOR_SIZE or SECTOR_SIZE
    if _ZEROS not in body and (len(body) <= first or body[-end:].strip(b"\0")):
        return 0
    parts = (body[at : at + SECTOR_SIZE] for at in range(first, len(body), SECTOR_SIZE))
    taken = {part[:2] for part in parts if part == part[:2] * (len(part) // 2)}
    # Each sector can forbid one mask, so below 32 MiB one is always left; above, the worst is
    # that a torn write is taken for damage.
    return next((mask for mask in range(0x10000) if _U16.pack(mask) not in taken), 0)


def _masked(body: Buffer, mask: int) -> bytes:
    if not mask:
        return bytes(body)
    size = len(body)
    pattern = (_U16.pack(mask) * (size // 2 + 1))[:size]
    mixed = int.from_bytes(body, "little") ^ int.from_bytes(pattern, "little")
    return mixed.to_bytes(size, "little")
