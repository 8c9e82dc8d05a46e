"""One connection to a mail server: messages go out over it, one after the other.

The conversation is twisted.mail's; what a mistake in it would cost is done here: bytes leave as
RFC 5321 wants them whatever blocks they come in, nothing but an address gets into the envelope,
every reply is bounded and has its time, and each message ends in a value that says what to do.
"""

# The camelCase names and the lack of types are twisted.mail's.
# ruff: noqa: ARG002 - so are the arguments that nobody uses
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.mail.smtp import SUCCESS, ESMTPClient

from happy.wire.smtp_data import Blocks, blocks_of, is_8bit, is_address, size_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from happy.app import BlobReader
    from happy.effects import SendMail
    from happy.event import Blob
    from happy.limits import Limits

_GOODBYE_TIMEOUT_S: Final = 10  # nothing is at stake any more

_REPLY = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


@frozen
class Sent:
    """The server took the message; ``reply`` is its word for it."""

    reply: str


@frozen
class Transient:
    """Not taken now: a 4xx, or the connection failed; the same message may be sent again.

    ``begun`` is false when the connection failed before the message was on it. ``ambiguous``
    when it failed after the last dot: then the server may have taken it (RFC 1047).
    """

    reply: str
    begun: bool = True
    ambiguous: bool = False


@frozen
class Permanent:
    """Refused for good (5xx): sending it again will not help."""

    reply: str


Result = Sent | Transient | Permanent


