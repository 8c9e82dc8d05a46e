"""What is found where the next frame would be, and what is done about it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SECTOR_SIZE,
    SEGMENT_HEADER_SIZE,
    Frame,
    Kind,
    SegmentHeader,
    encode_frame,
    first_chain,
)
from happy.journal.recovery import (
    DECISIONS,
    Decision,
    Finding,
    Place,
    Position,
    after,
    next_frame,
    start_of,
)

HEADER = SegmentHeader(b"j" * 16, 1, 1, 5, 0, first_chain(b"j" * 16), 0xFEED)

BODIES = {
    "text": lambda size: b"happy".ljust(size, b"."),
    "zeros": bytes,
    "text and zeros": lambda size: b"happy" + bytes(size - 10) + b"happy",
    "pattern": lambda size: b"\1\0" * (size // 2),
}


class Segment:
    """The bytes of a segment being made, and where each frame of it begins."""

    def __init__(self, room=6 * SECTOR_SIZE):
        self.data = bytearray(SEGMENT_HEADER_SIZE + room)
        self.at = start_of(HEADER)
        self.places = []

    def add(self, *records, kind=Kind.EVENTS):
        frame, chain = encode_frame(
            kind,
            records,
            first_seq=self.at.next_seq,
            time_ns=7,
            offset=self.at.offset,
            durable_end=self.at.offset,
            salt=HEADER.salt,
            chain=self.at.chain,
        )
        end = self.at.offset + len(frame)
        self.data[self.at.offset : end] = frame
        self.places.append(self.at)
        self.at = Position(end, self.at.next_seq + len(records), 7, chain)
        return self

    def pad_to(self, offset):
        """Add a frame so that the next one begins at ``offset``."""
        return self.add(bytes(offset - self.at.offset - FRAME_HEADER_SIZE - 4))

    def found(self, number):
        """What is found at the place of a frame."""
        return next_frame(memoryview(bytes(self.data)), HEADER, self.places[number])


# --- the table --------------------------------------------------------------------------------


def test_every_finding_in_every_place_has_a_decision():
    """The table has no hole: whatever is found anywhere, it is decided what to do."""
    assert set(DECISIONS) == set(itertools.product(Finding, Place))


def test_nothing_is_ever_cut_off_an_earlier_segment():
    """An earlier segment was whole when the next was begun: what it lacks now is damage."""
    decisions = {d for (_, place), d in DECISIONS.items() if place is Place.EARLIER_SEGMENT}
    assert decisions == {Decision.USE, Decision.REFUSE_CORRUPT}


def test_what_good_frames_follow_is_never_cut_off():
    """Where a good frame follows, the bad one was answered: it is refused everywhere."""
    assert {DECISIONS[Finding.FOLLOWED, place] for place in Place} == {Decision.REFUSE_CORRUPT}


def test_only_a_visibly_unfinished_end_is_cut_off():
    """What is cut is short, headless or has a sector that was never written; nothing else."""
    cut = {finding for (finding, _), d in DECISIONS.items() if d is Decision.CUT}
    assert cut == {Finding.SHORT, Finding.UNWRITTEN, Finding.HEADLESS}


# --- good frames --------------------------------------------------------------------------------


def test_good_frames_are_read_one_after_the_other():
    """After each good frame the reader stands where the next one begins."""
    segment = Segment().add(b"one", b"two").add(b"three").add(kind=Kind.CLOSE_MARK)
    at = start_of(HEADER)
    for place in segment.places:
        assert at.offset == place.offset
        frame = next_frame(memoryview(bytes(segment.data)), HEADER, at)
        assert isinstance(frame, Frame)
        at = after(frame)
    assert at == segment.at


@given(st.integers(0, 3000))
def test_zeros_after_the_last_frame_are_nothing(zeros):
    """Preallocated room, however long, is the end and not a fault."""
    segment = Segment(0).add(b"one")
    data = bytes(segment.data[: segment.at.offset]) + bytes(zeros)
    assert next_frame(memoryview(data), HEADER, segment.at) is Finding.NOTHING


# --- torn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_frame_cut_anywhere_is_short(body):
    """A last frame cut at any byte is torn, whatever is in it."""
    segment = Segment().add(b"before").add(body(1300))
    place, data = segment.places[1], bytes(segment.data)
    for end in range(place.offset + 1, segment.at.offset):
        found = next_frame(memoryview(data[:end]), HEADER, place)
        assert found is Finding.SHORT, end


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("begin", [128, 448, 456, 504, 512])
def test_a_frame_with_unwritten_sectors_is_torn(body, begin):
    """Whichever sectors of the last frame were never written, it is torn, whatever is in it."""
    segment = Segment().pad_to(SEGMENT_HEADER_SIZE + begin).add(body(1500))
    start, end = segment.places[1].offset, segment.at.offset
    edges = [start, *range(start // SECTOR_SIZE * SECTOR_SIZE + SECTOR_SIZE, end, SECTOR_SIZE), end]
    parts = list(itertools.pairwise(edges))
    whole = bytes(segment.data)
    for written in itertools.product([True, False], repeat=len(parts)):
        segment.data[:] = whole
        for (first, last), kept in zip(parts, written, strict=True):
            if not kept:
                segment.data[first:last] = bytes(last - first)
        found = segment.found(1)
        if all(written):
            assert isinstance(found, Frame)
        elif not any(written):
            assert found is Finding.NOTHING
        else:
            assert found is Finding.UNWRITTEN, written


def test_stray_bytes_after_zeros_are_torn():
    """Bytes behind an unwritten header are the rest of a frame whose first sector is missing."""
    segment = Segment().add(b"one")
    segment.data += b"\xff" * 64
    assert next_frame(memoryview(bytes(segment.data)), HEADER, segment.at) is Finding.UNWRITTEN


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("begin", range(440, 513, 8))
def test_one_wrong_bit_in_the_last_frame_is_never_torn(body, begin):
    """A whole last frame with a wrong bit is left to a person, wherever its header lies."""
    segment = Segment().pad_to(SEGMENT_HEADER_SIZE + begin).add(body(700))
    start, end = segment.places[1].offset, segment.at.offset
    bits = [*range(start * 8, (start + FRAME_HEADER_SIZE + 8) * 8), *range(start * 8, end * 8, 61)]
    for bit in bits:
        segment.data[bit // 8] ^= 1 << bit % 8
        assert segment.found(1) is Finding.BAD, bit
        segment.data[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("follower", [Kind.EVENTS, Kind.IDLE_MARK, Kind.CLOSE_MARK])
def test_damage_before_a_good_frame_is_damage(body, follower):
    """Any fault in a frame that another one vouches for is damage, even sectors of zeros."""
    records = [b"later"] if follower is Kind.EVENTS else []
    segment = Segment().add(b"before").add(body(1100)).add(*records, kind=follower)
    start, end = segment.places[1].offset, segment.places[2].offset
    whole = bytes(segment.data)
    for bit in range(start * 8, end * 8, 13):
        segment.data[bit // 8] ^= 1 << bit % 8
        assert segment.found(1) is Finding.FOLLOWED, bit
        segment.data[:] = whole
    for first in range(start, end, 100):
        segment.data[first:end] = bytes(end - first)
        assert segment.found(1) is Finding.FOLLOWED, first
        segment.data[:] = whole


def embedding(**changed):
    """A torn frame whose record holds a frame of this segment, made with these changes."""
    segment = Segment().add(b"one")
    fields = {
        "first_seq": segment.at.next_seq,
        "durable_end": segment.at.offset + 8,
        "salt": HEADER.salt,
    }
    inner, _ = encode_frame(
        Kind.EVENTS, [b"in"], time_ns=7, offset=0, chain=bytes(16), **(fields | changed)
    )
    segment.add(b"before " + inner + b" after")
    return next_frame(
        memoryview(bytes(segment.data[: segment.at.offset - 9])), HEADER, segment.places[1]
    )


def test_only_a_later_frame_of_this_segment_vouches():
    """A header vouches for what is before it by its salt, its seq and its durable offset."""
    assert embedding() is Finding.FOLLOWED
    assert embedding(salt=HEADER.salt + 1) is Finding.SHORT
    assert embedding(first_seq=1) is Finding.SHORT
    assert embedding(durable_end=SEGMENT_HEADER_SIZE) is Finding.SHORT


def test_an_old_frame_inside_a_record_vouches_for_nothing():
    """A record may hold a copy of this very segment, and torn is torn all the same."""
    segment = Segment(16 * SECTOR_SIZE).add(b"one").add(b"two")
    copy = bytes(segment.data[SEGMENT_HEADER_SIZE : segment.at.offset])
    segment.add(copy + b"." * 2000)
    assert copy in segment.data[segment.places[2].offset :]
    data = bytes(segment.data[: segment.at.offset - 1])
    assert next_frame(memoryview(data), HEADER, segment.places[2]) is Finding.SHORT


def test_garbage_at_the_very_end_is_left_to_a_person():
    """A whole sector of noise where the next frame would be is not what a torn write leaves."""
    segment = Segment(0).add(b"one")
    data = bytes(segment.data[: segment.at.offset]) + b"\xa5" * 3000
    assert next_frame(memoryview(data), HEADER, segment.at) is Finding.BAD


def test_a_good_frame_of_another_segment_is_foreign():
    """A frame with another salt is not taken for this segment's, nor for a torn one."""
    segment = Segment().add(b"one")
    other = SegmentHeader(b"j" * 16, 1, 1, 5, 0, HEADER.chain, 0xBEEF)
    found = next_frame(memoryview(bytes(segment.data)), other, segment.places[0])
    assert found is Finding.FOREIGN


def test_a_frame_left_out_is_foreign():
    """A frame moved to the place of the one before it does not continue the chain."""
    segment = Segment().add(b"one").add(b"two")
    first, second = segment.places
    frame = bytes(segment.data[second.offset : segment.at.offset])
    data = bytes(first.offset) + frame
    assert next_frame(memoryview(data), HEADER, first) is Finding.FOREIGN
