"""The head of an HTTP/1.1 answer, and answers that no Request object is needed for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from typing import Final

from twisted.web.http import RESPONSES

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

NO_BODY: Final = frozenset({204, 304})
"""Statuses whose answers have no body whatever their fields say (RFC 9110 section 6.4.1)."""

_FRAMING = frozenset({b"Connection", b"Transfer-Encoding", b"Content-Length", b"Server", b"Date"})
_NOT_IN_REASON = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")

Fields = Iterable[tuple[bytes, Sequence[bytes]]]


def reason_of(status: int) -> bytes:
    """Return the reason phrase of a status."""
    return RESPONSES.get(status, b"Unknown Status")


_STATUS_LINES: Final[dict[tuple[int, bytes], bytes]] = {
    (status, reason_of(status)): b"HTTP/1.1 %d %b\r\n" % (status, reason_of(status))
    for status in RESPONSES
}


def status_line(status: int, reason: bytes) -> bytes:
    """Return the first line of an answer."""
    known = _STATUS_LINES.get((status, reason))
    if known is not None:
        return known
    return b"HTTP/1.1 %d %b\r\n" % (status, _NOT_IN_REASON.sub(b" ", reason))


def server_fields(now_s: float) -> bytes:
    """Return the field lines that every answer of this second carries."""
    date = formatdate(now_s, usegmt=True).encode("ascii")
    return b"Server: happy\r\nDate: " + date + b"\r\n"


def answer_head(  # noqa: PLR0913 - the parts of an answer's head
    status: int,
    reason: bytes,
    common: bytes,
    fields: Fields,
    *,
    framing: bytes,
    default_type: bytes | None,
) -> bytes:
    """Return the head of an answer, the empty line included.

    ``common`` and ``framing`` are field lines; ``fields`` are the application's, less those
    that are the server's own business. An answer is not to be stored unless the application
    says otherwise, and its type is not to be guessed.
    """
    lines = [status_line(status, reason), common]
    cache = sniff = True
    for name, values in fields:
        if name in _FRAMING:
            continue
        if name == b"Cache-Control":
            cache = False
        elif name == b"X-Content-Type-Options":
            sniff = False
        elif name == b"Content-Type":
            default_type = None
        for value in values:
            lines += (name, b": ", value, b"\r\n")
    if default_type is not None:
        lines += (b"Content-Type: ", default_type, b"\r\n")
    if cache:
        lines.append(b"Cache-Control: no-store\r\n")
    if sniff:
        lines.append(b"X-Content-Type-Options: nosniff\r\n")
    lines += (framing, b"\r\n")
    return b"".join(lines)
