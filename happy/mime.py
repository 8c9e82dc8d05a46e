"""The parts of a message (RFC 2045, RFC 2046), for handlers, archives and pages.

A message is read once, in blocks, and what comes of it is where each part begins and ends, and
what it says of itself. So twenty megabytes are taken apart without holding them, and a part is
decoded while it is sent. Pure and total: any bytes give a message with at least one part, and
what is wrong with it is said in ``defects``. Parts, their depth and their headers are bounded.
A line ends with LF or CRLF, never with a bare CR.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Protocol

from attrs import evolve, field, frozen

from happy.message import Header, parse_header
from happy.text import base64_letters, charset_text, from_base64

BLOCK_BYTES: Final = 64 * 1024
DEPTH_MAX: Final = 20  # multiparts in multiparts; people reach four
PARTS_MAX: Final = 1_000  # of a message, the multiparts included
HEADERS_BYTES_MAX: Final = 256 * 1024  # of all parts together
DASHES_MAX: Final = 100_000  # lines that might be a boundary, then the last part is the rest
LINE_BYTES_MAX: Final = 1_000  # of such a line
BOUNDARY_CHARS_MAX: Final = 200  # RFC 2046 allows 70
FILENAME_CHARS_MAX: Final = 100

_SUFFIXES: Final = {"text/html": ".html", "message/rfc822": ".eml", "text/calendar": ".ics"}
_MESSAGES: Final = frozenset({"message/rfc822", "message/global"})
_TYPE: Final = "content-type"
_IN_DIGEST: Final = b"Content-Type: message/rfc822\r\n"  # by default: RFC 2046 section 5.1.5
_ENCODINGS: Final = frozenset({"base64", "quoted-printable"})
_BLANKS: Final = b" \t"
_HEADER_STOP: Final = re.compile(rb"\n(?:\r?\n|--)")


class Source(Protocol):
    """Anything to read from, as ``App.open_blob`` returns it."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, empty at the end."""


@frozen
class Part:
    """A part of a message: a leaf, or made of the parts that follow it, one level deeper.

    Its body stands in the message from byte ``start`` to ``end``. ``depth`` is 0 for the
    message itself; ``within`` counts the attached messages it is in.
    """

    number: int
    header: Header = field(eq=False, repr=False)
    depth: int
    within: int
    start: int
    end: int

    @property
    def kind(self) -> str:
        """The media type in small letters."""
        return self.header.content_type.kind

    @property
    def is_multipart(self) -> bool:
        """Whether it says that it is made of parts."""
        return self.kind.startswith("multipart/")

    @property
    def is_attachment(self) -> bool:
        """Whether its author wants it kept apart from the text."""
        return self.header.disposition.kind == "attachment"

    @property
    def filename(self) -> str:
        """The name its author gave it, empty for none: a label, never a path to write to."""
        given = self.header.disposition.parameters.get("filename", "")
        return given or self.header.content_type.parameters.get("name", "")

    @property
    def shown_name(self) -> str:
        """What to call it: the last step of its file name, or one made up for it."""
        name = re.split(r"[/\\]", self.filename)[-1].strip()
        clean = "".join(c for c in name if c.isprintable())[:FILENAME_CHARS_MAX]
        return clean or f"part-{self.number}{_SUFFIXES.get(self.kind, '')}"

    @property
    def encoding(self) -> str:
        """The transfer encoding in small letters."""
        return self.header.get("content-transfer-encoding").strip().lower()

    @property
    def size(self) -> int:
        """About how long it is when decoded, in bytes."""
        length = self.end - self.start
        return length * 3 // 4 if self.encoding == "base64" else length


@frozen
class Message:
    """A message taken apart: its parts in their order, each before those it is made of."""

    parts: tuple[Part, ...]
    defects: tuple[str, ...]

    @property
    def header(self) -> Header:
        """The header of the message itself."""
        return self.parts[0].header

    @property
    def leaves(self) -> tuple[Part, ...]:
        """The parts that are not made of parts; an attached message is one, as a whole."""
        own = [part for part in self.parts if not part.within]
        return (*(part for part, after in pairwise(own) if after.depth <= part.depth), own[-1])

    def body(self, kind: str = "text/plain") -> Part | None:
        """Return the first part of that type that is the message's own text; None without."""
        own = (part for part in self.leaves if not part.is_attachment)
        return next((part for part in own if part.kind == kind), None)


