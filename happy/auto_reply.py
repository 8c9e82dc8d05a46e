"""Automatic answers with manners (RFC 3834): one a day to a person, none to a machine.

A table in the application's state remembers who was answered, and when last, by address::

    answered: Table[str, datetime] = table()

Before it answers a message, a handler asks ``may_answer``; the answer carries ``answer_fields``.
Whom mail does not reach needs no care here: an address that is suppressed is not tried.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from happy.bounces import key_of
from happy.context import Context
from happy.event import Mail
from happy.message import Header, is_automatic, parse_header
from happy.table import Table

ANSWERED_EVERY: Final = timedelta(days=1)
"""How often one person is answered by a machine (RFC 3834 section 2, RFC 5230)."""

_MACHINES: Final = ("mailer-daemon", "postmaster", "majordomo", "listserv", "noreply", "no-reply")
_NO_ANSWER: Final = frozenset({"all", "autoreply", "oof"})

Answered = Table[str, datetime]


def may_answer(
    answered: Answered, mail: Mail, context: Context, *, own: Collection[str] = ()
) -> bool:
    """Say whether a machine may answer a message, and note that it does.

    Answers go to ``mail.reverse_path`` with an empty return path, and carry ``answer_fields``.
    Nobody is answered twice within ``ANSWERED_EVERY``; never a bounce, a list, a machine, or
    ourselves: ``own`` are our addresses and domains besides ``context.domains``.
    """
    header = parse_header(mail.header)
    address = mail.reverse_path
    if (
        is_automatic(header, address)
        or _is_machine(address)
        or _wants_no_answer(header)
        or _is_ours(address, (*context.domains, *own))
    ):
        return False
    key = key_of(address)
    before = answered.get(key)
    if before is not None and context.time - before < ANSWERED_EVERY:
        return False
    answered[key] = context.time
    return True


def forget_answered(answered: Answered, context: Context) -> int:
    """Forget who was answered too long ago to matter; return how many. For a daily schedule."""
    past = [key for key, time in answered.items() if context.time - time >= ANSWERED_EVERY]
    for key in past:
        del answered[key]
    return len(past)


def answer_fields(mail: Mail) -> tuple[tuple[str, str], ...]:
    """Return the fields that an answer by a machine carries (RFC 3834 section 3).

    They say what it is, and which message it answers: for ``extra`` of ``happy.compose``.
    """
    header = parse_header(mail.header)
    fields = [("Auto-Submitted", "auto-replied")]
    if header.message_id:
        thread = (*header.references[-20:], header.message_id)
        fields += [("In-Reply-To", header.message_id), ("References", " ".join(thread))]
    return tuple(fields)


def _is_machine(address: str) -> bool:
    local = address.rpartition("@")[0].casefold().partition("+")[0]
    return local in _MACHINES or local.startswith("owner-") or local.endswith("-request")


def _wants_no_answer(header: Header) -> bool:
    words = header.get("x-auto-response-suppress").lower().replace(",", " ").split()
    return not _NO_ANSWER.isdisjoint(words)


def _is_ours(address: str, own: Collection[str]) -> bool:
    key = key_of(address)
    return any(key_of(one) in (key, key.rpartition("@")[2]) for one in own)
