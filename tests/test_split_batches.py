"""Batches on their way to the order and back: the same however they are cut, damage is found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.errors import BadRequest
from happy.journal.frame import Packed
from happy.split.batches import Batch, BatchStream, Settled, SettledStream
from split_kit import pieces

BYTES_MAX = 10_000
RECORDS = st.lists(st.binary(max_size=50), min_size=1, max_size=10) | st.lists(
    st.binary(min_size=7, max_size=7), min_size=1, max_size=10
)
BATCHES = st.lists(st.builds(Batch, st.integers(0, 2**32 - 1), RECORDS.map(Packed.of)))
SETTLED = st.lists(
    st.builds(
        Settled, st.integers(0, 2**32 - 1), st.integers(1, 2**63), st.integers(1, 9), st.binary()
    )
)
CUTS = st.lists(st.integers(0, 10**6), max_size=10)


def read(stream, data, cuts=()):
    """Return what a stream reads."""
    found = [one for piece in pieces(data, cuts) for one in stream.feed(piece)]
    stream.end()
    return found


@settings(max_examples=60, deadline=None)
@given(BATCHES, SETTLED, CUTS)
def test_what_is_handed_over_comes_as_it_was(batches, settled, cuts):
    """Both ways, in pieces of any size."""
    data = b"".join(batch.encode() for batch in batches)
    assert read(BatchStream(BYTES_MAX), data, cuts) == batches
    data = b"".join(one.encode() for one in settled)
    assert read(SettledStream(BYTES_MAX), data, cuts) == settled


SAMPLE = Batch(3, Packed.of([b"one", b"three"])).encode() + Batch(4, Packed.of([b"x"])).encode()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place, change):
    """Nothing of a damaged batch gets into the order."""
    damaged = bytearray(SAMPLE)
    damaged[place] ^= change
    with pytest.raises(BadRequest):
        read(BatchStream(BYTES_MAX), bytes(damaged))


@pytest.mark.parametrize(
    "records",
    [
        Packed(0, b""),
        Packed(1, b""),
        Packed(2, b"\1\0\0\0x"),
        Packed(1, b"\1\0\0\0xy"),
        Packed(2, b"\1\0\0\0x\2\0\0\0y"),
        Packed(1, b"\0\0\0"),
        Packed(2, b"\0\0\0\0" * 3),
    ],
)
def test_a_batch_that_is_not_what_it_says_is_refused(records):
    """Its records would be damage in the journal, though all checksums were right."""
    with pytest.raises(BadRequest, match="is not what it says"):
        read(BatchStream(BYTES_MAX), Batch(1, records).encode())


def test_a_batch_is_bounded_and_must_be_whole():
    """Its length is believed up to a bound; one that is cut off is told at the end."""
    with pytest.raises(BadRequest, match="a batch of 10004 bytes"):
        read(BatchStream(BYTES_MAX), Batch(1, Packed.of([bytes(10_000)])).encode())
    with pytest.raises(BadRequest, match="cut off"):
        read(BatchStream(BYTES_MAX), SAMPLE[:-1])


@settings(max_examples=60, deadline=None)
@given(RECORDS)
def test_packed_records_are_those_of_a_frame(records):
    """Each behind its length, and they agree with their count, whatever their lengths are."""
    packed = Packed.of(records)
    packed.check()
    assert len(packed) == len(records)
    assert packed.data == b"".join(len(r).to_bytes(4, "little") + r for r in records)
    assert Packed.joined([packed]) == packed
    assert Packed.joined([packed, packed]) == Packed.of(records * 2)
