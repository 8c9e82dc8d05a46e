"""A message as DATA carries it: its bytes in blocks, and the dots that keep it apart.

Pure but for the reader of a large body; memory is one block, however large the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from happy.event import Blob
from happy.message import header_block, parse_header
from happy.moments import moment

if TYPE_CHECKING:
    from happy.app import BlobReader
    from happy.effects import SendMail

BLOCK_BYTES: Final = 64 * 1024

_ADDRESS: Final = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\s"<>]++)(?:@[^\s"<>@]++)?+')


def is_address(text: str) -> bool:
    """Say whether a text can stand in an envelope, between angle brackets."""
    return text.isprintable() and _ADDRESS.fullmatch(text) is not None


def completed(mail: SendMail, key: str, since_ns: int, hostname: str) -> SendMail:
    """Return a message with an id and a date, the same at each attempt (RFC 6409 section 8).

    Without them each server would add its own, and nobody could tell that two copies are one.
    """
    header = parse_header(mail.header)
    missing = []
    if "message-id" not in header:
        domain = mail.reverse_path.rpartition("@")[2]
        right = domain if domain.isascii() and domain else hostname
        missing.append(("Message-ID", f"<{key}@{right}>"))
    if "date" not in header:
        missing.append(("Date", format_datetime(moment(since_ns))))
    if not missing:
        return mail
    return attrs.evolve(mail, header=header_block(missing)[:-2] + mail.header)


def as_sent(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message as its receiver will have it, wherever the blocks are cut.

    A message with CRLF line ends stays as it is, its last line ended. A line end written as LF
    becomes CRLF, and a CR that ends no line a space (RFC 5321 section 2.3.8): a bare one of
    either could look like the end of the message to the next server. No yielded block is empty.
    """
    held = b""
    line_begins = True
    for block in blocks:
        data = held + block
        held = data[-1:] if data.endswith(b"\r") else b""
        data = _line_ends_mended(data[: len(data) - len(held)])
        if data:
            yield data
            line_begins = data.endswith(b"\r\n")
    if held:
        yield b" \r\n"
    elif not line_begins:
        yield b"\r\n"


def dot_stuffed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message ``as_sent``, as DATA carries it (RFC 5321 section 4.5.2).

    Its leading dots are doubled; the last dot's line is left out.
    """
    line_begins = True
    for data in as_sent(blocks):
        stuffed = data.replace(b"\r\n.", b"\r\n..")
        yield b"." + stuffed if line_begins and data.startswith(b".") else stuffed
        line_begins = data.endswith(b"\r\n")


def _line_ends_mended(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")


@implementer(IPullProducer)
class Blocks:
    """Has the next block sent whenever the transport has room; lets go of the body at the end."""

    def __init__(self, source: Generator[bytes, None, None], send: Callable[[], None]) -> None:
        self._source = source
        self._wire = dot_stuffed(source)
        self.resumeProducing = send

    def next(self) -> bytes | None:
        """Return the next block as it goes out, None after the last."""
        return next(self._wire, None)

    def stopProducing(self) -> None:
        """Send no more; the body is let go of."""
        self._wire = iter(())
        self._source.close()


def blocks_of(
    mail: SendMail, open_blob: Callable[[Blob], BlobReader]
) -> Generator[bytes, None, None]:
    """Yield a message's own bytes in blocks; ``OSError`` when its body is not all there."""
    yield from _slices(mail.header, 0)
    content = mail.content
    if not isinstance(content, Blob):
        yield from _slices(content, mail.content_offset)
        return
    reader = open_blob(content)
    try:
        position = 0
        while position < content.size:
            skipping = position < mail.content_offset
            end = mail.content_offset if skipping else content.size
            block = reader.read(min(BLOCK_BYTES, end - position))
            if not block:
                raise OSError(f"the body ends at byte {position} of {content.size}")
            position += len(block)
            if not skipping:
                yield block
    finally:
        reader.close()


def _slices(data: bytes, start: int) -> Iterator[bytes]:
    for position in range(start, len(data), BLOCK_BYTES):
        yield data[position : position + BLOCK_BYTES]


def size_of(mail: SendMail) -> int:
    """Return how many bytes a message has, dots not doubled."""
    content = mail.content
    whole = content.size if isinstance(content, Blob) else len(content)
    return len(mail.header) + max(whole - mail.content_offset, 0)


def is_8bit(mail: SendMail) -> bool:
    """Say whether a message may have bytes above 127 (RFC 6152)."""
    # A blob is not read twice to find out; a 7-bit message may be declared as 8-bit.
    return isinstance(mail.content, Blob) or not (mail.header + mail.content).isascii()
