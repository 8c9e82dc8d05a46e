"""The parts of a whole message in memory (RFC 2045, RFC 2046), for archives and handlers.

Pure and total: any bytes give a message with at least one part, and what is wrong with it is
said in ``defects``. Depth and number of parts are bounded, and nothing is decoded or copied
before it is asked for. A line ends with LF or CRLF, never with a bare CR.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from attrs import define, field, frozen

from happy.message import Header, parse_header
from happy.text import charset_text, from_base64

DEPTH_MAX: Final = 20  # multiparts in multiparts; people reach four
PARTS_MAX: Final = 1_000  # of a message, the multiparts included
HEADER_BYTES_MAX: Final = 64 * 1024  # of one part
BOUNDARY_CHARS_MAX: Final = 200  # RFC 2046 allows 70

_HEADER_END = re.compile(rb"\n\r?\n")
_EMPTY_LINE = re.compile(rb"\r?\n")


@frozen(repr=False)
class Part:
    """A part of a message: a leaf, or a multipart, whose own parts follow it.

    ``depth`` is 0 for the message itself; ``within`` counts the attached messages it is in.
    """

    header: Header
    depth: int
    within: int
    _message: bytes = field(eq=False)
    _start: int
    _end: int

    @property
    def content_type(self) -> str:
        """The media type in small letters."""
        return self.header.content_type.kind

    @property
    def is_multipart(self) -> bool:
        """Whether it is made of the parts that follow, one level deeper."""
        return self.content_type.startswith("multipart/")

    @property
    def is_attachment(self) -> bool:
        """Whether its author wants it kept apart from the text."""
        return self.header.disposition.kind == "attachment"

    @property
    def filename(self) -> str:
        """The name its author gave it, empty for none: a label, never a path to write to."""
        return self.header.disposition.parameters.get(
            "filename", self.header.content_type.parameters.get("name", "")
        )

    @property
    def encoding(self) -> str:
        """The transfer encoding in small letters."""
        return self.header.get("content-transfer-encoding").strip().lower()

    @property
    def raw(self) -> bytes:
        """Its bytes as they stand in the message, without its header."""
        return self._message[self._start : self._end]

    @property
    def payload(self) -> bytes:
        """Its bytes, the transfer encoding undone as far as it can be."""
        if self.encoding == "base64":
            return from_base64(self.raw)
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(self.raw)
        return self.raw

    @property
    def text(self) -> str:
        """Its payload as text in its charset, lines ended as in Python."""
        charset = self.header.content_type.parameters.get("charset", "")
        return charset_text(self.payload, charset).replace("\r\n", "\n")


@frozen
class Message:
    """A message taken apart: its parts in their order, each multipart before its own parts."""

    parts: tuple[Part, ...]
    defects: tuple[str, ...]

    @property
    def header(self) -> Header:
        """The header of the message itself."""
        return self.parts[0].header

    def body(self, content_type: str = "text/plain") -> Part | None:
        """Return the first part of that type that is the message's own text; None without."""
        for part in self.parts:
            own = not part.within and not part.is_attachment
            if own and part.content_type == content_type:
                return part
        return None


def read_message(message: bytes) -> Message:
    """Take a message apart."""
    walk = _Walk(message)
    walk.entity(0, len(message), 0, 0)
    return Message(tuple(walk.parts), tuple(walk.defects))


@define
class _Walk:
    message: bytes
    parts: list[Part] = field(factory=list)
    defects: list[str] = field(factory=list)

    def entity(self, start: int, end: int, depth: int, within: int) -> None:
        """Take in what stands from ``start`` to ``end``: a header and a body."""
        reach = min(end, start + HEADER_BYTES_MAX)
        found = _EMPTY_LINE.match(self.message, start, reach)
        found = found or _HEADER_END.search(self.message, start, reach)
        if found is not None:
            body = found.end()
        elif reach == end:
            body = end
        else:
            body = start
            self.defects.append(f"a header of more than {HEADER_BYTES_MAX} bytes is not read")
        header = parse_header(self.message[start:body])
        part = Part(header, depth, within, self.message, body, end)
        self.parts.append(part)
        attached = part.content_type in {"message/rfc822", "message/global"}
        if not (part.is_multipart or attached):
            return
        if depth >= DEPTH_MAX:
            self.defects.append(f"parts nested more than {DEPTH_MAX} deep are not opened")
        elif attached:
            # Other encodings are not allowed here (RFC 2046 section 5.2.1).
            if part.encoding not in {"base64", "quoted-printable"}:
                self.entity(body, end, depth + 1, within + 1)
        else:
            self._sections(part, body, end)

    def _sections(self, part: Part, start: int, end: int) -> None:
        boundary = part.header.content_type.parameters.get("boundary", "").rstrip()
        if not 0 < len(boundary) <= BOUNDARY_CHARS_MAX:
            self.defects.append("a multipart without a boundary")
            return
        line = re.compile(rb"\n--%s(--)?[ \t]*(?:\r?\n|\Z)" % re.escape(boundary.encode()))
        section: int | None = None
        at = start - 1  # the line end before: it begins the line of a boundary
        while (found := line.search(self.message, at, end)) is not None:
            before = found.start() - self.message.startswith(b"\r", found.start() - 1)
            if section is not None and not self._section(part, section, before):
                return
            if found[1]:
                return
            section = found.end()
            at = section - 1
        self.defects.append("a multipart that does not end")
        if section is not None:
            self._section(part, section, end)

    def _section(self, part: Part, start: int, end: int) -> bool:
        if len(self.parts) >= PARTS_MAX:
            self.defects.append(f"more than {PARTS_MAX} parts; the others are left out")
            return False
        self.entity(start, max(start, end), part.depth + 1, part.within)
        return True
