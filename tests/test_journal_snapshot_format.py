"""The format of snapshots: what was written is read, and what was changed is refused."""

import struct
import zlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import BadSnapshot
from happy.journal.snapshot_format import (
    BLOCK_HEADER_SIZE,
    FOOTER_SIZE,
    HEADER_SIZE,
    Block,
    Description,
    Form,
    Section,
    SnapshotHeader,
    decode_blocks,
    decode_header,
    encode_header,
    encoded,
)

SECTIONS = (Section("machine", 2), Section("empty", 0), Section("table rows", 5, 3, "ab"))
HEADER = SnapshotHeader(
    bytes(range(16)),
    77,
    1_700_000_000_000_000_000,
    b"c" * 16,
    1_700_000_001_000_000_000,
    Description(state="Bank", digest="cd", sections=SECTIONS),
)
BLOCKS = [
    Block(0, Form.EXACT, 2, b"two items"),
    Block(2, Form.DECLARED, 3, b"three"),
    Block(2, Form.EXACT, 2, b""),
]
SMALL = b"".join(encoded(HEADER, BLOCKS))


def read_all(data):
    """Read a snapshot to its end."""

    def read(offset, size):
        return data[offset : offset + size]

    header, offset = decode_header(read)
    return header, list(decode_blocks(read, len(data), header, offset))


blocks = st.builds(
    Block, st.integers(0, 3), st.sampled_from(Form), st.integers(0, 100), st.binary(max_size=200)
)


@given(st.lists(blocks, max_size=8), st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=16))
def test_what_was_written_is_read(some, seq, chain):
    """Header and blocks come back as they were given, in any number and of any size."""
    some.sort(key=lambda block: block.section)
    counts = [sum(b.count for b in some if b.section == n) for n in range(4)]
    sections = tuple(Section(f"section {n}", count) for n, count in enumerate(counts))
    header = attrs.evolve(
        HEADER,
        seq=seq,
        chain=chain,
        description=Description(state="", digest="", sections=sections),
    )
    assert read_all(b"".join(encoded(header, some))) == (header, some)


def test_every_byte_that_is_changed_is_noticed():
    """Each bit of a small snapshot, flipped, makes it refused: in the header, blocks, footer."""
    for at in range(len(SMALL)):
        for bit in range(8):
            changed = bytearray(SMALL)
            changed[at] ^= 1 << bit
            with pytest.raises(BadSnapshot):
                read_all(bytes(changed))


def test_every_truncation_is_noticed():
    """A snapshot that was cut anywhere is none, and neither is one that something follows."""
    for size in range(len(SMALL)):
        with pytest.raises(BadSnapshot):
            read_all(SMALL[:size])
    for more in (b"\0", SMALL, b"HBLK"):
        with pytest.raises(BadSnapshot):
            read_all(SMALL + more)


@given(st.data())
def test_no_bytes_make_it_fail_in_another_way(data):
    """Whatever replaces a part of a snapshot, the reader says so in its own words."""
    begin = data.draw(st.integers(0, len(SMALL)))
    end = data.draw(st.integers(begin, len(SMALL)))
    changed = SMALL[:begin] + data.draw(st.binary(max_size=40)) + SMALL[end:]
    if changed != SMALL:
        with pytest.raises(BadSnapshot):
            read_all(changed)


@pytest.mark.parametrize("order", [[0, 2, 1], [1, 2], [0, 1], [0, 1, 1, 2], [2, 1, 0], []], ids=str)
def test_blocks_left_out_doubled_or_swapped_are_noticed(order):
    """Blocks are numbered, and each section has what the header announces."""
    header, parts = cut(SMALL)
    with pytest.raises(BadSnapshot):
        read_all(header + b"".join(parts[n] for n in order) + parts[-1])


def cut(data):
    """Return the header of a snapshot, and its blocks and its footer."""
    begin = len(encode_header(HEADER))
    parts, at = [], begin
    for block in BLOCKS:
        end = at + BLOCK_HEADER_SIZE + len(block.body)
        parts.append(data[at:end])
        at = end
    assert len(data) - at == FOOTER_SIZE
    return data[:begin], [*parts, data[at:]]


def test_blocks_of_another_snapshot_are_noticed():
    """A good block of another snapshot, in the same place, is refused by the checksum of all."""
    other = [attrs.evolve(BLOCKS[0], body=b"two other"), *BLOCKS[1:]]
    header, parts = cut(SMALL)
    _, foreign = cut(b"".join(encoded(HEADER, other)))
    with pytest.raises(BadSnapshot, match="the whole"):
        read_all(header + foreign[0] + b"".join(parts[1:]))


def test_the_writer_keeps_to_what_it_announces():
    """Blocks with other counts than the header has are not written to an end."""
    for some in (BLOCKS[:2], [*BLOCKS, BLOCKS[0]]):
        with pytest.raises(ValueError, match="too few"):
            list(encoded(HEADER, some))


def test_a_later_version_is_told():
    """A whole file of a format that is not known here is refused as such."""
    head = bytearray(SMALL[:HEADER_SIZE])
    head[8:10] = struct.pack("<H", 2)
    head[-4:] = struct.pack("<I", zlib.crc32(head[:-4]))
    with pytest.raises(BadSnapshot, match="format version is 2, this program reads 1"):
        read_all(bytes(head) + SMALL[HEADER_SIZE:])
