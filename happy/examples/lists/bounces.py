"""Mail that came back: who cannot be reached for long enough leaves the list.

Every copy has a return path of its own, ``LIST-bounces+TOKEN@``, so a report needs no
understanding to know whom it is about (this is VERP), only to know whether it says *failed*:
a report may also say that mail is late, and a holiday notice is none at all.

A full mailbox or a broken server is forgiven. At most one failure counts each day, and when
none came for two weeks the counting begins anew.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from attrs import evolve

from happy import Context, Mail, MailFailed
from happy.examples.lists import joining, letters
from happy.examples.lists.model import Lists, key_of
from happy.message import Header, parse_header
from happy.mime import bytes_of, read_message

COUNTED_EVERY: Final = timedelta(days=1)
FORGOTTEN_AFTER: Final = timedelta(days=14)

_ACTION: Final = re.compile(rb"(?mi)^action:[ \t]*([a-z]+)")
_MACHINES: Final = frozenset({"mailer-daemon", "postmaster"})


def report(state: Lists, mail: Mail, context: Context, name: str, token: str) -> None:
    """``LIST-bounces+TOKEN@``: count a report of failure; take anything else and drop it."""
    subscriber = state.subscribers.one(token=token)
    if subscriber is not None and subscriber.list == name and says_failed(mail):
        _count(state, context, token)


def refused(state: Lists, event: MailFailed, context: Context) -> None:
    """Count what the next server would not take, now or ever; no report comes of it."""
    if state.subscribers.one(token=event.tag) is not None:
        _count(state, context, event.tag)


def says_failed(mail: Mail) -> bool:
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


def _count(state: Lists, context: Context, token: str) -> None:
    subscriber = state.subscribers.one(token=token)
    assert subscriber is not None
    bounces = subscriber.bounces
    if subscriber.bounced is not None:
        since = context.time - subscriber.bounced
        if since < COUNTED_EVERY:
            return
        if since > FORGOTTEN_AFTER:
            bounces = 0
    if bounces + 1 >= context.settings.bounces_max:
        joining.leave(state, context, subscriber, letters.CAME_BACK)
        return
    key = (subscriber.list, key_of(subscriber.address))
    state.subscribers[key] = evolve(subscriber, bounces=bounces + 1, bounced=context.time)
