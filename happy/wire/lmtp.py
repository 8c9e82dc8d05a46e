"""The LMTP door (RFC 2033): SMTP with LHLO, and a reply for each recipient after the dot."""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.interfaces import IReactorTime

from happy.app import App
from happy.limits import Limits
from happy.wire import smtp_reply as say
from happy.wire.certificate import Certificate
from happy.wire.smtp import MailFactory
from happy.wire.smtp_reply import Reply
from happy.wire.smtp_session import SmtpSession
from happy.wire.smtp_transaction import Envelope
from happy.wire.xforward import Relays


class LmtpSession(SmtpSession):
    """A session with a mail server in front of us."""

    protocol_name = "LMTP"

    def do_LHLO(self, rest: bytes) -> Reply | None:
        """RFC 2033 section 4.1."""
        return self.hello(rest, "LMTP", extended=True)

    def do_HELO(self, rest: bytes) -> Reply | None:
        """Refuse what RFC 2033 section 4.1 tells to refuse."""
        del rest
        return say.UNKNOWN_COMMAND

    do_EHLO = do_HELO

    def replies_to(self, envelope: Envelope, reply: Reply) -> list[Reply]:
        """Return a reply for each RCPT that was accepted, in their order."""
        places = envelope.places
        if not places:
            return [reply] * len(envelope.accepted)
        return [self.taken(places[compared][0]) for compared in envelope.accepted]


class LmtpFactory(MailFactory):
    """Makes the sessions of an LMTP door."""

    session: ClassVar[type[SmtpSession]] = LmtpSession
    door: ClassVar[str] = "lmtp"


def lmtp_factory(  # noqa: PLR0913 - what doors of both kinds have
    app: App,
    *,
    limits: Limits,
    clock: IReactorTime,
    hostname: str,
    certificate: Certificate | None = None,
    relays: Relays | None = None,
) -> LmtpFactory:
    """Return the LMTP door of an application; see ``happy.wire.smtp.MailFactory``."""
    return LmtpFactory(
        app,
        limits=limits,
        clock=clock,
        hostname=hostname,
        certificate=certificate,
        relays=relays,
    )
