"""The HTTP door on real sockets: what only a kernel shows."""

import contextlib
import select
import socket

import pytest
from twisted.internet import epollreactor
from twisted.web.static import File

from happy.limits import Limits
from happy.wire.http_site import HappySite


@pytest.fixture
def serve():
    """Serve a resource on a free port by a reactor of the test's own; return a client."""
    reactor = epollreactor.EPollReactor()
    opened = []

    def connect(resource, **limits):
        site = HappySite(resource, limits=Limits(**limits), reactor=reactor)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        client.setblocking(False)
        opened.extend([port, client])
        return client, lambda: reactor.iterate(0.01)

    yield connect
    for thing in opened:
        thing.stopListening() if hasattr(thing, "stopListening") else thing.close()
    for _ in range(3):
        reactor.iterate(0.01)
    for reader in reactor.removeAll():
        reader.connectionLost(None)
    reactor._poller.close()


def readable(client):
    return bool(select.select([client], [], [], 0)[0])


def test_refused_upload_hears_its_answer(tmp_path, serve):
    """A client in the middle of a huge upload reads 413, not a reset."""
    client, turn = serve(File(str(tmp_path)), http_body_bytes_max=1_000)
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    sent = 0
    while sent < 500_000:
        with contextlib.suppress(BlockingIOError):
            sent += client.send(b"x" * 50_000)
        turn()
    answer = b""
    for _ in range(500):
        turn()
        if readable(client):
            piece = client.recv(65_536)
            if not piece:
                break
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"\n")


def test_slow_reader_of_a_large_file_gets_it_whole(tmp_path, serve):
    """A file goes to a slow reader at the reader's pace, and arrives byte for byte."""
    content = bytes(range(256)) * 40_000
    (tmp_path / "f").write_bytes(content)
    client, turn = serve(File(str(tmp_path)))
    client.sendall(b"GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in range(50):
        turn()
    answer = bytearray()
    for _ in range(20_000):
        turn()
        if readable(client):
            piece = client.recv(100_000)
            if not piece:
                break
            answer += piece
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == content
