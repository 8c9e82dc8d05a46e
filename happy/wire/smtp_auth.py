"""AUTH at a mail door (RFC 4954): a conversation of lines, at the end of which a user is known.

It is offered under TLS only, where users are. The answer to a wrong password takes its time, and
few are taken, on one connection and from one address; meanwhile the input waits as it does for a
message, so what was sent ahead is read in its turn. No line of the conversation is logged, nor
said back.
"""

from __future__ import annotations

from twisted.internet.task import deferLater
from twisted.logger import Logger

from happy.wire import smtp_reply as say
from happy.wire.logins import Logins
from happy.wire.sasl import MECHANISMS, Credentials, Exchange, decoded, encoded
from happy.wire.smtp_reply import Reply
from happy.wire.smtp_transaction import SmtpTransaction

log = Logger()


class SmtpAuth(SmtpTransaction):
    """A session in which somebody may log in."""

    def __init__(self) -> None:
        super().__init__()
        self._tries = 0

    def do_AUTH(self, rest: bytes) -> Reply | None:
        """RFC 4954 section 4: ``AUTH MECHANISM [initial-response]``."""
        mechanism, _, initial = rest.partition(b" ")
        refusal = self._refusal_of_auth(mechanism.upper())
        if refusal is not None:
            return refusal
        exchange = MECHANISMS[mechanism.upper()]()
        challenge = next(exchange)
        if not initial:
            self._challenge(exchange, challenge)
            return None
        return self._respond(exchange, b"" if initial == b"=" else initial)

    def _refusal_of_auth(self, mechanism: bytes) -> Reply | None:
        if self.factory.trust.logins is None:
            return say.NOT_IMPLEMENTED
        for wrong, reply in (
            (not self._peer_name, say.NOT_GREETED),
            (not self.secure, say.LOGIN_NEEDS_TLS),
            (bool(self.login), say.HAVE_LOGIN),
            (self._envelope is not None, say.HAVE_SENDER),
            (self.factory.trust.logins.refuses(self.peer), say.TOO_MANY_LOGINS),
            (not mechanism, say.NEEDS_ARGUMENT),
            (mechanism not in MECHANISMS, say.UNKNOWN_MECHANISM),
        ):
            if wrong:
                return reply
        return None

    def _challenge(self, exchange: Exchange, challenge: bytes) -> None:
        self.sendCode(334, encoded(challenge))

        def answered(line: bytes | None) -> None:
            if line is None:
                self.answer(say.LOGIN_LINE_TOO_LONG)
            elif line == b"*":
                self.answer(say.LOGIN_CANCELLED)
            else:
                reply = self._respond(exchange, line)
                if reply is not None:
                    self.answer(reply)

        self.expect_line(self.factory.limits.smtp_auth_line_bytes_max, answered)

    def _respond(self, exchange: Exchange, line: bytes) -> Reply | None:
        try:
            challenge = exchange.send(decoded(line))
        except ValueError:
            return say.LOGIN_GARBLED
        except StopIteration as end:
            self._check(end.value)
        else:
            self._challenge(exchange, challenge)
        return None

    def _check(self, credentials: Credentials) -> None:
        logins = self.factory.trust.logins
        assert logins is not None

        def finish(reply: Reply) -> None:
            if reply is say.LOGGED_IN:
                self.login = credentials.name
            self.answer(reply)

        self.wait_for(finish, self._reply_to, logins, credentials)

    async def _reply_to(self, logins: Logins, credentials: Credentials) -> Reply:
        name = credentials.name
        right = await logins.check(self.peer, name, credentials.password)
        if right and credentials.acts_as in ("", name):
            log.info("{peer} logged in as {name}", peer=self.peer, name=name)
            return say.LOGGED_IN
        limits = self.factory.limits
        self._tries += 1
        # Only the name of a user: what else stands there may well be a password.
        who = name if logins.knows(name) else "somebody unknown"
        log.warn("{peer} could not log in as {who}", peer=self.peer, who=who)
        await deferLater(self.factory.clock, limits.smtp_auth_delay_s)
        too_many = self._tries >= limits.smtp_auth_tries_max or logins.refuses(self.peer)
        return say.TOO_MANY_LOGINS if too_many else say.NO_LOGIN
