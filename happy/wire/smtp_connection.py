"""The bearing under an SMTP session: input, replies, waiting and time, one connection's worth.

One command is in hand at a time. While the application is asked about a recipient, or a message
is made durable, the input waits and the transport is paused; so replies come in the order of
the commands, and no answer that comes late can reach a later transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.logger import Logger
from twisted.mail.smtp import ESMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.errors import HappyError
from happy.wire import smtp_reply as say
from happy.wire.sending import send
from happy.wire.smtp_reader import (
    CommandReader,
    DataReader,
    EndlessLine,
    LineTooLong,
    MessageReader,
)
from happy.wire.smtp_reply import Reply, reply_to
from happy.wire.unread import unread_bytes

if TYPE_CHECKING:
    from happy.wire.smtp import MailFactory

P = ParamSpec("P")
R = TypeVar("R", bound=DataReader)

LINGER_S: Final = 5  # how long a connection that is done may take to read our last words

log = Logger()


@implementer(IPushProducer, IHalfCloseableProtocol)
class SmtpConnection(ESMTP):
    """Reads commands and messages in turn, and hands them to the methods of a subclass."""

    factory: MailFactory
    transport: Any  # ITCPTransport, or the like for a unix socket
    protocol_name = "SMTP"

    def __init__(self) -> None:
        super().__init__()
        self.peer = ""
        self.secure = False
        """Whether the connection is encrypted."""
        self._input: CommandReader
        self._data: DataReader | None = None
        self._data_ended: Callable[[Any], None]
        self._line_taken: Callable[[bytes | None], None] | None = None
        self._chunked: MessageReader | None = None
        self._greeted = False
        self._reading = False
        self._waiting_since: float | None = None
        self._choked = False
        self._closed = False
        self._errors = 0
        self._once_read: Callable[[], None] | None = None
        self._step_deadline = 0.0
        self._message_deadline = 0.0

    # --- for the subclass -----------------------------------------------------------------

    def command_received(self, line: bytes) -> None:
        """Take a command line, without its CRLF."""
        raise NotImplementedError

    def arrived(self) -> None:
        """Take note of a new connection: say who the peer is, and greet him or do not."""
        raise NotImplementedError

    # --- the connection -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Make ready for input, and let the subclass see who is there."""
        limits = self.factory.limits
        self._input = CommandReader(limits.smtp_command_bytes_max, limits.smtp_line_bytes_max)
        address = self.transport.getPeer()
        if not isinstance(address, UNIXAddress):
            self.peer = str(getattr(address, "host", "")).removeprefix("::ffff:")
        self.secure = ISSLTransport.providedBy(self.transport)
        self.transport.registerProducer(self, True)
        self.start_message_clock()
        self.arrived()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: ARG002 - Twisted's
        """Forget a message that did not come to its end; one being committed stays."""
        self._closed = True
        self._drop_message()
        self.factory.forget(self)

    def readConnectionLost(self) -> None:
        """End the session: the peer sends no more, but may still want what we have to say."""
        if self._closed:
            self.transport.loseConnection()
        else:
            self._close()

    def writeConnectionLost(self) -> None:
        """Nothing to do: we have said our last words, and wait for the peer to go."""

    def dataReceived(self, data: bytes) -> None:
        """Take input, cut in any way."""
        if self._closed:
            return
        self._input.push(data)
        if self._data is not None:
            self._start_step_clock(self.factory.limits.smtp_data_timeout_s)
        self._read()

    def pauseProducing(self) -> None:
        """Stop reading: the peer does not take our replies."""
        self._choked = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on: the peer has taken our replies."""
        self._choked = False
        self._read()

    def stopProducing(self) -> None:
        """Nothing to stop: the end of the connection says it all."""

    def drain(self) -> None:
        """Close the session unless a message is on its way; then ``drain`` comes again."""
        if not (self._closed or self._data is not None or self._waiting_since is not None):
            self.answer(say.SHUTTING_DOWN)

    def greet(self) -> None:
        """Say the first words of a session."""
        if not self._closed:
            self._greeted = True
            kind = "LMTP" if self.protocol_name == "LMTP" else "ESMTP"
            self.sendCode(220, self.host + b" " + kind.encode("ascii"))

    def end(self) -> None:
        """Close without a word."""
        self._close()

    def _close(self, *, linger: bool = False) -> None:
        """End the session; ``linger`` when unread input could destroy our last words."""
        self._closed = True
        self._drop_message()
        self._input.take_all()
        self._start_step_clock(LINGER_S)
        self.transport.unregisterProducer()
        transport = self.transport
        if linger and not self.secure and IHalfCloseableDescriptor.providedBy(self.transport):
            transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def _drop_message(self) -> None:
        if self._data is not None:
            self._data.abandon()
            self._data = None
        self.drop_chunks()

    def drop_chunks(self) -> None:
        """Forget a message of which some chunks have come."""
        if self._chunked is not None:
            self._chunked.abandon()
            self._chunked = None

    # --- input ----------------------------------------------------------------------------

    def expect(self, reader: R, ended: Callable[[R], None]) -> None:
        """Take the input for data from here on, up to its end; then call ``ended``."""
        self._data = reader
        self._data_ended = ended
        if reader.ended:
            self._data = None
            ended(reader)

    def expect_line(self, bytes_max: int, taken: Callable[[bytes | None], None]) -> None:
        """Hand the next line, of up to ``bytes_max``, to ``taken``; None for a longer one."""
        self._input.line_bytes_max = bytes_max
        self._line_taken = taken

    @property
    def input_waits(self) -> bool:
        """Whether the peer has already sent more than the command in hand."""
        return bool(self._input)

    def _read(self) -> None:
        """Use up the input, as long as nothing is pending."""
        if self._reading:
            return
        self._reading = True
        try:
            going = True
            while going:
                if self.factory.draining:
                    self.drain()
                going = bool(self._input) and self._may_read() and self._read_next()
        finally:
            self._reading = False
        if self._may_read():
            self.transport.resumeProducing()
        elif not self._closed:
            self.transport.pauseProducing()

    def _may_read(self) -> bool:
        return not (self._closed or self._choked or self._waiting_since is not None)

    def _read_next(self) -> bool:
        """Read one command or some of a message; return whether there may be more."""
        if self._data is not None:
            return self._read_data(self._data)
        return self._read_command()

    def _read_command(self) -> bool:
        if not self._greeted:
            self.hang_up(say.SPOKE_TOO_EARLY)
            return False
        try:
            line = self._input.line()
        except LineTooLong:
            if self._line_taken is not None:
                self._hand_line(self._line_taken, None)
            else:
                self.answer(say.LINE_TOO_LONG)
            return True
        except EndlessLine:
            self.hang_up(say.ENDLESS_LINE)
            return False
        if line is None:
            return False
        if self._line_taken is not None:
            self._hand_line(self._line_taken, line)
            return True
        if self._once_read is not None:
            once_read, self._once_read = self._once_read, None
            once_read()
        self.command_received(line)
        return True

    def _hand_line(self, taken: Callable[[bytes | None], None], line: bytes | None) -> None:
        self._line_taken = None
        self._input.line_bytes_max = self.factory.limits.smtp_command_bytes_max
        taken(line)

    def _read_data(self, reader: DataReader) -> bool:
        rest = reader.feed(self._input.take_all())
        if reader.overrun:
            self.hang_up(say.TOO_BIG)
            return False
        if rest is None:
            return False
        self._input.push(rest)
        self._data = None
        self._data_ended(reader)
        return True

    # --- replies --------------------------------------------------------------------------

    def sendCode(self, code: int, message: bytes = b"") -> None:
        """Write one reply, of several lines when ``message`` has several; the peer is next."""
        *lines, last = message.split(b"\n")
        reply = b"".join(b"%d-%b\r\n" % (code, line) for line in lines)
        self._write(reply + b"%d %b\r\n" % (code, last))

    def _write(self, reply: bytes) -> None:
        if self._input:
            self.transport.write(reply)  # it goes with those that follow (RFC 2920 section 3.2)
        else:
            send(self.transport, reply)
        self._start_step_clock(self.factory.limits.smtp_command_timeout_s)

    def answer(self, reply: Reply) -> None:
        """Reply to a command, and keep count of the peer's errors."""
        if reply.code >= 500:
            self._errors += 1
            if self._errors >= self.factory.limits.smtp_errors_max:
                self.hang_up(say.TOO_MANY_ERRORS)
                return
        self._write(reply.wire)
        if reply.code in (221, 421):
            self._close()

    def answer_message(
        self, replies: Sequence[Reply], once_read: Callable[[], None] | None = None
    ) -> None:
        """Reply to a message; ``once_read`` is called when the peer has read the replies."""
        # Of one who sends before our answer, no command can tell that he has read it.
        told_apart = not (self._input or unread_bytes(self.transport))
        self._once_read = once_read if told_apart else None
        for reply in replies:
            self._write(reply.wire)
        self.start_message_clock()
        codes = {reply.code for reply in replies}
        if 250 in codes:
            self._errors = 0
        elif 421 in codes:
            self._close()

    def hang_up(self, reply: Reply) -> None:
        """Say ``reply`` and close, on a peer that may still be sending."""
        self._write(reply.wire)
        self._close(linger=True)

    # --- waiting for our own side ---------------------------------------------------------

    def wait_for(
        self, then: Callable[[Reply], None], step: Callable[P, Awaitable[Reply]],
        *args: P.args, **kwargs: P.kwargs,
    ) -> None:  # fmt: skip
        """Run ``step``, then ``then`` with its reply; meanwhile input and time stand still.

        A step that fails has the reply that its error asks for; one that fails in a way that no
        one foresaw is logged, and the peer is asked to try again. When the peer has gone,
        nobody is told.
        """
        self._waiting_since = self.factory.clock.seconds()
        done: Deferred[Any] = maybeDeferred(step, *args, **kwargs)
        done.addErrback(_reply_to_failure)
        done.addCallback(self._stop_waiting, then)
        done.addErrback(_log_failure)

    def _stop_waiting(self, reply: Reply, then: Callable[[Reply], None]) -> None:
        assert self._waiting_since is not None
        now = self.factory.clock.seconds()
        self._message_deadline += now - self._waiting_since
        self._waiting_since = None
        if not self._closed:
            then(reply)
            self._read()

    # --- time -----------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """Close the session when its peer has taken too long; never while it waits for us."""
        if self._closed:
            if now >= self._step_deadline:
                self.transport.abortConnection()
        elif self._waiting_since is None and now >= min(
            self._step_deadline, self._message_deadline
        ):
            self.hang_up(say.TOO_SLOW)

    def start_message_clock(self) -> None:
        """Give the peer the whole time for one message again."""
        limits = self.factory.limits
        self._message_deadline = self.factory.clock.seconds() + limits.smtp_session_timeout_s
        self._start_step_clock(limits.smtp_command_timeout_s)

    def limit_message_time(self, seconds: float) -> None:
        """Give the peer as long for what is expected now, in whatever pieces it comes."""
        self._message_deadline = self.factory.clock.seconds() + seconds

    def _start_step_clock(self, seconds: float) -> None:
        self._step_deadline = self.factory.clock.seconds() + seconds


def _log_failure(failure: Failure) -> None:
    log.failure("an SMTP session failed", failure)


def _reply_to_failure(failure: Failure) -> Reply:
    if isinstance(failure.value, HappyError):
        return reply_to(failure.value)
    log.failure("something nobody foresaw in an SMTP session", failure)
    return say.TROUBLE
