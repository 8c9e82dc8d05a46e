"""A transaction of a mail session: MAIL and RCPT, the message by DATA or BDAT, and its end."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.app import exchange
from happy.errors import HappyError
from happy.event import Blob, Exchange, Mail, MailAcknowledged
from happy.limits import Limits
from happy.trace import protocol_of
from happy.unacknowledged import Placed, copy_of
from happy.wire import smtp_reply as say
from happy.wire.address import (
    Address,
    AddressError,
    ParameterError,
    parse_parameters,
    parse_path,
)
from happy.wire.mail_homes import MailHome
from happy.wire.returned import submit_mail
from happy.wire.smtp_arrival import SmtpArrival
from happy.wire.smtp_parameters import Parameters, refusal_of_mail, refusal_of_rcpt, told
from happy.wire.smtp_reader import ChunkReader, MessageReader
from happy.wire.smtp_reply import Reply, reply_to

_CHUNK: Final = re.compile(rb"([0-9]{1,10})( +LAST)?", re.IGNORECASE)

log = Logger()


@define
class Envelope:
    """A transaction: what MAIL and RCPT have said so far."""

    reverse_path: str
    options: tuple[str, ...]
    utf8: bool
    """Whether addresses may have letters beyond ASCII."""
    size: int
    """How large the message is, as MAIL told; 0 when it did not."""
    home: MailHome | None = None
    """The application of the recipients that were accepted: a message is for one alone."""
    recipients: dict[str, str] = field(factory=dict)
    """The recipients as written first, by what they are compared by: routes know no case."""
    accepted: list[str] = field(factory=list)
    """By what the recipients of the RCPT commands that were accepted are compared, in order."""
    recipient_options: dict[str, tuple[str, ...]] = field(factory=dict)
    """The parameters of each recipient's first RCPT."""
    forwarded: tuple[str, ...] = ()
    """What a server in front told of its client."""
    places: dict[str, Placed] = field(factory=dict)
    """Where the message stands for each recipient, when it was taken."""


