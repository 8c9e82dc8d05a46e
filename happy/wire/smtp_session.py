"""The commands of a mail session: SMTP as RFC 5321 has it, on the dispatch of twisted.mail.

Extensions: PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.mail.smtp import SMTP
from twisted.python.failure import Failure

from happy.app import exchange
from happy.errors import HappyError
from happy.event import Exchange, Mail, MailAcknowledged
from happy.unacknowledged import Placed, copy_of
from happy.wire import smtp_reply as say
from happy.wire.address import (
    Address,
    AddressError,
    ParameterError,
    parse_parameters,
    parse_path,
)
from happy.wire.smtp_connection import SmtpConnection
from happy.wire.smtp_reader import MessageReader
from happy.wire.smtp_reply import Reply, reply_to

_PEER_NAME: Final = re.compile(rb"[!-~]{1,255}")
_NOT_IN_A_COMMAND: Final = re.compile(rb"[\r\n\0]")
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_BODIES: Final = ("7BIT", "8BITMIME")

log = Logger()


@define
class Envelope:
    """A transaction: what MAIL and RCPT have said so far."""

    reverse_path: str
    options: tuple[str, ...]
    recipients: dict[str, str] = field(factory=dict)
    """The recipients as written first, by what they are compared by: routes know no case."""
    accepted: list[str] = field(factory=list)
    """By what the recipients of the RCPT commands that were accepted are compared, in order."""
    places: dict[str, Placed] = field(factory=dict)
    """Where the message stands for each recipient, when it was taken."""


class SmtpSession(SmtpConnection):
    """A session with one peer: each ``do_VERB`` returns its reply, or None when that follows."""

    def __init__(self) -> None:
        super().__init__()
        self._envelope: Envelope | None = None
        self._peer_name = b""
        self._commands = 0
        self._messages = 0

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
        # Past ESMTP's own: AUTH and STARTTLS are not offered.
        return SMTP.lookupMethod(self, command)  # type: ignore[no-any-return]

    def message_read(self, placed: tuple[Placed, ...]) -> None:
        """Say that a copy of a message is a new one from now on."""
        Deferred.fromCoroutine(self._say_read(MailAcknowledged(placed)))

    async def _say_read(self, acknowledged: MailAcknowledged) -> None:
        exchange.set(Exchange(self._source))  # in the context of this coroutine alone
        # Unsaid it is harmless: a copy is then taken for a retransmission.
        with suppress(HappyError):
            await self.factory.app.submit(acknowledged)

    @property
    def _source(self) -> str:
        return f"{self.factory.door} {self.peer or 'unix'}"

    def extensions(self) -> dict[bytes, list[bytes] | None]:
        """Return what EHLO lists."""
        return {
            b"PIPELINING": None,
            b"SIZE": [b"%d" % self.factory.limits.smtp_message_bytes_max],
            b"8BITMIME": None,
            b"ENHANCEDSTATUSCODES": None,
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
        self._envelope = None
        self.protocol_name = protocol_name
        words = [self.host]
        if extended:
            words.append(self.listExtensions())
        self.sendCode(250, b"\n".join(words))
        return None

    def do_QUIT(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.10."""
        return say.NO_ARGUMENT if rest else say.BYE

    # --- the transaction ------------------------------------------------------------------

    def do_MAIL(self, rest: bytes) -> Reply:  # noqa: PLR0911 - one for each refusal
        """RFC 5321 section 4.1.1.2."""
        if not self._peer_name:
            return say.NOT_GREETED
        if self._envelope is not None:
            return say.HAVE_SENDER
        if self._messages >= self.factory.limits.smtp_messages_max:
            return say.TOO_MANY_MESSAGES
        try:
            sender, parameters = _parse(rest, b"FROM:")
        except AddressError as error:
            return Reply(501, "5.1.7", f"Bad sender: {error}")
        except ParameterError as error:
            return _bad_parameter(error)
        if sender is not None and not sender.domain:
            return Reply(501, "5.1.7", "Bad sender: the address has no domain")
        for keyword, value in parameters:
            refusal = self._look_at_parameter(keyword, value)
            if refusal is not None:
                return refusal
        self._envelope = Envelope(
            "" if sender is None else str(sender),
            tuple(f"{keyword}={value}" for keyword, value in parameters),
        )
        return say.SENDER_OK

    def _look_at_parameter(self, keyword: str, value: str | None) -> Reply | None:
        if keyword == "SIZE":
            if value is None or not _SIZE.fullmatch(value):
                return Reply(501, "5.5.4", "SIZE needs a number")
            if int(value) > self.factory.limits.smtp_message_bytes_max:
                return say.TOO_BIG
        elif keyword == "BODY":
            if value is None or value.upper() not in _BODIES:
                return Reply(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
        else:
            return _unknown_parameter(keyword)
        return None

    def do_RCPT(  # noqa: PLR0911 - one for each refusal
        self, rest: bytes
    ) -> Reply | None:
        """RFC 5321 section 4.1.1.3; only recipients that the application takes are accepted."""
        envelope = self._envelope
        if envelope is None:
            return say.NO_SENDER
        try:
            recipient, parameters = _parse(rest, b"TO:")
        except AddressError as error:
            return Reply(501, "5.1.3", f"Bad recipient: {error}")
        except ParameterError as error:
            return _bad_parameter(error)
        if recipient is None:
            return Reply(501, "5.1.3", "Bad recipient: the address is empty")
        if parameters:
            return _unknown_parameter(parameters[0][0])
        if len(envelope.accepted) >= self.factory.limits.smtp_recipients_max:
            return say.TOO_MANY_RECIPIENTS
        home = self.factory.home_of(recipient)
        if home is None:
            return say.RELAY_DENIED

        def accept(reply: Reply) -> None:
            if reply is say.RECIPIENT_OK:
                compared = str(home).lower()
                envelope.accepted.append(compared)
                envelope.recipients.setdefault(compared, str(home))
                self._commands -= 1  # recipients have a bound of their own
            self.answer(reply)

        self.wait_for(self._look_up(home), accept)
        return None

    async def _look_up(self, recipient: Address) -> Reply:
        try:
            known = await self.factory.app.knows_recipient(recipient.local)
        except HappyError as error:
            reply = reply_to(error)
            return reply if reply.code < 500 else say.TROUBLE
        return say.RECIPIENT_OK if known else say.NO_SUCH_RECIPIENT

    def do_DATA(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.4."""
        envelope = self._envelope
        refusal = None
        if rest:
            refusal = say.NO_ARGUMENT
        elif envelope is None:
            refusal = say.NO_SENDER
        elif not envelope.accepted:
            refusal = say.NO_RECIPIENTS
        if refusal is None:
            self.expect_message()
            return say.GO_AHEAD
        if self.input_waits:
            # DATA ends a group (RFC 2920 section 3.1). What follows may be a message, and a
            # message is never read as commands.
            self.hang_up(say.SPOKE_TOO_EARLY)
            return None
        return refusal

    def message_received(self, message: MessageReader) -> None:
        """Refuse a message that came to its end, or make it an event."""
        envelope, self._envelope = self._envelope, None
        assert envelope is not None
        self._messages += 1
        self._commands = 0

        def finish(reply: Reply) -> None:
            log.info(
                "mail from {peer}: {size} bytes, {recipients} recipients: {code} {text}",
                peer=self.peer or "a unix socket",
                size=message.size,
                recipients=len(envelope.recipients),
                code=reply.code,
                text=reply.line.decode("ascii"),
            )
            placed = tuple(envelope.places.values())
            self.answer_message(self.replies_to(envelope, reply), placed)

        if message.unexpected is not None:
            log.failure("a blob could not be written", Failure(message.unexpected))
        refusal = message.refusal
        if refusal is not None:
            message.abandon()
            finish(refusal)
        else:
            self.wait_for(self._commit(message, envelope), finish)

    def replies_to(self, envelope: Envelope, reply: Reply) -> list[Reply]:
        """Return the replies to a message: one, however many recipients it has."""
        del envelope
        return [reply]

    async def _commit(self, message: MessageReader, envelope: Envelope) -> Reply:
        """Make a message an event; the reply is 250 only when that is durable."""
        try:
            content = await message.content()
        except BaseException:
            message.abandon()
            raise
        mail = Mail(
            reverse_path=envelope.reverse_path,
            recipients=tuple(envelope.recipients.values()),
            header=message.header,
            content=content,
            peer=self.peer,
            helo=self._peer_name.decode("ascii"),
            protocol=self.protocol_name,
            options=envelope.options,
            sha256=message.sha256,
        )
        exchange.set(Exchange(self._source))  # in the context of this coroutine alone
        seqs = await self.factory.app.submit(mail)
        placed = zip(envelope.recipients, mail.recipients, seqs, strict=True)
        envelope.places = {
            compared: (seq, copy_of(mail, recipient)) for compared, recipient, seq in placed
        }
        return self.taken(max(seqs))

    def taken(self, seq: int) -> Reply:
        """Return the reply to a message that is durable."""
        return Reply(250, "2.0.0", f"Ok {self.factory.app.name}/{seq}")

    # --- the other verbs ------------------------------------------------------------------

    def do_RSET(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.5."""
        if rest:
            return say.NO_ARGUMENT
        self._envelope = None
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

    do_AUTH = do_STARTTLS = do_EXPN

    def do_HELP(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.8."""
        del rest
        return Reply(214, "2.0.0", "MAIL RCPT DATA RSET NOOP VRFY HELP QUIT; see RFC 5321")

    def do_UNKNOWN(self, rest: bytes) -> Reply:
        """Refuse a verb that nobody knows."""
        del rest
        return say.UNKNOWN_COMMAND


def _parse(
    rest: bytes, keyword: bytes
) -> tuple[Address | None, tuple[tuple[str, str | None], ...]]:
    """Read ``FROM:<path> parameters``; blanks after the colon are borne with."""
    if rest[: len(keyword)].upper() != keyword:
        raise AddressError(f"write {keyword.decode('ascii')}<local@domain>")
    address, after = parse_path(rest[len(keyword) :].lstrip(b" "))
    return address, parse_parameters(after)


def _bad_parameter(error: ParameterError) -> Reply:
    return Reply(501, "5.5.4", f"Bad parameter: {error}")


def _unknown_parameter(keyword: str) -> Reply:
    return Reply(555, "5.5.4", f"Parameter {keyword} unknown")
