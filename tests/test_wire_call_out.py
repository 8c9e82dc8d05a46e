"""Calls out: one request for each debt, one event for what came of it."""

from __future__ import annotations

import gzip

import pytest
from attrs import evolve
from treq.testing import RequestTraversalAgent
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionRefusedError as Unreachable
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from happy.effects import Call, Owed
from happy.errors import Busy
from happy.event import CallEnded
from happy.limits import Limits
from happy.wire.call_out import CallFailed, CallOut, fetch_text

CALL = Call("POST", "http://api.example/pay", b"42", (("X-A", "1"), ("X-A", "2")), tag="t")

GET = evolve(CALL, method="GET", body=b"")


class Response:
    """An answer whose body the test sends."""

    def __init__(self, code):
        self.code = code
        self.length = UNKNOWN_LENGTH
        self.headers = Headers()
        self.transport = StringTransport()

    def deliverBody(self, protocol):
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def ends(self, body=b"", reason=None):
        if body:
            self.protocol.dataReceived(body)
        self.protocol.connectionLost(Failure(reason or ResponseDone()))


@implementer(IAgent)
class World:
    """An agent in memory, and everything else that a runner needs."""

    def __init__(self, agent=None, **limits):
        self.clock = Clock()
        self.requests = []
        self.waiting = []
        self.events = []
        self.busy = 0
        self.cancel_error = CancelledError
        self.runner = CallOut(
            agent=agent or self,
            submit=self.submit,
            key_of="j:{0[0]}:{0[1]}".format,
            limits=Limits(**limits),
            clock=self.clock,
        )

    def request(self, method, uri, headers=None, bodyProducer=None):
        body = StringTransport()
        if bodyProducer is not None:
            run(bodyProducer.startProducing(body))
            assert bodyProducer.length == len(body.value())
        self.requests.append((method, uri, headers, body.value()))
        self.waiting.append(Deferred(lambda d: d.errback(self.cancel_error())))
        return self.waiting[-1]

    def submit(self, event):
        if self.busy:
            self.busy -= 1
            return fail(Busy("full"))
        self.events.append(event)
        return succeed(None)

    def owe(self, seq=7, call=CALL):
        self.runner.perform(Owed((seq, 1), call, 0, 0))

    def answers(self, code):
        response = Response(code)
        self.waiting.pop(0).callback(response)
        return response


def test_a_call_is_made_and_its_answer_is_an_event():
    """The request goes out as it is owed, with the effect's key; the answer has our tag."""
    world = World()
    world.owe()
    ((method, uri, headers, body),) = world.requests
    assert (method, uri, body) == (b"POST", b"http://api.example/pay", b"42")
    assert headers.getRawHeaders("X-A") == ["1", "2"]
    assert headers.getRawHeaders("Idempotency-Key") == ["j:7:1"]
    world.answers(201).ends(b"paid")
    assert world.events == [CallEnded(7, 1, "t", 201, b"paid")]
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize("status", [404, 500, 503])
def test_any_status_is_an_answer(status):
    """A status that is no success ends the call too: what it means is the application's to say."""
    world = World()
    world.owe()
    world.answers(status).ends(b"no")
    assert world.events == [CallEnded(7, 1, "t", status, b"no")]


def test_the_key_is_always_ours():
    """An application cannot give a key of its own: after a crash it must be the same again."""
    world = World()
    world.owe(call=evolve(CALL, headers=(("idempotency-key", "mine"),)))
    assert world.requests[0][2].getRawHeaders("idempotency-key") == ["j:7:1"]


def test_a_connection_that_fails_is_an_end():
    """Nobody there: status 0 and the reason, and no second try."""
    world = World()
    world.owe()
    world.waiting.pop().errback(Unreachable())
    (event,) = world.events
    assert (event.status, event.body, event.tag) == (0, b"", "t")
    assert "refused" in event.error
    assert len(world.requests) == 1


@pytest.mark.parametrize("cancelled", [CancelledError, lambda: ResponseNeverReceived([])])
@pytest.mark.parametrize("answered", [False, True])
def test_a_call_has_its_time(cancelled, answered):
    """Without a whole answer in time the call ends, however the agent puts it."""
    world = World(call_timeout_s=10)
    world.cancel_error = cancelled
    world.owe()
    world.clock.advance(9)
    response = world.answers(200) if answered else None
    assert world.events == []
    world.clock.advance(1)
    assert world.events == [CallEnded(7, 1, "t", 0, b"", "no answer within 10 s")]
    if response is not None:
        assert response.transport.disconnecting
        response.ends(reason=ResponseFailed([]))
    assert len(world.events) == 1


