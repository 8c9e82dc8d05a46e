"""The body of a message as DKIM hashes it (RFC 6376 section 3.4), in blocks and in linear time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

_CRLF: Final = b"\r\n"
_SPACES: Final = re.compile(rb"[ \t]+")
_TRAILING: Final = re.compile(rb"[ \t]+(?=\r\n)")

Form = tuple[bool, int | None]
"""How a body is hashed: whether relaxed, and how many of its bytes, None for all."""


class BodyHash:
    """The SHA-256 of a body: empty lines at the end gone; when relaxed, spaces fewer, too.

    Memory is one line. With ``length``, only so many bytes of the canonical form are hashed;
    ``digest`` is None when there are fewer.
    """

    def __init__(self, *, relaxed: bool = True, length: int | None = None) -> None:
        self._hash = hashlib.sha256()
        self._relaxed = relaxed
        self._left = length
        self._rest = b""
        self._empty_lines = 0
        self._empty = True

    def update(self, block: bytes) -> None:
        """Take in more of it, cut anywhere."""
        data = self._rest + block
        end = data.rfind(_CRLF) + 2
        if end < 2:
            self._rest = data
            return
        self._rest = data[end:]
        self._add(self._canonical(data[:end]))

    def digest(self) -> bytes | None:
        """Return the hash of all there was."""
        if self._rest:
            self._add(self._canonical(self._rest + _CRLF))
            self._rest = b""
        if self._empty and not self._relaxed:
            self._write(_CRLF)
        return None if self._left else self._hash.digest()

    def _canonical(self, lines: bytes) -> bytes:
        # In this order each of them is linear, whatever the lines are.
        return _TRAILING.sub(b"", _SPACES.sub(b" ", lines)) if self._relaxed else lines

    def _add(self, lines: bytes) -> None:
        """Add whole lines; empty ones only when another follows."""
        end = _end_of_text(lines)
        empty = (len(lines) - end) // 2
        if not end:
            self._empty_lines += empty
            return
        self._write(_CRLF * self._empty_lines + lines[:end] + _CRLF)
        self._empty = False
        self._empty_lines = empty - 1

    def _write(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._hash.update(data)


def _end_of_text(lines: bytes) -> int:
    """Return where the last line with something in it ends, of lines that all end with CRLF."""
    end = len(lines.rstrip(_CRLF))
    odd = lines[end:]
    if odd == _CRLF * (len(odd) // 2):
        return end
    end = len(lines)  # a CR or LF that stands alone is text
    while lines.endswith(_CRLF, 0, end):
        end -= 2
    return end


def body_hashes(body: Iterable[bytes], forms: Iterable[Form]) -> dict[Form, bytes | None]:
    """Return the hashes of a body that comes in blocks, all in one pass."""
    hashes = {form: BodyHash(relaxed=form[0], length=form[1]) for form in forms}
    for block in body:
        for each in hashes.values():
            each.update(block)
    return {form: each.digest() for form, each in hashes.items()}
