"""Two readers of the same bytes: happy's HTTP door, and h11 in the role of a server.

What both heard is told in the same words, so that it can be compared: which requests reached
the application, and what became of the connection.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache

import h11
from attrs import evolve, frozen
from klein import Klein
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from happy import App, HttpRoutes, event, handles, query, state
from happy.event import Prepared
from happy.limits import Limits
from happy.wire.http import site_for
from http_kit import Transport, answer_in

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PATHS = (b"/declared", b"/klein", b"/resource")
_EMPTY_LINES = re.compile(rb"\A(\r\n)+")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "PURGE", "SOURCE", "M-X")


class End(enum.Enum):
    """What became of a connection."""

    OPEN = "open"
    CLOSED = "closed after an answer, as was asked"
    REFUSED = "refused: an error answer, and closed"


@frozen
class Heard:
    """The requests (method, target, body) that were heard whole, and the end."""

    requests: tuple[tuple[bytes, bytes, bytes], ...]
    end: End


# --- h11 --------------------------------------------------------------------------------------


def heard_by_h11(wire: bytes, *, lenient: bool = False) -> Heard:
    """Return what h11 hears; what is about the server alone is left out.

    ``lenient`` takes, as happy does, empty lines before a request, and keep-alive in HTTP/1.0.
    """
    heard: list[tuple[bytes, bytes, bytes]] = []
    try:
        while True:
            reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
            if lenient:
                wire = _EMPTY_LINES.sub(b"", wire)
                if wire == b"\r":  # half of one, perhaps
                    return Heard(tuple(heard), End.OPEN)
            if wire:  # nothing would be the end
                reader.receive_data(wire)
            request = _request_to(reader)
            if request is None:
                return Heard(tuple(heard), End.OPEN)
            heard.append((request[0].method, request[0].target, request[1]))
            if reader.our_state is h11.MUST_CLOSE and not (lenient and _stays(request[0])):
                return Heard(tuple(heard), End.CLOSED)
            wire = reader.trailing_data[0]
    except h11.RemoteProtocolError:
        return Heard(tuple(heard), End.REFUSED)


def _request_to(reader: h11.Connection) -> tuple[h11.Request, bytes] | None:
    """Return the next request and its body, answered; None when it is not whole."""
    request = reader.next_event()
    if request is h11.NEED_DATA:
        return None
    body = b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            return None
        body += event.data
    status = 405 if request.method == b"CONNECT" else 200
    reader.send(h11.Response(status_code=status, headers=[("Content-Length", "0")]))
    reader.send(h11.EndOfMessage())
    return request, body


def _stays(request: h11.Request) -> bool:
    options = b",".join(value for name, value in request.headers if name == b"connection")
    words = {word.strip(b" \t") for word in options.lower().split(b",")}
    return request.http_version < b"1.1" and b"keep-alive" in words and b"close" not in words


def h11_waits_for_continue(wire: bytes) -> bool:
    """Say whether h11 takes it that the peer wants to hear 100 before it sends its body."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(wire)
    if reader.next_event() is h11.NEED_DATA:
        return False
    return reader.next_event() is h11.NEED_DATA and reader.they_are_waiting_for_100_continue


# --- happy ------------------------------------------------------------------------------------


@event
class Sent:
    """A body that came by a declared route; ``n`` is of the query."""

    body: bytes
    n: int = 0


@state
class Nothing:
    """No state."""


class Wire(App):
    """Has the same request answered in each of the three ways."""

    state = Nothing
    routes = HttpRoutes()
    http = Klein()

    @routes.post("/declared", body="body", reply=lambda size: b"%d" % size)
    @handles(Sent)
    def sent(state, event, context):
        return len(event.body)

    @routes.get("/declared", reply=lambda n: b"%d" % n)
    @query
    def looked(state, n: int = 0):
        return n

    @http.route("/declared", methods=[m for m in METHODS if m not in ("GET", "POST")])
    @http.route("/klein", methods=METHODS)
    def klein(self, request):
        self._stream.saw(request)
        return b"klein"

    @http.route("/resource", methods=METHODS)
    def resource(self, request):
        return Telling(self._stream)


