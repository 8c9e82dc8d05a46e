"""Asides: what passes between the frames, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import Corrupt
from happy.split.aside import ASIDE_HEADER_SIZE, Aside, Say, decode_aside
from happy.split.outcome_frame import OutcomesHeader, OutcomeStream, encode_header
from split_kit import JOURNAL_ID, pieces

ASIDES = st.lists(
    st.builds(Aside, st.sampled_from(Say), st.binary(max_size=200), st.integers(0, 2**32 - 1)),
    max_size=5,
)


@given(ASIDES, st.lists(st.integers(0, 2000), max_size=8))
def test_asides_arrive_as_they_were_however_they_are_cut(asides, cuts):
    """A core that takes them says so, and then they stand between its frames."""
    header = encode_header(OutcomesHeader(JOURNAL_ID, 1, asides=True))
    stream, found = OutcomeStream(), []
    for piece in pieces(header + b"".join(aside.encode() for aside in asides), cuts):
        found += stream.feed(piece)
    assert found == asides
    assert stream.header == OutcomesHeader(JOURNAL_ID, 1, asides=True)
    stream.end()


def test_a_core_may_say_why_it_ends_before_it_says_anything_else():
    """It has no header then."""
    stream = OutcomeStream()
    ended = Aside(Say.ENDED, b"why")
    assert list(stream.feed(ended.encode())) == [ended]
    assert stream.header is None


def test_a_core_that_takes_none_says_none():
    """Where the header says that there are no asides, one is damage."""
    stream = OutcomeStream()
    with pytest.raises(Corrupt):
        list(stream.feed(encode_header(OutcomesHeader(JOURNAL_ID, 1)) + bytes(48)))
    with pytest.raises(Corrupt):
        list(
            OutcomeStream().feed(
                encode_header(OutcomesHeader(JOURNAL_ID, 1)) + Aside(Say.FOUND, bytes(40)).encode()
            )
        )


@pytest.mark.parametrize("place", [0, 4, 5])
def test_what_is_no_aside_is_refused(place):
    """Another magic, another kind, and bytes that must be zero."""
    data = bytearray(Aside(Say.MARK).encode())
    data[place] = 200
    with pytest.raises(Corrupt):
        decode_aside(data, 0)


def test_it_is_said_how_much_must_be_there():
    """First the head, then all of it."""
    data = bytearray(Aside(Say.FOUND, b"12345", 7).encode())
    assert decode_aside(data[:3], 0) == ASIDE_HEADER_SIZE
    assert decode_aside(data[:-1], 0) == len(data)
