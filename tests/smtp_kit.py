"""A mail door without sockets: an application in one's own hands, a clock, and a peer."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.app import App
from happy.event import Blob, MailAcknowledged
from happy.limits import Limits
from happy.return_paths import ReturnPaths
from happy.wire.failed_logins import FailedLogins
from happy.wire.lmtp import LmtpFactory
from happy.wire.logins import Logins
from happy.wire.passwords import Cost, hashed
from happy.wire.smtp import MailFactory
from happy.wire.trust import Trust
from happy.wire.xforward import Relays

USERS = {"ann": hashed("sésame", Cost(1, 1, 1)), "bob": hashed("b", Cost(1, 1, 1))}
"""Users whose passwords cost nothing to check."""


class MemoryBlob:
    """A blob writer that remembers the largest piece, and seals when it is told to."""

    def __init__(self, stream):
        self.stream = stream
        self.data = bytearray()
        self.piece_bytes_max = 0
        self.abandoned = False

    def write(self, data):
        if self.stream.blob_error is not None:
            raise self.stream.blob_error
        self.piece_bytes_max = max(self.piece_bytes_max, len(data))
        self.data += data

    def seal(self):
        sealed = Deferred()
        if self.stream.held:
            self.stream.sealing.append(sealed)
        else:
            sealed.callback(self.blob)
        return sealed

    @property
    def blob(self):
        return Blob("ab" * 32, len(self.data))

    def abandon(self):
        self.abandoned = True


@define(eq=False)
class FakeStream:
    """A stream that commits at once, or when the test says so (``held``)."""

    held: bool = False
    error: Exception | None = None
    blob_error: Exception | None = None
    full: Exception | None = None
    mails: list = field(factory=list)
    acknowledged: list = field(factory=list)
    places: dict = field(factory=dict)
    exchanges: list = field(factory=list)
    waiting: list = field(factory=list)
    blobs: list = field(factory=list)
    sealing: list = field(factory=list)

    def submit(self, event, exchange):
        if isinstance(event, MailAcknowledged):
            self.acknowledged.append(event.acknowledged)
            return succeed(None)
        self.mails.append(event)
        self.exchanges.append(exchange)
        if self.held:
            committed = Deferred()
            self.waiting.append((committed, event))
            return committed
        return self._placed(event) if self.error is None else Deferred.fromCoroutine(self._fail())

    def _placed(self, event):
        if self.places:
            return succeed(tuple(self.places[name] for name in event.recipients))
        seq = next(n for n, mail in enumerate(self.mails, 1) if mail is event)
        return succeed((seq,) * len(event.recipients))

    async def _fail(self):
        raise self.error

    def commit(self):
        committed, event = self.waiting.pop(0)
        self._placed(event).chainDeferred(committed)

    def ask(self, query, *args, **kwargs):
        raise NotImplementedError

    def blob_writer(self):
        self.blobs.append(MemoryBlob(self))
        return self.blobs[-1]

    def open_blob(self, blob):
        raise NotImplementedError

    return_paths = ReturnPaths()

    def trouble(self, size):
        return self.full


class FakeApp(App):
    """Knows the recipients in ``known``; ``answer`` may be replaced to answer later."""

    known = ("dev", "info", "postmaster", '"two words"')

    def knows_recipient(self, local, domain):
        return self.answer(local)

    def answer(self, local):
        return succeed(local.lower() in self.known)


@implementer(IHalfCloseableDescriptor)
class Wire(StringTransport):
    """A transport that can close one way, and that tells its protocol when it is cut."""

    half_closed = False
    encrypted_by = None
    aborted = False
    protocol = None

    def loseWriteConnection(self):
        self.half_closed = True

    def startTLS(self, options):
        self.encrypted_by = options

    def abortConnection(self):
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionAbortedError()))

    @property
    def open(self):
        return not (self.half_closed or self.aborted or self.disconnecting)


class Door:
    """A mail door and its application; ``connect`` gives peers."""

    def __init__(
        self,
        *,
        lmtp=False,
        domains=("lists.example",),
        held=False,
        certificate=None,
        relays=(),
        level="untrusted",
        proxied=False,
        run_aside=maybeDeferred,
        checks=None,
        clock=None,
        users_now=lambda: USERS,
        **limits,
    ):
        limits = Limits(**limits)
        self.clock = Clock() if clock is None else clock
        failed = FailedLogins(self.clock, limits)
        logins = Logins(users_now, run_aside, limits.smtp_auth_checks_max, failed)
        trust = Trust(level, proxied, Relays(relays), logins if level == "submission" else None)
        self.stream = FakeStream(held=held)
        self.app = FakeApp("lists", self.stream, domains=domains)
        self.factory = (LmtpFactory if lmtp else MailFactory)(
            self.app,
            limits=limits,
            clock=self.clock,
            hostname="mx.lists.example",
            certificate=certificate,
            trust=trust,
            checks=checks,
        )

    @property
    def mails(self):
        return self.stream.mails

    def connect(self, host="192.0.2.7", *, address=None, greeted=True):
        return Peer(self, address or IPv4Address("TCP", host, 40_000), greeted=greeted)


class Peer:
    """The other end of a session: sends bytes, as far as it is let, and reads replies."""

    def __init__(self, door, address, *, greeted):
        self.door = door
        self.wire = Wire(peerAddress=address)
        self.session = door.factory.buildProtocol(address)
        self.wire.protocol = self.session
        self.queue = []
        self.session.makeConnection(self.wire)
        if greeted:
            door.clock.advance(0)

    def push(self, *pieces):
        """Queue input and deliver what the session is willing to read."""
        self.queue.extend(pieces)
        while self.queue and self.wire.producerState == "producing" and self.wire.open:
            self.session.dataReceived(self.queue.pop(0))

    def say(self, *lines):
        """Send whole lines in one piece; return the replies to them."""
        before = len(self.wire.value())
        self.push(b"".join(line + b"\r\n" for line in lines))
        return self.wire.value()[before:].decode("ascii")

    def greet(self):
        self.say(b"EHLO client.example")
        return self

    def mail(self, data=b"Subject: x\r\n\r\nhello\r\n", to=(b"dev@lists.example",)):
        """Send one message; return the reply to its end."""
        self.say(b"MAIL FROM:<a@s.example>")
        for recipient in to:
            self.say(b"RCPT TO:<" + recipient + b">")
        assert self.say(b"DATA").startswith("354 ")
        before = len(self.wire.value())
        self.push(data + b".\r\n")
        return self.wire.value()[before:].decode("ascii")

    def leave(self):
        self.session.connectionLost(Failure(ConnectionResetError()))

    @property
    def replies(self):
        return self.wire.value().decode("ascii")

    @property
    def codes(self):
        return [int(line[:3]) for line in self.replies.splitlines() if line[3:4] == " "]