def read_message(content: bytes | Source) -> Message:
    """Take a message apart: bytes, or a source that stands at its beginning."""
    return _Scan(_source(content)).run()


def decoded(content: bytes | Source, part: Part) -> Iterator[bytes]:
    """Yield a part's bytes in blocks, the transfer encoding undone as far as it can be.

    ``content`` is the whole message again: bytes, or a source at its beginning.
    """
    blocks = _range(_source(content), part.start, part.end)
    if part.encoding == "base64":
        return _from_base64(blocks)
    if part.encoding == "quoted-printable":
        return _from_quoted(blocks)
    return blocks


def bytes_of(content: bytes | Source, part: Part, bytes_max: int = BLOCK_BYTES) -> bytes:
    """Return a part decoded, ``bytes_max`` bytes of it at most."""
    found = bytearray()
    for block in decoded(content, part):
        found += block
        if len(found) >= bytes_max:
            break
    return bytes(found[:bytes_max])


def text_of(content: bytes | Source, part: Part, bytes_max: int = BLOCK_BYTES) -> str:
    """Return a part, ``bytes_max`` bytes of it at most, as text with line ends as in Python."""
    raw = bytes_of(content, part, bytes_max)
    if len(raw) == bytes_max:
        raw = raw.rpartition(b"\n")[0] or raw  # no letter is cut in two
    text = charset_text(raw, part.header.content_type.parameters.get("charset", ""))
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _Bytes:
    """Bytes in the memory, to be read from."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def read(self, size: int = -1, /) -> bytes:
        taken, self._left = self._left[:size], self._left[size:]
        return bytes(taken)


def _source(content: bytes | Source) -> Source:
    return _Bytes(content) if isinstance(content, bytes) else content


def _range(source: Source, start: int, end: int) -> Iterator[bytes]:
    at = 0
    while at < end and (block := source.read(min(BLOCK_BYTES, end - at))):
        if at + len(block) > start:
            yield block[max(0, start - at) :]
        at += len(block)


def _from_base64(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        held += base64_letters(block)
        whole = len(held) // 4 * 4
        yield binascii.a2b_base64(held[:whole])
        held = held[whole:]
    yield from_base64(held)


def _from_quoted(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        held += block
        cut = held.rfind(b"\n") + 1
        if len(held) - cut > BLOCK_BYTES:  # no such line is right, but no code in it is cut
            code = held.rfind(b"=", -2)
            cut = len(held) if code < 0 else code
        yield binascii.a2b_qp(held[:cut])
        held = held[cut:]
    yield binascii.a2b_qp(held)


class _Scan:
    """Goes through a message and finds its parts; holds a block of it, and a header."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._block = b"\n"  # as if a line had ended before the message
        self._offset = -1  # of the block, in the message
        self._at = 0  # in the block: the line end before what is not understood yet
        self._headers_bytes_left = HEADERS_BYTES_MAX
        self._parts: list[Part] = []
        self._defects: list[str] = []
        self._open: list[tuple[Part, bytes]] = []  # the part being read and those it is in,
        # the outermost first, each with its boundary: empty for a leaf, and after its end

    def run(self) -> Message:
        self._begin()
        for _ in range(DASHES_MAX):
            if not (self._find_dashes() and self._meet()):
                break
        else:
            self._defects.append(f"more than {DASHES_MAX} lines that may be boundaries")
        self._at = len(self._block)
        while self._more():
            self._forget(len(self._block))
        self._close(0, self._offset + len(self._block))
        return Message(tuple(self._parts), tuple(self._defects))

    # --- parts ----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Open a part, and what begins with it: the message that it may be."""
        raw = self._header()
        header = parse_header(raw)
        depth = len(self._open)
        around = self._open[-1][0] if self._open else None
        if around is not None and around.kind == "multipart/digest" and _TYPE not in header:
            header = parse_header(_IN_DIGEST + raw)
        within = 0 if around is None else around.within + (not around.is_multipart)
        start = self._offset + self._at + 1
        part = Part(len(self._parts), header, depth, within, start, start)
        self._parts.append(part)
        # No encoding is allowed around a message (RFC 2046 section 5.2.1).
        is_message = part.kind in _MESSAGES and part.encoding not in _ENCODINGS
        boundary = b""
        if not (part.is_multipart or is_message):
            pass
        elif depth >= DEPTH_MAX:
            self._defects.append(f"parts nested more than {DEPTH_MAX} deep are not opened")
            is_message = False
        elif part.is_multipart:
            given = header.content_type.parameters.get("boundary", "").rstrip()
            if 0 < len(given) <= BOUNDARY_CHARS_MAX:
                boundary = b"--" + given.encode()
            else:
                self._defects.append("a multipart without a boundary")
        self._open.append((part, boundary))
        if is_message and self._has_room():
            self._begin()

    def _has_room(self) -> bool:
        if len(self._parts) < PARTS_MAX:
            return True
        self._defects.append(f"more than {PARTS_MAX} parts; the last is all the rest")
        return False

    def _meet(self) -> bool:
        """Take in the line of dashes that follows; False when nothing after it matters."""
        line, line_end = self._line(self._at)
        level = self._level(line)
        if level is None:
            self._at += 1  # most often it means nothing
            return True
        part, boundary = self._open[level]
        opens = line == boundary
        if opens and not self._has_room():
            return False
        carriage = self._block.startswith(b"\r", max(0, self._at - 1))
        self._close(level + 1, self._offset + self._at - carriage)
        self._at = line_end
        if opens:
            self._begin()
        else:
            self._open[level] = (part, b"")
        return True

    def _level(self, line: bytes) -> int | None:
        """Return whose boundary a line is, the outermost one's; None for nobody's."""
        for level, (_, boundary) in enumerate(self._open):
            if boundary and line in (boundary, boundary + b"--"):
                return level
        return None

    def _close(self, level: int, end: int) -> None:
        """Close what is open from a level on: it ends here."""
        for part, boundary in self._open[level:]:
            if boundary:
                self._defects.append("a multipart that does not end")
            self._parts[part.number] = evolve(part, end=max(part.start, end))
        del self._open[level:]

    # --- reading --------------------------------------------------------------------------

    def _header(self) -> bytes:
        """Take a header with its empty line; one that a boundary cuts short has none."""
        begin = at = self._at
        reach = begin + 1 + self._headers_bytes_left
        while True:
            found = _HEADER_STOP.search(self._block, at, reach)
            if found is None:
                if len(self._block) >= reach:
                    self._defects.append(f"headers of more than {HEADERS_BYTES_MAX} bytes")
                    return b""  # what is not read as a header is body
                if self._more():
                    continue
                end = len(self._block)
            elif not found[0].endswith(b"--"):
                end = found.end()
            elif self._level(self._line(found.start())[0]) is None:
                at = found.start() + 1
                continue
            else:
                end = found.start() + 1
            self._at = end - 1
            self._headers_bytes_left -= self._at - begin
            return self._block[begin + 1 : end]

    def _find_dashes(self) -> bool:
        """Go to the next line that begins with two dashes; False at the end."""
        while (found := self._block.find(b"\n--", self._at)) < 0:
            self._forget(max(self._at, len(self._block) - 3))  # it may end in CR LF and a dash
            if not self._more():
                return False
        self._at = found
        return True

    def _line(self, at: int) -> tuple[bytes, int]:
        """Return the line after the line end at ``at``, without blanks, and where it ends."""
        reach = at + 1 + LINE_BYTES_MAX
        while (end := self._block.find(b"\n", at + 1, reach)) < 0:
            if len(self._block) >= reach or not self._more():
                return self._block[at + 1 : reach].rstrip(_BLANKS), min(reach, len(self._block)) - 1
        return self._block[at + 1 : end].removesuffix(b"\r").rstrip(_BLANKS), end

    def _forget(self, end: int) -> None:
        self._block = self._block[end:]
        self._offset += end
        self._at = 0

    def _more(self) -> bool:
        more = self._source.read(BLOCK_BYTES)
        self._block += more
        return bool(more)
