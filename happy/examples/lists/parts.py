"""The parts of a message, found without taking the message into the memory (RFC 2045, 2046).

A message is read once, in blocks, and what comes of it is a list of places: where each part
begins and ends, and what it says of itself. So a page can tell of twenty megabytes without
holding them, and an attachment is decoded while it is sent. Nothing here raises for what a
message contains; a message that makes no sense has a single part, all of it. (A message that
is in the memory anyway is taken apart more simply by ``happy.mime``, as handlers do.)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final, Protocol

from attrs import evolve, frozen

from happy.message import Header, parse_header
from happy.text import charset_text

BLOCK_BYTES: Final = 64 * 1024
HEADER_BYTES_MAX: Final = 64 * 1024  # of one part; what is longer is a part without header
PARTS_MAX: Final = 200  # what follows belongs to the last of them
DEPTH_MAX: Final = 12  # of parts in parts
DASHES_MAX: Final = 100_000  # lines that might be a boundary, then the last part is the rest
LINE_BYTES_MAX: Final = 1_000  # of such a line; RFC 2046 allows 74
FILENAME_CHARS_MAX: Final = 100

_SUFFIXES: Final = {"text/html": ".html", "message/rfc822": ".eml", "text/calendar": ".ics"}
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]")


class Source(Protocol):
    """Anything to read from, as ``App.open_blob`` returns it."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, empty at the end."""


@frozen
class Part:
    """Where a part's body stands, ``start`` to ``end`` in bytes, and what it says it is.

    ``kind`` is its media type in small letters, ``encoding`` its transfer encoding.
    """

    number: int
    kind: str
    charset: str
    encoding: str
    filename: str
    attached: bool
    start: int
    end: int

    @property
    def shown_name(self) -> str:
        """What to call it: the last step of its file name, or one made up for it."""
        name = re.split(r"[/\\]", self.filename)[-1].strip()
        clean = "".join(c for c in name if c.isprintable())[:FILENAME_CHARS_MAX]
        return clean or f"part-{self.number}{_SUFFIXES.get(self.kind, '')}"

    @property
    def size(self) -> int:
        """About how long it is when decoded, in bytes."""
        length = self.end - self.start
        return length * 3 // 4 if self.encoding == "base64" else length


def parts_of(source: Source) -> tuple[Part, ...]:
    """Read a whole message and return its parts that are not made of parts, in their order."""
    return _Scan(source).run()


def bytes_of(source: Source, part: Part, bytes_max: int = BLOCK_BYTES) -> bytes:
    """Return a part decoded, ``bytes_max`` bytes of it at most."""
    found = b""
    for block in decoded(source, part):
        found += block
        if len(found) >= bytes_max:
            break
    return found[:bytes_max]


def text_of(source: Source, part: Part, bytes_max: int = BLOCK_BYTES) -> str:
    """Return a part as text, as much as there is sense in it, with line ends as in Python."""
    raw = bytes_of(source, part, bytes_max)
    if len(raw) == bytes_max:
        raw = raw.rpartition(b"\n")[0] or raw  # no letter is cut in two
    text = charset_text(raw, part.charset)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def decoded(source: Source, part: Part) -> Iterator[bytes]:
    """Yield a part's bytes, decoded, in blocks; ``source`` stands at the message's beginning."""
    blocks = _range(source, part.start, part.end)
    if part.encoding == "base64":
        return _from_base64(blocks)
    if part.encoding == "quoted-printable":
        return _from_quoted(blocks)
    return blocks