class SmtpClient(ESMTPClient):
    """A client that sends what ``deliver`` gives it, over one connection, until ``quit``.

    ``identity`` is the name it gives in EHLO, ``tls`` makes the connection secret where the
    server offers that, if it is not None; ``tls_required`` when nothing is sent otherwise.
    ``messages`` counts what it was given; ``over`` says whether that is secret, and by what
    proof. ``closed`` fires when the connection is gone.
    """

    debug = False
    transport: Any
    timeout: Any
    _expected: Any

    def __init__(  # noqa: PLR0913 - what it is told of itself, of its bounds and of TLS
        self,
        *,
        identity: str,
        clock: IReactorTime,
        limits: Limits,
        open_blob: Callable[[Blob], BlobReader],
        tls: IOpenSSLClientConnectionCreator | None = None,
        tls_required: bool = False,
        proof: str = "",
    ) -> None:
        super().__init__(None, None, identity)
        self.closed: Deferred[None] = Deferred()
        self.messages = 0
        self.timeout = limits.mail_out_timeout_s
        self.MAX_LENGTH = limits.mail_out_reply_bytes_max
        self._clock = clock
        self._limits = limits
        self._open_blob = open_blob
        self._extensions: dict[bytes, bytes] = {}
        self._reply_lines: list[bytes] = []
        self._reply_bytes = 0
        self._code: bytes | None = None
        self._mail: SendMail | None = None
        self._done: Deferred[Result] | None = None
        self._fault: Transient | None = None
        self._tls = tls
        self._tls_required = tls_required
        self._proof, self.over = proof, "in the clear"
        self._shaking_hands = False
        self._ready = self._begun = self._dotted = self._cut = False
        self._blocks: Blocks | None = None

    @property
    def tls_failed(self) -> bool:
        """Whether the connection ended while it was being made secret."""
        return self._shaking_hands and self._fault is not None

    # --- what the runner calls ------------------------------------------------------------

    def deliver(self, mail: SendMail) -> Deferred[Result]:
        """Send a message; fires with what became of it. One at a time."""
        assert self._done is None, "one message at a time"
        self.messages += 1
        if not (is_address(mail.recipient) and is_address(mail.reverse_path or "none")):
            refused = f"{mail.recipient!a} from {mail.reverse_path!a}"
            return succeed(Permanent(f"553 5.1.3 not a mail address: {refused}"[:500]))
        self._begun = self._dotted = False
        if self._fault is not None:
            return succeed(self._fault)
        self._mail = mail
        done = self._done = Deferred()
        if self._ready:
            # It also finds a connection that died meanwhile, before the message is on it.
            self._ready = False
            self._ask(b"RSET", SUCCESS, self.smtpState_from, self._session_refused)
        return done

    def quit(self) -> None:
        """Take leave of the server; ``closed`` fires soon."""
        if self._fault is None:
            self._fault = Transient("the connection was closed", begun=False)
            self._leave()

    def abort(self) -> None:
        """Cut the connection; a message on its way ends as ``Transient``."""
        self._break("the delivery was cut off by a stop")

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        if ITCPTransport.providedBy(self.transport):
            # The last dot is a small write behind a large one: it must not wait for an ACK.
            self.transport.setTcpNoDelay(True)
        super().connectionMade()

    # --- lines ----------------------------------------------------------------------------

    def callLater(self, period: float, func: Callable[[], Any]) -> IDelayedCall:
        """Use the clock we were given (TimeoutMixin)."""
        return self._clock.callLater(period, func)

    def sendLine(self, line: bytes) -> None:
        """Send a command; its reply has its time from now on."""
        if any(c in line for c in b"\r\n\0"):
            raise ValueError(f"not one line: {line!r}")
        self.setTimeout(self.timeout)
        self.transport.write(line + b"\r\n")

    def lineReceived(self, line: bytes) -> None:
        """Gather the lines of a reply; the time it may take is not prolonged by them."""
        if self._cut:
            return
        match = _REPLY.fullmatch(line)
        if match is None or self._code not in (None, match[1]):
            self._break(f"not an SMTP reply: {_printable(line[:80])}")
            return
        self._reply_lines.append(match[3] or b"")
        self._reply_bytes += len(line) + 2
        if self._reply_bytes > self.MAX_LENGTH:
            self._break("a reply longer than any mail server has need of")
            return
        self._code = match[1] if match[2] == b"-" else None
        if self._code is not None:
            return
        code, resp = int(match[1]), b"\n".join(self._reply_lines)
        self._reply_lines.clear()
        self._reply_bytes = 0
        self.setTimeout(None)
        if code in self._expected:
            self._okresponse(code, resp)
        else:
            self._failresponse(code, resp)

    def lineLengthExceeded(self, line: bytes) -> None:
        """End the connection: the rest of that line means nothing."""
        self._break("a reply line longer than any mail server has need of")

    def timeoutConnection(self) -> None:
        """End the connection: the server took too long."""
        self._break("no answer in time")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report what was on its way; RFC 1047 is about the time after the dot."""
        super().connectionLost(reason)
        no_tls = f"4.7.5 no TLS with the server: {reason.getErrorMessage()}"
        self._break(no_tls if self._shaking_hands else "the connection was lost")
        self.closed.callback(None)

    # --- the conversation, in its order ---------------------------------------------------

    def _ask(
        self,
        line: bytes,
        expected: Container[int],
        ok: Callable[[int, bytes], None],
        failed: Callable[[int, bytes], None],
    ) -> None:
        self._expected, self._okresponse, self._failresponse = expected, ok, failed
        self.sendLine(line)

    def esmtpState_ehlo(self, code: int, resp: bytes) -> None:
        """Greet with EHLO; a server that does not know it is greeted with HELO."""
        self._ask(b"EHLO " + self.identity, SUCCESS, self.esmtpState_serverConfig, self._no_ehlo)

    def _no_ehlo(self, code: int, resp: bytes) -> None:
        if code < 500 or (self._tls is not None and self._tls_required):
            self._session_refused(code, resp)
            return
        self._ask(b"HELO " + self.identity, SUCCESS, self.smtpState_from, self._session_refused)

    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:
        """Take in the extensions; the first line is only the server's name."""
        for line in resp.split(b"\n")[1:]:
            keyword, _, parameter = line.strip().partition(b" ")
            self._extensions[keyword.upper()] = parameter.strip()
        self._shaking_hands = False
        if self._tls is not None and b"STARTTLS" in self._extensions:
            self._ask(b"STARTTLS", (220,), self._start_tls, self._no_tls)
        elif self._tls is not None and self._tls_required:
            self._session_refused(454, b"4.7.5 the server offers no TLS, and its domain demands it")
        else:
            self.smtpState_from(code, resp)

    def _start_tls(self, code: int, resp: bytes) -> None:
        if self._buffer:
            # Nobody has proved yet who says it (RFC 3207 section 6).
            self._break("an answer before the connection was secret")
            return
        creator, self._tls = self._tls, None
        self._shaking_hands = True
        self.over = f"over TLS, proven by {self._proof}" if self._proof else "over TLS"
        self.transport.startTLS(creator)
        # What was said before may have been said by anybody (RFC 3207 section 4.2).
        self._extensions.clear()
        self.esmtpState_ehlo(code, resp)

    def _no_tls(self, code: int, resp: bytes) -> None:
        if code == 421 or self._tls_required:
            self._session_refused(code, resp)
        else:
            self.smtpState_from(code, resp)

    def smtpState_from(self, code: int, resp: bytes) -> None:
        """Begin a message, when there is one (RFC 1870, RFC 6152, RFC 6531 parameters)."""
        mail, offered = self._mail, self._extensions
        if mail is None:
            self._idle()
            return
        size_max = offered.get(b"SIZE", b"")[:20]  # all the digits that RFC 1870 allows
        if size_max.isdigit() and 0 < int(size_max) < size_of(mail):
            self._end(
                Permanent(f"552 5.3.4 {size_of(mail)} bytes, the server takes {int(size_max)}")
            )
            return
        parameters = b" SIZE=%d" % size_of(mail) if b"SIZE" in offered else b""
        if b"8BITMIME" in offered and is_8bit(mail):
            parameters += b" BODY=8BITMIME"
        if not (mail.reverse_path + mail.recipient).isascii():
            if b"SMTPUTF8" not in offered:
                self._end(Permanent("550 5.6.7 the server takes ASCII addresses only"))
                return
            parameters += b" SMTPUTF8"
        self._begun = True
        line = b"MAIL FROM:<%s>%s" % (mail.reverse_path.encode(), parameters)
        self._ask(line, (250,), self.smtpState_to, self.smtpTransferFailed)

    def smtpState_to(self, code: int, resp: bytes) -> None:
        """Name the recipient."""
        assert self._mail is not None
        line = b"RCPT TO:<%s>" % self._mail.recipient.encode()
        self._ask(line, (250, 251), self.smtpState_toOrData, self.smtpTransferFailed)

    def smtpState_toOrData(self, code: int, resp: bytes) -> None:
        """Announce the message."""
        self._ask(b"DATA", (354,), self.smtpState_data, self.smtpTransferFailed)

    def smtpState_data(self, code: int, resp: bytes) -> None:
        """Send the message, as fast as the transport takes it."""
        assert self._mail is not None
        self._expected, self._failresponse = (), self._answered_too_soon
        self._blocks = Blocks(blocks_of(self._mail, self._open_blob), self._send_block)
        self.setTimeout(self.timeout)
        self.transport.registerProducer(self._blocks, False)

    def _send_block(self) -> None:
        if self._blocks is None:
            return
        try:
            block = self._blocks.next()
        except OSError as error:
            # Without the last dot the server must forget what it has (RFC 5321 section 4.1.1.4).
            self._break(f"the message cannot be read: {error}")
            return
        if block is not None:
            self.setTimeout(self.timeout)
            self.transport.write(block)
            return
        self._blocks = None
        self.transport.unregisterProducer()
        self._dotted = True
        self._ask(b".", SUCCESS, self.smtpState_msgSent, self.smtpTransferFailed)
        self.setTimeout(self._limits.mail_out_final_timeout_s)

    def smtpState_msgSent(self, code: int, resp: bytes) -> None:
        """Report success."""
        self._end(Sent(self._text(code, resp)))

    # --- ends -----------------------------------------------------------------------------

    def _verdict(self, code: int, resp: bytes) -> Result:
        text = self._text(code, resp)
        # 530 (RFC 3207, RFC 4954) is about us and the configuration, not about this message.
        return Permanent(text) if code >= 500 and code != 530 else Transient(text)

    def smtpTransferFailed(self, code: int, resp: bytes) -> None:
        """Report a refusal of this message; the connection stays."""
        if code == 421:
            self._session_refused(code, resp)
        else:
            self._end(self._verdict(code, resp))

    def smtpConnectionFailed(self, code: int, resp: bytes) -> None:
        """Report a greeting that was none: the server's trouble, never the message's."""
        self._session_refused(code, resp)

    def _session_refused(self, code: int, resp: bytes) -> None:
        text = self._text(code, resp)
        self._fault = Transient(text, begun=False)
        self._end(Transient(text, begun=self._begun))
        self._leave()

    def _answered_too_soon(self, code: int, resp: bytes) -> None:
        verdict = self._verdict(code, resp)
        self._break("an answer before the end of the message", verdict)

    def _unasked(self, code: int, resp: bytes) -> None:
        self._break(f"an answer that was not asked for: {self._text(code, resp)}")

    def _idle(self) -> None:
        self._ready = True
        self._expected, self._failresponse = (), self._unasked

    def _leave(self) -> None:
        self._ready = False
        self._disconnectFromServer()
        self.setTimeout(_GOODBYE_TIMEOUT_S)

    def _end(self, result: Result) -> None:
        done, self._done, self._mail = self._done, None, None
        if self._fault is None:
            self._idle()
        if done is not None:
            done.callback(result)

    def _break(self, text: str, result: Result | None = None) -> None:
        ambiguous = self._dotted and self._done is not None
        if ambiguous:
            text += " after the whole message was sent: it may be delivered twice"
        if self._fault is None:
            self._fault = Transient(text, begun=False)
        self._cut = True
        self.setTimeout(None)
        if self._blocks is not None:
            self._blocks.stopProducing()
            self._blocks = None
            self.transport.unregisterProducer()
        self.transport.abortConnection()
        self._end(result or Transient(text, self._begun, ambiguous))

    def _text(self, code: int, resp: bytes) -> str:
        words = " ".join(_printable(resp).split())
        return f"{code} {words}"[: self._limits.mail_out_reply_chars_max]


def _printable(data: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 else " " if b == 10 else "?" for b in data)
