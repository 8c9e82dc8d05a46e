"""One HTTP/1.x connection: bytes to requests, one after the other, and their answers back.

The requests of a connection are answered in their order. Some are read ahead while one is in
hand; beyond that the transport is paused. A peer that does not read its answers is not read
either. Every state but a running answer has a deadline, looked at by the site's sweep.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.wire.http_answer import CONTINUE
from happy.wire.http_body import Body, body_of
from happy.wire.http_declared import DeclaredRequest
from happy.wire.http_head import HEAD_END, Rejected, RequestHead, after_empty_lines, check_partial
from happy.wire.http_phase import NEVER, Phase, Timed
from happy.wire.http_request import HappyRequest
from happy.wire.sending import hang_up, send, shut

if TYPE_CHECKING:
    from happy.wire.http_site import HappySite

Ready = tuple[RequestHead, BytesIO | None]


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class HttpChannel(Timed):
    """The protocol of one connection; also what ``Request.channel`` is to twisted.web.

    ``persistent`` says whether the connection goes on after the answer in hand.
    """

    __slots__ = (
        "_advancing", "_body", "_current", "_discarded", "_ended", "_expected", "_head", "_held",
        "_paused", "_producer", "_pulled", "_refusal", "_stalled", "_waiting", "persistent",
    )  # fmt: skip

    def __init__(self, site: HappySite) -> None:
        super().__init__(site)
        self.persistent = True
        self._held = b""  # read, and not yet understood
        self._head: RequestHead | None = None  # whose body is being read
        self._body: Body | None = None
        self._waiting: list[Ready] | None = None  # requests read ahead
        self._current: HappyRequest | DeclaredRequest | None = None
        self._refusal: Rejected | None = None  # owed after the answers before it
        self._producer: Any = None
        self._pulled = False
        self._discarded = 0
        self._advancing = False
        self._paused = False
        self._stalled = False
        self._expected = False  # the peer may wait to hear that its body is welcome
        self._ended = False  # the peer said that it sends no more

    def logPrefix(self) -> str:
        """Return how Twisted names the connection; one short text for all of them."""
        return "http"

    # --- the transport's side ----------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """Take the transport: the peer is connected."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        self.site.channels.add(self)
        self.transport.registerProducer(self, True)
        self._enter(Phase.IDLE)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the peer."""
        if self._phase == Phase.CLOSING or self._refusal is not None:
            self._discard(len(data))
            return
        if self._phase == Phase.IDLE:
            head = self.site.heads.known(data)
            if head is not None:
                self._begin(head, None)
                return
            whole = self.site.heads.whole(data)
            if whole is not None:
                self._begin(*whole)
                return
        self._held = self._held + data if self._held else data
        self._advance()

    def readConnectionLost(self) -> None:
        """Answer what is whole and close: the peer sends no more, and may still read."""
        self._ended = self._paused = True
        self._held = b""
        self._head = self._body = None
        if self._phase == Phase.CLOSING:
            self.transport.loseConnection()
        elif self._current is None:
            self._settle()
        elif self._phase == Phase.STREAMING:
            self.streams()

    def writeConnectionLost(self) -> None:
        """Do nothing: the sending side was shut by us."""

    def connectionLost(self, reason: Failure) -> None:
        """End: the peer is gone, or was sent away."""
        self.site.channels.discard(self)
        self._enter(Phase.CLOSING)
        self._held = b""
        self._waiting = self._head = self._body = None
        request, self._current = self._current, None
        if request is not None:
            request.connectionLost(reason)
        self.site.lost()

    def pauseProducing(self) -> None:
        """Make no more answers and read no more requests: the peer reads too slowly."""
        self._stalled = True
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._phase in (Phase.STREAMING, Phase.IDLE):
            self._enter(Phase.STALLED)
        self._watch()
        self._pause(True)

    def resumeProducing(self) -> None:
        """Go on: the peer took what was written."""
        self._stalled = False
        if self._phase == Phase.STALLED:
            self._enter(Phase.IDLE)
            if self._current is not None:
                self.streams()
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._phase != Phase.CLOSING:
            self._advance()

    def stopProducing(self) -> None:
        """Let go: the transport is gone, and ``connectionLost`` follows."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    # --- the request's side ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes of the answer in hand."""
        if self._pulled or self._ended:
            self._enter(Phase.STALLED)  # the peer took what was sent before: a new patience
            self.transport.write(data)  # which asks the producer for more when this is sent
            self._watch()
        else:
            send(self.transport, data)

    def writeSequence(self, data: list[bytes]) -> None:
        """Send bytes of the answer in hand."""
        self.write(b"".join(data))

    def getPeer(self) -> Any:
        """Return the address of the peer."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Return the address the peer connected to."""
        return self.transport.getHost()

    def isSecure(self) -> bool:
        """Say whether the connection itself is under TLS."""
        return bool(ISSLTransport.providedBy(self.transport))

    def loseConnection(self) -> None:
        """Close once everything written is sent."""
        self._close()

    def abortConnection(self) -> None:
        """Close at once; the peer sees that the answer is not whole."""
        self.transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer of the answer in hand follow the peer's pace."""
        if streaming:
            self._producer = producer
            if self._stalled:
                producer.pauseProducing()
            return
        # A pull producer is asked by the transport itself, each time it has sent everything.
        self.transport.unregisterProducer()
        self._stalled = False
        self._pulled = True
        self.transport.registerProducer(producer, False)

    def unregisterProducer(self) -> None:
        """Let go of the producer."""
        if not self._pulled:
            self._producer = None
            return
        self._pulled = False
        self.transport.unregisterProducer()
        if self._phase != Phase.CLOSING:
            self.transport.registerProducer(self, True)

    def streams(self) -> None:
        """Let the answer in hand, which has begun and is not whole, take its time."""
        if self._phase != Phase.CLOSING:
            # A peer that sends no more may be gone: only what is written to it can tell.
            watched = self._stalled or self._pulled or self._ended
            self._enter(Phase.STALLED if watched else Phase.STREAMING)

    def request_done(self, rest: bytes = b"") -> None:
        """Send the rest of the answer in hand, and go on: it is written."""
        if rest:
            send(self.transport, rest)
        self._current = None
        if self._phase == Phase.CLOSING:
            return
        if not self.persistent or self.site.draining:
            self._close()
            return
        self._enter(Phase.IDLE)
        if not self._advancing and (
            self._held
            or self._paused
            or self._stalled
            or self._waiting is not None
            or self._body is not None
            or self._refusal is not None
        ):
            self._advance()

    # --- going on ----------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._advancing:
            return  # a request that ends while it begins: the loop below goes on
        self._advancing = True
        try:
            while self._phase != Phase.CLOSING and self._step():
                pass
        except Rejected as refusal:
            self._refusal = refusal
            self._held, self._head, self._body = b"", None, None
        finally:
            self._advancing = False
        if self._phase != Phase.CLOSING:
            self._settle()

    def _step(self) -> bool:
        """Do one thing that can be done now; say whether there may be another."""
        if self._current is None and not self._stalled and self._waiting:
            head, content = self._waiting.pop(0)
            self._waiting = self._waiting or None
            self._begin(head, content)
            return True
        if not self._held or self._refusal is not None or not self._may_read():
            return False
        return self._read_head() if self._body is None else self._read_body()

    def _may_read(self) -> bool:
        waiting = self._waiting
        if waiting is None:
            return True
        # Nothing is read ahead of a body: one connection holds few bodies, not many.
        return len(waiting) < self.site.limits.http_pipeline_max and not waiting[-1][0].body_bytes

    def _read_head(self) -> bool:
        held = self._held
        if held.startswith(b"\r"):
            held = self._held = after_empty_lines(held)
        end = held.find(HEAD_END)
        if end < 0:
            check_partial(held, self.site.limits)
            return False
        end += len(HEAD_END)
        head = self.site.heads.read(held[:end])
        body = body_of(head.body_bytes, self.site.limits) if head.body_bytes else None
        self._held = held[end:]
        if body is None:
            self._take(head, None)
            return True
        self._head, self._body = head, body
        self._expected = head.expects_continue
        if self._current is None and not self._waiting:
            self._enter(Phase.BODY)
        return True

    def _read_body(self) -> bool:
        assert self._body is not None
        assert self._head is not None
        rest = self._body.feed(self._held)
        self._held = rest or b""
        if rest is None:
            return False
        head, content = self._head, self._body.content
        self._head = self._body = None
        content.seek(0)
        self._take(head, content)
        return True

    def _take(self, head: RequestHead, content: BytesIO | None) -> None:
        if self._current is None and self._waiting is None and not self._stalled:
            self._begin(head, content)
        elif self._waiting is None:
            self._waiting = [(head, content)]
        else:
            self._waiting.append((head, content))

    def _begin(self, head: RequestHead, content: BytesIO | None) -> None:
        self.persistent = head.persistent
        request = self._current = self.site.request_for(self, head, content)
        self._enter(Phase.HANDLING)
        request.process()

    def _settle(self) -> None:
        """Find what the connection waits for now."""
        if self._current is None:
            if self._stalled:
                self._enter_once(Phase.STALLED)
            elif self._refusal is not None:
                self._refuse(self._refusal)
                return
            elif self._ended:
                self._close()
                return
            elif self._body is not None:
                self._ask_for(self._body)
                self._enter_once(Phase.BODY)
            elif self._held:
                self._enter_once(Phase.HEAD)
        self._pause(self._stalled or not self._may_read())

    def _ask_for(self, body: Body) -> None:
        """Tell a peer that waits for it that its body is welcome (RFC 9110 section 10.1.1)."""
        expected, self._expected = self._expected, False
        if expected and not body.content.tell():
            self.transport.write(CONTINUE)

    def _pause(self, wanted: bool) -> None:
        if wanted is not self._paused and not self._ended:
            self._paused = wanted
            if wanted:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def expire(self) -> None:
        """Do what the phase says now that the deadline has come."""
        if self._phase == Phase.HANDLING and self._current is not None:
            self._current.give_up(self.site.limits.http_handler_timeout_s)
        elif self._phase == Phase.HEAD:
            self._refuse(Rejected(408, "the header did not come in time"))
        elif self._phase == Phase.BODY:
            self._refuse(Rejected(408, "the body did not come in time"))
        elif self._phase == Phase.IDLE:
            self._close()
        elif self._takes():
            return
        elif self._phase == Phase.CLOSING and not self._unsent_bytes:
            hang_up(self.transport)
        else:
            self.transport.abortConnection()

    # --- the end -----------------------------------------------------------------------------

    def drain(self) -> None:
        """Close when the answer in hand is written; at once when there is none."""
        if self._phase == Phase.CLOSING:
            self.transport.loseConnection()  # it is not lingered for any longer
        elif self._current is None:
            self._close()

    def _refuse(self, refusal: Rejected) -> None:
        """Answer a request that cannot be served, and close so that the answer arrives."""
        send(self.transport, self.site.refusal(self.transport, refusal))
        self._close()

    def _close(self) -> None:
        self._enter(Phase.CLOSING)
        self._held = b""
        self._waiting = self._head = self._body = None
        self._unsent_bytes = NEVER  # not looked at yet: what it is then has its own time
        self.transport.unregisterProducer()
        self._pause(False)
        shut(self.transport, at_once=self._ended or self.site.draining)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self.site.limits.http_linger_bytes_max:
            self._pause(True)
