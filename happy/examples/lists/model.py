"""What a mailing list is told, what can happen to it, and what it knows.

Settings come from the configuration, events go into the journal, the state stays in memory.
All three hold plain immutable values, so that a replay of the journal gives the same lists.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import field, frozen

from happy import Blob, Refused, Table, event, state, table, upcast

LIST_CHARS_MAX: Final = 30  # so that LIST-unsubscribe-TOKEN stays below 64 (RFC 5321)
MESSAGE_ID_CHARS_MAX: Final = 250  # of an id that is remembered; people's are below 100
ADDRESS_CHARS_MAX: Final = 254  # what a path of RFC 5321 section 4.5.3.1.3 has room for

_LIST: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_COMMANDS: Final = ("subscribe", "unsubscribe", "confirm", "bounces", "owner")
_PAGES: Final = (*_COMMANDS, "health", "postmaster")

Action = Literal["subscribe", "unsubscribe"]


# --- what the configuration may say --------------------------------------------------------


def _check_lists(_settings: object, _field: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if not _LIST.fullmatch(name) or len(name) > LIST_CHARS_MAX:
            raise ValueError(
                f"{name!r} cannot be a list: use small letters, digits and single . _ - "
                f"between them, {LIST_CHARS_MAX} characters at most"
            )
        if name in _PAGES or name.rpartition("-")[2] in _COMMANDS or "-confirm-" in name:
            raise ValueError(f"{name!r} cannot be a list: the name has a meaning of its own")


def _check_url(_settings: object, _field: Any, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query:
        raise ValueError(f"{url!r} is not the address of a web site, as in https://lists.example")


def _check_owner(_settings: object, _field: Any, owner: str) -> None:
    if owner and not _ADDRESS.fullmatch(owner):
        raise ValueError(f"{owner!r} is not a mail address")


def _check_positive(_settings: object, _field: Any, number: int) -> None:
    if number < 1:
        raise ValueError("must be 1 or more")


@frozen
class Settings:
    """What the configuration may say: ``settings = { lists = ["dev"], ... }``.

    ``lists`` are local parts: ``dev`` is ``dev@`` each domain of the application. ``url`` is
    where browsers find the web door; links in mail begin with it. A subscriber whose mail
    came back on ``bounces_max`` days leaves. Mail to ``postmaster`` and to a list's owner
    goes to ``owner``; without one it is refused.
    """

    lists: tuple[str, ...] = field(default=(), validator=_check_lists)
    url: str = field(default="http://127.0.0.1:9001", validator=_check_url)
    bounces_max: int = field(default=5, validator=_check_positive)
    owner: str = field(default="", validator=_check_owner)


# --- what can happen ------------------------------------------------------------------------
# Mail, and what became of ours, are events of happy itself. These are the others.


@event(name="lists.Ask")
class Ask:
    """Somebody typed an address into the web page to join or leave a list."""

    list: str
    address: str
    action: Action


@event(name="lists.Confirm")
class Confirm:
    """Somebody who can read the mail of an address confirmed a request."""

    token: str


@event(name="lists.RequestExpired")
class RequestExpired:
    """Nobody confirmed a request in time; a timer says so."""

    token: str


@event(name="lists.Leave")
class Leave:
    """A subscriber followed the link that only this subscriber was ever sent."""

    token: str


# --- what is known --------------------------------------------------------------------------


@frozen
class Subscriber:
    """An address on a list; ``token`` is the secret in its links, and the tag of its copies.

    ``bounces`` counts the days, not far apart, on which mail came back; ``bounced`` is the
    latest of them.
    """

    list: str
    address: str
    token: str
    since: datetime
    bounces: int = 0
    bounced: datetime | None = None


@frozen
class Request:
    """A wish to join or leave that waits for its confirmation; ``letters`` were sent for it."""

    token: str
    list: str
    address: str
    key: str
    action: Action
    letters: int = 0


Topic = tuple[str, int]
"""A thread: its list and the seq of its first message. Also the key of any message."""


@frozen
class Message:
    """A message in the archive: what pages and searches need at once, and its exact bytes.

    ``parent`` is the seq of the message it answers, 0 for none; ``excerpt`` the beginning of
    its text.
    """

    list: str
    seq: int
    time: datetime
    message_id: str
    thread: Topic
    parent: int
    subject: str
    author: str
    excerpt: str
    content: bytes | Blob


@frozen
class Thread:
    """Messages that answer one another; ``latest`` is when the newest of them came."""

    list: str
    seq: int
    name: tuple[str, str]
    subject: str
    author: str
    latest: datetime
    messages: int = 1


@state(version=2)
class Lists:
    """All that is known, in memory; it is rebuilt from the journal at every start.

    Version 2 has the fields of version 1. What was owed then is owed otherwise since: a copy has
    a return path of happy's own. So no digest of that time is one of the same.
    """

    subscribers: Table[tuple[str, str], Subscriber] = table(index=("list",), unique=("token",))
    requests: Table[str, Request] = table(index=("key",))
    messages: Table[Topic, Message] = table(index=("list", "thread", "message_id"))
    threads: Table[Topic, Thread] = table(index=("list", "name"))
    names: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    owner: str = ""


@upcast(Lists, 1)
def _(old: dict[str, Any]) -> dict[str, Any]:
    return old


# --- addresses ------------------------------------------------------------------------------


def checked_address(address: str) -> str:
    """Return an address without the blanks around it; ``Refused`` when mail cannot go there."""
    stripped = address.strip()
    if len(stripped) > ADDRESS_CHARS_MAX or not _ADDRESS.fullmatch(stripped):
        raise Refused("this is not a mail address", http_status=400, smtp=(550, "5.1.7"))
    return stripped


def key_of(address: str) -> str:
    """Return the form by which addresses are compared: nobody means two people by case."""
    return address.lower()


def is_list(state: Lists, **captures: str) -> bool:
    """Say whether ``captures["name"]`` is a list; other captures do not matter."""
    return captures["name"] in state.names
