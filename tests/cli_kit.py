"""What the tests of the journal's tools share: small journals, and running a command."""

from __future__ import annotations

import json
import os
from hashlib import sha256

from click.testing import CliRunner

from happy.cli import main
from happy.codec import encode
from happy.event import Blob, Mail, event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind, records_of
from happy.journal.replay import Reader

SECOND = 1_000_000_000
SEGMENT_BYTES = 8192
TEXT = b"what was answered"
NOTES = 2  # of a kibibyte, in each segment that `segments` begins


@event
class Note:
    """A text."""

    text: str


def pen_of(path, journal_id=b"j" * 16, size=SEGMENT_BYTES):
    """Open a journal, or begin one; return its disk and an appender."""
    disk = FileDisk(path)
    disk.lock()
    reader = Reader(disk, cut=True)
    list(reader.frames())
    tail = reader.tail or create_journal(disk, journal_id, 1, SECOND, size)
    salts = iter(range(100 + tail.segment.header.number, 10_000))
    pen = Appender(disk, tail, segment_bytes_max=size, new_salt=lambda: next(salts))
    return disk, pen


def write(path, batches, *, close=False, at=SECOND, journal_id=b"j" * 16):
    """Add batches to a journal; return its segments."""
    disk, pen = pen_of(path, journal_id)
    for number, batch in enumerate(batches):
        pen.append([encode(e, "test") for e in batch], at + number * SECOND)
    if close:
        pen.mark(Kind.CLOSE_MARK, at + len(batches) * SECOND)
    disk.close()
    return sorted(path.glob("*.segment"))


def segments(path, count, **options):
    """Write a journal of so many segments, with two events in each."""
    return write(path, [[Note("x" * 2000)] * NOTES] * count, **options)


def with_blob(path, text=TEXT, at=50 * SECOND):
    """Add a mail with a blob to a journal; return the blob's file."""
    digest = sha256(text).hexdigest()
    (path / "blobs").mkdir(parents=True, exist_ok=True)
    (path / "blobs" / digest).write_bytes(text)
    mail = Mail("a@b.example", ("c@d.example",), b"\r\n", Blob(digest, len(text)))
    write(path, [[mail]], at=at)
    return path / "blobs" / digest


def happy(*arguments):
    """Run a command."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def lines(result):
    """Return the JSON that a command wrote."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def contents(path):
    """Return the files below a directory, with what is in them."""
    return {
        str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()
    }


def records(path):
    """Return the records of a journal, or of its good beginning."""
    found = []
    for frame in Reader(FileDisk(path), cut=False).frames():
        if frame.kind is Kind.EVENTS:
            found += [bytes(record) for record in records_of(frame)]
    return found


def change(file, offset, data):
    """Write over bytes of a file."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def flip(file, offset):
    """Change one byte of a file."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        byte = opened.read(1)[0]
        opened.seek(offset)
        opened.write(bytes([byte ^ 0x40]))


def tear(file, marker=b"xxx"):
    """Cut a file in the middle of its last frame."""
    os.truncate(file, file.read_bytes().rindex(marker) - 100)
