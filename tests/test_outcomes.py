"""A running digest over all outcomes."""

import enum
import hashlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.digest import packed_reply
from happy.event import FailedOutcome, RefusedOutcome, Reply
from happy.outcomes import OutcomeDigest


class Opaque:
    """A value that shows nothing of itself."""


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Row:
    number: int
    text: str = ""


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(max_size=40),
    st.builds(Row, st.integers()),
    st.builds(Opaque),
    st.sampled_from(Colour),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
        st.frozensets(st.one_of(st.integers(), st.text()), max_size=4),
    ),
    max_leaves=8,
)
OUTCOMES = st.one_of(
    st.builds(Reply, VALUES),
    st.builds(Reply, st.binary(min_size=1000, max_size=5000)),
    st.builds(RefusedOutcome, st.text(st.characters()), st.just(409), st.just(554), st.just("5.7")),
    st.builds(FailedOutcome, st.integers(1, 2**63)),
)


def digest_of(*batches):
    made = OutcomeDigest()
    for batch in batches:
        made.add(batch)
    return made.digest()


@given(st.lists(OUTCOMES, max_size=12), st.lists(st.integers(0, 12)))
def test_the_digest_is_the_same_however_outcomes_are_batched(outcomes, cuts):
    """One batch, many, empty ones among them: the digest is that of the outcomes alone."""
    places = [0, *sorted(cuts), len(outcomes)]
    batches = [outcomes[begin:end] for begin, end in pairwise(places)]
    assert digest_of(*batches) == digest_of(outcomes)


@given(st.lists(OUTCOMES, max_size=8), st.lists(OUTCOMES, max_size=8))
def test_an_image_goes_on(before, after):
    """What a snapshot keeps is enough to come to the same digest."""
    made = OutcomeDigest()
    made.add(before)
    again = OutcomeDigest(made.image())
    assert again.digest() == made.digest()
    again.add(after)
    assert again.digest() == digest_of(before, after)
    assert len(made.image()) <= 16 + 4096


@pytest.mark.parametrize("count", [1, 15, 16, 17, 65_535, 65_536])
def test_batches_of_every_size_are_taken(count):
    """The head of an array, which is longer for more items, is no part of the digest."""
    outcomes = [Reply(0)] * count
    assert digest_of(outcomes) == digest_of(outcomes[:7], outcomes[7:])
    assert digest_of(outcomes) != digest_of(outcomes[1:])


DIFFERENT = [
    Reply(None),
    Reply(0),
    Reply(False),
    Reply(0.0),
    Reply(b""),
    Reply(""),
    Reply(()),
    Reply({}),
    Reply({1: 2}),
    Reply((1, 2)),
    Reply(2**64),
    Reply(-(2**70)),
    Reply("\ud800"),
    Reply("\ud801"),
    Reply(Opaque()),
    Reply(object()),
    Reply(Row(1)),
    Reply(Row(2)),
    Reply(Row(2**64)),
    Reply({1, "a"}),
    Reply({1, "b"}),
    FailedOutcome(1),
    FailedOutcome(2),
    RefusedOutcome("no", 409, 554, "5.7.1"),
    RefusedOutcome("No", 409, 554, "5.7.1"),
    RefusedOutcome("no", 410, 554, "5.7.1"),
    Reply(("no", 409, 554, "5.7.1")),
]


def test_different_outcomes_have_different_digests():
    """A reply, a refusal and a failure are never taken for each other, nor their parts."""
    assert len({digest_of([outcome]) for outcome in DIFFERENT}) == len(DIFFERENT)


def test_the_order_counts():
    """The digest is of a sequence, not of a set."""
    assert digest_of([Reply(1), Reply(2)]) != digest_of([Reply(2), Reply(1)])


def test_what_failed_is_told_by_its_place_alone():
    """The exception is of one run; another run has another object for it."""
    assert digest_of([FailedOutcome(3, ValueError("a"))]) == digest_of([FailedOutcome(3)])


def test_a_value_that_holds_itself_ends():
    """However deep, a value has an end; beyond a depth only the class counts."""
    endless = []
    endless.append(endless)
    assert packed_reply(endless) == packed_reply(endless)
    assert digest_of([Reply(endless)]) != digest_of([Reply([[]])])


WORDS = {f"word {n}" for n in range(50)}
MIXED = [*DIFFERENT, Reply(WORDS), Reply({1, *WORDS}), Reply(datetime(2026, 1, 1, tzinfo=UTC))]
PROGRAM = "from test_outcomes import MIXED, digest_of; print(digest_of(MIXED))"


def test_the_digest_is_the_same_in_every_process():
    """The seed of Python's hashes, which orders sets, changes nothing."""
    here = os.path.dirname(__file__)  # noqa: PTH120 - for a path variable
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": here},
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
    assert len(next(iter(found)).strip()) == 32


def chained(data):
    """Return the digest of outcomes as bytes, as the head of the module describes it."""
    chain = bytes(16)
    while len(data) >= 4096:
        chain, data = blake(chain + data[:4096]), data[4096:]
    return blake(chain + data).hex()


def blake(data):
    return hashlib.blake2b(data, digest_size=16, person=b"outcomes").digest()


def test_the_digest_is_the_one_of_its_description():
    """Blocks of 4,096 bytes in a chain of BLAKE2b-128: what was written to journals stays."""
    assert digest_of([]) == chained(b"")
    found = digest_of([Reply(1), Reply("one"), FailedOutcome(3)])
    assert found == chained(b"\x01\xa3one\xd4\x02\x03")
    assert digest_of([Reply(bytes(10_000))] * 2) == chained((b"\xc5\x27\x10" + bytes(10_000)) * 2)
