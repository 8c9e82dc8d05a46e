"""A request as Klein and twisted.web know it, made from a head and a body that are whole.

``HappyRequest`` is a ``twisted.web.server.Request`` to everybody who gets one; what is read
rarely (headers as a table, arguments, cookies) is made when it is asked for, and what is
written is held until it is clear whether the body is known whole: then it goes out in one
write with its ``Content-Length``.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.http import datetimeToString, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from happy.event import Exchange
from happy.wire.access import Answered
from happy.wire.http_answer import NO_BODY, answer_head
from happy.wire.http_form import form_of
from happy.wire.http_problem import (
    CONTENT_TYPE,
    HandlerTimeout,
    is_expected,
    new_reference,
    problem_of,
)

if TYPE_CHECKING:
    from happy.wire.http_channel import HttpChannel
    from happy.wire.http_head import RequestHead

_log = Logger()


class HappyRequest(Request):
    """One request and its answer.

    ``exchange`` collects what the request committed; ``handling`` is the Deferred of the
    route, cancelled when the peer goes away or the answer takes too long.
    """

    site: Any
    transport: Any
    producer: Any = None
    _encoder: Any = None
    exchange: Exchange | None = None
    handling: Deferred[Any] | None = None
    started_s: float = 0.0
    _table: Headers | None = None
    _args: dict[bytes, list[bytes]] | None = None
    _cookies: dict[bytes, bytes] | None = None
    _first: bytes | None = None  # what was written and is held
    _head_sent = False
    _declared_left: int | None = None  # of a stream whose length the application set

    def __init__(  # the fields of the original, without what it costs to fill them
        self, channel: HttpChannel, head: RequestHead, content: BytesIO | None
    ) -> None:
        Componentized.__init__(self)
        self.channel: Any = channel
        self.transport = channel.transport
        self.site = channel.site
        self.head = head
        self.content: Any = BytesIO() if content is None else content
        self.method = head.method
        self.uri = head.target
        self.path, _, self._query = head.target.partition(b"?")
        self.clientproto = b"HTTP/1.1" if head.http11 else b"HTTP/1.0"
        self.responseHeaders = Headers()
        self.cookies: list[bytes] = []
        self.notifications: list[Deferred[None]] = []
        self.queued = False
        self._parsePOSTFormSubmission = True

    # --- what was asked ----------------------------------------------------------------------

    @property
    def requestHeaders(self) -> Headers:
        """The header fields as a table."""
        if self._table is None:
            self._table = Headers()
            for name, value in self.head.fields:
                self._table.addRawHeader(name, value)
        return self._table

    @requestHeaders.setter
    def requestHeaders(self, table: Headers) -> None:
        self._table = table

    @property
    def received_cookies(self) -> dict[bytes, bytes]:  # type: ignore[override] # a field there
        """The cookies that came."""
        if self._cookies is None:
            self._cookies = {}
            for text in self.requestHeaders.getRawHeaders(b"Cookie", ()):
                for cookie in text.split(b";"):
                    name, equals, value = cookie.strip().partition(b"=")
                    if equals:
                        self._cookies[name] = value
        return self._cookies

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        """The arguments of the query and of a posted form; ``BadRequest`` for a broken form."""
        if self._args is None:
            self._args = parse_qs(self._query, 1) if self._query else {}
            if self.method == b"POST":
                kind = self.head.content_type or b""
                self._args.update(form_of(kind, self.body()))
        return self._args

    @args.setter
    def args(self, args: dict[bytes, list[bytes]]) -> None:
        self._args = args

    def body(self) -> bytes:
        """Return the body; its reading position stays where it is."""
        content: bytes = self.content.getvalue()
        return content

    @property
    def client(self) -> Any:
        """The address of the peer."""
        return self.transport.getPeer()

    @property
    def host(self) -> Any:
        """The address the request came to, or what ``setHost`` was told."""
        told = self.__dict__.get("_host")
        return self.transport.getHost() if told is None else told

    @host.setter
    def host(self, address: Any) -> None:
        self._host = address

    def process(self) -> None:
        """Give the request to the site's resource; an error there becomes an answer."""
        self.prepath = []
        path = self.path[1:]
        if b"%" in path:
            self.postpath = [unquote_to_bytes(segment) for segment in path.split(b"/")]
        else:
            self.postpath = path.split(b"/")
        if self.path == b"*":
            self._handleStar()
            return
        try:
            resource = self.site.getResourceFor(self)
            self.render(resource)
        except Exception:  # noqa: BLE001 - whatever a resource raises ends as an answer
            self.processingFailed(Failure())

    # --- what is answered --------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write a part of the body; the first one is held until the next turn."""
        if self.finished:
            raise RuntimeError("Request.write called on a request after Request.finish was called.")
        if self._disconnected or self._inFakeHead:
            return
        if self._encoder is not None:
            data = self._encoder.encode(data)
        if self._head_sent:
            self._send_part(data)
        elif self._first is not None or self.producer is not None:
            self._send_stream_head()
            self._send_part(data)
        else:
            self.startedWriting = 1
            self._first = data
            self.site.flush_soon(self)

    def flush(self) -> None:
        """Send what was held: its stream did not go on in the turn it began in."""
        if self._first is not None and not (self.finished or self._disconnected):
            self._send_stream_head()

    def finish(self) -> None:
        """End the answer."""
        if self._disconnected:
            raise RuntimeError(
                "Request.finish called on a request after its connection was lost; "
                "use Request.notifyFinish to keep track of this."
            )
        if self.finished:
            warnings.warn("Warning! request.finish called twice.", stacklevel=2)
            return
        tail = b"" if self._encoder is None else self._encoder.finish()
        if not self._head_sent:
            held, self._first = self._first or b"", None
            self._send_whole(held + tail if tail else held)
        else:
            if tail:
                self._send_part(tail)
            if self.chunked:
                self.channel.write(b"0\r\n\r\n")
            elif self._declared_left:
                self._cut_short()
                return
        self._done()

    def answer(self, body: bytes) -> None:
        """End the answer with a body that is known whole; nothing was written before."""
        if self._encoder is not None:
            self.write(body)
            self.finish()
            return
        self.startedWriting = 1
        self._send_whole(body)
        self._done()

    def fail(self, error: BaseException, reference: str | None = None) -> None:
        """End the answer with an error: as a problem when there is still time for one."""
        if self.finished or self._disconnected:
            return
        if self._head_sent:
            self._cut_short()
            return
        problem = problem_of(error, reference)
        seen = self.responseHeaders
        self.responseHeaders = Headers()
        cookies = seen.getRawHeaders(b"Set-Cookie")
        if cookies is not None:
            self.responseHeaders.setRawHeaders(b"Set-Cookie", cookies)
        for name, value in problem.fields:
            self.responseHeaders.addRawHeader(name, value)
        self.responseHeaders.setRawHeaders(b"Content-Type", [CONTENT_TYPE])
        self.setResponseCode(problem.status)
        self.etag = self.lastModified = self._encoder = self._first = None
        self._stop_producer()
        self.answer(problem.body())

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer what a resource raised; log it unless it is an answer in itself."""
        error = reason.value
        assert error is not None
        if is_expected(error):
            self.fail(error)
            return reason
        reference = new_reference()
        _log.failure(
            "{method} {path} failed (reference {reference})",
            failure=reason,
            method=self.method.decode(),
            path=self.path.decode("ascii", "replace"),
            reference=reference,
        )
        self.fail(error, reference)
        return reason

    def give_up(self, timeout_s: int) -> None:
        """Answer 503: the handler took longer than it may; it is cancelled."""
        _log.warn(
            "{method} {path}: no answer after {timeout_s} s",
            method=self.method.decode(),
            path=self.path.decode("ascii", "replace"),
            timeout_s=timeout_s,
        )
        handling, self.handling = self.handling, None
        self.fail(HandlerTimeout("the application did not answer in time"))
        if handling is not None:
            handling.cancel()

    def connectionLost(self, reason: Failure) -> None:
        """Tell those who wait that the peer is gone."""
        if self._head_sent:
            self._report()
        handling, self.handling = self.handling, None
        super().connectionLost(reason)
        if handling is not None:
            handling.cancel()

    # --- how it goes out ---------------------------------------------------------------------

    def _fields_to_send(self) -> Headers:
        fields = self.responseHeaders
        if self.lastModified is not None and not fields.hasHeader(b"Last-Modified"):
            fields.setRawHeaders(b"Last-Modified", [datetimeToString(self.lastModified)])
        if self.etag is not None:
            fields.setRawHeaders(b"ETag", [self.etag])
        if self.cookies:
            fields.setRawHeaders(b"Set-Cookie", self.cookies)
        exchange = self.exchange
        if exchange is not None and exchange.seqs:
            seqs = ",".join(map(str, exchange.seqs)).encode()
            fields.setRawHeaders(b"Happy-Seq", [seqs])
        return fields

    def _head(self, framing: bytes, *, has_body: bool) -> bytes:
        self._head_sent = True
        fields = self._fields_to_send()
        channel = self.channel
        if self.site.draining:
            channel.persistent = False
        if fields.hasHeader(b"Connection") and channel.persistent:
            options = b",".join(fields.getRawHeaders(b"Connection", ())).lower()
            channel.persistent = b"close" not in options
        if not channel.persistent:
            framing += b"Connection: close\r\n"
        elif not self.head.http11:
            framing += b"Connection: keep-alive\r\n"
        return answer_head(
            self.code,
            self.code_message,
            self.site.common_fields,
            fields.getAllRawHeaders(),
            framing=framing,
            default_type=self.defaultContentType if has_body else None,
        )

    def _send_whole(self, body: bytes) -> None:
        if self.code in NO_BODY:
            self.channel.write(self._head(b"", has_body=False))
            return
        size = len(body)
        if self.method == b"HEAD":
            declared = self.responseHeaders.getRawHeaders(b"Content-Length")
            length = declared[0] if declared is not None else b"%d" % size
            framing = b"Content-Length: " + length + b"\r\n"
            self.channel.write(self._head(framing, has_body=length != b"0"))
            return
        self.sentLength = size
        framing = b"Content-Length: %d\r\n" % size
        self.channel.write(self._head(framing, has_body=size > 0) + body)

    def _send_stream_head(self) -> None:
        first, self._first = self._first or b"", None
        self.startedWriting = 1
        declared = self.responseHeaders.getRawHeaders(b"Content-Length")
        framing = b""
        if self.code in NO_BODY:
            pass
        elif declared is not None:
            framing = b"Content-Length: " + declared[0] + b"\r\n"
            self._declared_left = int(declared[0])
        elif self.method == b"HEAD":
            pass
        elif self.head.http11:
            framing = b"Transfer-Encoding: chunked\r\n"
            self.chunked = 1
        else:
            self.channel.persistent = False  # its end is the end of the connection
        if self.method == b"HEAD":
            self._declared_left = None
        self.channel.streams()
        self._send_part(first, self._head(framing, has_body=True))

    def _send_part(self, data: bytes, head: bytes = b"") -> None:
        if self.method == b"HEAD" or self.code in NO_BODY:
            data = b""
        if self._declared_left is not None:
            data = data[: self._declared_left]
            self._declared_left -= len(data)
        self.sentLength += len(data)
        if data and self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if head or data:
            self.channel.write(head + data)

    def _report(self) -> None:
        if self.site.access_log is not None:
            seqs = () if self.exchange is None else tuple(self.exchange.seqs)
            answered = Answered(self.code, self.sentLength, seqs)
            self.site.report(self.channel, self.head, answered, self.started_s)

    def _cut_short(self) -> None:
        """End an answer that cannot be ended well: the peer must see that it is not whole."""
        self._stop_producer()
        self.channel.abortConnection()

    def _stop_producer(self) -> None:
        producer = self.producer
        if producer is not None:
            self.unregisterProducer()
            producer.stopProducing()

    def _done(self) -> None:
        self.finished = 1
        if self.producer is not None:
            _log.error("{uri}: the producer was not unregistered", uri=self.uri)
            self.unregisterProducer()
        self._report()
        channel, self.channel = self.channel, None
        self.content.close()
        waiting, self.notifications = self.notifications, []
        for finished in waiting:
            finished.callback(None)
        channel.request_done()
