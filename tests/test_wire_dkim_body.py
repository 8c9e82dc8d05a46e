"""The hash of a body, cut into blocks in any way: the same as of the whole at once."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.wire.dkim_body import BodyHash, body_hashes


def canonical(body, *, relaxed):
    """Return a body as RFC 6376 section 3.4 says it, at once and slowly."""
    lines = body.split(b"\r\n")
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    text = b"".join(line + b"\r\n" for line in lines)
    return text or (b"" if relaxed else b"\r\n")


PIECES = st.sampled_from([b"a", b"  ", b"\t", b" ", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"xy"])
BODIES = st.lists(PIECES, max_size=30).map(b"".join)


@settings(deadline=None)
@given(body=BODIES, cuts=st.lists(st.integers(0, 60), max_size=5), relaxed=st.booleans())
def test_any_body_in_any_pieces(body, cuts, relaxed):
    """What a CR or LF alone is, the canonical form does not ask: it is text."""
    digest = BodyHash(relaxed=relaxed)
    at = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(at):
        digest.update(body[start:end])
    assert digest.digest() == hashlib.sha256(canonical(body, relaxed=relaxed)).digest()


@pytest.mark.parametrize(("length", "text"), [(0, b""), (3, b"abc"), (8, b"abcdef\r\n"), (9, None)])
def test_a_part_of_a_body(length, text):
    """l= counts bytes of the canonical form; there must be as many."""
    (found,) = body_hashes([b"abc", b"def\r\n\r\n"], [(True, length)]).values()
    assert found == (None if text is None else hashlib.sha256(text).digest())
