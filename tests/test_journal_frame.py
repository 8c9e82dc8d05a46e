"""Frames and segment headers: bytes there and back, and what is not believed."""

import random
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.errors import NotAJournal
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    FRAME_MAGIC,
    SECTOR_SIZE,
    SEGMENT_HEADER_SIZE,
    Kind,
    SegmentHeader,
    body_of,
    decode_frame_header,
    decode_segment_header,
    encode_frame,
    encode_segment_header,
    first_chain,
    records_of,
)
from happy.journal.recovery import Position, after, next_frame

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
OFFSETS = st.integers(0, 256).map(lambda n: SEGMENT_HEADER_SIZE + 8 * n)
"""Every way in which a frame can lie over its sectors."""

SIZES = st.one_of(
    st.integers(0, 20),
    st.builds(
        lambda sectors, near: max(0, sectors * SECTOR_SIZE + near),
        st.integers(0, 3),
        st.integers(-90, 20),
    ),
)
RECORDS = st.one_of(
    SIZES.map(bytes),
    st.builds(lambda size, seed: random.Random(seed).randbytes(size), SIZES, U32),
    st.builds(
        lambda size, pattern: (pattern * (size // 2 + 1))[:size],
        SIZES,
        st.binary(min_size=2, max_size=2),
    ),
)

HEADERS = st.builds(
    SegmentHeader,
    journal_id=st.binary(min_size=16, max_size=16),
    number=U64,
    first_seq=U64,
    created_ns=U64,
    previous_end=U64,
    chain=st.binary(min_size=16, max_size=16),
    salt=U32,
)
HEADER = SegmentHeader(b"j" * 16, 1, 1, 5, 0, first_chain(b"j" * 16), 0xFEED)


def frame_of(
    records,
    *,
    kind=Kind.EVENTS,
    offset=SEGMENT_HEADER_SIZE,
    first_seq=1,
    time_ns=7,
    salt=HEADER.salt,
    chain=HEADER.chain,
):
    return encode_frame(
        kind,
        records,
        first_seq=first_seq,
        time_ns=time_ns,
        offset=offset,
        durable_end=offset,
        salt=salt,
        chain=chain,
    )


def read(data, offset=SEGMENT_HEADER_SIZE, header=HEADER, first_seq=1, time_ns=0):
    at = Position(offset, first_seq, time_ns, header.chain)
    return next_frame(memoryview(bytes(offset) + data), header, at)


def parts(data, offset):
    """Yield the parts of a frame that lie in one sector each."""
    first = SECTOR_SIZE - offset % SECTOR_SIZE
    yield data[:first]
    yield from (data[n : n + SECTOR_SIZE] for n in range(first, len(data), SECTOR_SIZE))


# --- segment headers --------------------------------------------------------------------------


@given(HEADERS)
def test_a_segment_header_comes_back_as_it_was(header):
    """A segment header is one block and reads back as it was written."""
    block = encode_segment_header(header)
    assert len(block) == SEGMENT_HEADER_SIZE
    assert decode_segment_header(block) == header
    assert decode_segment_header(memoryview(block + b"frames")) == header


def test_a_damaged_segment_header_is_not_believed():
    """One wrong bit anywhere in a segment header is noticed."""
    block = encode_segment_header(HEADER)
    for byte in range(SEGMENT_HEADER_SIZE):
        damaged = bytearray(block)
        damaged[byte] ^= 1 << byte % 8
        with pytest.raises(ValueError, match="checksum"):
            decode_segment_header(bytes(damaged))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 4091, 4095])
def test_a_short_segment_header_is_not_believed(size):
    """A header cut short says so and how long it is."""
    with pytest.raises(ValueError, match=f"cut short at {size} bytes"):
        decode_segment_header(encode_segment_header(HEADER)[:size])


@pytest.mark.parametrize(
    ("at", "instead", "said"),
    [(0, b"HAPPYXYZ", "does not begin like"), (8, b"\2\0", "version is 2, this program reads 1")],
)
def test_a_whole_header_of_another_format_is_named(at, instead, said):
    """A later format is refused by its version, not taken for damage."""
    block = bytearray(encode_segment_header(HEADER))
    block[at : at + len(instead)] = instead
    block[-4:] = struct.pack("<I", zlib.crc32(block[:-4]))
    with pytest.raises(NotAJournal, match=said):
        decode_segment_header(bytes(block))


