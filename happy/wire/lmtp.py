"""The LMTP door (RFC 2033): SMTP with LHLO, and a reply for each recipient after the dot."""

from __future__ import annotations

from typing import ClassVar

from happy.wire import smtp_reply as say
from happy.wire.smtp import MailFactory
from happy.wire.smtp_envelope import Envelope
from happy.wire.smtp_reply import Reply
from happy.wire.smtp_session import SmtpSession


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
        return [self.taken(envelope, places[compared][0]) for compared in envelope.accepted]


class LmtpFactory(MailFactory):
    """Makes the sessions of an LMTP door."""

    session: ClassVar[type[SmtpSession]] = LmtpSession
    door: ClassVar[str] = "lmtp"
