"""What a page shows of a message: its text, and what hangs on it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

from attrs import frozen

from happy import App
from happy.app import BlobReader
from happy.examples.lists.download import IMAGES
from happy.examples.lists.model import Message
from happy.examples.lists.parts import Part, parts_of, text_of
from happy.examples.lists.text import plain_text

TEXT_BYTES_MAX: Final = 256 * 1024  # of one part; the rest is a download
TEXTS_MAX: Final = 20
IMAGE_BYTES_MAX: Final = 10 * 1024 * 1024

Opener = Callable[[], BlobReader]
"""Opens a message to be read from its beginning."""


@frozen
class Text:
    """Words to read; ``name`` is the file they came in, ``whole`` False when they are cut."""

    part: Part
    name: str
    words: str
    whole: bool


@frozen
class Shown:
    """The texts of a message, its pictures, and all that can be downloaded."""

    texts: tuple[Text, ...]
    images: tuple[Part, ...]
    files: tuple[Part, ...]


def opener(app: App, message: Message) -> Opener:
    """Return what opens a message, wherever its bytes are."""
    content = message.content
    if isinstance(content, bytes):
        return lambda: io.BytesIO(content)
    return lambda: app.open_blob(content)


def find_part(open_message: Opener, number: int) -> Part | None:
    """Return a part of a message, or None."""
    return next((part for part in _parts(open_message) if part.number == number), None)


def shown_of(open_message: Opener) -> Shown:
    """Return what a page shows of a message."""
    parts = _parts(open_message)
    texts = [part for part in parts if _is_text(part)]
    if not any(part.kind == "text/plain" and not part.attached for part in texts):
        texts = [part for part in parts if part.kind == "text/html" and not part.attached] + texts
    texts = texts[:TEXTS_MAX]
    images = tuple(part for part in parts if part.kind in IMAGES and part.size <= IMAGE_BYTES_MAX)
    files = tuple(
        part for part in parts if part not in texts or part.attached or part.kind == "text/html"
    )
    return Shown(tuple(_read(open_message, part) for part in texts), images, files)


def _is_text(part: Part) -> bool:
    """Say whether a part is read as it stands: text, and patches among the attachments."""
    if part.attached:
        return part.kind in {"text/plain", "text/x-diff", "text/x-patch"}
    return part.kind.startswith("text/") and part.kind not in {"text/html", "text/calendar"}


def _read(open_message: Opener, part: Part) -> Text:
    source = open_message()
    try:
        words = plain_text(part.kind, text_of(source, part, TEXT_BYTES_MAX))
    finally:
        source.close()
    name = part.shown_name if part.attached else ""
    return Text(part, name, words.rstrip(), part.size <= TEXT_BYTES_MAX)


def _parts(open_message: Opener) -> tuple[Part, ...]:
    source = open_message()
    try:
        return parts_of(source)
    finally:
        source.close()
