"""The parameters of MAIL and RCPT: which there are, and what may stand in them.

SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954) of those who have logged in, and what
a sender wants to be told of the fate of a message (3461): RET and ENVID for all of it, NOTIFY and
ORCPT for each recipient. The last four are kept with the envelope; what they ask for is the
application's to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from happy.wire import smtp_reply as say
from happy.wire.smtp_reply import Reply

Parameters = tuple[tuple[str, str | None], ...]

_SIZE: Final = re.compile(r"[0-9]{1,20}")
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_ENVID: Final = re.compile(rf"{_XTEXT}{{1,100}}+")  # section 4.4: the length as decoded; be kind
_ORCPT: Final = re.compile(rf"[A-Za-z0-9.-]{{1,64}}+;(?:{_XTEXT}|[\x80-\U0010ffff]){{1,500}}+")
_AUTH: Final = re.compile(rf"<>|{_XTEXT}{{1,500}}+")  # RFC 4954 section 5
_NOTIFY: Final = frozenset(("SUCCESS", "FAILURE", "DELAY"))


def _is_size(value: str) -> bool:
    return bool(_SIZE.fullmatch(value))


def _is_body(value: str) -> bool:
    return value.upper() in ("7BIT", "8BITMIME")


def _is_ret(value: str) -> bool:
    return value.upper() in ("FULL", "HDRS")


def _is_notify(value: str) -> bool:
    words = value.upper().split(",")
    return words == ["NEVER"] or (set(words) <= _NOTIFY and len(set(words)) == len(words))


_Check = tuple[Callable[[str], object], str] | None

_OF_MAIL: Final[dict[str, _Check]] = {
    "SIZE": (_is_size, "SIZE needs a number"),
    "BODY": (_is_body, "BODY is 7BIT or 8BITMIME"),
    "SMTPUTF8": None,
    "RET": (_is_ret, "RET is FULL or HDRS"),
    "ENVID": (_ENVID.fullmatch, "ENVID is up to 100 characters of xtext"),
}
_OF_USERS: Final[dict[str, _Check]] = {
    "AUTH": (_AUTH.fullmatch, "AUTH is <>, or up to 500 characters of xtext"),
}
_OF_RCPT: Final[dict[str, _Check]] = {
    "NOTIFY": (_is_notify, "NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY"),
    "ORCPT": (_ORCPT.fullmatch, "ORCPT is a type, a semicolon, and up to 500 characters of xtext"),
}


def refusal_of_mail(
    parameters: Parameters, message_bytes_max: int, *, auth: bool = False
) -> Reply | None:
    """Return why MAIL cannot have these parameters, None when it can; ``auth``: of a user."""
    refusal = _refusal(parameters, _OF_MAIL | _OF_USERS if auth else _OF_MAIL)
    if refusal is None:
        size = dict(parameters).get("SIZE")
        if size is not None and int(size) > message_bytes_max:
            return say.TOO_BIG
    return refusal


def refusal_of_rcpt(parameters: Parameters) -> Reply | None:
    """Return why RCPT cannot have these parameters, None when it can."""
    return _refusal(parameters, _OF_RCPT)


def told(parameters: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """Return parameters as an event has them: ``KEYWORD=value``, or ``KEYWORD`` alone."""
    return tuple(key if value is None else f"{key}={value}" for key, value in parameters)


def _refusal(parameters: Parameters, known: dict[str, _Check]) -> Reply | None:
    for keyword, value in parameters:
        if keyword not in known:
            return Reply(555, "5.5.4", f"Parameter {keyword} unknown")
        check = known[keyword]
        if check is None:
            if value is not None:
                return Reply(501, "5.5.4", f"{keyword} has no value")
        elif value is None or not check[0](value):
            return Reply(501, "5.5.4", check[1])
    return None
