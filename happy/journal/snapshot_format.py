"""The format of a snapshot, version 1: a header, blocks of items in sections, a footer.

All numbers are little-endian. Header::

     0   8  magic "HAPPYSNP"
     8   2  format version, 1
    10   2  zero
    12   4  length of the description
    16  16  identity of the journal
    32   8  the last seq that the snapshot covers
    40   8  time of the frame that ends with it, nanoseconds since 1970
    48  16  chain after that frame
    64   8  time when the snapshot was made
    72   4  CRC-32 of the description
    76   4  CRC-32 of bytes 0 to 76
    80      description: a msgpack map, see ``Description``

Block::

     0   4  magic "HBLK"
     4   4  number of this block: 0, 1, 2 ...
     8   2  section, counted from 0 in the order of the description
    10   1  form of its items: 1 as declared, 2 exact (see ``happy.exact``)
    11   1  zero
    12   4  count of items
    16   4  length of the body
    20   4  CRC-32 of the body
    24   4  zero
    28   4  CRC-32 of bytes 0 to 28
    32      body: a msgpack array of the items

Footer::

     0   4  magic "HEND"
     4   4  count of blocks
     8   8  count of items
    16   8  offset of this footer, so the length of all before it
    24  16  BLAKE2b-128 of all before this footer and its first 24 bytes
    40   4  zero
    44   4  CRC-32 of bytes 0 to 44

The file ends with the footer. The description comes first, so that a file is known for what it
is before anything large is read; the footer comes last, so that a file that was cut is no
snapshot. A block is believed only when its checksum is right and its number is the next.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from enum import IntEnum
from typing import Final

import attrs
import msgspec

from happy.errors import BadSnapshot

MAGIC: Final = b"HAPPYSNP"
VERSION: Final = 1
HEADER_SIZE: Final = 80
BLOCK_MAGIC: Final = b"HBLK"
BLOCK_HEADER_SIZE: Final = 32
FOOTER_MAGIC: Final = b"HEND"
FOOTER_SIZE: Final = 48

_HEADER = struct.Struct("<8sHHI16sQQ16sQI")
_BLOCK = struct.Struct("<4sIHBBIIII")
_FOOTER = struct.Struct("<4sIQQ")
_U32 = struct.Struct("<I")

Read = Callable[[int, int], bytes]
"""Returns the bytes of a file from an offset on, so many or fewer at its end."""


class Form(IntEnum):
    """How the items of a block are written."""

    DECLARED = 1
    EXACT = 2


class Section(msgspec.Struct, array_like=True, frozen=True):
    """A part of a snapshot."""

    name: str
    count: int
    """How many items it has."""
    version: int = 1
    """The version of the class of its rows; of the state, in its section."""
    schema: str = ""
    """A digest of what its items are (``happy.schema``); empty where that never changes."""


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of."""

    state: str
    """The name of the state's class, for people."""
    digest: str
    """The digest of the machine."""
    sections: tuple[Section, ...]
    """What follows, in this order."""


@attrs.frozen
class SnapshotHeader:
    """The beginning of a snapshot."""

    journal_id: bytes
    seq: int
    time_ns: int
    chain: bytes
    created_ns: int
    description: Description


@attrs.frozen
class Block:
    """Some items of a section, in their order."""

    section: int
    form: Form
    count: int
    body: bytes = attrs.field(repr=False)


def encode_header(header: SnapshotHeader) -> bytes:
    """Return the header of a snapshot."""
    description = msgspec.msgpack.encode(header.description)
    packed = _HEADER.pack(
        MAGIC,
        VERSION,
        0,
        len(description),
        header.journal_id,
        header.seq,
        header.time_ns,
        header.chain,
        header.created_ns,
        zlib.crc32(description),
    )
    return packed + _U32.pack(zlib.crc32(packed)) + description


def encoded(header: SnapshotHeader, blocks: Iterable[Block]) -> Iterator[bytes]:
    """Yield the bytes of a snapshot, piece by piece.

    Raises ``ValueError`` when the blocks are not those that the header announces.
    """
    digest = hashlib.blake2b(digest_size=16)
    left = [section.count for section in header.description.sections]
    offset = items = blocks_count = 0
    piece = encode_header(header)
    for number, block in enumerate(blocks):
        digest.update(piece)
        offset += len(piece)
        yield piece
        piece = _encode_block(number, block)
        left[block.section] -= block.count
        items += block.count
        blocks_count = number + 1
    if any(left):
        raise ValueError(f"sections with items too few (above 0) or too many: {left}")
    digest.update(piece)
    offset += len(piece)
    yield piece
    end = _FOOTER.pack(FOOTER_MAGIC, blocks_count, items, offset)
    digest.update(end)
    end += digest.digest() + bytes(4)
    yield end + _U32.pack(zlib.crc32(end))


