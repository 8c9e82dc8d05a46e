"""A transaction of a mail session: MAIL and RCPT, the message by DATA or BDAT, and its end."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.app import exchange
from happy.errors import HappyError
from happy.event import Blob, Exchange, Mail, MailAcknowledged
from happy.trace import protocol_of
from happy.unacknowledged import Placed, copy_of
from happy.wire import smtp_reply as say
from happy.wire.address import Address
from happy.wire.mail_homes import MailHome
from happy.wire.returned import submit_mail
from happy.wire.smtp_arrival import SmtpArrival
from happy.wire.smtp_envelope import Envelope, read_recipient, read_sender, refusal_by
from happy.wire.smtp_parameters import told
from happy.wire.smtp_reader import ChunkReader, MessageReader
from happy.wire.smtp_reply import Reply, reply_to

_CHUNK: Final = re.compile(rb"([0-9]{1,10})( +LAST)?", re.IGNORECASE)

log = Logger()


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

    def do_MAIL(self, rest: bytes) -> Reply:
        """RFC 5321 section 4.1.1.2; refused where the message would be, whoever it is for."""
        refusal = self._out_of_turn()
        if refusal is not None:
            return refusal
        limits = self.factory.limits
        envelope = read_sender(rest, limits.smtp_message_bytes_max, auth=bool(self.login))
        if isinstance(envelope, Reply):
            return envelope
        trouble = self.factory.homes.trouble(envelope.size)
        if trouble is not None:
            return self._said_by_one(reply_to(trouble))
        self._envelope = envelope
        return say.SENDER_OK

    def _out_of_turn(self) -> Reply | None:
        """Return why there can be no transaction now."""
        if not self._peer_name:
            return say.NOT_GREETED
        if self.factory.trust.needs_login and not self.login:
            return say.NEEDS_LOGIN if self.secure else say.NEEDS_TLS
        if self._envelope is not None:
            return say.HAVE_SENDER
        if self._messages >= self.factory.limits.smtp_messages_max:
            return say.TOO_MANY_MESSAGES
        return None

    def do_RCPT(self, rest: bytes) -> Reply | None:
        """RFC 5321 section 4.1.1.3; only recipients that the application takes are accepted."""
        envelope = self._envelope
        if envelope is None:
            return say.NO_SENDER
        if self._chunked is not None:
            return say.IN_A_MESSAGE
        found = read_recipient(rest, utf8=envelope.utf8)
        if isinstance(found, Reply):
            return found
        recipient, parameters = found
        whose = self.factory.homes.find(recipient)
        if whose is None:
            return say.RELAY_DENIED
        home, address = whose
        refusal = refusal_by(home.limits, envelope) or self._trouble_of(home, envelope)
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

    def _trouble_of(self, home: MailHome, envelope: Envelope) -> Reply | None:
        trouble = home.app.trouble(envelope.size)
        return None if trouble is None else self._said_by_one(reply_to(trouble))

    def _look_up(self, home: MailHome, recipient: Address) -> Deferred[Reply]:
        found = home.knows(recipient, self.factory.clock)
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
            early=home.early,
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
