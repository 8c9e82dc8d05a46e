"""The HTTP connection: requests in, answers out, in order."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.static import Data, File
from zope.interface import directlyProvides

from http_kit import HOST, Peer

# --- the plain exchange ----------------------------------------------------------------------


def test_known_body_is_one_write_with_content_length():
    """An answer that is known whole goes out in one write, with its length and no chunks."""
    peer = Peer().get(b"/a")
    status, headers, body = peer.answer()
    assert (status, body) == (200, b"GET /a ")
    assert headers["content-length"] == "7"
    assert headers["server"] == "happy"
    assert headers["date"].endswith("GMT")
    assert "transfer-encoding" not in headers
    assert peer.transport.writes == 1
    assert not peer.closed


def test_defaults_forbid_storing_and_guessing():
    """Answers are not stored and not sniffed unless the application says so."""
    _, headers, _ = Peer().get().answer()
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"

    class Public(Resource):
        isLeaf = True

        def render(self, request):
            request.setHeader("cache-control", "public, max-age=1")
            return b"x"

    _, headers, _ = Peer(Public()).get().answer()
    assert headers["cache-control"] == "public, max-age=1"


def test_head_has_the_fields_of_get_and_no_body():
    """HEAD answers with what GET would say, its length included, and no body."""
    resource = Data(b"0123456789", "text/plain")
    resource.isLeaf = True
    _, of_get, body = Peer(resource).get().answer()
    peer = Peer(resource).get(method=b"HEAD")
    status, of_head, nothing = peer.answer(b"HEAD")
    assert (status, body, nothing) == (200, b"0123456789", b"")
    assert of_head == of_get
    assert peer.raw().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("cut", range(1, 120))
def test_cut_anywhere_means_the_same(cut):
    """How requests are cut into packets changes nothing."""
    wire = (
        b"\r\nPOST /one?a=b HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
        b"PUT /two HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\ndef\r\n2\r\ngh\r\n0\r\nTrailer: t\r\n\r\n"
        b"GET /three HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    assert len(wire) > 120
    peer = Peer()
    for start in range(0, len(wire), cut):
        peer.send(wire[start : start + cut])
    assert peer.echo.seen == [
        (b"POST", b"/one?a=b", b"abc"),
        (b"PUT", b"/two", b"defgh"),
        (b"GET", b"/three", b""),
    ]
    assert [body for _, _, body in peer.answers((b"POST", b"PUT", b"GET"))] == [
        b"POST /one abc", b"PUT /two defgh", b"GET /three ",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    bodies=st.lists(
        st.lists(st.binary(min_size=1, max_size=40), max_size=4), min_size=1, max_size=4
    ),
    cuts=st.lists(st.integers(1, 50), min_size=1),
)
def test_chunked_bodies_written_by_h11_are_read(bodies, cuts):
    """Whatever another implementation sends in chunks arrives byte for byte, in any packets."""
    wire = b""
    for chunks in bodies:
        writer = h11.Connection(h11.CLIENT)
        fields = [("Host", "x"), ("Transfer-Encoding", "chunked")]
        wire += writer.send(h11.Request(method="POST", target="/", headers=fields))
        for chunk in chunks:
            wire += writer.send(h11.Data(data=chunk))
        wire += writer.send(h11.EndOfMessage())
    peer = Peer()
    position, turn = 0, 0
    while position < len(wire):
        size = cuts[turn % len(cuts)]
        peer.send(wire[position : position + size])
        position, turn = position + size, turn + 1
    assert [body for _, _, body in peer.echo.seen] == [b"".join(chunks) for chunks in bodies]


def test_pipelined_answers_come_in_order():
    """Requests sent at once are answered one after the other, each only when its turn came."""
    peer = Peer()
    peer.get(b"/hold").get(b"/second").get(b"/third")
    assert peer.raw() == b""
    assert len(peer.echo.seen) == 1
    peer.echo.held[0].write(b"first")
    peer.echo.held[0].finish()
    bodies = [body for _, _, body in peer.answers((b"GET",) * 3)]
    assert bodies == [b"first", b"GET /second ", b"GET /third "]


def test_read_ahead_is_bounded():
    """No more than the bound is read ahead; then the transport is paused, and goes on later."""
    peer = Peer(http_pipeline_max=2)
    peer.get(b"/hold")
    peer.send((b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
    assert peer.transport.producerState == "paused"
    peer.echo.held[0].finish()
    assert peer.transport.producerState == "producing"
    assert len(peer.echo.seen) == 6
    assert len(peer.answers((b"GET",) * 6)) == 6


def test_nothing_is_read_ahead_of_a_body():
    """One connection keeps few bodies: behind a request with a body nothing is read ahead."""
    peer = Peer().get(b"/hold")
    peer.get(b"/b", b"POST", b"Content-Length: 2\r\n", b"hi")
    peer.get(b"/c", b"POST", b"Content-Length: 2\r\n", b"ho")
    assert peer.transport.producerState == "paused"
    peer.echo.held[0].finish()
    assert [body for _, _, body in peer.echo.seen] == [b"", b"hi", b"ho"]


def test_http_10_closes_unless_asked_to_keep():
    """An HTTP/1.0 connection ends with its answer; with keep-alive it stays, and says so."""
    peer = Peer().send(b"GET / HTTP/1.0\r\n\r\n")
    assert peer.closed
    peer = Peer().send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert not peer.closed
    assert peer.answer()[1]["connection"] == "keep-alive"


def test_connection_close_is_honoured():
    """A peer that wants to end hears so and is ended; what it sent after that is not served."""
    peer = Peer().send(b"GET /1 HTTP/1.1\r\n" + HOST + b"Connection: x, Close\r\n\r\n" * 1)
    assert peer.closed
    assert peer.answer()[1]["connection"] == "close"
    peer.get(b"/2")
    assert len(peer.echo.seen) == 1


def test_absolute_form_is_the_same_resource():
    """A target with scheme and authority is served by its path; its authority is the host."""
    seen = []

    class Seeing(Resource):
        isLeaf = True

        def render(self, request):
            seen.append((request.uri, request.getRequestHostname()))
            return b""

    peer = Peer(Seeing())
    peer.send(b"GET http://other.example:80/p?q HTTP/1.1\r\n" + HOST + b"\r\n")
    assert seen == [(b"/p?q", b"other.example")]
    assert peer.answer()[0] == 200


def test_options_star():
    """``OPTIONS *`` asks about the server and is answered."""
    peer = Peer().get(b"*", b"OPTIONS")
    assert peer.answer(b"OPTIONS")[0] in (200, 204)


def test_unknown_methods_reach_the_application():
    """A method that the parser does not know is the application's to answer."""
    assert Peer().get(b"/", b"BREW", b"X: y\r\n").answer(b"BREW")[2] == b"BREW / "


