"""The torture of the HTTP door where only a kernel, or a process, can show what happens."""

from __future__ import annotations

import contextlib
import re
import socket

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from happy.limits import Limits
from happy.wire.http import site_for
from http_corpus import SHAPES
from http_kit import HOST, Peer, answer_in
from http_server import BIG, FILE, Server, allow_files
from http_socket_kit import read_all, served, served_site
from http_torture_kit import CONTINUE, Door, End, Stream, Wire

NEXT = b"GET /resource?n=9 HTTP/1.1\r\n" + HOST + b"\r\n"
HELLO = b"GET /hello HTTP/1.1\r\n" + HOST + b"\r\n"

_DATE = re.compile(rb"Date: [^\r]*\r\n")


def statuses(raw: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", raw)


# --- the shapes -------------------------------------------------------------------------------


def test_real_sockets_hear_the_same():
    """Every shape, in two writes and with the client's side shut, is answered as in memory."""
    door = Door()

    def answers_to(server, wire: bytes) -> bytes:
        with server.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # two writes, two packets
            client.sendall(wire[: len(wire) // 2])
            client.sendall(wire[len(wire) // 2 :])
            client.shutdown(socket.SHUT_WR)
            return _DATE.sub(b"", read_all(client).replace(CONTINUE, b""))

    def ask_all(server) -> list[tuple[str, object, object]]:
        found = []
        for shape in SHAPES:
            wire = shape.wire.replace(b"/@", b"/resource") + NEXT
            refused = door.hear([wire]).end is End.REFUSED
            told = statuses if refused else bytes  # which fault is named is the packets' chance
            found.append((shape.name, told(door.raw), told(answers_to(server, wire))))
        return found

    app = Wire("wire", Stream())
    with served_site(lambda reactor: site_for(app, limits=Limits(), reactor=reactor)) as server:
        for name, expected, answered in server.during(lambda: ask_all(server)):
            assert answered == expected, name


class Late(Resource):
    """Answers when the test says so."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.held = []

    def render(self, request):
        self.held.append(request)
        return NOT_DONE_YET


def test_a_half_closed_client_gets_its_late_answer():
    """A client that shuts its side behind its request hears the answer, however late."""
    late = Late()
    with served(late) as server:
        client = server.connect()
        client.sendall(HELLO + HELLO)
        client.shutdown(socket.SHUT_WR)
        server.until(lambda: late.held)
        for _ in range(20):  # time enough for the end to be seen
            server.turn()
        for number in (b"1", b"2"):
            server.until(lambda: late.held)
            request = late.held.pop()
            request.write(number)
            request.finish()
        raw = server.during(lambda: read_all(client))
        server.until(lambda: not server.site.channels)
    (_, _, first), rest = answer_in(raw, ended=True)
    (_, _, second), rest = answer_in(rest, ended=True)
    assert (first, second, rest) == (b"1", b"2", b"")


def test_a_client_that_went_away_is_forgotten():
    """A client that is gone for good costs nothing once an answer to it could not be sent."""
    late = Late()
    with served(late) as server:
        with server.connect() as client:
            client.sendall(HELLO)
            server.until(lambda: late.held)
        request = late.held.pop()
        with contextlib.suppress(RuntimeError):  # it is told so
            for _ in range(200):
                request.write(b"x" * 1_000)
                server.turn()
        server.until(lambda: not server.site.channels)
        assert request._disconnected


# --- too much ---------------------------------------------------------------------------------


def test_a_megabyte_of_header_is_refused_and_not_kept():
    """A header of a megabyte is refused after what a header may have, and never held."""
    for wire, status in [
        (b"GET /" + b"a" * (1 << 20), 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * (1 << 20), 431),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 180_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"A" * (1 << 20), 431),
    ]:
        peer = Peer()
        for start in range(0, len(wire), 1_000):
            peer.send(wire[start : start + 1_000])
            assert len(peer.channel._held) < 30_000
        assert peer.answer()[0] == status
        assert peer.channel._held == b""


def test_a_client_in_a_megabyte_of_header_hears_its_answer():
    """The answer to it arrives, whole, at a client that sends everything before it reads."""
    wire = b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 160_000 + b"\r\n"

    def talk(server) -> bytes:
        with server.connect() as client:
            client.sendall(wire)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    with served(Late()) as server:
        raw = server.during(lambda: talk(server))
    (status, fields, _), rest = answer_in(raw, ended=True)
    assert (status, fields["connection"], rest) == (431, "close", b"")


def test_an_endless_header_is_not_read_for_ever():
    """Who goes on sending after a refusal is not read beyond a bound, and cut."""
    with served(Late(), http_linger_s=1, http_linger_bytes_max=100_000) as server:
        client = server.connect()
        client.setblocking(False)
        client.sendall(b"GET / HTTP/1.1\r\n")

        def is_cut() -> bool:
            try:
                client.send(b"A: b\r\n" * 1_000)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        server.until(is_cut)
        server.until(lambda: not server.site.channels)
        assert is_cut()


def test_many_slow_clients_keep_nobody_waiting():
    """A hundred clients that drip a header byte by byte are sent away; others are served."""
    good = Peer(http_header_timeout_s=10)
    drips = []
    for _ in range(100):
        good.connect()
        drips.append((good.channel, good.transport))
    good.connect()
    for byte in b"GET / HTTP/1.1":
        for channel, _ in drips:
            channel.dataReceived(bytes([byte]))
        good.transport.clear()
        assert good.get().answer()[0] == 200
        good.advance(1)
    assert all(transport.value().startswith(b"HTTP/1.1 408 ") for _, transport in drips)


# --- memory -----------------------------------------------------------------------------------

READERS = 30


def settled(server: Server) -> int:
    """The memory of a server that has done what it can: it answers again and again."""
    client = server.connect()
    for _ in range(50):
        client.sendall(HELLO)
        assert answer_in(client.recv(4_096), ended=False)[0][0] == 200
    return server.resident_bytes()


def test_a_slow_reader_costs_one_answer_at_most():
    """Who asks for sixteen large answers and reads none costs one of them; all come later."""
    with Server() as server:
        before = settled(server)
        readers = [server.connect(receive_bytes=4_096) for _ in range(READERS)]
        for reader in readers:
            reader.sendall(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n" + HELLO)
            reader.sendall((b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n") * 15)
        for reader in readers:
            assert reader.recv(1) == b"H"
        grown = settled(server) - before
        print(f"{READERS} readers of 16 answers of {BIG:,} bytes: {grown:,} bytes")
        assert grown < READERS * BIG * 2
        readers[0].sendall(b"GET /hello HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        raw = b"H" + read_all(readers[0])
        bodies = []
        for _ in range(18):
            (status, _, body), raw = answer_in(raw, ended=True)
            assert status == 200
            bodies.append(len(body))
        assert bodies == [BIG, 5] + [BIG] * 15 + [5]


def test_a_slow_reader_of_a_file_costs_a_piece_of_it():
    """Who reads nothing of a huge file has some kilobytes of it in memory, not the file."""
    with Server() as server:
        before = settled(server)
        readers = [server.connect(receive_bytes=4_096) for _ in range(READERS)]
        for reader in readers:
            reader.sendall(b"GET /file HTTP/1.1\r\n" + HOST + b"\r\n")
        for reader in readers:
            assert reader.recv(1) == b"H"
        grown = settled(server) - before
        print(f"{READERS} readers of a file of {FILE:,} bytes: {grown:,} bytes")
        assert grown < READERS * BIG


def test_many_idle_connections_hold_beside_active_ones():
    """500 connections that only wait cost little, and are served after 50 others were busy."""
    allow_files()
    with Server() as server:
        before = settled(server)
        idle = [server.connect() for _ in range(500)]
        for client in idle:
            client.sendall(HELLO)
        for client in idle:
            assert b"200 OK" in client.recv(4_096)
        grown = settled(server) - before
        print(f"500 idle connections: {grown / 500:,.0f} bytes each")
        assert grown < 500 * 3_000 + (2 << 20)  # what an allocator takes in one go
        active = [server.connect() for _ in range(50)]
        for _ in range(20):
            for client in active:
                client.sendall(HELLO)
            for client in active:
                assert answer_in(client.recv(4_096), ended=False)[0][0] == 200
        for client in idle:
            client.sendall(HELLO)
            assert answer_in(client.recv(4_096), ended=False)[0][0] == 200