def _range(source: Source, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from ``start`` to ``end`` of what is read."""
    at = 0
    while at < end and (block := source.read(min(BLOCK_BYTES, end - at))):
        if at + len(block) > start:
            yield block[max(0, start - at) :]
        at += len(block)


def _from_base64(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        held += _NOT_BASE64.sub(b"", block)
        whole = len(held) // 4 * 4
        yield base64.b64decode(held[:whole])
        held = held[whole:]
    if len(held) > 1:
        yield base64.b64decode(held + b"=" * (4 - len(held)))


def _from_quoted(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        whole, newline, rest = (held + block).rpartition(b"\n")
        if newline or len(rest) > BLOCK_BYTES:
            yield binascii.a2b_qp(whole + newline)
            held = rest
        else:
            held = rest
    yield binascii.a2b_qp(held)


class _Scan:
    """Finds the parts: which boundaries are open, and which part is being read."""

    def __init__(self, source: Source) -> None:
        self._reader = _Reader(source)
        self._boundaries: list[bytes] = []  # of the multiparts we are in, the outermost first
        self._parts: list[Part] = []
        self._open: Part | None = None

    def run(self) -> tuple[Part, ...]:
        self._begin(parse_header(self._reader.header()))
        for _ in range(DASHES_MAX):
            found = self._reader.dashes()
            if found is None:
                break
            self._meet(*found)
            if len(self._parts) >= PARTS_MAX - 1:
                break
        self._end(self._reader.skip())
        return tuple(self._parts)

    def _begin(self, header: Header) -> None:
        kind = header.content_type
        boundary = kind.parameters.get("boundary", "").encode("ascii", "ignore")
        if kind.kind.startswith("multipart/") and boundary and len(self._boundaries) < DEPTH_MAX:
            self._boundaries.append(b"--" + boundary)
        else:
            self._open = _part(len(self._parts) + 1, header, self._reader.at)

    def _meet(self, start: int, line: bytes) -> None:
        """Take in a line that begins with two dashes; most often it means nothing."""
        line = line.rstrip(b" \t\r\n")
        for depth in reversed(range(len(self._boundaries))):
            boundary = self._boundaries[depth]
            if line in (boundary, boundary + b"--"):
                self._end(start - 2)
                del self._boundaries[depth + 1 :]
                if line == boundary:
                    self._begin(parse_header(self._reader.header()))
                else:
                    del self._boundaries[depth]
                return

    def _end(self, at: int) -> None:
        if self._open is not None:
            self._parts.append(evolve(self._open, end=max(at, self._open.start)))
            self._open = None


class _Reader:
    """Reads a message in blocks, and stops where a part may begin or end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._block = b""
        self._offset = 0  # of the block, in the message
        self._next = 0  # what is not understood yet, in the block
        self._line_begins = True

    @property
    def at(self) -> int:
        """How far the message is understood, in bytes."""
        return self._offset + self._next

    def header(self) -> bytes:
        """Take a header with the empty line at its end; empty when there is none in reach."""
        while True:
            begin = self._next
            if self._block.startswith(b"\r\n", begin):
                return self._take(begin + 2)
            end = self._block.find(b"\r\n\r\n", begin, begin + HEADER_BYTES_MAX)
            if end >= 0:
                return self._take(end + 4)
            if len(self._block) - begin >= HEADER_BYTES_MAX or not self._fill():
                return b""

    def dashes(self) -> tuple[int, bytes] | None:
        """Take the next line that begins with two dashes; return where it is, and the line."""
        while True:
            if self._line_begins and self._block.startswith(b"--", self._next):
                return self.at, self._line()
            found = self._block.find(b"\r\n--", self._next)
            if found >= 0:
                self._take(found + 2)
                continue
            kept = max(self._next, len(self._block) - 3)  # may be the first three of the four
            if kept > self._next:
                self._take(kept)
                self._line_begins = False
            if not self._fill():
                return None

    def skip(self) -> int:
        """Go to the end of the message; return where it is."""
        self._next = len(self._block)
        while self._fill():
            self._next = len(self._block)
        return self.at

    def _line(self) -> bytes:
        while (end := self._block.find(b"\r\n", self._next, self._next + LINE_BYTES_MAX)) < 0:
            if len(self._block) - self._next >= LINE_BYTES_MAX or not self._fill():
                line = self._take(min(len(self._block), self._next + LINE_BYTES_MAX))
                self._line_begins = False
                return line
        return self._take(end + 2)

    def _take(self, end: int) -> bytes:
        """Take what the block holds up to ``end``, which is where a line begins."""
        taken = self._block[self._next : end]
        self._next = end
        self._line_begins = True
        return taken

    def _fill(self) -> bool:
        more = self._source.read(BLOCK_BYTES)
        self._block = self._block[self._next :] + more
        self._offset += self._next
        self._next = 0
        return bool(more)


def _part(number: int, header: Header, start: int) -> Part:
    kind = header.content_type
    disposition = header.disposition
    return Part(
        number,
        kind.kind,
        kind.parameters.get("charset", ""),
        header.get("content-transfer-encoding").strip().lower(),
        disposition.parameters.get("filename", "") or kind.parameters.get("name", ""),
        disposition.kind == "attachment",
        start,
        start,
    )
