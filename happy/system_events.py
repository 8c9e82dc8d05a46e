"""The events that happy itself puts in the order, and those of them that need nobody else.

These are about mail that came back, and what an operator says of mail.
"""

from __future__ import annotations

from typing import Final

from happy.event import (
    CallEnded,
    Configured,
    Mail,
    MailAcknowledged,
    MailDelayed,
    MailFailed,
    MailSending,
    MailSent,
    Scheduled,
    ScheduleFired,
    TimerFired,
    event,
)


@event(name="happy.MailBounced")
class MailBounced:
    """A message that was sent came back: a report of it reached its return path.

    Only mail under a return path of happy's own is known again, see ``context.mail``.
    ``status`` is the enhanced code (RFC 3463) and ``reply`` what a server said, as the report has
    them; ``hard`` when it is the address that will never do, and not, say, a full mailbox.
    ``mail_seq`` is the place of the report. Recipient, return path and tag are those of the
    message: a handler sees them, in the journal they are empty. A message comes back once.
    """

    event_seq: int
    n: int
    recipient: str = ""
    reverse_path: str = ""
    tag: str = ""
    status: str = ""
    reply: str = ""
    hard: bool = False
    mail_seq: int = 0


@event(name="happy.MailUnsuppressed")
class MailUnsuppressed:
    """Mail to this address is tried again; its failures so far count no more."""

    address: str


@event(name="happy.MailHeld")
class MailHeld:
    """A message is left alone until it is released: an operator, ``who``, says so.

    ``n`` and ``event_seq`` say which one that is owed: it is not sent. Without ``n`` it is the one
    that came in as ``event_seq``: it is neither redelivered nor returned.
    """

    event_seq: int
    n: int | None = None
    who: str = ""
    reason: str = ""


@event(name="happy.MailReleased")
class MailReleased:
    """A message that was held is left alone no more."""

    event_seq: int
    n: int | None = None
    who: str = ""


@event(name="happy.MailReturned")
class MailReturned:
    """A message that came in goes back to its sender, ``reverse_path``: an operator says so.

    ``event_seq`` is its place; it is returned once. ``header`` and ``content`` are the report
    (RFC 3464), which is owed by this event.
    """

    event_seq: int
    reverse_path: str
    header: bytes
    content: bytes
    who: str = ""
    reason: str = ""


SYSTEM_EVENTS: Final = (
    Configured,
    Mail,
    MailAcknowledged,
    TimerFired,
    Scheduled,
    ScheduleFired,
    MailSending,
    MailSent,
    MailDelayed,
    MailFailed,
    MailBounced,
    MailUnsuppressed,
    MailHeld,
    MailReleased,
    MailReturned,
    CallEnded,
)
