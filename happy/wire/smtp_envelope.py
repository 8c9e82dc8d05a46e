"""The envelope of a message: what MAIL and RCPT say, read and checked."""

from __future__ import annotations

from attrs import define, field

from happy.limits import Limits
from happy.unacknowledged import Placed
from happy.wire import smtp_reply as say
from happy.wire.address import (
    Address,
    AddressError,
    ParameterError,
    parse_parameters,
    parse_path,
)
from happy.wire.mail_homes import MailHome
from happy.wire.smtp_parameters import Parameters, refusal_of_mail, refusal_of_rcpt, told
from happy.wire.smtp_reply import Reply


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


def read_sender(rest: bytes, message_bytes_max: int, *, auth: bool) -> Envelope | Reply:
    """Read what follows MAIL; a reply says what is wrong with it. ``auth`` of who has logged in."""
    try:
        sender, parameters = _parse(rest, b"FROM:")
    except AddressError as error:
        return Reply(501, "5.1.7", f"Bad sender: {error}")
    except ParameterError as error:
        return _bad_parameter(error)
    if sender is not None and not sender.domain:
        return Reply(501, "5.1.7", "Bad sender: the address has no domain")
    refusal = refusal_of_mail(parameters, message_bytes_max, auth=auth)
    if refusal is not None:
        return refusal
    utf8 = "SMTPUTF8" in dict(parameters)
    if sender is not None and sender.needs_utf8 and not utf8:
        return say.NEEDS_UTF8
    reverse_path = "" if sender is None else str(sender)
    return Envelope(reverse_path, told(parameters), utf8, int(dict(parameters).get("SIZE") or 0))


def refusal_by(limits: Limits, envelope: Envelope) -> Reply | None:
    """Return why one more recipient is too much for its application."""
    if len(envelope.accepted) >= limits.smtp_recipients_max:
        return say.TOO_MANY_RECIPIENTS
    return say.TOO_BIG if envelope.size > limits.smtp_message_bytes_max else None


def read_recipient(rest: bytes, *, utf8: bool) -> tuple[Address, Parameters] | Reply:
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
