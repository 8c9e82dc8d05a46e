"""The letters a list writes itself: what they say, and how they are marked.

They follow RFC 3834, so that two machines never end up writing to each other: each letter
says that it is automatic, and its reverse path is empty, so nothing can come back for it.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from happy import Context, compose
from happy.examples.lists.model import Lists, Request, Settings, Subscriber

REQUEST_DAYS: Final = 3
"""How long a request waits for its confirmation."""


@frozen
class Letter:
    """A letter before it is filled in; ``sender`` is where the answer to it goes."""

    sender: str
    subject: str
    text: str


_JOIN: Final = Letter(
    "{name}-confirm-{token}",
    "Please confirm: join {list}",
    """\
Somebody, hopefully you, wants mail to {address} from the list

    {list}

To confirm this, answer this letter, or open

    {url}/confirm/{token}

If it was not you, do nothing: no mail will come. The link works for {days} days.
""",
)

_LEAVE: Final = Letter(
    "{name}-confirm-{token}",
    "Please confirm: leave {list}",
    """\
Somebody, hopefully you, wants {address} to get no more mail from the list

    {list}

To confirm this, answer this letter, or open

    {url}/confirm/{token}

If it was not you, do nothing: all stays as it is. The link works for {days} days.
""",
)

_STRANGER: Final = Letter(
    "{name}-owner",
    "You are not on {list}",
    """\
Somebody, hopefully you, wants {address} to get no more mail from the list

    {list}

This address is not on the list. If you do get its mail, it comes by way of another of your
addresses; each message of the list has a link in its header that takes that one off.
""",
)

_WELCOME: Final = Letter(
    "{name}-owner",
    "Welcome to {list}",
    """\
{address} is now on the list. To write to all, write to

    {list}

What was written so far is at

    {url}/{name}

To leave, use the link that your mail program shows for messages of the list, or

    {url}/unsubscribe/{token}
""",
)

_GOODBYE: Final = Letter(
    "{name}-owner",
    "You have left {list}",
    """\
{address} is no longer on the list {list}.

{reason}

To come back, send a letter to {name}-subscribe@{domain}, or open

    {url}/{name}
""",
)

AS_ASKED: Final = "This is as you asked."
CAME_BACK: Final = "Mail from the list to you came back too often."


def ask(state: Lists, context: Context, request: Request, answered: str = "") -> None:
    """Ask an address to confirm; the answer to our letter is the confirmation.

    ``answered`` is the Message-ID of the letter that made us write, if there was one.
    """
    if request.action == "subscribe":
        letter = _JOIN
    elif (request.list, request.key) in state.subscribers:
        letter = _LEAVE
    else:
        letter = _STRANGER
    _send(state, context, request, letter, answered)


def welcome(state: Lists, context: Context, subscriber: Subscriber) -> None:
    """Greet a new subscriber."""
    _send(state, context, subscriber, _WELCOME)


def goodbye(state: Lists, context: Context, subscriber: Subscriber, reason: str) -> None:
    """Tell somebody who has left, and why."""
    _send(state, context, subscriber, _GOODBYE, reason=reason)


def url_of(settings: Settings) -> str:
    """Return what the links of this site begin with."""
    return settings.url.rstrip("/")


def _send(
    state: Lists,
    context: Context,
    to: Request | Subscriber,
    letter: Letter,
    answered: str = "",
    **more: str,
) -> None:
    domain = state.domains[0]
    words = {
        "list": f"{to.list}@{domain}",
        "name": to.list,
        "domain": domain,
        "address": to.address,
        "token": to.token,
        "url": url_of(context.settings),
        "days": REQUEST_DAYS,
        **more,
    }
    extra = [("Auto-Submitted", "auto-replied" if answered else "auto-generated")]
    if answered:
        extra += [("In-Reply-To", answered), ("References", answered)]
    header = compose(
        sender=f"{letter.sender.format_map(words)}@{domain}",
        to=to.address,
        subject=letter.subject.format_map(words),
        text=letter.text.format_map(words),
        message_id=f"<{context.token()}@{domain}>",
        date=context.time,
        extra=tuple(extra),
    )
    context.mail(to.address, header, reverse_path="", tag="letter")