class SmtpTransaction(SmtpArrival):
    """The transactions of one session; each ``do_VERB`` returns its reply, or None."""

    def __init__(self) -> None:
        super().__init__()
        self._envelope: Envelope | None = None
        self._peer_name = b""
        self._forwarded: dict[str, str] = {}
        self._commands = 0
        self._messages = 0

    def begin_anew(self) -> None:
        """Forget the transaction."""
        self._envelope = None
        self._forwarded = {}
        self.drop_chunks()

    # --- the transaction ------------------------------------------------------------------

    def do_MAIL(self, rest: bytes) -> Reply:  # noqa: PLR0911 - one for each refusal
        """RFC 5321 section 4.1.1.2."""
        if not self._peer_name:
            return say.NOT_GREETED
        if self.factory.trust.needs_login and not self.login:
            return say.NEEDS_LOGIN if self.secure else say.NEEDS_TLS
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
        refusal = refusal_of_mail(
            parameters, self.factory.limits.smtp_message_bytes_max, auth=bool(self.login)
        )
        if refusal is not None:
            return refusal
        utf8 = "SMTPUTF8" in dict(parameters)
        if sender is not None and sender.needs_utf8 and not utf8:
            return say.NEEDS_UTF8
        reverse_path = "" if sender is None else str(sender)
        size = int(dict(parameters).get("SIZE") or 0)
        self._envelope = Envelope(reverse_path, told(parameters), utf8, size)
        return say.SENDER_OK

    def do_RCPT(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.3; only recipients that the application takes are accepted."""
        envelope = self._envelope
        if envelope is None:
            return say.NO_SENDER
        if self._chunked is not None:
            return say.IN_A_MESSAGE
        found = _read_recipient(rest, utf8=envelope.utf8)
        if isinstance(found, Reply):
            return found
        recipient, parameters = found
        whose = self.factory.homes.find(recipient)
        if whose is None:
            return say.RELAY_DENIED
        home, address = whose
        refusal = _refusal_by(home.limits, envelope)
        if refusal is not None:
            return refusal

        def accept(reply: Reply) -> None:
            if reply is say.RECIPIENT_OK and envelope.home not in (None, home):
                reply = say.ANOTHER_MESSAGE
            if reply is say.RECIPIENT_OK:
                compared = str(address).lower()
                envelope.home = home
                envelope.accepted.append(compared)
                envelope.recipients.setdefault(compared, str(address))
                envelope.recipient_options.setdefault(compared, told(parameters))
                self._commands -= 1  # recipients have a bound of their own
            self.answer(self._said_by_one(reply))

        self.wait_for(accept, self._look_up, home, address)
        return None

    def _look_up(self, home: MailHome, recipient: Address) -> Deferred[Reply]:
        found: Deferred[Any] = maybeDeferred(
            home.app.knows_recipient, recipient.local, recipient.domain
        )
        return found.addCallbacks(_reply_to_known, _reply_to_trouble)

    def do_DATA(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.4."""
        envelope = self._envelope
        refusal = None
        if rest:
            refusal = say.NO_ARGUMENT
        elif envelope is None:
            refusal = say.NO_SENDER
        elif envelope.home is None:
            refusal = say.NO_RECIPIENTS
        elif self._chunked is not None:
            refusal = say.IN_A_MESSAGE
        else:
            self.expect(self._new_message(envelope.home), self.message_received)
            return say.GO_AHEAD
        if self.input_waits:
            # DATA ends a group (RFC 2920 section 3.1). What follows may be a message, and a
            # message is never read as commands.
            self.hang_up(say.SPOKE_TOO_EARLY)
            return None
        return refusal

    def do_BDAT(self, rest: bytes) -> Reply | None:
        """RFC 3030 section 2: so many bytes follow, whatever is said to them."""
        match = _CHUNK.fullmatch(rest)
        if match is None:
            self.hang_up(say.BAD_CHUNK)  # nobody knows how much of what follows is a message
            return None
        size, last = int(match[1]), match[2] is not None
        refusal = None
        if self._envelope is None:
            refusal = say.NO_SENDER
        elif self._envelope.home is None:
            refusal = say.NO_RECIPIENTS
        elif self._chunked is None:
            self._chunked = self._new_message(self._envelope.home)
        message = None if refusal is not None else self._chunked

        def done(_: ChunkReader) -> None:
            if message is None:
                assert refusal is not None
                self.answer(refusal)
            elif last:
                self._chunked = None
                message.end()
                self.message_received(message)
            elif message.too_big:
                self.drop_chunks()
                self._envelope = None
                self.answer(say.TOO_BIG)
            else:
                self._commands -= bool(size)  # the bytes have a bound of their own
                self.answer(Reply(250, "2.0.0", f"{size} bytes taken"))

        self.expect(ChunkReader(size, message), done)
        return None

    def _new_message(self, home: MailHome) -> MessageReader:
        bare = self.factory.trust.takes_bare_line_ends
        return MessageReader(home.limits, home.app.blob_writer, takes_bare=bare)

    def message_received(self, message: MessageReader) -> None:
        """Refuse a message that came to its end, or make it an event."""
        envelope, self._envelope = self._envelope, None
        assert envelope is not None
        home = envelope.home
        assert home is not None
        if self._client or self._forwarded:
            forwarded, self._forwarded = self._client | self._forwarded, {}
            envelope.forwarded = told(pair for pair in forwarded.items() if pair[1])
        self._messages += 1
        self._commands = 0

        def finish(reply: Reply) -> None:
            reply = self._said_by_one(reply)
            self._log_end(message, envelope, reply)
            placed = tuple(envelope.places.values())
            once_read = partial(self._message_read, home, placed) if placed else None
            self.answer_message(self.replies_to(envelope, reply), once_read)

        if message.unexpected is not None:
            log.failure("a blob could not be written", Failure(message.unexpected))
        refusal = message.refusal
        if refusal is not None:
            message.abandon()
            finish(refusal)
        else:
            self.wait_for(finish, self._commit, message, envelope, home)

    def _log_end(self, message: MessageReader, envelope: Envelope, reply: Reply) -> None:
        # One line for each mail is a good part of what a mail costs, and to have Twisted put
        # it together was half of the line.
        peer, recipients = self.peer or self.via or "a unix socket", len(envelope.recipients)
        line = f"mail from {peer}: {message.size} bytes, {recipients} recipients: {reply.line}"
        log.info(line.replace("{", "{{").replace("}", "}}"))

    def _said_by_one(self, reply: Reply) -> Reply:
        """Return a reply of an application that leaves the session to the others."""
        if reply.code == 421 and self.factory.homes.are_several:
            return evolve(reply, code=451)
        return reply

    def replies_to(self, envelope: Envelope, reply: Reply) -> list[Reply]:
        """Return the replies to a message: one, however many recipients it has."""
        del envelope
        return [reply]

    def _commit(
        self, message: MessageReader, envelope: Envelope, home: MailHome
    ) -> Deferred[Reply]:
        """Make a message an event; the reply is 250 only when that is durable."""
        content = message.inline
        if content is None:
            return Deferred.fromCoroutine(self._commit_blob(message, envelope, home))
        return self._put(message, content, envelope, home)

    async def _commit_blob(
        self, message: MessageReader, envelope: Envelope, home: MailHome
    ) -> Reply:
        try:
            content = await message.content()
        except BaseException:
            message.abandon()
            raise
        return await self._put(message, content, envelope, home)

    def _put(
        self, message: MessageReader, content: bytes | Blob, envelope: Envelope, home: MailHome
    ) -> Deferred[Reply]:
        mail = Mail(
            reverse_path=envelope.reverse_path,
            recipients=tuple(envelope.recipients.values()),
            header=message.header,
            content=content,
            peer=self.peer,
            helo=self._client.get("HELO") or self._peer_name.decode("ascii"),
            protocol=protocol_of(
                self.protocol_name, utf8=envelope.utf8, tls=self.secure, login=bool(self.login)
            ),
            tls=self.secure,
            options=envelope.options,
            recipient_options=self._options_of(envelope),
            forwarded=envelope.forwarded,
            sha256=message.sha256,
            via=self.via,
            login=self.login,
            host=self.host.decode("ascii"),
        )
        if home.checks is None or self.login:
            return self._take(mail, envelope, home)
        return self.factory.look_at(mail, home).addCallback(self._take, envelope, home)

    def _take(self, mail: Mail, envelope: Envelope, home: MailHome) -> Deferred[Reply]:
        submitted = submit_mail(home, mail, partial(self._submit, home))
        return submitted.addCallback(self._placed, mail, envelope)

    def _placed(self, seqs: tuple[int, ...], mail: Mail, envelope: Envelope) -> Reply:
        placed = zip(envelope.recipients, mail.recipients, seqs, strict=True)
        envelope.places = {
            compared: (seq, copy_of(mail, recipient)) for compared, recipient, seq in placed
        }
        return self.taken(envelope, max(seqs))

    def _submit(self, home: MailHome, event: object) -> Deferred[Any]:
        before = exchange.set(Exchange(self._source))
        try:
            return maybeDeferred(home.app.submit, event)
        finally:
            exchange.reset(before)

    def _options_of(self, envelope: Envelope) -> tuple[tuple[str, ...], ...]:
        every = envelope.recipient_options
        return (
            tuple(every[compared] for compared in envelope.recipients)
            if any(every.values())
            else ()
        )

    def taken(self, envelope: Envelope, seq: int) -> Reply:
        """Return the reply to a message that is durable."""
        assert envelope.home is not None
        return Reply(250, "2.0.0", f"Ok {envelope.home.app.name}/{seq}")

    def _message_read(self, home: MailHome, placed: tuple[Placed, ...]) -> None:
        """Say that a copy of a message is a new one from now on."""
        # Unsaid it is harmless: a copy is then taken for a retransmission.
        self._submit(home, MailAcknowledged(placed)).addErrback(_unsaid)

    @property
    def _source(self) -> str:
        return f"{self.factory.door} {self.peer or self.via or 'unix'}"


def _reply_to_known(known: bool) -> Reply:
    return say.RECIPIENT_OK if known else say.NO_SUCH_RECIPIENT


def _reply_to_trouble(failure: Failure) -> Reply:
    """Refuse a recipient for now: what its application cannot tell, is no reason to bounce."""
    failure.trap(HappyError)
    assert isinstance(failure.value, HappyError)
    reply = reply_to(failure.value)
    return reply if reply.code < 500 else say.TROUBLE


def _unsaid(failure: Failure) -> None:
    failure.trap(HappyError)


def _refusal_by(limits: Limits, envelope: Envelope) -> Reply | None:
    """Return why one more recipient is too much for its application."""
    if len(envelope.accepted) >= limits.smtp_recipients_max:
        return say.TOO_MANY_RECIPIENTS
    return say.TOO_BIG if envelope.size > limits.smtp_message_bytes_max else None


def _read_recipient(rest: bytes, *, utf8: bool) -> tuple[Address, Parameters] | Reply:
    """Read what follows RCPT; a reply says what is wrong with it."""
    try:
        recipient, parameters = _parse(rest, b"TO:")
    except AddressError as error:
        return Reply(501, "5.1.3", f"Bad recipient: {error}")
    except ParameterError as error:
        return _bad_parameter(error)
    if recipient is None:
        return Reply(501, "5.1.3", "Bad recipient: the address is empty")
    if recipient.needs_utf8 and not utf8:
        return say.NEEDS_UTF8
    return refusal_of_rcpt(parameters) or (recipient, parameters)


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
