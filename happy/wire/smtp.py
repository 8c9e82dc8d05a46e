"""The SMTP door: its connections, their bounds, their clock and their end.

There may be several applications behind one door, told apart by the domains of recipients.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory

from happy.app import App
from happy.event import Mail
from happy.limits import Limits
from happy.wire import smtp_reply as say
from happy.wire.certificate import Certificate
from happy.wire.mail_checks import MailChecks, client_of
from happy.wire.mail_homes import MailHome, MailHomes
from happy.wire.smtp_reply import Reply
from happy.wire.smtp_session import SmtpSession
from happy.wire.trust import Trust

if TYPE_CHECKING:
    from happy.wire.smtp_connection import SmtpConnection

SWEEP_S: Final = 1  # how late a timeout may be; one call for all sessions, not one for each


class MailFactory(ServerFactory):
    """Makes the sessions of one mail door.

    ``app`` is asked about recipients and takes the messages, ``limits`` are its own, ``checks``
    look at its messages before they become events, ``early`` says that those are accepted before
    they are handled, and ``homes`` takes in others besides. ``clock`` tells the time, ``hostname``
    is how the door calls itself; with a ``certificate`` it offers TLS, and ``trust`` says whom it
    faces. Raises ``ValueError`` for a domain of the application that is none.
    """

    session: ClassVar[type[SmtpSession]] = SmtpSession
    door: ClassVar[str] = "smtp"
    noisy = False

    def __init__(  # noqa: PLR0913 - what doors of both kinds have
        self,
        app: App,
        *,
        limits: Limits,
        clock: IReactorTime,
        hostname: str,
        certificate: Certificate | None = None,
        trust: Trust | None = None,
        checks: MailChecks | None = None,
        early: bool = False,
    ) -> None:
        self.homes = MailHomes()
        self.homes.add(app, limits, checks, early=early)
        self.trust = trust or Trust()
        self._bounds = self.homes.limits, self.trust.bounds(self.homes.limits)
        self.certificate = certificate
        self.clock = clock
        self.hostname = hostname.encode("ascii")
        self.draining = False
        self._sessions: dict[SmtpConnection, str] = {}
        self._of_peer: Counter[str] = Counter()
        self._sweeping: IDelayedCall | None = None
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, _addr: object) -> SmtpSession:  # type: ignore[override] # ours
        """Make the session of a new connection."""
        session = self.session()
        session.factory = self
        session.host = self.hostname
        return session

    @property
    def connections_count(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    @property
    def limits(self) -> Limits:
        """The bounds of a session."""
        widest = self.homes.limits
        if self._bounds[0] is not widest:  # one more application
            self._bounds = widest, self.trust.bounds(widest)
        return self._bounds[1]

    def look_at(self, mail: Mail, home: MailHome) -> Deferred[Mail]:
        """Fire with a message for an application, and with what its checks found out."""
        assert home.checks is not None
        client = client_of(mail, relayed=not mail.via and self.trust.believes(mail.peer))
        looking = home.checks.look_at(mail, client, home.app.open_blob)
        return Deferred.fromCoroutine(looking)

    def admit(self, session: SmtpConnection) -> Reply | None:
        """Take a session into account by the peer it has; return why it cannot stay."""
        if session in self._sessions:
            self._uncount(session)
        refusal = None
        if self.draining:
            refusal = say.SHUTTING_DOWN
        elif (
            len(self._sessions) >= self.limits.smtp_connections_max
            or self._of_peer[session.peer] >= self.limits.smtp_connections_per_peer_max
        ):
            refusal = say.TOO_MANY_CONNECTIONS
        self._sessions[session] = session.peer
        if session.peer:  # a unix socket has no peer to count
            self._of_peer[session.peer] += 1
        if self._sweeping is None:
            self._sweeping = self.clock.callLater(SWEEP_S, self._sweep)
        return refusal

    def forget(self, session: SmtpConnection) -> None:
        """Take note that a connection is gone."""
        self._uncount(session)
        if not self._sessions:
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweeping = None
            waiting, self._empty = self._empty, []
            for empty in waiting:
                empty.callback(None)

    def _uncount(self, session: SmtpConnection) -> None:
        peer = self._sessions.pop(session)
        if peer:
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    def drain(self) -> Deferred[None]:
        """Turn new peers away and let running messages end; fires when the last one is gone."""
        self.draining = True
        for session in tuple(self._sessions):
            session.drain()
        if not self._sessions:
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        return empty

    def cut(self) -> None:
        """End all connections now. What was admitted stays admitted."""
        for session in tuple(self._sessions):
            session.transport.abortConnection()

    def _sweep(self) -> None:
        self._sweeping = self.clock.callLater(SWEEP_S, self._sweep)
        now = self.clock.seconds()
        for session in tuple(self._sessions):
            session.check_time(now)