# --- frames there and back ----------------------------------------------------------------------


@given(st.lists(RECORDS, max_size=4), OFFSETS, st.binary(max_size=20))
def test_a_frame_comes_back_as_it_was(records, offset, behind):
    """Any records read back as they were, wherever the frame stands."""
    data, chain = frame_of(records, offset=offset, first_seq=9)
    frame = read(data + behind, offset, first_seq=9)
    assert [bytes(record) for record in records_of(frame)] == records
    assert (frame.kind, frame.first_seq, frame.count) == (Kind.EVENTS, 9, len(records))
    assert (frame.offset, frame.end, frame.chain) == (offset, offset + len(data), chain)
    assert (frame.time_ns, frame.durable_end) == (7, offset)
    assert len(data) % 8 == 0


@given(st.lists(RECORDS, max_size=4), OFFSETS)
def test_no_sector_of_a_frame_is_all_zeros(records, offset):
    """A sector of zeros is one that was never written."""
    data, _ = frame_of(records, offset=offset)
    assert all(part.strip(b"\0") for part in parts(data, offset))


def test_a_mask_is_found_whatever_the_records_are():
    """A body that holds a sector of each of many patterns has a mask."""
    offset = SEGMENT_HEADER_SIZE + SECTOR_SIZE - FRAME_HEADER_SIZE - 8
    sectors = [struct.pack("<H", pattern) * 256 for pattern in range(600)]
    random.Random(1).shuffle(sectors)
    record = bytes(4) + b"".join(sectors)
    data, _ = frame_of([record], offset=offset)
    assert struct.unpack_from("<H", data, 6) == (600,)
    assert all(part.strip(b"\0") for part in parts(data, offset))
    assert [bytes(r) for r in records_of(read(data, offset))] == [record]


@given(st.lists(st.binary(max_size=300).map(lambda b: b + b"!"), min_size=1, max_size=4), OFFSETS)
def test_ordinary_records_stand_in_the_file_as_they_are(records, offset):
    """A body without a sector of zeros is not masked: grep finds it."""
    data, _ = frame_of(records, offset=offset)
    assert data[6:8] == b"\0\0"
    assert all(record in data for record in records)


@pytest.mark.parametrize("kind", [Kind.IDLE_MARK, Kind.CLOSE_MARK])
def test_a_mark_is_a_frame_without_a_body(kind):
    """A mark takes no seq and no more room than a header."""
    data, _ = frame_of([], kind=kind, first_seq=4)
    frame = read(data, first_seq=4)
    assert len(data) == FRAME_HEADER_SIZE
    assert (frame.kind, frame.count, after(frame).next_seq) == (kind, 0, 4)


@given(st.lists(st.lists(RECORDS, max_size=2), min_size=2, max_size=5), st.data())
def test_the_chain_ties_every_frame_to_all_before_it(batches, data):
    """Frames read in their order only, each after the one it was made for."""
    at = Position(SEGMENT_HEADER_SIZE, 1, 0, HEADER.chain)
    buffer = bytearray(SEGMENT_HEADER_SIZE)
    places = []
    for batch in batches:
        frame, chain = frame_of(batch, offset=at.offset, first_seq=at.next_seq, chain=at.chain)
        places.append((at, len(frame)))
        buffer += frame
        at = Position(at.offset + len(frame), at.next_seq + len(batch), 7, chain)
    for number, (place, size) in enumerate(places):
        frame = next_frame(memoryview(bytes(buffer)), HEADER, place)
        assert frame.end == place.offset + size
        if number + 1 < len(places):
            assert after(frame) == Position(
                frame.end, places[number + 1][0].next_seq, 7, places[number + 1][0].chain
            )
    wrong, right = data.draw(st.permutations(range(len(places))))[:2]
    place = Position(places[right][0].offset, places[right][0].next_seq, 0, places[wrong][0].chain)
    assert next_frame(memoryview(bytes(buffer)), HEADER, place).name == "FOREIGN"


# --- what is not believed -------------------------------------------------------------------------


