"""Reports that mail could not be delivered (RFC 3464): reading those that come, making our own.

All of it is pure: made for handlers. What comes may be anything at all; reading never raises.
"""

from __future__ import annotations

import hashlib
import re
from base64 import encodebytes
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from itertools import zip_longest
from typing import Final

from attrs import frozen

from happy.event import Mail, MailFailed
from happy.message import Header, header_block, parse_header
from happy.mime import bytes_of, read_message

RECIPIENTS_MAX: Final = 100
"""How many recipients of one report are read."""
_HEADER_BYTES_MAX: Final = 16 * 1024  # of the message that failed, as the report shows it
_LINE_BYTES_MAX: Final = 998

_STATUS: Final = re.compile(r"(?:[245][0-9][0-9][ -])?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
_CODE: Final = re.compile(r"([245])[0-9][0-9]\b")
_BLANK_LINE: Final = re.compile(rb"\r?\n[ \t]*\r?\n")
_ADDRESS: Final = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_HARD: Final = frozenset(
    {"5.0.0", "5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.0", "5.2.1", "5.4.4"}
)
"""5.4.4 is what Postfix says of a domain that does not exist."""
_NO_SUCH_MAILBOX: Final = ("550", "551", "553")

_TEXT: Final = """\
This is the mail system of {host}.

Your message could not be delivered to

    {recipients}

It is not tried any more. The reason:

    {reason}

What follows is the same for programs, and the header of your message.
"""


@frozen
class Fate:
    """What became of a message for one recipient, as a report tells it.

    ``action`` is failed, delayed, delivered, relayed or expanded; ``status`` an enhanced code
    (RFC 3463), empty when there was none; ``reason`` what a server said.
    """

    recipient: str
    action: str
    status: str = ""
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it will never be delivered."""
        return self.action == "failed"


def status_of(reply: str) -> str:
    """Return the enhanced code of a server's reply, ``5.0.0`` and the like when it gave none.

    ``reply`` is that of a ``MailSent``, ``MailDelayed`` or ``MailFailed``. Empty when it tells
    nothing at all.
    """
    found = _STATUS.match(reply)
    if found is not None:
        return found[1]
    code = _CODE.match(reply)
    return "" if code is None else f"{code[1]}.0.0"


def is_hard(status: str, reply: str = "") -> bool:
    """Say whether an enhanced code means that an address will never do (RFC 3463, RFC 7505).

    A failure may also be about the message, its sender, or the state of a mailbox or network: that
    says nothing of the next message. What is permanent and gives no detail counts, unless the code
    of the ``reply`` is one for other things (RFC 5321 section 4.2.3).
    """
    if status == "5.0.0" and reply[:3].isdecimal():
        return reply[:3] in _NO_SUCH_MAILBOX
    return status in _HARD


# --- reading ------------------------------------------------------------------------------


def read_report(mail: Mail) -> tuple[Fate, ...]:
    """Return what a message reports of others; empty when it is no report, or none we can read.

    Reports as RFC 3464 wants them, and Exim's, which names recipients in its header. A message
    that is too large for the memory is not read.
    """
    if not isinstance(mail.content, bytes):
        return ()
    header = parse_header(mail.header)
    if header.content_type.kind == "multipart/report":
        for part in read_message(mail.content).parts:
            if part.kind in ("message/delivery-status", "message/global-delivery-status"):
                return _fates(bytes_of(mail.content, part))
    if not mail.reverse_path:
        named = _ADDRESS.findall(header.get("x-failed-recipients").replace(",", " "))
        return tuple(Fate(address, "failed") for address in named[:RECIPIENTS_MAX])
    return ()


def _fates(fields: bytes) -> tuple[Fate, ...]:
    """Read the groups of fields: the first is about the message, each other about a recipient."""
    groups = map(parse_header, _BLANK_LINE.split(fields.strip(b"\r\n"))[: RECIPIENTS_MAX + 1])
    return tuple(fate for group in groups if (fate := _fate(group)) is not None)


def _fate(group: Header) -> Fate | None:
    action = group.get("action").partition(" ")[0].strip().lower()
    recipient = _typed(group.get("final-recipient")) or _typed(group.get("original-recipient"))
    if not action or not recipient:
        return None
    if action.startswith(("fail", "error")):  # as OpenSMTPD has it, and others
        action = "failed"
    status = _STATUS.match(group.get("status").strip())
    return Fate(
        recipient,
        action,
        "" if status is None else status[1],
        _typed(group.get("diagnostic-code")),
    )


def _typed(value: str) -> str:
    """Return what stands behind the type of a field, as in ``rfc822; ann@x.example``."""
    return " ".join(value.partition(";")[2].split()).removeprefix("<").removesuffix(">")


# --- making -------------------------------------------------------------------------------


def compose_report(
    failed: MailFailed, *, host: str, message_id: str, date: datetime, header: bytes = b""
) -> bytes:
    """Return the report that a message failed, for the ``reverse_path`` of that message.

    ``host`` is our name in it, ``header`` that of the message that failed. It goes out with an
    empty return path, and a message that had one itself is not reported on: ``ValueError``.
    """
    if not failed.reverse_path:
        raise ValueError("a message without a return path is not reported on (RFC 5321, 4.5.5)")
    status = status_of(failed.reply)
    fields = [
        ("Final-Recipient", _final(failed.recipient)),
        ("Action", "failed"),
        ("Status", status if status.startswith("5") else "5.0.0"),
    ]
    reason = " ".join(failed.reply.split())
    if re.match("[245][0-9][0-9] ", reason):
        fields.append(("Diagnostic-Code", f"smtp; {_ascii(reason)}"))
    text = _TEXT.format(host=host, recipients=_ascii(failed.recipient), reason=_ascii(reason))
    report = _Report(host, message_id, date, failed.reverse_path)
    return report.compose(text, [], [fields], header)


def compose_return(mail: Mail, reason: str, *, host: str, message_id: str, date: datetime) -> bytes:
    """Return the report that a message which came in was not delivered after all.

    It is about the recipients whose failure the sender wants to hear of (RFC 3461, section 4.1).
    ``ValueError`` says why there is none: nobody is to be told.
    """
    if not mail.reverse_path:
        raise ValueError("it has no return path, so nobody is told (RFC 5321, 4.5.5)")
    recipients = zip_longest(mail.recipients, mail.recipient_options, fillvalue=())
    about = [(to, _values(options)) for to, options in recipients if isinstance(to, str)]
    about = [(to, values) for to, values in about if "FAILURE" in values.get("NOTIFY", "FAILURE")]
    if not about:
        raise ValueError("its sender wants no report of a failure (NOTIFY, RFC 3461)")
    groups = []
    for to, values in about:
        original = [("Original-Recipient", values["ORCPT"])] if "ORCPT" in values else []
        final = [("Final-Recipient", _final(to)), ("Action", "failed"), ("Status", "5.0.0")]
        groups.append(original + final)
    envelope_id = _values(mail.options).get("ENVID")
    about_all = [] if envelope_id is None else [("Original-Envelope-Id", envelope_id)]
    to_all = "\n    ".join(to for to, _ in about)
    text = _TEXT.format(host=host, recipients=to_all, reason=reason)
    report = _Report(host, message_id, date, mail.reverse_path)
    return report.compose(text, about_all, groups, mail.header)


def _values(parameters: Iterable[str]) -> dict[str, str]:
    """Return the parameters of MAIL or RCPT by name, xtext decoded (RFC 3461, section 4)."""
    pairs = (one.partition("=") for one in parameters)
    return {
        name.upper(): _ascii(_XTEXT.sub(lambda found: chr(int(found[1], 16)), value))
        for name, _, value in pairs
    }


Fields = list[tuple[str, str]]


@frozen
class _Report:
    """A report to somebody; see RFC 3462 and RFC 3464."""

    host: str
    message_id: str
    date: datetime
    to: str

    def compose(self, text: str, about_all: Fields, groups: list[Fields], header: bytes) -> bytes:
        """Return it: for people, for programs, and the header of the message it is about."""
        if self.date.tzinfo is None:
            raise ValueError("a date without a timezone: write datetime(..., tzinfo=UTC)")
        boundary = "=_" + hashlib.sha256(self.message_id.encode()).hexdigest()[:32]
        of_message = header_block([("Reporting-MTA", f"dns; {self.host}"), *about_all])
        parts = [
            _text_part(text),
            (
                [("Content-Type", "message/delivery-status")],
                of_message + b"\r\n".join(header_block(group)[:-2] for group in groups),
            ),
            ([("Content-Type", "text/rfc822-headers")], _shown(header)),
        ]
        body = b"".join(
            b"\r\n--%s\r\n" % boundary.encode() + header_block(fields) + content
            for fields, content in parts
        )
        head = header_block(
            [
                ("From", f'"Mail system" <mailer-daemon@{self.host}>'),
                ("To", self.to),
                ("Subject", "Your message could not be delivered"),
                ("Date", format_datetime(self.date)),
                ("Message-ID", self.message_id),
                ("Auto-Submitted", "auto-replied"),
                ("MIME-Version", "1.0"),
                (
                    "Content-Type",
                    f'multipart/report; report-type=delivery-status; boundary="{boundary}"',
                ),
            ]
        )
        return head + body + b"\r\n--%s--\r\n" % boundary.encode()


def _text_part(text: str) -> tuple[Fields, bytes]:
    lines = text.replace("\n", "\r\n").encode()
    if text.isascii():
        return [("Content-Type", "text/plain; charset=us-ascii")], lines
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "base64"),
    ]
    return fields, encodebytes(lines).replace(b"\n", b"\r\n")


def _final(recipient: str) -> str:
    if recipient.isascii():
        return f"rfc822; {recipient}"
    # RFC 6533 section 3: in ASCII, so that a server without SMTPUTF8 may pass it on.
    escaped = "".join(
        c if c.isascii() and c not in "\\+=" else f"\\x{{{ord(c):X}}}" for c in recipient
    )
    return f"utf-8; {escaped}"


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _shown(header: bytes) -> bytes:
    """Return a header in lines that any server passes on, its end cut off if it is long."""
    lines = header[:_HEADER_BYTES_MAX].replace(b"\r\n", b"\n").strip(b"\n").split(b"\n")
    clean = bytes(c if 32 <= c < 127 or c in b"\t\n" else 63 for c in b"\n".join(
        line[:_LINE_BYTES_MAX] for line in lines
    ))  # fmt: skip
    return clean.replace(b"\n", b"\r\n") + b"\r\n"
