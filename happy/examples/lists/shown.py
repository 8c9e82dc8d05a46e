"""What a page shows of a message: its text, and what hangs on it."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing
from typing import Final

from attrs import frozen

from happy import App
from happy.app import BlobReader
from happy.examples.lists.download import IMAGES
from happy.examples.lists.model import Message
from happy.examples.lists.text import plain_text
from happy.mime import Message as Letter
from happy.mime import Part, read_message, text_of

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
    leaves = _letter(open_message).leaves
    return next((part for part in leaves if part.number == number), None)


def shown_of(open_message: Opener) -> Shown:
    """Return what a page shows of a message."""
    letter = _letter(open_message)
    parts = letter.leaves
    pages = [part for part in parts if part.kind == "text/html"]
    texts = [part for part in parts if _is_text(part)]
    if letter.body() is None:
        texts = [part for part in pages if not part.is_attachment] + texts
    texts = texts[:TEXTS_MAX]
    images = tuple(part for part in parts if part.kind in IMAGES and part.size <= IMAGE_BYTES_MAX)
    files = tuple(
        part for part in parts if part not in texts or part.is_attachment or part in pages
    )
    return Shown(tuple(_read(open_message, part) for part in texts), images, files)


def _is_text(part: Part) -> bool:
    """Say whether a part is read as it stands: text, and patches among the attachments."""
    if part.is_attachment:
        return part.kind in {"text/plain", "text/x-diff", "text/x-patch"}
    return part.kind.startswith("text/") and part.kind not in {"text/html", "text/calendar"}


def _read(open_message: Opener, part: Part) -> Text:
    with closing(open_message()) as source:
        words = plain_text(part.kind, text_of(source, part, TEXT_BYTES_MAX))
    words = words.rstrip().replace("\0", "\ufffd")  # a page cannot hold that one
    name = part.shown_name if part.is_attachment else ""
    return Text(part, name, words, part.size <= TEXT_BYTES_MAX)


def _letter(open_message: Opener) -> Letter:
    with closing(open_message()) as source:
        return read_message(source)