@given(st.lists(RECORDS, max_size=2), OFFSETS)
@settings(max_examples=20)
def test_a_length_is_never_believed_before_its_checksum(records, offset):
    """One wrong bit in a frame's header leaves no header to read."""
    data, _ = frame_of(records, offset=offset)
    for bit in range(FRAME_HEADER_SIZE * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert decode_frame_header(bytes(damaged), 0) is None


@given(st.binary(max_size=200))
def test_noise_is_no_frame(noise):
    """Arbitrary bytes, with the magic before them or not, are no header."""
    assert decode_frame_header(noise, 0) is None
    assert decode_frame_header(FRAME_MAGIC + noise, 0) is None


@given(st.binary(min_size=44, max_size=44))
def test_any_header_with_a_right_checksum_is_only_looked_at(fields):
    """Hostile fields cost no memory and no crash, whatever they say."""
    head = FRAME_MAGIC + fields + bytes(20)
    data = head + struct.pack("<I", zlib.crc32(head)) + b"body"
    header = decode_frame_header(data, 0)
    assert header is not None
    found = read(data)
    assert getattr(found, "name", None) in {"SHORT", "FOREIGN", "BAD", "UNWRITTEN"}


def test_a_hostile_length_takes_no_memory():
    """A frame that says 4 GiB is measured against the file before it is read."""
    head = struct.pack(
        "<4sBBHIIIIQQQ20x",
        FRAME_MAGIC,
        1,
        0,
        0,
        0xFFFFFFFF,
        0xFFFFFFFF,
        HEADER.salt,
        0,
        1,
        7,
        SEGMENT_HEADER_SIZE,
    )
    data = head + struct.pack("<I", zlib.crc32(head)) + b"x" * 100
    header = decode_frame_header(data, 0)
    assert header.length == 0xFFFFFFFF
    tracemalloc.start()
    assert body_of(memoryview(data), 0, header) is None
    assert read(data).name == "SHORT"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def with_right_checksum(data):
    return data[:68] + struct.pack("<I", zlib.crc32(data[:68])) + data[72:]


@pytest.mark.parametrize("kind", [0, max(Kind) + 1, 255])
def test_a_kind_that_this_version_does_not_know_is_refused(kind):
    """A frame of an unknown kind, right in all else, is not guessed at."""
    assert read(frame_of([b"x"], kind=kind)[0]).name == "FOREIGN"


@pytest.mark.parametrize("at", [5, 64, 67])
def test_a_reserved_bit_is_refused(at):
    """What has no meaning yet is zero; a frame where it is not is not guessed at."""
    data = bytearray(frame_of([b"x"])[0])
    data[at] = 1
    assert read(with_right_checksum(bytes(data))).name == "FOREIGN"


@pytest.mark.parametrize("at", range(4, 64))
def test_every_field_is_in_the_chain(at):
    """A field that was changed with care, the checksums made right, breaks the chain."""
    data = bytearray(frame_of([b"x"])[0])
    data[at] ^= 1
    found = read(with_right_checksum(bytes(data)))
    assert found.name in {"FOREIGN", "SHORT", "BAD"}
    if at not in (*range(8, 12), *range(20, 24)):  # length and checksum of the body
        assert found.name == "FOREIGN"


@pytest.mark.parametrize(
    ("change", "why"),
    [({"salt": 1}, "salt"), ({"chain": bytes(16)}, "chain"), ({"first_seq": 2}, "seq")],
)
def test_a_frame_of_another_place_is_foreign(change, why):
    """Salt, chain and seq must all be those of this place."""
    assert read(frame_of([b"x"], **change)[0]).name == "FOREIGN", why


def test_a_frame_older_than_the_one_before_it_is_foreign():
    """Time never goes backwards in a journal."""
    data, _ = frame_of([b"x"], time_ns=7)
    assert read(data, time_ns=7).time_ns == 7
    assert read(data, time_ns=8).name == "FOREIGN"


@pytest.mark.parametrize(
    ("count", "body", "said"),
    [
        (2, b"\1\0\0\0a", "fewer records"),
        (1, b"\1\0\0\0ab", "more bytes"),
        (1, b"\2\0\0\0a", "longer than its frame"),
        (1, b"\xff\xff\xff\xffa", "longer than its frame"),
        (2**32 - 1, b"\0\0\0\0", "fewer records"),
        (1, b"\0\0", "fewer records"),
        (0, b"\0\0\0\0", "more bytes"),
    ],
)
def test_records_that_do_not_add_up_are_named(count, body, said):
    """A frame's count and lengths are checked against its body."""
    frame = read(frame_of([b"x"])[0])
    wrong = type(frame)(frame.kind, 1, count, 7, 0, frame.chain, memoryview(body), 0, 0)
    with pytest.raises(ValueError, match=said):
        list(records_of(wrong))
