"""The body of an HTTP/1.x request: taken from the wire in pieces, kept in memory, bounded.

The chunked coding (RFC 9112 section 7.1) is decoded here and not by llhttp, for httptools
does not tell at which byte a message ended, and the next request may stand in the same packet.
"""

from __future__ import annotations

import re
from io import BytesIO

from happy.limits import Limits
from happy.wire.http_head import Rejected

_CHUNK_LINE_BYTES_MAX = 256  # a size and, for those who send them, short extensions
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")

TOO_LARGE = "the body is larger than this application takes"


class SizedBody:
    """A body whose length was declared."""

    __slots__ = ("_missing", "content")

    def __init__(self, size: int) -> None:
        self._missing = size
        self.content = BytesIO()

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return what follows the body, None while more of it is to come."""
        missing = self._missing
        if len(data) < missing:
            self.content.write(data)
            self._missing = missing - len(data)
            return None
        if len(data) == missing:
            self.content.write(data)
            return b""
        self.content.write(memoryview(data)[:missing])
        return data[missing:]


class ChunkedBody:
    """A body in the chunked coding; its trailer fields are checked and dropped."""

    __slots__ = ("_expect", "_held", "_limits", "_missing", "_trailer_bytes", "content")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = b""
        self._expect = "size"
        self._missing = 0
        self._trailer_bytes = 0
        self.content = BytesIO()

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return what follows the body, None while more of it is to come.

        Raises ``Rejected``: 413 as soon as the chunks sum up to too much, 400 for any other
        fault.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        position = 0
        while self._expect != "end":
            if self._expect == "data":
                position = self._take_data(data, position)
                if self._missing:
                    return None
                continue
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                self._hold(data[position:])
                return None
            self._take_line(data[position:line_end])
            position = line_end + 2
        return data[position:]

    def _take_data(self, data: bytes, position: int) -> int:
        taken = min(self._missing, len(data) - position)
        self.content.write(memoryview(data)[position : position + taken])
        self._missing -= taken
        if not self._missing:
            self._expect = "data end"
        return position + taken

    def _hold(self, rest: bytes) -> None:
        line = rest.removesuffix(b"\r")
        if self._expect == "trailer":
            if self._trailer_bytes + len(line) > self._limits.http_header_bytes_max:
                raise Rejected(431, "the trailer fields are too long")
        elif len(line) > (0 if self._expect == "data end" else _CHUNK_LINE_BYTES_MAX):
            raise Rejected(400, "the chunked coding is malformed")
        self._held = rest

    def _take_line(self, line: bytes) -> None:
        if self._expect == "size":
            self._take_size(line)
        elif self._expect == "data end":
            if line:
                raise Rejected(400, "the chunked coding is malformed")
            self._expect = "size"
        elif line:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > self._limits.http_header_bytes_max:
                raise Rejected(431, "the trailer fields are too long")
            if not _TRAILER_LINE.fullmatch(line):
                raise Rejected(400, "a trailer field is malformed")
        else:
            self._expect = "end"

    def _take_size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line) if len(line) <= _CHUNK_LINE_BYTES_MAX else None
        if match is None:
            raise Rejected(400, "the chunked coding is malformed")
        self._missing = int(match[1], 16)
        if self.content.tell() + self._missing > self._limits.http_body_bytes_max:
            raise Rejected(413, TOO_LARGE)
        self._expect = "data" if self._missing else "trailer"


Body = SizedBody | ChunkedBody


def body_of(body_bytes: int, limits: Limits) -> Body:
    """Return the reader for a declared body (-1: chunked); ``Rejected`` 413 when too large."""
    if body_bytes < 0:
        return ChunkedBody(limits)
    if body_bytes > limits.http_body_bytes_max:
        raise Rejected(413, TOO_LARGE)
    return SizedBody(body_bytes)
