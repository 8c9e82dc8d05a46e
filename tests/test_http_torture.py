"""A client that does what no good client does: the door hears what h11 hears, or says no."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from http_corpus import SHAPES, Than
from http_torture_kit import (
    METHODS,
    PATHS,
    Door,
    End,
    continues_at,
    cut,
    h11_waits_for_continue,
    heard_by_h11,
    without_authority,
)

NEXT = b"GET /@?n=9 HTTP/1.1\r\nHost: x\r\n\r\n"

DOOR = Door()
OPEN_DOOR = Door(any_target=True)


def on(path, wire):
    return wire.replace(b"/@", path)


def check(shape, path):
    wire, instead = on(path, shape.wire + NEXT), shape.instead
    heard = DOOR.hear([wire])
    reference = without_authority(heard_by_h11(wire))
    if shape.than is Than.SAME:
        assert heard == reference
        return
    assert heard != reference, "no difference: nothing for the table"
    if shape.than is Than.STRICTER:
        assert heard.end is End.REFUSED
        assert heard.requests == reference.requests[: len(heard.requests)]
    else:
        assert heard == heard_by_h11(on(path, instead + NEXT))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_is_heard_as_by_h11(shape):
    """What h11 takes is taken, what it refuses is refused, but where the table says otherwise.

    It is so by a declared route, by a Klein route, and in a resource of twisted.web.
    """
    for path in PATHS:
        check(shape, path)


def positions(wire):
    """All places to cut at; of long bytes some, and all near their ends."""
    every = range(1, len(wire))
    return every if len(wire) < 1_000 else [*every[:100], *every[100:-100:487], *every[-100:]]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_cut_anywhere_changes_nothing(shape):
    """Each shape in two packets, cut at each of its bytes, and byte by byte, is heard the same."""
    path = PATHS[SHAPES.index(shape) % len(PATHS)]
    wire = on(path, shape.wire + NEXT)
    heard, raw = DOOR.hear([wire]), DOOR.raw
    for position in positions(wire):
        assert DOOR.hear([wire[:position], wire[position:]]) == heard, position
        assert heard.end is End.REFUSED or raw == DOOR.raw
    if len(wire) < 1_000:
        assert DOOR.hear(cut(wire, [1])) == heard


@pytest.mark.parametrize("shape", [s for s in SHAPES if b"xpect" in s.wire], ids=lambda s: s.name)
def test_continue_is_sent_when_it_is_waited_for(shape):
    """A client hears 100 after exactly those bytes after which h11 takes it to be waiting."""
    wire = on(b"/klein", shape.wire)
    if shape.than is Than.SAME:
        for position in range(1, len(wire) + 1):
            sent = wire[:position]
            assert continues_at(DOOR, sent) is h11_waits_for_continue(sent), sent


# --- whatever is valid ------------------------------------------------------------------------

CUTS = st.lists(st.integers(1, 70), min_size=1, max_size=5)
TOKENS = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=8).map(str.encode)
VALUES = st.lists(
    st.sampled_from([b"a", b"Z", b" ", b"\t", b",", b'"', b"\\", b"=", b":", b"\x80", b"\xff"]),
    max_size=10,
).map(b"".join)  # fmt: skip
FIELDS = st.tuples(TOKENS.map(b"X-".__add__), VALUES)
OPTIONS = st.sampled_from([
    (b"Connection", b"keep-alive"), (b"Connection", b"Close"), (b"connection", b"x, close"),
    (b"Connection", b"upgrade"), (b"Upgrade", b"websocket"), (b"TE", b"trailers"),
    (b"Expect", b"100-continue"), (b"Trailer", b"x"), (b"Content-Type", b"text/plain"),
])  # fmt: skip
SPACE = st.sampled_from([b"", b" ", b" \t "])
EXTENSIONS = st.sampled_from([b"", b";", b";a", b";a=b;c", b';a="\xfc; \\" x"', b"; a"])


@st.composite
def framed(draw):
    """The fields that say where a body ends, and the body."""
    kind = draw(st.sampled_from(["none", "sized", "chunked"]))
    if kind == "none":
        return [], b""
    if kind == "sized":
        body = draw(st.binary(max_size=60))
        return [(b"Content-Length", b"%d" % len(body))], body
    written = b""
    for piece in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        written += b"%x%b\r\n%b\r\n" % (len(piece), draw(EXTENSIONS), piece)
    trailers = draw(st.lists(FIELDS, max_size=2))
    written += b"0" + draw(EXTENSIONS) + b"\r\n"
    written += b"".join(b"%b:%b\r\n" % field for field in trailers) + b"\r\n"
    return [(b"Transfer-Encoding", b"chunked")], written


@st.composite
def requests(draw):
    """One request that RFC 9112 allows, for one of the three ways to answer it."""
    framing, body = draw(framed())
    method = draw(st.sampled_from(METHODS)).encode()
    path = draw(st.sampled_from(PATHS))
    if method == b"GET" and framing:
        path = b"/klein"  # a declared query takes no body
    authority = draw(st.sampled_from([b"", b"", b"http://x.example", b"HTTP://[::1]:80"]))
    target = authority + path + b"?n=%d" % draw(st.integers(0, 99))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    if version == b"1.0" and framing and framing[0][0] == b"Transfer-Encoding":
        version = b"1.1"
    fields = framing + draw(st.lists(FIELDS, max_size=3)) + draw(st.lists(OPTIONS, max_size=2))
    if version == b"1.1" or draw(st.booleans()):
        fields.append((b"host", draw(st.sampled_from([b"", b"x", b"x.example:80", b"[::1]"]))))
    wire = method + b" " + target + b" HTTP/" + version + b"\r\n"
    for name, value in draw(st.permutations(fields)):
        behind = b"" if name == b"Transfer-Encoding" else draw(SPACE)
        wire += name + b":" + draw(SPACE) + value + behind + b"\r\n"
    return wire + b"\r\n" + body


PIPELINES = st.lists(requests(), min_size=1, max_size=5).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(PIPELINES, CUTS, st.integers(0, 40))
def test_whatever_is_valid_is_heard_as_by_h11(wire, sizes, missing):
    """Any requests, in any packets, whole or not, reach the application as h11 reads them."""
    wire = wire[: len(wire) - missing]
    heard = DOOR.hear(cut(wire, sizes))
    assert heard == without_authority(heard_by_h11(wire, lenient=True))
    assert heard.end is not End.REFUSED


# --- whatever is not --------------------------------------------------------------------------

PIECES = st.sampled_from([
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x7f", b"\x85", b"\xa0", b"\xff", b",",
    b";", b":", b"#", b"0", b"1", b"+1", b"f", b"\r\n\r\n", b"0\r\n\r\n", b"\r\n ", b"close",
    b"HTTP/1.1", b"Host: y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b"Transfer-Encoding: x\r\n", b"Connection: keep-alive\r\n",
    b"GET /@ HTTP/1.1\r\nHost: x\r\n\r\n",
])  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 999), st.sampled_from([0, 0, 1, 2, 5]), PIECES),
    min_size=1,
    max_size=2,
)


def edited(wire, edits):
    """Put pieces in, each in place of some bytes."""
    for place, gone, piece in edits:
        position = place * (len(wire) + 1) // 1_000
        wire = wire[:position] + piece + wire[position + gone :]
    return wire


# What is refused beyond h11, and the bytes without which there is no reason to.
REASONS = {
    rb"ends without CR": rb"(?<!\r)\n",
    rb"bytes that no request line has": rb"(?<!\r)\n|[\x00-\x1f\x7f-\xff]",
    rb"the request line is malformed": rb"#|\n",
    rb"the request target is malformed": rb" (?!/)\S* HTTP/",
    rb"the Host field is malformed": rb"(?i)host:",
    rb"HTTP/1.0 has no Transfer-Encoding": rb"HTTP/1\.0\r\n",
    rb"this server speaks HTTP/1.1": rb"HTTP/[02-9]",
    rb"expectation": rb"(?i)expect:",
    rb"is not served here": rb"TRACE|CONNECT",
    rb"Header value|header value|CR|LF": rb"[\x00-\x08\x0a-\x1f\x7f]|\r\n[ \t]",
    rb"Content-Length|Transfer-Encoding": rb"(?i)content-length:|transfer-encoding:",
    rb"header field char": rb"[\x00-\x09\x0b-\x1f\x7f]|(?<!\r)\n",
    rb"continuation|space|token": rb"\r\n[ \t]|[\x00-\x1f\x7f]",
    rb"the chunked coding is malformed": rb"[0-9A-Fa-f][ \t]+\r\n|\n|[\x00-\x08\x0b-\x1f\x7f]",
    rb"a trailer field is malformed": rb"\r\n[ \t]|\n|[\x00-\x08\x0b-\x1f\x7f]",
}


# RFC 9112 section 7.1.1: it is to be removed; happy does, and h11 refuses it.
BAD_SPACE = re.compile(rb"([0-9A-Fa-f])[ \t]+;")


def has_reason(detail, wire):
    return any(re.search(said, detail) and re.search(r, wire) for said, r in REASONS.items())


@settings(max_examples=300, deadline=None, derandomize=True)  # REASONS may not know every one
@given(PIPELINES, EDITS, CUTS)
def test_whatever_is_heard_is_what_h11_hears(wire, edits, sizes):
    """However requests are broken, none is served that h11 reads otherwise: no smuggling."""
    wire = BAD_SPACE.sub(rb"\1;", edited(wire, edits))
    heard = OPEN_DOOR.hear(cut(wire, sizes))
    reference = without_authority(heard_by_h11(wire, lenient=True))
    if heard.end is not End.REFUSED or heard == reference:
        assert heard == reference
        return
    assert heard.requests == reference.requests[: len(heard.requests)]
    ended = heard_by_h11(wire + b"\r\n\r\n", lenient=True).end
    early = reference.end is End.OPEN and ended is End.REFUSED
    assert early or has_reason(OPEN_DOOR.detail, wire), OPEN_DOOR.detail
