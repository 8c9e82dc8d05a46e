"""The stream of frames: whatever way it is cut, the same frames; whatever is wrong, a sentence."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.errors import Corrupt, JournalError, NotAJournal
from happy.journal.frame import (
    FRAME_MAGIC,
    SEGMENT_HEADER_SIZE,
    SEGMENT_MAGIC,
    Frame,
    Kind,
    SegmentHeader,
    decode_segment_header,
    encode_segment_header,
    records_of,
)
from happy.split.frame_stream import FrameStream
from split_kit import journal, pieces, stream_of

FRAMES = st.lists(
    st.lists(st.binary(max_size=700), min_size=1, max_size=4)
    | st.sampled_from([Kind.IDLE_MARK, Kind.CLOSE_MARK]),
    max_size=8,
)


def read(data, cuts=()):
    """Return what a stream holds, and what is raised at its end."""
    stream = FrameStream()
    found = []
    try:
        for piece in pieces(data, cuts):
            found += stream.feed(piece)
        stream.end()
    except JournalError as error:
        return found, error
    return found, None


@settings(max_examples=60, deadline=None)
@given(FRAMES, st.lists(st.integers(0, 10**6), max_size=20))
def test_a_stream_is_the_same_however_it_is_cut(frames, cuts):
    """All records come back in order, with their seqs, over segments, from pieces of any size."""
    found, error = read(stream_of(journal(frames, close=False)), cuts)
    assert error is None
    records = [r for step in found if isinstance(step, Frame) for r in records_of(step)]
    assert records == [r for frame in frames if isinstance(frame, list) for r in frame]
    assert [s.kind for s in found if isinstance(s, Frame)] == [
        Kind.EVENTS if isinstance(frame, list) else frame for frame in frames
    ]


LONG = stream_of(journal([[b"one", b"two"], [b"x" * 3000], [bytes(3000)], [b"last"]], 8192))


def starts():
    """Return where the blocks and frames of the stream begin."""
    at, found = 0, []
    for step in read(LONG)[0]:
        found.append(at)
        at += step.end - step.offset if isinstance(step, Frame) else SEGMENT_HEADER_SIZE
    return [*found, at]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(LONG) - 1), st.integers(1, 255), st.lists(st.integers(0, 10**6)))
def test_a_changed_byte_is_found(place, change, cuts):
    """What is yielded before it is what was written; then it is damage, or no stream at all."""
    whole, _ = read(LONG)
    damaged = bytearray(LONG)
    damaged[place] ^= change
    found, error = read(bytes(damaged), cuts)
    assert isinstance(error, Corrupt | NotAJournal)
    assert found == whole[: len(found)]
    assert len(found) < len(whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(LONG) - 1))
def test_a_stream_that_is_cut_off_says_so(size):
    """Only between frames may it end."""
    found, error = read(LONG[:size])
    ends = set(starts()[1:])
    assert (error is None) == (size in ends)
    assert len(found) == sum(end <= size for end in ends)


@pytest.mark.parametrize("number", range(1, 5))
def test_a_frame_or_block_cannot_be_left_out_doubled_or_swapped(number):
    """The chain ties each to the one before."""
    places = starts()
    parts = [LONG[a:b] for a, b in itertools.pairwise(places)]
    for changed in (
        parts[:number] + parts[number + 1 :],
        [*parts[: number + 1], *parts[number:]],
        [*parts[:number], parts[number + 1], parts[number], *parts[number + 2 :]],
    ):
        _, error = read(b"".join(changed))
        assert isinstance(error, Corrupt), number


def block_of(stream):
    return decode_segment_header(stream[:SEGMENT_HEADER_SIZE])


def test_blocks_must_belong_together():
    """A block of another journal, or of a version not known here, is refused."""
    first = block_of(LONG)
    header = SegmentHeader(b"another journal.", 2, 1, 1, 0, first.chain, 7)
    _, error = read(LONG[:SEGMENT_HEADER_SIZE] + encode_segment_header(header))
    assert "another journal" in str(error)


@pytest.mark.parametrize("data", [b"", b"no", b"hello, world", FRAME_MAGIC + bytes(100)])
def test_what_is_no_stream_is_told_so(data):
    """Nothing, a text, or frames without the block before them."""
    found, error = read(data)
    assert found == []
    assert isinstance(error, NotAJournal)
    assert "does not begin with the header of a segment" in str(error)


def test_little_is_held():
    """What is whole is let go: a stream of any length needs the room of its largest frame."""
    stream = FrameStream()
    data = stream_of(journal([[b"x" * 500]] * 200, 1 << 20))
    for at in range(0, len(data), 64):
        list(stream.feed(data[at : at + 64]))
        assert len(stream._held) <= SEGMENT_HEADER_SIZE
    assert stream.next_seq == 201
    assert data.startswith(SEGMENT_MAGIC)
