"""Messages that others keep to try their programs on, through a mail door: none is changed.

Python's own are there with any Python; ``HAPPY_BOUNCE_CORPUS``, ``HAPPY_DKIMPY`` and
``HAPPY_MAIL_DKIM`` say where those of others were unpacked.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import re
from pathlib import Path

import pytest

from happy.mime import bytes_of, read_message, text_of
from smtp_kit import Door

CORPORA = {
    "HAPPY_BOUNCE_CORPUS": "**/tests/data/*.txt",
    "HAPPY_DKIMPY": "dkim/tests/data/*m*s*g*",
    "HAPPY_MAIL_DKIM": "t/corpus/*.txt",
}
PYTHONS = "test.test_email"


def folder_of(name):
    """Return where a corpus is; without it the test is skipped."""
    if name == PYTHONS:
        found = importlib.util.find_spec("test")
        if found is None:
            pytest.skip("this Python came without its tests")
        return Path(found.origin).parent / "test_email/data"
    folder = os.environ.get(name)
    if folder is None:
        pytest.skip(f"{name} is not set")
    return Path(folder)


def as_crlf(data):
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data).removesuffix(b"\r\n") + b"\r\n"


def cut(data, chance):
    """Cut bytes into pieces as a network may."""
    while data:
        size = chance.choice((1, 2, 3, 60, 1_000, 70_000))
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("name", [PYTHONS, *CORPORA])
def test_each_message_is_kept_byte_for_byte_and_taken_apart(name):
    """What a client sends is what the event has; its parts are found, and nothing raises."""
    chance = random.Random(name)
    paths = [path for path in folder_of(name).glob(CORPORA.get(name, "*")) if path.is_file()]
    assert len(paths) > 10
    for path in paths:
        sent = as_crlf(path.read_bytes())
        door = Door()
        peer = door.connect().greet()
        peer.say(b"MAIL FROM:<ann@s.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
        peer.push(*cut(re.sub(rb"(?m)^\.", b"..", sent) + b".\r\n", chance))
        assert peer.codes[-1] == 250, (path, peer.replies)
        (mail,) = door.mails
        assert hashlib.sha256(mail.content).digest() == hashlib.sha256(sent).digest(), path
        message = read_message(mail.content)
        assert message.parts, path
        for part in message.leaves:
            bytes_of(mail.content, part)
            text_of(mail.content, part).encode()
