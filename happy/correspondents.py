"""What an application remembers of those it writes to, so that it keeps its manners.

A table of ``Correspondent`` in the application's state holds it, by address::

    correspondents: Table[str, Correspondent] = table()

Who cannot be reached for good is not written to until somebody says otherwise (``failed``,
``is_suppressed``, ``unsuppress``). Who writes to us gets an answer by a machine once a day at
the most, and no machine gets one at all (``may_answer``; RFC 3834).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from attrs import evolve, frozen

from happy.context import Context
from happy.dsn import Fate, status_of
from happy.event import Mail, MailFailed
from happy.message import Header, is_automatic, parse_header
from happy.table import Table

ANSWERED_EVERY: Final = timedelta(days=1)
"""How often one correspondent is answered by a machine (RFC 3834 section 2, RFC 5230)."""

_ADDRESS_IS_BAD: Final = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"})
"""RFC 3463, RFC 7505: the address, not the message or its sender, is what will never do."""
_MACHINES: Final = ("mailer-daemon", "postmaster", "majordomo", "listserv", "noreply", "no-reply")
_NO_ANSWER: Final = frozenset({"all", "autoreply", "oof"})


@frozen
class Correspondent:
    """Somebody we write to: since when mail there fails for good, and why; when last answered."""

    suppressed: datetime | None = None
    status: str = ""
    answered: datetime | None = None


Correspondents = Table[str, Correspondent]


def key_of(address: str) -> str:
    """Return the key of an address: nobody has two mailboxes that differ in large letters."""
    return address.casefold()


# --- who cannot be reached -------------------------------------------------------------------


def failed(known: Correspondents, event: MailFailed | Fate, context: Context) -> bool:
    """Take in that mail failed; say whether that address is suppressed by it.

    It is when the address itself was refused for good, by the next server (``MailFailed``) or
    in a report (``happy.dsn.read_report``). A full mailbox, a policy or a message that is too
    large suppress nobody.
    """
    if isinstance(event, Fate):
        status = event.status if event.failed else ""
    else:
        status = status_of(event.reply)
    if status not in _ADDRESS_IS_BAD:
        return False
    key = key_of(event.recipient)
    before = known.get(key) or Correspondent()
    if before.suppressed is None:
        known[key] = evolve(before, suppressed=context.time, status=status)
    return True


def is_suppressed(known: Correspondents, address: str) -> bool:
    """Say whether an address is not to be written to."""
    found = known.get(key_of(address))
    return found is not None and found.suppressed is not None


def unsuppress(known: Correspondents, address: str) -> bool:
    """Let an address be written to again; say whether it was suppressed."""
    key = key_of(address)
    found = known.get(key)
    if found is None or found.suppressed is None:
        return False
    if found.answered is None:
        del known[key]
    else:
        known[key] = evolve(found, suppressed=None, status="")
    return True


# --- who may be answered ---------------------------------------------------------------------


def may_answer(
    known: Correspondents, mail: Mail, context: Context, *, own: Collection[str] = ()
) -> bool:
    """Say whether a machine may answer a message, and note that it does.

    Answers go to ``mail.reverse_path`` with an empty return path, and carry ``answer_fields``.
    Nobody is answered twice within ``ANSWERED_EVERY``; never a bounce, a list, a machine, an
    address that is suppressed, or ourselves: ``own`` are our addresses and domains besides
    ``context.domains``.
    """
    header = parse_header(mail.header)
    address = mail.reverse_path
    if (
        is_automatic(header, address)
        or _is_machine(address)
        or _wants_no_answer(header)
        or _is_ours(address, (*context.domains, *own))
        or is_suppressed(known, address)
    ):
        return False
    key = key_of(address)
    before = known.get(key) or Correspondent()
    if before.answered is not None and context.time - before.answered < ANSWERED_EVERY:
        return False
    known[key] = evolve(before, answered=context.time)
    return True


def forget_answered(known: Correspondents, context: Context) -> int:
    """Forget who was answered too long ago to matter; return how many. For a daily schedule."""
    past = [
        key
        for key, one in known.items()
        if one.answered is not None and context.time - one.answered >= ANSWERED_EVERY
    ]
    for key in past:
        one = known[key]
        if one.suppressed is None:
            del known[key]
        else:
            known[key] = evolve(one, answered=None)
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