def test_request_has_every_attribute_of_twisted_web():
    """What a twisted.web Request has on its own, happy's request has too."""

    class Channel:
        transport = StringTransport()
        site = Peer().site

        def getPeer(self):
            return self.transport.getPeer()

        def getHost(self):
            return self.transport.getHost()

    stock = Request(Channel())
    ours = []

    class Keeping(Resource):
        isLeaf = True

        def render(self, request):
            ours.append(request)
            missing = [name for name in vars(stock) if not hasattr(request, name)]
            return repr(missing).encode()

    peer = Peer(Keeping())
    assert peer.get().answer()[2] == b"[]"


def test_secure_is_what_the_transport_is():
    """A request knows whether it came over TLS; HTTP/2 is never offered there."""
    peer = Peer().get(b"/hold")
    assert not peer.echo.held[0].isSecure()
    directlyProvides(peer.transport, ISSLTransport)
    assert peer.echo.held[0].isSecure()
    assert peer.echo.held[0].getClientAddress() == peer.transport.getPeer()
    assert peer.site.acceptableProtocols() == [b"http/1.1"]


def test_query_form_and_cookies_are_read():
    """Arguments of the query, of both kinds of form, and cookies are as in twisted.web."""
    seen = []

    class Seeing(Resource):
        isLeaf = True

        def render(self, request):
            seen.append((request.args, request.getCookie(b"c"), request.content.read()))
            return b""

    peer = Peer(Seeing())
    form = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n"
    peer.get(b"/?a=1&a=2", b"POST", form + b"Cookie: b=1; c=2\r\n", b"b=3&c=%20"[:7])
    assert seen[0] == ({b"a": [b"1", b"2"], b"b": [b"3"], b"c": [b"%"]}, b"2", b"b=3&c=%")
    body = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n\x00\xffv\r\n--x--\r\n'
    form = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n" % len(body)
    peer.get(b"/", b"POST", form, body)
    assert seen[1] == ({b"f": [b"\x00\xffv"]}, None, body)


# --- what twisted.web brings -----------------------------------------------------------------


def pump(peer):
    """Ask the pull producer until it is done, as a socket would."""
    while peer.transport.producer is not None and not peer.transport.streaming:
        peer.transport.producer.resumeProducing()


def test_static_files_with_ranges(tmp_path):
    """static.File serves whole files, ranges and conditional requests over happy's channel."""
    (tmp_path / "f.txt").write_bytes(bytes(range(256)) * 1_000)
    peer = Peer(File(str(tmp_path)))
    peer.get(b"/f.txt")
    pump(peer)
    status, headers, body = peer.answer()
    assert (status, body) == (200, bytes(range(256)) * 1_000)
    assert headers["content-length"] == "256000"
    modified = headers["last-modified"].encode()
    peer.transport.clear()
    peer.get(b"/f.txt", fields=b"Range: bytes=5-9\r\n")
    pump(peer)
    status, headers, body = peer.answer()
    assert (status, body) == (206, bytes([5, 6, 7, 8, 9]))
    assert headers["content-range"] == "bytes 5-9/256000"
    peer.transport.clear()
    peer.get(b"/f.txt", fields=b"If-Modified-Since: " + modified + b"\r\n")
    pump(peer)
    assert peer.answer()[0] == 304
    peer.transport.clear()
    peer.get(b"/f.txt", b"HEAD")
    pump(peer)
    assert peer.answer(b"HEAD")[1]["content-length"] == "256000"


def test_pull_producer_on_a_stalled_peer_is_cut(tmp_path):
    """A file is not held open for a peer that stopped reading it."""
    (tmp_path / "f").write_bytes(b"x" * 300_000)
    peer = Peer(File(str(tmp_path)), http_stall_timeout_s=10).get(b"/f")
    peer.transport.producer.resumeProducing()
    peer.advance(9)
    peer.transport.producer.resumeProducing()
    peer.advance(9)
    assert not peer.transport.aborted
    peer.advance(3)
    assert peer.transport.aborted
    peer.transport.producer.stopProducing()
    peer.lose()


def test_error_in_a_resource_is_500_without_internals():
    """What a resource raises is told as a reference, and nothing else of it."""

    class Broken(Resource):
        isLeaf = True

        def render(self, request):
            raise RuntimeError("secret")

    peer = Peer(Broken()).get()
    status, headers, body = peer.answer()
    assert (status, headers["content-type"]) == (500, "application/problem+json")
    assert b"secret" not in peer.raw()
    assert b'"reference":"' in body
