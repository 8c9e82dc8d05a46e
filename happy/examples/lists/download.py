"""Sending what may be large, as fast as the peer reads it and no faster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request as HttpRequest
from zope.interface import implementer

from happy.app import BlobReader
from happy.mime import BLOCK_BYTES, Part

IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may take for what it says it is: pictures, in formats without scripts."""

_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9._ -]")


def kind_to_send(part: Part) -> str:
    """Return the media type an attachment is sent as; most are only bytes to us."""
    return part.kind if part.kind in IMAGES else "application/octet-stream"


def content_disposition(name: str) -> bytes:
    """Return the field that makes a browser save a file under a name (RFC 6266)."""
    plain = _NOT_IN_NAME.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode()


async def send(
    request: HttpRequest, source: BlobReader, blocks: Iterator[bytes] | None = None
) -> bytes:
    """Send all of ``source``, or the ``blocks`` that are made of it, and close it."""
    try:
        await _Pour(request, blocks if blocks is not None else _blocks(source)).done
    finally:
        source.close()
    return b""


def _blocks(source: BlobReader) -> Iterator[bytes]:
    while block := source.read(BLOCK_BYTES):
        yield block


@implementer(IPushProducer)
class _Pour:
    """Writes blocks until the transport says it has enough, and goes on when it asks."""

    def __init__(self, request: HttpRequest, blocks: Iterator[bytes]) -> None:
        self.done: Deferred[None] = Deferred()
        self._request = request
        self._blocks = blocks
        self._paused = False
        request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while not (self._paused or self.done.called):
            try:
                block = next(self._blocks, None)
            except Exception as error:  # noqa: BLE001 - a disk that fails ends the answer
                self._end(error)
                return
            if block is None:
                self._end(None)
            elif block:
                self._request.write(block)

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True

    def _end(self, error: Exception | None) -> None:
        self._request.unregisterProducer()
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)
