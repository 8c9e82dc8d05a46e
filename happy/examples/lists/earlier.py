"""What copies of an earlier time bring back: their return path was the list's own.

It was ``LIST-bounces+TOKEN@``, and the letters that came back there are in journals. A replay comes
to the same only when they mean what they meant, so this stays as it is; mail that goes out now has
a return path of happy's own, see ``bounces``.
"""

from __future__ import annotations

import re
from typing import Final

from happy import Context, Mail
from happy.examples.lists import bounces
from happy.examples.lists.model import Lists
from happy.message import Header, parse_header
from happy.mime import bytes_of, read_message

_ACTION: Final = re.compile(rb"(?mi)^action:[ \t]*([a-z]+)")
_MACHINES: Final = frozenset({"mailer-daemon", "postmaster"})


def report(state: Lists, mail: Mail, context: Context, name: str, token: str) -> None:
    """``LIST-bounces+TOKEN@``: count a report of failure; take anything else and drop it."""
    subscriber = state.subscribers.one(token=token)
    if subscriber is not None and subscriber.list == name and _says_failed(mail):
        bounces.count(state, context, subscriber)


def _says_failed(mail: Mail) -> bool:
    """Say whether a letter reports that mail could not be delivered for good (RFC 3464).

    A report that is too large for the memory is believed by its header.
    """
    header = parse_header(mail.header)
    if header.content_type.kind != "multipart/report":
        return not mail.reverse_path and _by_machine(header)
    if isinstance(mail.content, bytes):
        for part in read_message(mail.content).parts:
            if part.kind == "message/delivery-status":
                return b"failed" in map(bytes.lower, _ACTION.findall(bytes_of(mail.content, part)))
    return header.content_type.parameters.get("report-type") == "delivery-status"


def _by_machine(header: Header) -> bool:
    """Say whether a mail server wrote this, as those do that know no RFC 3464."""
    return any(
        mailbox.address.partition("@")[0].lower() in _MACHINES
        for mailbox in header.addresses("from")
    )
