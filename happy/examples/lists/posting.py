"""A letter to the list: who may write, and what each subscriber gets.

A subscriber gets the letter as it was written. The body is the same bytes, and no field of
the header that a signature usually covers is touched - no prefix before the subject, no
footer, no other sender - so a DKIM signature of the author still holds, and with it DMARC.
We only put our own fields before it, and leave out those that would speak for somebody else.
"""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import Final

from happy import Context, Mail, Refused
from happy.examples.lists import archive
from happy.examples.lists.letters import url_of
from happy.examples.lists.model import Lists, Subscriber, key_of
from happy.message import Header, is_automatic, parse_header

HEADER_BYTES_MAX: Final = 32 * 1024  # each subscriber's copy has its own header in memory
AUTHORS_MAX: Final = 5  # of one letter, that are looked at

_FIELD: Final = re.compile(rb"(?m)^([^\s:]+)[ \t]*:(?:[^\r]|\r(?!\n)|\r\n(?=[ \t]))*\r\n")
_LEFT_OUT: Final = frozenset(
    {
        b"return-path",  # the last server writes it (RFC 5321 section 4.4)
        b"bcc",  # not for the others to see
        b"precedence",  # ours
        b"list-id", b"list-post", b"list-help", b"list-archive", b"list-owner",
        b"list-subscribe", b"list-unsubscribe", b"list-unsubscribe-post",  # ours
        b"disposition-notification-to", b"return-receipt-to", b"x-confirm-reading-to",
        b"errors-to",  # each would have every subscriber's machine write to the author
    }
)  # fmt: skip
_NOT_IN_TRACE: Final = re.compile(r"[^A-Za-z0-9.:\[\]_-]")


def post(state: Lists, mail: Mail, context: Context, name: str) -> None:
    """``LIST@``: take a subscriber's letter into the archive and send it to all."""
    if (name, context.seq) in state.messages:
        return  # one letter, sent to the list under two of our domains
    header = parse_header(mail.header)
    _check(state, mail, header, name)
    archive.file(state, mail, header, context, name)
    before, after = _fields(state, mail, context, name), kept_fields(mail.header)
    for subscriber in state.subscribers.where(list=name):
        context.mail(
            subscriber.address,
            before + _own_fields(state, context, subscriber) + after + b"\r\n",
            mail.content,
            content_offset=len(mail.header),
            tag=subscriber.token,
        )


def _check(state: Lists, mail: Mail, header: Header, name: str) -> None:
    """Raise ``Refused`` for what must not be sent on. A refusal at the door makes no letter."""
    if is_loop(state, header, name):
        raise Refused("this letter has been on this list", smtp=(554, "5.4.6"))
    if is_automatic(header, mail.reverse_path):
        raise Refused("letters by machines are not sent on", smtp=(550, "5.7.1"))
    if len(mail.header) > HEADER_BYTES_MAX:
        raise Refused("the header of this letter is too long", smtp=(552, "5.3.4"))
    if not any((name, key_of(address)) in state.subscribers for address in authors(mail, header)):
        raise Refused(
            f"only subscribers write to {name}; to become one, write to "
            f"{name}-subscribe@{state.domains[0]}",
            smtp=(550, "5.7.1"),
        )


def is_loop(state: Lists, header: Header, name: str) -> bool:
    """Say whether a letter has come from this list already."""
    marks = {f"{name}@{domain}" for domain in state.domains}
    ids = tuple(f"<{name}.{domain}>" for domain in state.domains)
    return any(mark.strip().lower() in marks for mark in header.all("x-loop")) or any(
        mark.strip().lower().endswith(ids) for mark in header.all("list-id")
    )


def authors(mail: Mail, header: Header) -> list[str]:
    """Return who a letter may be from: its From (RFC 5322), then its envelope (RFC 5321).

    Both count, because people write from more places than they subscribe from. Neither is
    proof; that is the business of SPF and DKIM, at the mail server before us.
    """
    found = [mailbox.address for mailbox in header.addresses("from")[:AUTHORS_MAX]]
    return [*found, mail.reverse_path]


# --- what a subscriber gets -----------------------------------------------------------------


def kept_fields(header: bytes) -> bytes:
    """Return the fields of a header that are sent on, byte for byte, in their order."""
    return b"".join(
        found[0] for found in _FIELD.finditer(header) if found[1].lower() not in _LEFT_OUT
    )


def _fields(state: Lists, mail: Mail, context: Context, name: str) -> bytes:
    domain = state.domains[0]
    url = url_of(context.settings)
    lines = (
        _received(mail, context, name, domain),
        f"X-Loop: {name}@{domain}",
        f"List-Id: <{name}.{domain}>",
        f"List-Post: <mailto:{name}@{domain}>",
        f"List-Help: <{url}/{name}>",
        f"List-Archive: <{url}/{name}>",
        f"List-Subscribe: <mailto:{name}-subscribe@{domain}>",
        "Precedence: list",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _own_fields(state: Lists, context: Context, subscriber: Subscriber) -> bytes:
    """Return the fields that only this subscriber gets: how to leave, by one click (RFC 8058)."""
    link = f"{url_of(context.settings)}/unsubscribe/{subscriber.token}"
    by_mail = f"mailto:{subscriber.list}-unsubscribe-{subscriber.token}@{state.domains[0]}"
    return (
        f"List-Unsubscribe: <{link}>,\r\n <{by_mail}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    ).encode("ascii")


def _received(mail: Mail, context: Context, name: str, domain: str) -> str:
    """Return our line in the letter's trace (RFC 5321 section 4.4)."""
    helo, peer = (_NOT_IN_TRACE.sub("", word)[:255] for word in (mail.helo, mail.peer))
    return (
        f"Received: from {helo or 'unknown'} ({peer or 'unknown'})\r\n"
        f"\tby {domain} with {_NOT_IN_TRACE.sub('', mail.protocol)} id {name}/{context.seq}\r\n"
        f"\tfor <{name}@{domain}>; {format_datetime(context.time)}"
    )
