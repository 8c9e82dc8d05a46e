"""The HTTP door of one application: its connections, their clock, and what they share."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.web.server import Site

from happy.limits import Limits
from happy.wire.access import Access, AccessLog, Answered, Requested
from happy.wire.http_answer import answer_head, reason_of, server_fields
from happy.wire.http_channel import HttpChannel
from happy.wire.http_declared import DeclaredDoor, DeclaredRequest
from happy.wire.http_head import HeadReader, Rejected, RequestHead
from happy.wire.http_phase import patience_of
from happy.wire.http_problem import CONTENT_TYPE, problem_of
from happy.wire.http_request import HappyRequest

SWEEP_S = 1.0


class HappySite(Site):
    """A ``twisted.web.server.Site`` whose connections are happy's own, bounded and timed.

    Once a second, while there are connections, a sweep ends those whose time is up: no
    connection has a timer of its own. Deadlines are counted in sweeps.
    """

    noisy = False

    def __init__(  # noqa: PLR0913 - what all its connections share
        self,
        resource: Any,
        *,
        limits: Limits,
        reactor: IReactorTime,
        access_log: AccessLog | None = None,
        name: str = "",
        declared: DeclaredDoor | None = None,
    ) -> None:
        super().__init__(resource, reactor=reactor)
        self.limits = limits
        self.name = name
        self.access_log = access_log
        self.heads = HeadReader(limits)
        self._declared = declared
        self.channels: set[HttpChannel] = set()
        self.sweeps = 0
        self.draining = False
        self._patience = patience_of(limits)
        self.deadlines = self._patience
        """The sweep at which each phase is over that begins now."""
        self.common_fields = b""
        self._sweeping = False
        self._drained: Deferred[None] | None = None
        self._unflushed: list[HappyRequest] = []

    # --- connections -------------------------------------------------------------------------

    def buildProtocol(self, addr: Any) -> Any:  # noqa: ARG002 - Twisted's
        """Return the protocol of a new connection; one that says 503 when there are too many."""
        if not self._sweeping:
            self._sweeping = True
            self.common_fields = server_fields(time.time())
            self.reactor.callLater(SWEEP_S, self._sweep)
        if len(self.channels) >= self.limits.http_connections_max or self.draining:
            return _Turned(self)
        return HttpChannel(self)

    @property
    def connections_count(self) -> int:
        """How many connections there are."""
        return len(self.channels)

    def acceptableProtocols(self) -> list[bytes]:
        """Return what is spoken under TLS; HTTP/2 is the business of a proxy in front."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Do nothing: there is no log file to open."""

    def stopFactory(self) -> None:
        """Do nothing: there is no log file to close."""

    def _sweep(self) -> None:
        self._sweeping = bool(self.channels)
        if self._sweeping:  # first of all, so that no error below ends the sweeps
            self.common_fields = server_fields(time.time())
            self.reactor.callLater(SWEEP_S, self._sweep)
        self.sweeps = now = self.sweeps + 1
        self.deadlines = tuple(now + patience for patience in self._patience)
        for channel in [c for c in self.channels if c.deadline <= now]:
            channel.expire()

    def lost(self) -> None:
        """Take note that a connection ended."""
        if self._drained is not None and not self.channels:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Close what is idle, let running answers end; fires when no connection is left."""
        self.draining = True
        drained: Deferred[None] = Deferred()
        if self._drained is not None:
            self._drained.chainDeferred(drained)
            return drained
        self._drained = drained
        for channel in list(self.channels):
            channel.drain()
        self.lost()
        return drained

    def cut(self) -> None:
        """Close every connection at once."""
        for channel in list(self.channels):
            channel.abortConnection()

    # --- requests ----------------------------------------------------------------------------

    def request_for(
        self, channel: HttpChannel, head: RequestHead, content: BytesIO | None
    ) -> HappyRequest | DeclaredRequest:
        """Return the request of a head and a body that are whole, for who answers it."""
        asked = head.asked
        if asked is None:
            declared = self._declared
            asked = head.asked = (declared is not None and declared.asked(head)) or False
        request: HappyRequest | DeclaredRequest
        if asked:
            request = DeclaredRequest(asked, channel, head, content)
        else:
            request = HappyRequest(channel, head, content)
        if self.access_log is not None:
            request.started_s = self.reactor.seconds()
        return request

    def flush_soon(self, request: HappyRequest) -> None:
        """Flush a request in the next turn of the reactor, in one call for all of them."""
        self._unflushed.append(request)
        if len(self._unflushed) == 1:
            self.reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for request in unflushed:
            request.flush()

    def refusal(self, transport: Any, refused: Rejected) -> bytes:
        """Return the answer to a request that was refused before it became one; report it."""
        problem = problem_of(refused)
        body = problem.body()
        if self.access_log is not None:
            answered = Answered(problem.status, len(body))
            self.access_log(Access(self.name, peer_of(transport), Requested(), answered, 0.0))
        return (
            answer_head(
                problem.status,
                reason_of(problem.status),
                self.common_fields,
                [(name, (value,)) for name, value in problem.fields],
                framing=b"Content-Length: %d\r\nConnection: close\r\n" % len(body),
                default_type=CONTENT_TYPE,
            )
            + body
        )

    def report(
        self, channel: HttpChannel, head: RequestHead, answered: Answered, started_s: float
    ) -> None:
        """Report an answer to the access log."""
        if self.access_log is None:
            return
        requested = head.requested
        if requested is None:
            requested = head.requested = _requested(head)
        peer = channel.peer
        if not peer:
            peer = channel.peer = peer_of(channel.transport)
        took_s = self.reactor.seconds() - started_s
        self.access_log(Access(self.name, peer, requested, answered, took_s))


class _Turned(Protocol):
    """A connection there is no room for."""

    def __init__(self, site: HappySite) -> None:
        self._site = site

    def connectionMade(self) -> None:
        assert self.transport is not None
        busy = Rejected(503, "there are too many connections; try again later")
        self.transport.write(self._site.refusal(self.transport, busy))
        self.transport.loseConnection()


def peer_of(transport: Any) -> str:
    """Return the peer as the log names it: its address, ``-`` where it has none."""
    return getattr(transport.getPeer(), "host", None) or "-"


def _requested(head: RequestHead) -> Requested:
    return Requested(
        head.method.decode("ascii"),
        head.target.decode("ascii"),
        "HTTP/1.1" if head.http11 else "HTTP/1.0",
        _text(head.referer),
        _text(head.user_agent),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")
