"""What the HTTP connection refuses, and how: malformed, too large, too many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from http_kit import HOST, Peer

LINE = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("status", "wire"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),  # a TLS hello
        (400, b"GARBAGE\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
        (400, b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /#f HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET nopath HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET ftp://x/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
        (400, LINE + b"\r\n"),  # no Host
        (400, LINE + HOST + HOST + b"\r\n"),
        (400, LINE + b"Host: a b\r\n\r\n"),
        (400, LINE + b"Host: a/b\r\n\r\n"),
        (400, b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n"),
        (400, LINE + HOST + b"A: b\r\n c\r\n\r\n"),  # obs-fold
        (400, LINE + b"Host: a\nA: b\n\n"),  # refused at once, not when the time is up
        (501, LINE + HOST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, LINE + b" A: b\r\n" + HOST + b"\r\n"),
        (400, LINE + HOST + b"A : b\r\n\r\n"),
        (400, LINE + HOST + b": b\r\n\r\n"),
        (400, LINE + HOST + b"A\x00: b\r\n\r\n"),
        (400, LINE + HOST + b"A: b\x00c\r\n\r\n"),
        (400, LINE + HOST + b"A: b\rc\r\n\r\n"),
        (400, LINE + HOST + b"A: b\nC: d\r\n\r\n"),
        (400, LINE + HOST + b"A(: b\r\n\r\n"),
        (400, LINE + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        (400, LINE + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        (400, LINE + HOST + b"Content-Length: 1, 1\r\n\r\nx"),
        (400, LINE + HOST + b"Content-Length: +1\r\n\r\nx"),
        (400, LINE + HOST + b"Content-Length: 0x1\r\n\r\nx"),
        (400, LINE + HOST + b"Content-Length: \r\n\r\n"),
        (400, LINE + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n"),
        (400, LINE + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"),
        (400, LINE + HOST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
        (501, LINE + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
        (400, LINE + HOST + b"Transfer-Encoding: xchunked\r\n\r\n"),
        (400, b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (405, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (405, b"CONNECT a.example:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (417, LINE + HOST + b"Expect: a miracle\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (414, b"GET /" + b"a" * 8_192 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
        (431, LINE + HOST + b"A: " + b"b" * 16_384 + b"\r\n\r\n"),
        (431, LINE + HOST + b"A: b\r\n" * 100 + b"\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_refused_once_and_closed(status, wire, size):
    """What cannot be served is answered once with its status, never run, and ends the line."""
    peer = Peer()
    for start in range(0, len(wire), size):
        peer.send(wire[start : start + size])
    found, headers, body = peer.answer()
    assert found == status
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert b'"status":%d' % status in body
    assert peer.echo.seen == []
    assert peer.transport.half_closed
    before = peer.raw()
    peer.get(b"/smuggled")
    assert (peer.echo.seen, peer.raw()) == ([], before)


CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\na\r\n",
        b"\r\n",
        b" 1\r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1\r\na\rX",
        b"11111111111111111\r\n",
        b"1;" + b"x" * 300 + b"\r\n",
        b"1;\x00\r\na\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_malformed_chunks_are_refused(chunks, size):
    """Chunks that another implementation could read otherwise are refused."""
    peer = Peer()
    for start in range(0, len(chunks), size):
        if start == 0:
            peer.send(CHUNKED)
        peer.send(chunks[start : start + size])
    assert peer.answer()[0] == 400
    assert peer.echo.seen == []
    assert peer.closed


def test_endless_trailer_is_refused():
    """Trailer fields are bounded as header fields are."""
    peer = Peer(http_header_bytes_max=200).send(CHUNKED + b"0\r\n")
    peer.send(b"A: b\r\n" * 60)
    assert peer.answer()[0] == 431


def test_declared_body_too_large_is_refused_unread():
    """A declared body over the bound is answered when the head is in, without 100."""
    fields = b"Content-Length: 1073741824\r\nExpect: 100-continue\r\n"
    peer = Peer(http_body_bytes_max=1_000).get(b"/", b"POST", fields)
    status, headers, _ = peer.answer(b"POST")
    assert (status, headers["connection"]) == (413, "close")
    assert b"100 Continue" not in peer.raw()
    assert peer.transport.half_closed
    assert not peer.transport.disconnecting


def test_chunked_body_too_large_is_refused_at_the_bound():
    """Chunks are refused as soon as they sum up to too much, before the bytes come."""
    peer = Peer(http_body_bytes_max=10).send(CHUNKED + b"6\r\nabcdef\r\n")
    assert peer.raw() == b""
    peer.send(b"5\r\n")
    assert peer.answer(b"POST")[0] == 413


def test_body_of_exactly_the_bound_is_taken():
    """The bound itself is allowed."""
    peer = Peer(http_body_bytes_max=10)
    peer.get(b"/", b"POST", b"Content-Length: 10\r\n", b"0123456789")
    peer.send(CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n")
    assert [status for status, _, _ in peer.answers((b"POST", b"POST"))] == [200, 200]


def test_refused_peer_is_drained_within_bounds():
    """After a refusal what comes is dropped, up to a bound and a time; then the peer is cut."""
    peer = Peer(http_body_bytes_max=10, http_linger_bytes_max=1_000, http_linger_s=5)
    peer.get(b"/", b"POST", b"Content-Length: 11\r\n")
    peer.send(b"x" * 1_000)
    assert peer.transport.producerState == "producing"
    peer.send(b"x")
    assert peer.transport.producerState == "paused"
    assert not peer.transport.aborted
    peer.advance(7)
    assert peer.transport.aborted


def test_refusal_waits_for_the_answers_before_it():
    """A malformed request behind a good one is refused after the good one is answered."""
    peer = Peer().get(b"/hold").send(b"NONSENSE\r\n\r\n")
    assert peer.raw() == b""
    peer.echo.held[0].finish()
    assert [status for status, _, _ in peer.answers((b"GET", b"GET"))] == [200, 400]


def test_expected_continue_is_sent_in_turn():
    """A peer that waits hears 100 when its body is welcome, after the answers before it."""
    fields = b"Content-Length: 2\r\nExpect: 100-continue\r\n"
    peer = Peer().get(b"/", b"POST", fields)
    assert peer.raw() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"hi")
    assert peer.echo.seen == [(b"POST", b"/", b"hi")]
    peer = Peer().get(b"/hold").get(b"/", b"POST", fields)
    assert peer.raw() == b""
    peer.echo.held[0].finish()
    assert peer.raw().endswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    for body in (b"h", b"hi"):
        peer = Peer().get(b"/", b"POST", fields, body)
        assert b"100 Continue" not in peer.raw()


def test_no_connection_above_the_bound():
    """One connection too many hears 503 and is closed; when one ends there is room again."""
    peer = Peer(http_connections_max=1)
    first, channel = peer.transport, peer.channel
    peer.connect()
    assert peer.answer()[0] == 503
    assert peer.transport.disconnecting
    assert not first.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    peer.connect()
    assert peer.get().answer()[0] == 200


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_break_a_connection(noise, size):
    """Whatever comes, the connection answers or waits; it never raises, never serves nonsense."""
    peer = Peer()
    wire = b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + noise
    for start in range(0, len(wire), size):
        peer.send(wire[start : start + size])
    for method, uri, body in peer.echo.seen[:1]:
        assert (method, uri) == (b"POST", b"/x")
        assert len(body) <= len(noise)
    peer.lose()
    assert peer.site.channels == set()
