"""Frames of outcomes: what goes in comes out, however it is cut; damage is found."""

from __future__ import annotations

import datetime
import enum
import uuid

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.errors import Corrupt
from happy.event import FailedOutcome, RefusedOutcome, Reply
from happy.journal.frame import Frame, Kind
from happy.outcomes import OutcomeDigest
from happy.split.outcome_frame import (
    FRAME_HEADER_SIZE,
    HEADER_SIZE,
    OutcomesHeader,
    OutcomeStream,
    Verdict,
    decode_outcomes,
    encode_header,
    encode_latest,
    encode_outcome_frame,
    encode_outcomes,
)
from split_kit import JOURNAL_ID, pieces, resolve


@attrs.frozen
class Row:
    """A reply of an application's own class."""

    name: str
    parts: tuple[int, ...] = ()


class Colour(enum.Enum):
    """A reply that msgpack has no word for."""

    RED = "red"


PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary()
    | st.floats(allow_nan=False)
)  # fmt: skip
ODD = st.sampled_from(
    [
        2**64, -(2**70), "\ud800", Row("a", (1,)), Colour.RED, [1, (2,)], {"a": (1,)}, ((), ("x",)),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), uuid.UUID(int=7),
    ]
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OUTCOMES = st.lists(
    st.builds(Reply, PLAIN | ODD | st.tuples(PLAIN, ODD))
    | st.builds(RefusedOutcome, TEXT, st.integers(400, 599), st.integers(400, 599), TEXT)
    | st.builds(FailedOutcome, st.integers(1, 2**63)),
    max_size=20,
)


def frame(first_seq, count, kind=Kind.EVENTS, number=0):
    """Return a frame to be answered."""
    return Frame(kind, first_seq, count, 1, 0, bytes([number]) * 16, b"", 0, 0)


def written(batches):
    """Return a stream that answers frames with these outcomes, and a mark."""
    parts, seq = [encode_header(OutcomesHeader(JOURNAL_ID, 1))], 1
    for number, outcomes in enumerate(batches):
        answered = frame(seq, len(outcomes), number=number)
        parts.append(encode_outcome_frame(answered, encode_outcomes(outcomes)))
        seq += len(outcomes)
    parts.append(encode_outcome_frame(frame(seq, 0, Kind.DIGEST_MARK), b"", Verdict.AGREES))
    return b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(st.lists(OUTCOMES, max_size=4), st.lists(st.integers(0, 10**6), max_size=10))
def test_outcomes_come_back_however_they_are_cut(batches, cuts):
    """Replies of any sort, refusals and failures, in their order, with what they answer."""
    stream = OutcomeStream()
    found = [f for piece in pieces(written(batches), cuts) for f in stream.feed(piece)]
    stream.end()
    assert stream.header == OutcomesHeader(JOURNAL_ID, 1)
    assert [decode_outcomes(f, resolve) for f in found] == [*batches, []]
    assert [f.chain[0] for f in found] == [*range(len(batches)), 0]
    assert (found[-1].kind, found[-1].verdict) == (Kind.DIGEST_MARK, Verdict.AGREES)
    for batch, one in zip(batches, found, strict=False):
        back = decode_outcomes(one, resolve)
        values = [(type(o.value), o.value) for o in batch if isinstance(o, Reply)]
        assert values == [(type(o.value), o.value) for o in back if isinstance(o, Reply)]


@settings(max_examples=60, deadline=None)
@given(OUTCOMES)
def test_plain_outcomes_are_what_the_digest_is_made_of(outcomes):
    """So a batch is encoded once, and a core in another language can tell the digest."""
    digest = OutcomeDigest()
    digest.add(outcomes)
    assert encode_latest(outcomes, digest) == encode_outcomes(outcomes)
    if all(not isinstance(o, Reply) or type(o.value) in {int, str, bytes} for o in outcomes):
        assert digest.latest in {None, encode_outcomes(outcomes)}


def test_a_reply_without_a_form_is_told():
    """It cannot be carried; the others can."""
    body = encode_outcomes([Reply(1), Reply({1, 2}), Reply(3)])
    (answer,) = read(encode_outcome_frame(frame(1, 3), body))
    one, told, three = decode_outcomes(answer, resolve)
    assert (one, three) == (Reply(1), Reply(3))
    assert told.value.startswith("a value of set has no form")


def read(data):
    """Read frames after a header."""
    return read_stream(encode_header(OutcomesHeader(JOURNAL_ID, 1)) + data)


def read_stream(data):
    """Read a whole stream of outcomes."""
    stream = OutcomeStream()
    found = list(stream.feed(data))
    stream.end()
    return found


SAMPLE = written([[Reply(7), RefusedOutcome("no", 409, 554, "5.7.1")], [Reply(None)]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_damage(place, change):
    """In the header, in a frame's header and in a body alike."""
    damaged = bytearray(SAMPLE)
    damaged[place] ^= change
    with pytest.raises(Corrupt):
        read_stream(bytes(damaged))


def test_frames_must_follow_each_other():
    """One that is left out or doubled is damage; one that is cut off is told at the end."""
    one, two = (encode_outcome_frame(frame(n, 1), b"\x01") for n in (1, 2))
    assert len(read(one + two)) == 2
    for wrong in (two, one + one):
        with pytest.raises(Corrupt, match="do not follow"):
            read(wrong)
    with pytest.raises(Corrupt, match="inside of a frame"):
        read(one + two[:-1])


@pytest.mark.parametrize("body", [b"", b"\x01\x02", b"\x93\x01", b"\xd4\x07\x01", b"\xd4\x01\x01"])
def test_a_body_that_is_not_what_the_frame_says_is_damage(body):
    """Too few, too many, cut short, or of an unknown type."""
    (answer,) = read(encode_outcome_frame(frame(1, 1), body))
    with pytest.raises(Corrupt, match="cannot be read"):
        decode_outcomes(answer, resolve)


def test_the_format_is_pinned():
    """Byte by byte, as docs/stream-format.md has it."""
    header = encode_header(OutcomesHeader(JOURNAL_ID, 1))
    assert len(header) == HEADER_SIZE
    assert header[:40].hex() == (
        "4841505059" "4f5554" "0100" "000000000000" "000102030405060708090a0b0c0d0e0f"
        "0100000000000000"
    )  # fmt: skip
    body = encode_outcomes([Reply(300), RefusedOutcome("no", 409, 554, "5.7.1"), FailedOutcome(3)])
    assert body.hex() == "cd012cd80194a26e6fcd0199cd022aa5352e372e31d40203"
    answer = encode_outcome_frame(frame(1, 3), body)
    assert answer[:40].hex() == (
        "484f5554" "01" "00" "0000" "18000000" "03000000" "0100000000000000" + "00" * 16
    )  # fmt: skip
    assert answer[FRAME_HEADER_SIZE:] == body
