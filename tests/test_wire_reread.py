"""A file that is read again when it was changed."""

from __future__ import annotations

import os

import pytest
from twisted.logger import capturedLogs, formatEvent

from happy.wire.reread import Reread


def read(path):
    """Return a number; what is none is a sentence."""
    text = path.read_text()
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number")
    return int(text)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_text("1")
    return path


def change(path, text, moment):
    path.write_text(text)
    os.utime(path, ns=(moment, moment))


def test_a_file_is_read_once_until_it_changes(file):
    """Whoever asks gets what was read; a change counts from the next question on."""
    reads = []
    held = Reread(file, lambda path: reads.append(path) or read(path))
    assert [held.now(), held.now()] == [1, 1]
    change(file, "2", 1)
    assert [held.now(), held.now()] == [2, 2]
    assert len(reads) == 2


def test_what_cannot_be_read_leaves_what_could(file):
    """It is said once, not at each question; a file that is gone for a moment is no change."""
    held = Reread(file, read)
    change(file, "x", 1)
    with capturedLogs() as logged:
        assert [held.now(), held.now()] == [1, 1]
    said = [formatEvent(event) for event in logged]
    assert said == ["what was there before it stays in use: 'x' is no number"]
    file.unlink()
    assert held.now() == 1
    change(file, "3", 2)
    assert held.now() == 3


def test_a_file_that_cannot_be_read_at_first_is_an_error(file):
    """There is nothing yet to stay with."""
    file.write_text("x")
    with pytest.raises(ValueError, match="'x' is no number"):
        Reread(file, read)
