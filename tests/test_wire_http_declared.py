"""Declared routes on one connection: order, pace, time, and peers that go away."""

from __future__ import annotations

import pytest
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from happy import App, HttpRoutes, event, handles, query, state
from happy.errors import Busy
from happy.event import Prepared
from happy.limits import Limits
from happy.wire.access import Answered
from happy.wire.http import site_for
from http_kit import Answer, Transport

NEXT = b"POST /next HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n"


@event
class Next:
    count: int = 1


@state
class Numbers:
    last: int = 0


class Shop(App):
    state = Numbers
    routes = HttpRoutes()
    http = Klein()

    @routes.post("/next", reply=str)
    @handles(Next)
    def take(state, event, context):
        return event.count

    @routes.get("/last", reply=str)
    @query
    def last(state):
        return 7

    @http.route("/klein", methods=["GET", "POST"])
    def by_klein(self, request):
        return b"klein"

    @http.route("/last", methods=["PUT"])
    def put_last(self, request):
        return b"put"


class Stream:
    """A stream port that answers when the test says so."""

    def __init__(self):
        self.waiting = []
        self.prepared = 0
        self.full = False

    def prepare(self, event, source):
        self.prepared += 1
        return Prepared(event, source, b"")

    def put(self, prepared, waiter):
        if self.full:
            raise Busy("full")
        self.waiting.append((prepared, waiter))

    def look(self, query, arguments, waiter):
        waiter.replied(0, query(None, **arguments))

    def submit(self, event, exchange):
        self.waiting.append((event, exchange))
        self.answer = Deferred()
        return self.answer


class Peer:
    def __init__(self, **limits):
        self.stream, self.clock, self.log = Stream(), Clock(), []
        app = Shop("shop", self.stream)
        self.site = site_for(
            app, limits=Limits(**limits), reactor=self.clock, access_log=self.log.append
        )
        self.transport = Transport()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data):
        self.channel.dataReceived(data)

    def answers(self):
        raw, found = self.transport.value(), []
        while raw:
            head, _, rest = raw.partition(b"\r\n\r\n")
            answer = Answer(head + b"\r\n\r\n")
            size = int(answer.fields["content-length"])
            found.append((answer.status, rest[:size], answer.fields))
            raw = rest[size:]
        return found


@pytest.fixture
def peer():
    """A client of a shop."""
    return Peer()


def test_an_answer_waits_for_its_outcome(peer):
    """Promise 1: nothing is sent before the stream says that the event is durable."""
    peer.send(NEXT)
    assert peer.transport.value() == b""
    (_prepared, waiter) = peer.stream.waiting.pop()
    waiter.replied(5, 1)
    ((status, body, fields),) = peer.answers()
    assert (status, body, fields["happy-seq"]) == (200, b"1", "5")
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["cache-control"] == "no-store"


def test_pipelined_requests_are_answered_in_their_order(peer):
    """A query behind an event waits for it, whichever of the ways they take."""
    klein = LAST.replace(b"/last", b"/klein")
    peer.send(NEXT + LAST + klein + NEXT + LAST)
    assert peer.transport.value() == b""
    peer.stream.waiting.pop()[1].replied(1, 1)
    assert [body for _, body, _ in peer.answers()] == [b"1", b"7", b"klein"]
    peer.stream.waiting.pop()[1].replied(2, 2)
    assert [body for _, body, _ in peer.answers()] == [b"1", b"7", b"klein", b"2", b"7"]


@pytest.mark.parametrize("step", [1, 2, 7, 40])
def test_it_does_not_matter_how_a_request_is_cut(peer, step):
    """Split at any byte, the same requests get the same answers."""
    data = (LAST + NEXT.replace(b"/next", b"/next?count=3") + LAST) * 2
    for start in range(0, len(data), step):
        peer.send(data[start : start + step])
        while peer.stream.waiting:
            prepared, waiter = peer.stream.waiting.pop()
            waiter.replied(1, prepared.event.count)
    assert [body for _, body, _ in peer.answers()] == [b"7", b"3", b"7"] * 2