def _encode_block(number: int, block: Block) -> bytes:
    body = block.body
    crc = zlib.crc32(body)
    head = _BLOCK.pack(
        BLOCK_MAGIC, number, block.section, block.form, 0, block.count, len(body), crc, 0
    )
    return b"".join((head, _U32.pack(zlib.crc32(head)), body))


def decode_header(read: Read) -> tuple[SnapshotHeader, int]:
    """Return the header at the beginning of a file, and where its blocks begin.

    Raises ``BadSnapshot`` when it is damaged, or of a format that is not known here.
    """
    head = read(0, HEADER_SIZE)
    if len(head) < HEADER_SIZE:
        raise BadSnapshot(f"its header is cut short at {len(head)} bytes")
    if head[:8] != MAGIC:
        raise BadSnapshot("it does not begin like a snapshot")
    if zlib.crc32(head[:-4]) != _U32.unpack_from(head, HEADER_SIZE - 4)[0]:
        raise BadSnapshot("the checksum of its header is wrong")
    _, version, zero, length, journal_id, seq, time_ns, chain, created_ns, crc = (
        _HEADER.unpack_from(head)
    )
    if version != VERSION or zero:
        raise BadSnapshot(f"its format version is {version}, this program reads {VERSION}")
    raw = read(HEADER_SIZE, length)
    if len(raw) < length or zlib.crc32(raw) != crc:
        raise BadSnapshot("the checksum of its description is wrong")
    try:
        description = msgspec.msgpack.decode(raw, type=Description)
    except msgspec.MsgspecError as error:
        raise BadSnapshot(f"its description cannot be understood: {error}") from None
    header = SnapshotHeader(journal_id, seq, time_ns, chain, created_ns, description)
    return header, HEADER_SIZE + length


def decode_blocks(
    read: Read, size: int, header: SnapshotHeader, offset: int
) -> Generator[Block, None, None]:
    """Yield the blocks from ``offset`` on, each checked, and check at the end that it is all.

    ``size`` is that of the whole file. Raises ``BadSnapshot`` where something is wrong; what
    was yielded by then is to be thrown away.
    """
    digest = hashlib.blake2b(read(0, offset), digest_size=16)
    left = [section.count for section in header.description.sections]
    number = 0
    section = 0
    while True:
        head = read(offset, BLOCK_HEADER_SIZE)
        if head[:4] == FOOTER_MAGIC:
            break
        block = _decode_block(read, offset, number, head)
        if not section <= block.section < len(left):
            raise BadSnapshot(f"offset {offset}: a block of a section that is not its turn")
        section = block.section
        left[section] -= block.count
        yield block
        digest.update(head)
        digest.update(block.body)
        offset += BLOCK_HEADER_SIZE + len(block.body)
        number += 1
    items = sum(section.count for section in header.description.sections)
    _check_footer(read(offset, FOOTER_SIZE + 1), number, items, offset, digest)
    if any(left) or size != offset + FOOTER_SIZE:
        raise BadSnapshot(f"offset {offset}: what its header announces is not what it holds")


def _decode_block(read: Read, offset: int, number: int, head: bytes) -> Block:
    if len(head) < BLOCK_HEADER_SIZE:
        raise BadSnapshot(f"offset {offset}: it is cut short")
    if zlib.crc32(head[:-4]) != _U32.unpack_from(head, BLOCK_HEADER_SIZE - 4)[0]:
        raise BadSnapshot(f"offset {offset}: the checksum of a block's header is wrong")
    magic, found, section, form, zero, count, length, crc, more_zero = _BLOCK.unpack_from(head)
    if magic != BLOCK_MAGIC or found != number or zero or more_zero or form not in _FORMS:
        raise BadSnapshot(f"offset {offset}: this is not its block {number}")
    body = read(offset + BLOCK_HEADER_SIZE, length)
    if len(body) < length or zlib.crc32(body) != crc:
        raise BadSnapshot(f"offset {offset}: the checksum of a block is wrong")
    return Block(section, Form(form), count, body)


_FORMS: Final = frozenset(Form)


def _check_footer(
    end: bytes, blocks: int, items: int, offset: int, digest: hashlib.blake2b
) -> None:
    if len(end) < FOOTER_SIZE:
        raise BadSnapshot(f"offset {offset}: its footer is cut short")
    end = end[:FOOTER_SIZE]
    if zlib.crc32(end[:-4]) != _U32.unpack_from(end, FOOTER_SIZE - 4)[0]:
        raise BadSnapshot(f"offset {offset}: the checksum of its footer is wrong")
    digest.update(end[: _FOOTER.size])
    if end[_FOOTER.size : -4] != digest.digest() + bytes(4):
        raise BadSnapshot("the checksum of the whole is wrong")
    if _FOOTER.unpack_from(end) != (FOOTER_MAGIC, blocks, items, offset):
        raise BadSnapshot(f"offset {offset}: its footer counts other than what is there")
