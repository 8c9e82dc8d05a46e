"""A message as a mailbox or the next server has it: with the trace fields that are ours to add.

The event has the bytes that came, and they are never touched. What RFC 5321 section 4.4 and RFC
8601 section 5 ask a receiver to add and to take away is done here, where a message is shown or
goes on: pure, from the event, its place and its moment, so it comes out the same at any time.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Final

from happy.event import Mail
from happy.facts import authentication_results

_LINES: Final = re.compile(rb"[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*|[^\n]+")
_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")
_HOST: Final = re.compile(r"\[?[A-Za-z0-9._:-]+\]?")
_TOKEN: Final = re.compile(r"[^\s()<>@,;:\\\"/\[\]?=]+")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_RECIPIENT_CHARS_MAX: Final = 320  # of a local part and a domain that are not made up


def protocol_of(name: str, *, utf8: bool, tls: bool, login: bool) -> str:
    """Return what a Received field says after ``with`` (RFC 3848, RFC 6531 section 4.3)."""
    if utf8:
        name = "UTF8LMTP" if name == "LMTP" else "UTF8SMTP"
    return name if name == "SMTP" else name + "S" * tls + "A" * login


def received(mail: Mail, name: str, seq: int, time: datetime) -> bytes:
    """Return the Received field of a message (RFC 5321 section 4.4, RFC 3848).

    ``name`` is that of the application, ``seq`` and ``time`` are the event's: with them it says
    what the 250 said.
    """
    helo = mail.helo if _HOST.fullmatch(mail.helo) else "unknown"
    words = [f"from {helo}{_literal(mail.peer)}"] if mail.helo else []
    words.append(f"by {mail.host or 'localhost'} with {mail.protocol} id {name}/{seq}")
    if len(mail.recipients) == 1 and len(mail.recipients[0]) <= _RECIPIENT_CHARS_MAX:
        (recipient,) = mail.recipients
        if recipient.isascii() and recipient.isprintable():
            words.append(f"for <{recipient}>")
    told = "\r\n\t".join(words)
    return f"Received: {told};\r\n\t{format_datetime(time)}\r\n".encode("ascii")


def results_field(mail: Mail) -> bytes:
    """Return the Authentication-Results field of a message; empty when nothing was looked up."""
    if mail.checked is None:
        return b""
    text = authentication_results(mail.checked, mail.host)
    return f"Authentication-Results: {text}\r\n".encode("ascii")


def relayed(mail: Mail, name: str, seq: int, time: datetime) -> bytes:
    """Return the header of a message for the next server: our trace fields, and what came.

    Whatever claimed to be our own results, and was not, is gone. The body follows as it is:
    ``content`` from ``len(mail.header)`` on.
    """
    return results_field(mail) + received(mail, name, seq, time) + without_forged(mail)


def delivered(mail: Mail, name: str, seq: int, time: datetime) -> bytes:
    """Return the header of a message for a mailbox: as ``relayed``, and one Return-Path."""
    path = f"Return-Path: <{mail.reverse_path}>\r\n".encode()
    return path + relayed(mail, name, seq, time)


def without_forged(mail: Mail) -> bytes:
    """Return the header that came, less what only we may say.

    Results under the name of our host, those whose name cannot be read, and any Return-Path.
    """
    kept = []
    for match in _LINES.finditer(mail.header):
        named = _NAME.match(match[0])
        name = named[1].lower() if named else b""
        if name == b"return-path":
            continue
        if name == b"authentication-results" and named is not None:
            value = match[0][named.end() :].decode("latin-1")
            host = authserv_id(value)
            if host is None or host.lower() == mail.host.lower():
                continue
        kept.append(match[0])
    return b"".join(kept)


def authserv_id(value: str) -> str | None:
    """Return who is said to have made some results (RFC 8601 section 2.2); None for nobody."""
    start = _after_comments(value)
    if start is None:
        return None
    quoted = _QUOTED.match(value, start)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    token = _TOKEN.match(value, start)
    return None if token is None else token[0]


def _after_comments(value: str) -> int | None:
    """Return where white space and comments end, None when a comment does not."""
    depth, at = 0, 0
    while at < len(value):
        char = value[at]
        if char == "\\" and depth:
            at += 1
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif not depth and char not in " \t\r\n":
            return at
        at += 1
    return None


def _literal(peer: str) -> str:
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    return f" ([{'IPv6:' if address.version == 6 else ''}{address}])"