def test_an_answer_is_bounded():
    """An answer over the limit is given up at once, not gathered to its end."""
    world = World(call_body_bytes_max=10)
    world.owe()
    world.owe()
    world.answers(200).ends(b"x" * 10)
    response = world.answers(200)
    response.protocol.dataReceived(b"x" * 6)
    assert not response.transport.disconnecting
    response.protocol.dataReceived(b"x" * 5)
    assert response.transport.disconnecting
    response.ends(reason=ResponseFailed([]))
    whole, cut = world.events
    assert whole.body == b"x" * 10
    assert (cut.status, cut.body) == (0, b"")
    assert "longer than 10 bytes" in cut.error


def test_half_an_answer_is_none():
    """An answer that breaks off is an error, never a short body."""
    world = World()
    world.owe()
    world.answers(200).ends(b"hal", ResponseFailed([]))
    (event,) = world.events
    assert (event.status, event.body) == (0, b"")
    assert "broke off" in event.error


@pytest.mark.parametrize(
    "header", [("X", "a\r\nY: b"), ("X\r\nY", "a"), ("X", "a\0"), ("X", "a\nb")]
)
def test_no_line_break_gets_into_a_header(header):
    """A header with a line break is never sent; the call ends with the reason."""
    world = World()
    world.owe(call=evolve(CALL, headers=(header,)))
    assert world.requests == []
    (event,) = world.events
    assert event.status == 0
    assert "not a header" in event.error


@pytest.mark.parametrize(
    "call",
    [
        evolve(CALL, url="ftp://x.example/"),
        evolve(CALL, url="http://\u00fc\ud800/"),
        evolve(CALL, url=""),
        evolve(CALL, method="GET /\r\n"),
    ],
)
def test_what_is_no_request_ends_with_a_reason(call):
    """A URL or method that cannot be sent is an end like any other, with Twisted's own agent."""
    world = World(Agent(reactor))
    world.owe(call=call)
    (event,) = world.events
    assert event.status == 0
    assert event.error


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://x.example/ a\r\nB: c", b"http://x.example/%20a%0D%0AB:%20c"),
        ("http://b\u00fccher.example/\u00fc?\u00fc", b"http://xn--bcher-kva.example/%C3%BC?%C3%BC"),
    ],
)
def test_what_cannot_stand_in_a_request_line_is_escaped(url, sent):
    """A URL may have any letters; none of them ends the request line."""
    world = World()
    world.owe(call=evolve(CALL, url=url))
    assert world.requests[0][1] == sent


def test_the_rest_waits_its_turn():
    """So many calls at once and no more, in the order they fell due."""
    world = World(outbox_deliveries_max=2)
    for seq in range(5):
        world.owe(seq)
    for _ in range(5):
        assert len(world.waiting) <= 2
        world.answers(200).ends()
    assert [event.event_seq for event in world.events] == list(range(5))


def test_an_end_is_handed_in_until_it_is_taken():
    """A stream that is busy hears the end again later; the call is not made again."""
    world = World()
    world.busy = 3
    world.owe()
    world.answers(200).ends(b"ok")
    world.clock.pump([1] * 10)
    assert world.events == [CallEnded(7, 1, "t", 200, b"ok")]
    assert len(world.requests) == 1


def test_stop_waits_and_then_cuts():
    """A stop lets calls end; one that does not is cut, stays owed, and makes no event."""
    world = World(drain_timeout_s=10, outbox_deliveries_max=2)
    for seq in range(3):
        world.owe(seq)
    stopped = world.runner.stop()
    world.answers(200).ends()
    assert not stopped.called
    world.clock.advance(10)
    assert stopped.called
    assert [event.event_seq for event in world.events] == [0]
    assert len(world.requests) == 2
    world.owe(9)
    assert len(world.requests) == 2
    assert world.clock.getDelayedCalls() == []


# --- what is left alone --------------------------------------------------------------------------


class Server(Resource):
    """A server in memory that answers each request the same, and keeps the headers it saw."""

    isLeaf = True

    def __init__(self, status, body, **headers):
        super().__init__()
        self.seen = []
        self.answer = status, body, headers

    def render_GET(self, request):
        self.seen.append(request.requestHeaders.copy())
        status, body, headers = self.answer
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        return body