def test_the_same_request_is_prepared_once(peer):
    """What is spelt the same is read, checked and encoded once."""
    for target in (b"/next", b"/next", b"/next?count=2", b"/next"):
        peer.send(NEXT.replace(b"/next", target))
        peer.stream.waiting.pop()[1].replied(1, 1)
    assert peer.stream.prepared == 2


def test_what_klein_knows_goes_to_klein(peer):
    """Another path, and another method of the same path, are Klein's; 405 names all methods."""
    for method, path in ((b"GET", b"/klein"), (b"PUT", b"/last"), (b"PUT", b"/next")):
        peer.send(LAST.replace(b"GET", method).replace(b"/last", path))
    found = peer.answers()
    assert [status for status, _, _ in found] == [200, 200, 405]
    assert found[2][2]["allow"] == "POST"


def test_no_room_is_503_and_the_connection_goes_on(peer):
    """What the order does not admit is answered at once."""
    peer.stream.full = True
    peer.send(NEXT + LAST)
    (busy, last) = peer.answers()
    assert (busy[0], busy[2]["retry-after"]) == (503, "1")
    assert last[:2] == (200, b"7")


def test_an_outcome_that_takes_too_long_is_503_and_comes_to_nothing():
    """The peer hears once: what the stream says later is not sent."""
    peer = Peer(http_handler_timeout_s=5)
    peer.send(NEXT)
    for _ in range(8):
        peer.clock.advance(1)
    ((status, _body, fields),) = peer.answers()
    assert status == 503
    assert "happy-seq" not in fields
    peer.stream.waiting.pop()[1].replied(1, 1)
    assert len(peer.answers()) == 1


@pytest.mark.parametrize("end", ["replied", "failed"])
def test_a_peer_that_is_gone_is_not_answered(peer, end):
    """The event stays; the outcome has nobody to go to, and nothing breaks."""
    peer.send(NEXT)
    peer.channel.connectionLost(Failure(ConnectionDone()))
    waiter = peer.stream.waiting.pop()[1]
    if end == "replied":
        waiter.replied(1, 1)
    else:
        waiter.failed(1, Busy("full"))
    assert peer.transport.value() == b""


def test_the_access_log_tells_of_declared_routes(peer):
    """One line for each answer, with status, size, seq and how long it took."""
    peer.send(NEXT)
    peer.clock.advance(2)
    peer.stream.waiting.pop()[1].replied(9, 12)
    (access,) = peer.log
    assert (access.requested.method, access.requested.uri) == ("POST", "/next")
    assert (access.answered, access.duration_s) == (Answered(200, 2, (9,)), 2)


@pytest.mark.parametrize(
    ("fields", "version", "said", "closed"),
    [
        (b"Connection: close\r\n", b"1.1", "close", True),
        (b"", b"1.0", "close", True),
        (b"Connection: keep-alive\r\n", b"1.0", "keep-alive", False),
    ],
)
def test_the_connection_ends_as_was_agreed(peer, fields, version, said, closed):
    """Persistence follows the request, and the answer says what it will be."""
    peer.send(b"GET /last HTTP/%b\r\nHost: x\r\n%b\r\n" % (version, fields))
    ((status, _body, answered),) = peer.answers()
    assert (status, answered["connection"]) == (200, said)
    assert peer.transport.half_closed is closed


def test_a_drained_door_ends_its_connections(peer):
    """Who has an answer coming gets it, with the word that it is the last."""
    peer.send(NEXT)
    drained = peer.site.drain()
    peer.stream.waiting.pop()[1].replied(1, 1)
    ((_status, _body, fields),) = peer.answers()
    assert fields["connection"] == "close"
    peer.channel.connectionLost(Failure(ConnectionDone()))
    assert drained.called


def test_a_request_with_a_key_goes_by_the_exchange(peer):
    """Promise 5: key and fingerprint go into the order with the event."""
    peer.send(NEXT.replace(b"Host: x\r\n", b"Host: x\r\nIdempotency-Key: k1\r\n"))
    event, exchange = peer.stream.waiting.pop()
    assert (event, exchange.key, exchange.source) == (Next(), "k1", "http POST /next")
    assert exchange.fingerprint
    exchange.seqs.append(4)
    peer.stream.answer.callback(1)
    ((status, _body, fields),) = peer.answers()
    assert (status, fields["happy-seq"]) == (200, "4")
