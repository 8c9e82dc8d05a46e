"""Mail that came back to a return path of ours: what it says is told to the order as an event.

The message itself is an event like any other that came in, and is in the journal by then. What it
means is found here and now, and journaled: whatever later versions of this, or of a library, would
find in the same bytes, a replay comes to the same. A peer that is not told 250, because the
process ended in between, sends the message again; then it is told again, which changes nothing.

Reports as RFC 3464 wants them are read by ``happy.dsn``. Of what others write, flufl.bounce knows a
hundred kinds. Anybody who was sent a message may write to its return path, so the library is given
little: a beginning of the message, in lines of bounded length, in few parts; and whatever it raises
means that nothing was found.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from email import message_from_bytes
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import Deferred

from happy.app import App
from happy.dsn import is_hard, read_report, status_of
from happy.errors import HandlerFailed, Refused
from happy.event import Mail
from happy.message import Header, parse_header
from happy.system_events import MailBounced
from happy.wire.mail_homes import MailHome

_LINES_MAX: Final = 1_000
_LINE_BYTES_MAX: Final = 240  # some patterns take the square of it, and of what they look for
_ANGLES_MAX: Final = 4  # in one line
_PARTS_MAX: Final = 50  # of those that say what they are: so deep may a message go
_STATUS: Final = re.compile(rb"(?<![0-9.])5\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
_MACHINES: Final = frozenset({"mailer-daemon", "postmaster"})


@frozen
class Bounce:
    """Why a message came back: an enhanced code, what a server said, and whether to try again."""

    status: str
    reply: str

    @property
    def hard(self) -> bool:
        """Whether the address will never do."""
        return is_hard(self.status, self.reply)


Submit = Callable[[object], Deferred[Any]]
"""Puts an event in the order, as ``App.submit`` does."""


def submit_mail(home: MailHome, mail: Mail, submit: Submit) -> Deferred[Any]:
    """Submit a message, and then what it says of mail of ours that came back, if it does.

    Fires with the places of the message, one for each recipient; fails as ``App.submit`` does.
    """
    submitted = submit(mail)
    effect_of = home.app.return_paths.effect_of
    if any(effect_of(recipient) is not None for recipient in mail.recipients):
        submitted.addCallback(
            lambda seqs: Deferred.fromCoroutine(_tell_returned(home, mail, seqs, submit))
        )
    return submitted


async def _tell_returned(
    home: MailHome, mail: Mail, seqs: Sequence[int], submit: Submit
) -> Sequence[int]:
    app, limits = home.app, home.limits
    bounce = read_bounce(_in_memory(app, mail, limits.mail_bounce_bytes_max))
    if bounce is None:
        return seqs
    reply = bounce.reply[: limits.mail_out_reply_chars_max]
    for recipient, seq in zip(mail.recipients, seqs, strict=True):
        effect_id = app.return_paths.effect_of(recipient)
        if effect_id is None:
            continue
        event = MailBounced(
            *effect_id, status=bounce.status, reply=reply, hard=bounce.hard, mail_seq=seq
        )
        with suppress(Refused, HandlerFailed):  # the application's own answer; it is in the journal
            await submit(event)
    return seqs


def _in_memory(app: App, mail: Mail, bytes_max: int) -> Mail:
    """Return the beginning of a message."""
    content = mail.content
    if not isinstance(content, bytes):
        reader = app.open_blob(content)
        try:
            content = reader.read(bytes_max)
        finally:
            reader.close()
    changed: Any = mail
    cut: Mail = evolve(changed, content=content[:bytes_max])
    return cut


def read_bounce(mail: Mail) -> Bounce | None:
    """Return why a message of ours came back; None when this does not say that it did.

    It may say that mail is late, was delivered, or that somebody is on holiday. Never raises.
    """
    fates = read_report(mail)
    failed = next((fate for fate in fates if fate.failed), None)
    if failed is not None:
        said = status_of(failed.reason)
        vague = not failed.status or failed.status.endswith(".0.0")
        return Bounce((said if vague else "") or failed.status or "5.0.0", failed.reason)
    return None if fates else _by_its_text(mail)


def _by_its_text(mail: Mail) -> Bounce | None:
    """Find out by what flufl.bounce knows, of mail that nobody may answer (RFC 5321, 4.5.5)."""
    assert isinstance(mail.content, bytes)
    text = mail.content.replace(b"\r\n", b"\n")
    if mail.reverse_path or _is_notice(parse_header(mail.header)):
        return None
    if text.lower().count(b"content-type") > _PARTS_MAX:
        return None
    lines = [line[:_LINE_BYTES_MAX] for line in text.split(b"\n", _LINES_MAX)[:_LINES_MAX]]
    text = b"\n".join(line for line in lines if line.count(b"<") <= _ANGLES_MAX)
    try:
        if not _failures(text):
            return None
    except Exception:  # noqa: BLE001 - hostile input brings the parsers to any error
        return None
    found = _STATUS.search(text)
    return Bounce("5.0.0" if found is None else found[0].decode(), "")


def _is_notice(header: Header) -> bool:
    """Say whether a person's program answers, as for a holiday, and not a mail server."""
    by = {mailbox.address.partition("@")[0].lower() for mailbox in header.addresses("from")}
    return header.auto_submitted == "auto-replied" and _MACHINES.isdisjoint(by)


def _failures(text: bytes) -> frozenset[bytes]:
    """Return the addresses that have failed for good, as flufl.bounce sees it; raises anything."""
    from flufl.bounce import all_failures  # noqa: PLC0415 - few need it, and it brings the parsers

    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)  # it logs what it raises
    _, permanent = all_failures(message_from_bytes(text))
    return frozenset(permanent)
