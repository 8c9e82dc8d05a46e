"""The commands of a mail session: SMTP as RFC 5321 has it, on the dispatch of twisted.mail.

Extensions: PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034),
CHUNKING (3030), SMTPUTF8 (6531), DSN (3461), LIMITS (9422), STARTTLS (3207), AUTH (4954).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from twisted.mail.smtp import SMTP

from happy.wire import smtp_reply as say
from happy.wire.sasl import MECHANISMS
from happy.wire.smtp_auth import SmtpAuth
from happy.wire.smtp_reply import Reply
from happy.wire.unread import unread_bytes
from happy.wire.xclient import ATTRIBUTES as XCLIENT_ATTRIBUTES
from happy.wire.xclient import parse_xclient
from happy.wire.xforward import ATTRIBUTES as XFORWARD_ATTRIBUTES
from happy.wire.xforward import parse_xforward

_PEER_NAME: Final = re.compile(rb"[!-~]{1,255}")
_NOT_IN_A_COMMAND: Final = re.compile(rb"[\r\n\0]")
_XFORWARD: Final = [name.encode("ascii") for name in XFORWARD_ATTRIBUTES]
_XCLIENT: Final = [name.encode("ascii") for name in XCLIENT_ATTRIBUTES]


class SmtpSession(SmtpAuth):
    """A session with one peer: each ``do_VERB`` returns its reply, or None when that follows."""

    def command_received(self, line: bytes) -> None:
        """Run one command and send its reply."""
        self._commands += 1
        if self._commands > self.factory.limits.smtp_commands_max:
            self.hang_up(say.TOO_MANY_COMMANDS)
            return
        if _NOT_IN_A_COMMAND.search(line):
            self.answer(say.NOT_A_LINE)
            return
        verb, _, rest = line.partition(b" ")
        method = self.lookupMethod(verb) or self.do_UNKNOWN
        reply = method(rest.strip(b" "))
        if reply is not None:
            self.answer(reply)

    def lookupMethod(self, command: bytes) -> Callable[[bytes], Reply | None] | None:
        """Return the method for a verb, None for one that is unknown or no word at all."""
        if not command.isalpha():
            return None
        # Past ESMTP's own, which has tables of ways to log in and to encrypt.
        method: Callable[[bytes], Reply | None] | None = SMTP.lookupMethod(self, command)
        return method

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        """Return what EHLO lists."""
        limits = self.factory.limits
        offers_tls = self.factory.certificate is not None and not self.secure
        offers_auth = self.factory.trust.needs_login and self.secure
        return {
            **({b"STARTTLS": None} if offers_tls else {}),
            b"PIPELINING": None,
            b"SIZE": [b"%d" % limits.smtp_message_bytes_max],
            b"8BITMIME": None,
            b"ENHANCEDSTATUSCODES": None,
            b"CHUNKING": None,
            b"SMTPUTF8": None,
            b"DSN": None,
            b"LIMITS": [
                b"MAILMAX=%d" % limits.smtp_messages_max,
                b"RCPTMAX=%d" % limits.smtp_recipients_max,
                *([b"RCPTDOMAINMAX=1"] if self.factory.homes.are_several else []),
            ],
            **({b"AUTH": list(MECHANISMS)} if offers_auth else {}),
            **({b"XFORWARD": _XFORWARD} if self.believed else {}),
            **({b"XCLIENT": _XCLIENT} if self._may_be_another else {}),
        }

    # --- hello and goodbye ----------------------------------------------------------------

    def do_HELO(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.1."""
        return self.hello(rest, "SMTP", extended=False)

    def do_EHLO(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.1."""
        return self.hello(rest, "ESMTP", extended=True)

    def hello(self, name: bytes, protocol_name: str, *, extended: bool) -> Reply | None:
        """Take the peer's name and begin anew; tell the extensions to one who asks for them."""
        if not _PEER_NAME.fullmatch(name):
            return say.NO_PEER_NAME
        self._peer_name = name
        self.begin_anew()
        self.protocol_name = protocol_name
        words = [self.host]
        if extended:
            words.append(self.listExtensions())
        self.sendCode(250, b"\n".join(words))
        return None

    def do_QUIT(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.10."""
        return say.NO_ARGUMENT if rest else say.BYE

    # --- the other verbs ------------------------------------------------------------------

    def do_RSET(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.5."""
        if rest:
            return say.NO_ARGUMENT
        self.begin_anew()
        return say.OK

    def do_NOOP(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.9: an argument is ignored."""
        del rest
        return say.OK

    def do_VRFY(self, rest: bytes) -> Reply:
        """RFC 5321 section 3.5.3: not told, so that addresses cannot be collected."""
        return say.CANNOT_VERIFY if rest else say.NEEDS_ARGUMENT

    def do_EXPN(self, rest: bytes) -> Reply:
        """RFC 5321 section 3.5.2: not told."""
        del rest
        return say.NOT_IMPLEMENTED

    def do_STARTTLS(self, rest: bytes) -> Reply | None:
        """RFC 3207: encrypt, and know nothing of what was said before."""
        certificate = self.factory.certificate
        if self.secure:
            return say.HAVE_TLS
        if certificate is None:
            return say.NOT_IMPLEMENTED
        if rest:
            return say.NO_ARGUMENT
        if self.input_waits or unread_bytes(self.transport):
            # It would be read inside of TLS, as if the peer had said it there; anybody on the
            # way could have put it in.
            self.hang_up(say.SPOKE_TOO_EARLY)
            return None
        self.answer(say.START_TLS)
        self.transport.startTLS(certificate.options())
        self.secure = True
        self._peer_name = b""
        self.be_oneself()
        self.begin_anew()
        return None

    def do_XFORWARD(self, rest: bytes) -> Reply:
        """Postfix's XFORWARD_README: take what a server in front tells of its client."""
        if not self.believed:
            return say.NOT_TRUSTED
        if self._envelope is not None:
            return say.HAVE_SENDER
        try:
            self._forwarded |= parse_xforward(rest)
        except ValueError as error:
            return Reply(501, "5.5.4", str(error))
        return say.OK

    @property
    def _may_be_another(self) -> bool:
        return self.believed and self.factory.trust.serves_relays_only

    def do_XCLIENT(self, rest: bytes) -> Reply | None:
        """Postfix's XCLIENT_README: begin again, with the client of the server in front."""
        if not self._may_be_another:
            return say.NOT_AUTHORIZED
        if self._envelope is not None:
            return say.HAVE_SENDER
        try:
            told = parse_xclient(rest)
        except ValueError as error:
            return Reply(501, "5.5.4", str(error))
        self.become(told)
        self.begin_anew()
        self._peer_name = self._client.get("HELO", "").encode("ascii")
        self.greet()
        return None

    def do_HELP(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.8."""
        del rest
        return Reply(214, "2.0.0", "MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT; see RFC 5321")

    def do_UNKNOWN(self, rest: bytes) -> Reply:
        """Refuse a verb that nobody knows."""
        del rest
        return say.UNKNOWN_COMMAND