def world_with(server):
    """Return a world whose calls go to a server, and one call that was made."""
    world = World(RequestTraversalAgent(server), call_body_bytes_max=1_000)
    world.owe(call=GET)
    return world


def test_a_redirect_is_an_answer():
    """Nothing is asked of another place than the one that was owed."""
    server = Server(302, b"there", location="http://other.example/")
    world = world_with(server)
    assert world.events == [CallEnded(7, 1, "t", 302, b"there")]
    assert len(server.seen) == 1


def test_no_cookie_is_carried_over():
    """What one answer sets, no other call sends: calls know nothing of each other."""
    server = Server(200, b"", set_cookie="a=b; Path=/")
    world = world_with(server)
    world.owe(8, GET)
    assert len(world.events) == 2
    assert [headers.hasHeader("cookie") for headers in server.seen] == [False, False]


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "br", "GZIP"])
def test_a_content_coding_is_not_undone(coding):
    """A body is handed on as it came, so that a short one cannot fill the memory."""
    packed = gzip.compress(bytes(50_000))
    server = Server(200, packed, content_encoding=coding)
    world = world_with(server)
    assert world.events == [CallEnded(7, 1, "t", 200, packed)]
    assert server.seen[0].getRawHeaders("accept-encoding") == ["identity"]


# --- over real sockets -------------------------------------------------------------------------


class Api(Resource):
    """A small server on a real socket, for one test."""

    isLeaf = True

    def render_POST(self, request):
        key = request.getHeader(b"idempotency-key")
        if request.path == b"/endless":
            request.write(b"x" * 2_000_000)
            return NOT_DONE_YET
        if request.path == b"/silent":
            return NOT_DONE_YET
        return key + b" " + request.content.read()


@implementer(IAgentEndpointFactory)
class Direct:
    """Connects to an address as it is, without the thread that looks up names."""

    def endpointForURI(self, uri):
        return TCP4ClientEndpoint(reactor, uri.host.decode(), uri.port)


def test_calls_over_loopback():
    """With Twisted's agent over real sockets: an answer, one too long, and one too late."""
    port = run(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(Api())))
    events, all_in = [], Deferred()

    def submit(event):
        events.append(event)
        if len(events) == 3:
            all_in.callback(None)
        return succeed(None)

    out = CallOut(
        agent=Agent.usingEndpointFactory(reactor, Direct()),
        submit=submit,
        key_of=str,
        limits=Limits(call_timeout_s=1),
        clock=reactor,
    )
    for seq, path in enumerate(["fine", "endless", "silent"]):
        url = f"http://127.0.0.1:{port.getHost().port}/{path}"
        out.perform(Owed((seq, 0), evolve(CALL, url=url), 0, 0))
    run(all_in)
    run(out.stop())
    run(port.stopListening())
    fine, endless, silent = sorted(events, key=lambda event: event.event_seq)
    assert (fine.status, fine.body) == (200, b"(0, 0) 42")
    assert (endless.status, silent.status) == (0, 0)
    assert "longer than 1048576 bytes" in endless.error
    assert silent.error == "no answer within 1 s"


def run(awaited, timeout_s=60):
    """Turn the reactor until a Deferred fires; return what it fires with."""
    ends = []
    awaited.addBoth(ends.append)
    deadline = reactor.seconds() + timeout_s
    while not ends:
        assert reactor.seconds() < deadline, "it takes too long"
        reactor.iterate(0.01)
    if isinstance(ends[0], Failure):
        ends[0].raiseException()
    return ends[0]


def fetching(world, bytes_max=10, url="https://x.example/policy"):
    ends = []
    fetch = fetch_text(world, world.clock, 30, bytes_max, url)
    Deferred.fromCoroutine(fetch).addBoth(ends.append)
    return ends


def test_a_page_is_fetched_in_bounds():
    """Its bytes when it is there; else an error: another status, too much, too late."""
    world = World()
    ends = fetching(world)
    world.answers(200).ends(b"0123456789")
    assert ends == [b"0123456789"]
    for status, body in [(404, b"no"), (301, b""), (200, b"0123456789x")]:
        ends = fetching(world)
        response = world.answers(status)
        if not ends:
            response.ends(body)
        assert ends[0].check(CallFailed)
    ends = fetching(world)
    world.clock.advance(30)
    assert ends[0].check(CallFailed)
    assert world.clock.getDelayedCalls() == []
