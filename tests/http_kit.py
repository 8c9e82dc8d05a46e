"""Clients of the HTTP door on an in-memory transport."""

import json

import h11
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from happy.limits import Limits
from happy.wire.http import site_for
from happy.wire.http_site import HappySite

HOST = b"Host: numbers.example\r\n"


@implementer(IHalfCloseableDescriptor)
class Transport(StringTransport):
    """An in-memory transport that can shut one side, and remembers what was asked of it."""

    half_closed = False
    aborted = False
    writes = 0

    def write(self, data):
        if not self.half_closed:
            self.writes += 1
            super().write(data)

    def loseWriteConnection(self):
        self.half_closed = True

    def abortConnection(self):
        self.aborted = True


class Echo(Resource):
    """Answers with the method, the path and the body."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.seen = []
        self.held = []

    def render(self, request):
        body = request.content.read()
        self.seen.append((request.method, request.uri, body))
        if request.path == b"/hold":
            self.held.append(request)
            return NOT_DONE_YET
        return b"%b %b %b" % (request.method, request.path, body)


def answer_in(raw, method=b"GET", *, ended):
    """The first answer in ``raw`` as (status, headers, body), and what follows it.

    It is read by another implementation; ``ended`` says that no more bytes come.
    """
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    if ended:
        reader.receive_data(b"")
    status, headers, body = None, {}, b""
    while not isinstance(event := reader.next_event(), h11.EndOfMessage):
        assert event not in (h11.NEED_DATA, h11.PAUSED), f"an answer is not whole: {raw!r}"
        if isinstance(event, h11.Response):
            status = event.status_code
            headers = {k.decode(): v.decode() for k, v in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    return (status, headers, body), reader.trailing_data[0]


class Peer:
    """A client on an in-memory transport, reading answers with h11."""

    def __init__(self, resource=None, **limits):
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.echo = Echo()
        self.site = HappySite(
            self.echo if resource is None else resource,
            limits=Limits(**limits),
            reactor=self.clock,
            name="test",
        )
        self.connect()

    def connect(self):
        self.transport = Transport()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data):
        self.channel.dataReceived(data)
        return self

    def get(self, path=b"/", method=b"GET", fields=b"", body=b""):
        return self.send(method + b" " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n" + body)

    def raw(self):
        return self.transport.value()

    def lose(self):
        self.channel.connectionLost(Failure(ConnectionDone()))

    def advance(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1)

    @property
    def closed(self):
        return self.transport.disconnecting or self.transport.half_closed or self.transport.aborted

    def answers(self, methods=(b"GET",)):
        """All answers so far as (status, headers, body), read by another implementation."""
        found, raw = [], self.raw()
        for method in methods:
            answer, raw = answer_in(raw, method, ended=self.closed)
            found.append(answer)
        assert raw == b"", f"bytes after the last answer: {raw!r}"
        return found

    def answer(self, method=b"GET"):
        return self.answers((method,))[0]


class Stream:
    """A stream port that answers 100, 101 ... and remembers the exchanges."""

    def __init__(self):
        self.seq = 99
        self.submitted = []

    def submit(self, event, exchange):
        self.seq += 1
        key = exchange.claim_key()
        self.submitted.append((event, exchange.source, key, exchange.fingerprint))
        exchange.seqs.append(self.seq)
        return succeed(self.seq)


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.lines = [line.split(": ", 1) for line in lines]
        self.fields = {name.lower(): value for name, value in self.lines}

    @property
    def json(self):
        return json.loads(self.body)


class AppPeer:
    def __init__(self, app_class, **limits):
        self.stream = Stream()
        self.app = app_class("shop", self.stream)
        self.app.gate = Deferred()
        self.clock = Clock()
        self.site = site_for(self.app, limits=Limits(**limits), reactor=self.clock)
        self.transport = StringTransport()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, path, method="GET", fields="", body=b""):
        if body:
            fields += f"Content-Length: {len(body)}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"
        self.transport.clear()
        self.channel.dataReceived(head.encode() + body)
        return self

    def ask(self, *args, **kwargs):
        return self.send(*args, **kwargs).answer()

    def answer(self):
        raw = self.transport.value()
        assert raw, "there is no answer"
        return Answer(raw)