class Telling(Resource):
    """Answers everything."""

    isLeaf = True

    def __init__(self, stream):
        super().__init__()
        self.stream = stream

    def render(self, request):
        self.stream.saw(request)
        return b"resource"


class Stream:
    """The port of a stream that answers at once, and remembers what the application was given."""

    def __init__(self):
        self.seen = []

    def saw(self, request):
        self.seen.append((request.method, request.uri, request.content.read()))

    def prepare(self, event, source):
        return Prepared(event, source, b"")

    def put(self, prepared, waiter):
        event = prepared.event
        self.seen.append((b"POST", b"/declared?n=%d" % event.n, event.body))
        waiter.replied(1, len(event.body))

    def look(self, query, arguments, waiter):
        value = query(None, **arguments)
        self.seen.append((b"GET", b"/declared?n=%d" % value, b""))
        waiter.replied(0, value)


class Door:
    """Happy's HTTP door, one connection after the other.

    With ``any_target`` one resource answers whatever comes; otherwise an application does,
    which knows ``PATHS`` and a query ``n=`` that is to be there.
    """

    def __init__(self, *, any_target: bool = False, **limits) -> None:
        self.stream = Stream()
        self.clock = Clock()
        app = Wire("wire", self.stream)
        self.site = site_for(app, limits=Limits(**limits), reactor=self.clock)
        if any_target:
            self.site = type(self.site)(
                Telling(self.stream), limits=Limits(**limits), reactor=self.clock
            )
        self.raw = b""
        self.detail = b""

    def connect(self):
        """Return a new connection, and how to feed it."""
        self.stream.seen = []
        transport = Transport()
        channel = self.site.buildProtocol(None)
        self.site.common_fields = b"Server: happy\r\n"  # the same at any time of day
        channel.makeConnection(transport)
        return transport, channel

    def hear(self, pieces) -> Heard:
        """Return what is heard of the pieces, each of which comes in a packet of its own."""
        transport, channel = self.connect()
        for piece in pieces:
            channel.dataReceived(piece)
        requests = tuple(self.stream.seen)
        shut = transport.half_closed or transport.disconnecting
        assert not transport.aborted
        channel.connectionLost(None)
        self.raw = transport.value().replace(CONTINUE, b"")
        end, self.detail = end_told(self.raw, tuple(method for method, _, _ in requests), shut)
        return Heard(requests, end)


@lru_cache(maxsize=64)
def end_told(raw: bytes, methods: tuple[bytes, ...], shut: bool) -> tuple[End, bytes]:
    """Read all answers, of which each request has a good one; return the end, and why it is.

    No more may be there than those answers, and one refusal.
    """
    said_close = False
    for method in methods:
        assert not said_close
        (status, fields, _), raw = answer_in(raw, method, ended=shut)
        assert status == 200
        said_close = "close" in fields.get("connection", "")
    if not raw:
        assert said_close is shut
        return (End.CLOSED if shut else End.OPEN), b""
    (status, fields, detail), rest = answer_in(raw, ended=shut)
    assert 400 <= status < 500 or status in (501, 505)
    assert (fields["connection"], shut, rest) == ("close", True, b"")
    return End.REFUSED, detail


def continues_at(door: Door, wire: bytes) -> bool:
    """Say whether a client that sent no more than this hears 100."""
    transport, channel = door.connect()
    channel.dataReceived(wire)
    return CONTINUE in transport.value()


def cut(wire: bytes, sizes: list[int]) -> list[bytes]:
    """Cut into packets whose sizes repeat."""
    pieces, position, turn = [], 0, 0
    while position < len(wire):
        size = sizes[turn % len(sizes)]
        pieces.append(wire[position : position + size])
        position, turn = position + size, turn + 1
    return pieces


def without_authority(heard: Heard) -> Heard:
    """Return it with every target in origin form, which is what happy's applications get."""
    return evolve(
        heard,
        requests=tuple((method, _origin(target), body) for method, target, body in heard.requests),
    )


def _origin(target: bytes) -> bytes:
    if not target.lower().startswith((b"http://", b"https://")):
        return target
    rest = target.partition(b"//")[2]
    authority = rest.partition(b"/")[0].partition(b"?")[0]
    rest = rest[len(authority) :]
    return rest if rest.startswith(b"/") else b"/" + rest
