"""Bytes in, command lines and messages out: pure, and the same for every split of the input.

Only CRLF ends a line, and only CRLF . CRLF ends a message (RFC 5321 section 2.3.8). A CR or LF
that stands alone is never taken for a line end: it stays inside its command or its message,
which is refused whole, so no two programs can disagree about where a message ends.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final, Protocol

from happy.app import BlobWriter
from happy.errors import HappyError
from happy.event import Blob
from happy.limits import MIB, Limits
from happy.wire import smtp_reply as say
from happy.wire.smtp_reply import Reply, reply_to

OVERRUN_BYTES: Final = 64 * MIB  # what a message over its limit may still send before we hang up

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_HOP: Final = re.compile(rb"^received[ \t]*+:", re.IGNORECASE | re.MULTILINE)


class LineTooLong(Exception):
    """A command line was longer than its limit; it has been read over."""


class EndlessLine(Exception):
    """A command line goes on and on: nothing sensible can follow."""


class CommandReader:
    """Cuts the input into command lines, and holds what has not been used yet.

    A line longer than ``line_bytes_max`` is read over in bounded memory, one longer than
    ``endless_bytes`` ends the session.
    """

    __slots__ = ("_buffer", "_dropped", "_endless_bytes", "line_bytes_max")

    def __init__(self, line_bytes_max: int, endless_bytes: int) -> None:
        self._buffer = b""
        self._dropped = 0
        self.line_bytes_max = line_bytes_max
        self._endless_bytes = endless_bytes

    def __bool__(self) -> bool:
        return bool(self._buffer)

    def push(self, data: bytes) -> None:
        """Add input."""
        self._buffer = self._buffer + data if self._buffer else data

    def take_all(self) -> bytes:
        """Hand over everything that waits, for the reader of a message."""
        data, self._buffer = self._buffer, b""
        return data

    def line(self) -> bytes | None:
        """Return the next line without its CRLF, None when it has not all come.

        Raises ``LineTooLong`` once for a line over the limit, and ``EndlessLine``.
        """
        end = self._buffer.find(_CRLF)
        if end < 0:
            self._drop_if_too_long()
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        length = self._dropped + end + 2
        self._dropped = 0
        if length > self._endless_bytes:
            raise EndlessLine
        if length > self.line_bytes_max:
            raise LineTooLong
        return line

    def _drop_if_too_long(self) -> None:
        if self._dropped + len(self._buffer) <= self.line_bytes_max:
            return
        keep = b"\r" if self._buffer.endswith(b"\r") else b""  # its LF may still come
        self._dropped += len(self._buffer) - len(keep)
        self._buffer = keep
        if self._dropped > self._endless_bytes:
            raise EndlessLine


class DataReader(Protocol):
    """Takes input that is no command."""

    @property
    def ended(self) -> bool:
        """Whether it needs no input at all."""

    @property
    def overrun(self) -> bool:
        """Whether so much has come that its end is not worth waiting for."""

    def feed(self, data: bytes) -> bytes | None:
        """Take input; return what follows its end, None before the end."""

    def abandon(self) -> None:
        """Forget what has come."""


class ChunkReader:
    """Takes one chunk of a message (RFC 3030), or reads over it when ``message`` is None."""

    __slots__ = ("_left", "_message", "_size")

    def __init__(self, size: int, message: MessageReader | None) -> None:
        self._size = size
        self._left = size
        self._message = message

    @property
    def ended(self) -> bool:
        """See ``DataReader``."""
        return not self._left

    @property
    def overrun(self) -> bool:
        """See ``DataReader``."""
        if self._message is None:
            return self._size - self._left > OVERRUN_BYTES
        return self._message.overrun

    def feed(self, data: bytes) -> bytes | None:
        """See ``DataReader``."""
        chunk, rest = data[: self._left], data[self._left :]
        self._left -= len(chunk)
        if self._message is not None:
            self._message.take_chunk(chunk)
        return None if self._left else rest

    def abandon(self) -> None:
        """Do nothing: the message is not of this chunk alone."""


class MessageReader:
    """Takes the data of one message up to the dot, in memory that does not grow with it.

    Up to ``limits.mail_inline_bytes_max`` the content is kept; a larger one goes to the blob
    writer that ``open_blob`` returns. What is wrong with a message is collected while it is
    read to its end, and ``refusal`` says it then. A CR or LF that stands alone is wrong unless
    ``takes_bare``.
    """

    __slots__ = (
        "_bare",
        "_digest",
        "_header",
        "_header_done",
        "_held",
        "_kept",
        "_limits",
        "_line_bytes",
        "_long_line",
        "_open_blob",
        "_takes_bare",
        "_trouble",
        "_virtual",
        "_writer",
        "size",
        "unexpected",
    )

    def __init__(
        self, limits: Limits, open_blob: Callable[[], BlobWriter], *, takes_bare: bool = False
    ) -> None:
        self._limits = limits
        self._takes_bare = takes_bare
        self._open_blob = open_blob
        self._held = _CRLF  # the end of the DATA line: a first line "." ends an empty message
        self._virtual = 2  # bytes of ``_held`` that are not of the message
        self._kept = bytearray()
        self._writer: BlobWriter | None = None
        self._header = bytearray()
        self._header_done = False
        self._line_bytes = 0
        self._bare = False
        self._digest = hashlib.sha256()
        self._long_line = False
        self._trouble: Reply | None = None
        self.size = 0
        self.unexpected: Exception | None = None
        """What the blob writer raised that no one foresaw; for the log."""

    def feed(self, data: bytes) -> bytes | None:
        """Take input; return what follows the end of the message, None before the end."""
        text = self._held + data if self._held else data
        end = text.find(_END)
        if end >= 0:
            self._held = b""
            self._take(text[: end + 2])
            return text[end + 5 :]
        # What may be the beginning of the end waits, so no dot-stuffed line is ever cut.
        held = next(n for n in range(4, -1, -1) if text.endswith(_END[:n]))
        cut = len(text) - held
        self._held = text[cut:]
        if cut:
            self._take(text[:cut])
        return None

    ended = False

    def take_chunk(self, data: bytes) -> None:
        """Take bytes as they are: nothing in them ends the message, and no dot is doubled."""
        if self._virtual:
            self._virtual = 0
            self._held = b""
        text = self._held + data
        self._held = b"\r" if text.endswith(b"\r") else b""
        self._take_text(text[: len(text) - len(self._held)])

    def end(self) -> None:
        """Take the last chunk for the end."""
        self.take_chunk(b"")
        text, self._held = self._held, b""
        if text:
            self._take_text(text)

    @property
    def header(self) -> bytes:
        """The header section, up to and including the empty line when there is one."""
        return bytes(self._header)

    @property
    def sha256(self) -> bytes:
        """The digest of the message so far."""
        return self._digest.digest()

    @property
    def too_big(self) -> bool:
        """Whether the message is over its limit."""
        return self.size > self._limits.smtp_message_bytes_max

    @property
    def overrun(self) -> bool:
        """Whether the message is so far over its limit that its end is not worth waiting for."""
        return self.size > self._limits.smtp_message_bytes_max + OVERRUN_BYTES

    @property
    def refusal(self) -> Reply | None:
        """What is wrong with the message, None when it may be taken."""
        if self.too_big:
            return say.TOO_BIG
        if self._bare:
            return say.BARE_LINE_END
        if self._long_line:
            return say.TEXT_LINE_TOO_LONG
        if len(self._header) > self._limits.mail_header_bytes_max:
            return say.HEADER_TOO_BIG
        if len(_HOP.findall(self._header)) > self._limits.mail_hops_max:
            return say.LOOP
        return self._trouble

    @property
    def inline(self) -> bytes | None:
        """The whole message, when it is small enough to be kept in memory."""
        return bytes(self._kept) if self._writer is None else None

    async def content(self) -> bytes | Blob:
        """Return the whole message: its bytes, or the durable blob that holds them."""
        if self._writer is not None:
            return await self._writer.seal()
        return bytes(self._kept)

    def abandon(self) -> None:
        """Forget the message."""
        self._kept.clear()
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _take(self, text: bytes) -> None:
        """Take bytes that hold no cut CRLF and no cut dot-stuffing."""
        lines = text.count(_CRLF)
        bare = lines != text.count(b"\r") or lines != text.count(b"\n")
        self._bare = self._bare or (bare and not self._takes_bare)
        text = text.replace(b"\r\n.", _CRLF)
        if self._virtual:
            text = text[self._virtual :]
            self._virtual = 0
        self._take_text(text)

    def _take_text(self, text: bytes) -> None:
        """Take bytes of the message itself that hold no cut CRLF."""
        self.size += len(text)
        self._digest.update(text)
        self._measure_lines(text)
        if not self._header_done:
            self._take_header(text)
        if self._spoilt():
            self.abandon()
        else:
            self._keep(text)

    def _measure_lines(self, text: bytes) -> None:
        line_bytes_max = self._limits.smtp_line_bytes_max
        if not self._long_line and self._line_bytes + len(text) > line_bytes_max:
            lines = text.split(_CRLF)
            longest = max(self._line_bytes + len(lines[0]), *map(len, lines))
            self._long_line = longest + 2 > line_bytes_max
        last = text.rfind(_CRLF)
        self._line_bytes = self._line_bytes + len(text) if last < 0 else len(text) - last - 2

    def _take_header(self, text: bytes) -> None:
        # No piece ends inside a CRLF, so two bytes tell whether the last line has ended. A CRLF
        # before everything has an empty header found like any other.
        before = self._header[-2:] or _CRLF
        end = (before + text).find(b"\r\n\r\n")
        room = self._limits.mail_header_bytes_max + 1 - len(self._header)
        whole = len(text) if end < 0 else end + 4 - len(before)
        self._header += text[: min(whole, room)]
        self._header_done = end >= 0 or whole >= room

    def _spoilt(self) -> bool:
        return (
            self._bare
            or self._long_line
            or self._trouble is not None
            or self.size > self._limits.smtp_message_bytes_max
            or len(self._header) > self._limits.mail_header_bytes_max
        )

    def _keep(self, text: bytes) -> None:
        try:
            if self._writer is not None:
                self._writer.write(text)
                return
            self._kept += text
            if self.size > self._limits.mail_inline_bytes_max:
                self._writer = self._open_blob()
                self._writer.write(bytes(self._kept))
                self._kept.clear()
        except HappyError as error:
            self._trouble = reply_to(error)
        except Exception as error:  # noqa: BLE001 - kept for the log; the peer hears 451
            self._trouble = say.TROUBLE
            self.unexpected = error
        if self._trouble is not None:
            self.abandon()
