"""The names of the journal's files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.journal.names import (
    NEXT_SEGMENT,
    blob_name,
    is_part,
    part_name,
    segment_name,
    segment_seq,
    torn_name,
    unfinished_name,
)

SEQS = st.integers(1, 2**64 - 1)


@given(SEQS)
def test_a_segment_is_named_by_its_first_seq(seq):
    """A segment's name tells the first seq in it."""
    assert segment_seq(segment_name(seq)) == seq


@given(SEQS, SEQS)
def test_names_sort_as_their_seqs_do(one, other):
    """A plain listing of the directory is in the journal's order."""
    assert (segment_name(one) < segment_name(other)) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "1.segment",
        "00000000000000000001.segment.bak",
        "000000000000000000001.segment",
        "0000000000000000000a.segment",
        "\u0661" * 20 + ".segment",
        "00000000000000000001.segment\n",
        "LOCK",
        "",
        NEXT_SEGMENT,
        torn_name(segment_name(1), 4096),
    ],
)
def test_nothing_else_is_a_segment(name):
    """A file that is not named exactly like a segment is left alone."""
    assert segment_seq(name) is None


def test_torn_bytes_have_names_of_their_own():
    """What is kept aside never has the name of something else kept aside."""
    names = {torn_name(segment_name(s), o, n) for s in (1, 11) for o in (1, 11) for n in (1, 11)}
    assert len(names) == 8
    assert all(name.startswith("torn/") for name in names)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_a_blob_name_is_a_digest_and_nothing_else(digest):
    """No text from an event can name a file outside the blobs."""
    with pytest.raises(ValueError, match="not a SHA-256"):
        blob_name(digest)


def test_unfinished_files_can_be_told_from_finished_ones():
    """A file being written has a name that no finished file has."""
    finished = [blob_name("a" * 64), segment_name(1), torn_name(segment_name(1), 4096)]
    assert not any(map(is_part, finished))
    assert all(map(is_part, [NEXT_SEGMENT, part_name(1), *map(unfinished_name, finished)]))
