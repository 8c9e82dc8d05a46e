"""Bodies too large for a frame: files named by the SHA-256 of what is in them.

A blob is written piece by piece while it arrives, and sealed - synced, then given its name -
before the event that names it is put in the order. So whatever the journal names is there.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Awaitable, Callable
from typing import Any

from happy.errors import Corrupt, NoRoom
from happy.event import Blob
from happy.journal.disk import Disk
from happy.journal.names import BLOBS, blob_name, is_part, part_name

Run = Callable[[Callable[[], Any]], Any]
"""Runs a function where it may block and returns an awaitable of its result."""


class Blobs:
    """The blobs of one application.

    Where several processes write them, each has its own numbers, from ``first_number`` on.
    """

    def __init__(self, disk: Disk, run: Run, first_number: int = 0) -> None:
        self._disk = disk
        self._run = run
        self._number = first_number

    def sweep(self) -> None:
        """Remove what was being written when the process ended."""
        for name in self._disk.names(BLOBS):
            if is_part(name):
                self._disk.remove(name)

    def writer(self) -> Writer:
        """Return a place for a new body."""
        self._number += 1
        return Writer(self._disk, self._run, part_name(self._number))

    def open(self, blob: Blob) -> io.BufferedIOBase:
        """Open a body to read; ``FileNotFoundError`` when it is not there, ``Corrupt`` when cut."""
        name = blob_name(blob.sha256)
        size = self._disk.size(name)
        if size != blob.size:
            raise Corrupt(f"{name}: {size} bytes instead of {blob.size}; restore it from a backup")
        return io.BufferedReader(_Source(self._disk, name))


class Writer:
    """A body being written; see ``happy.app.BlobWriter``."""

    def __init__(self, disk: Disk, run: Run, name: str) -> None:
        self._disk = disk
        self._run = run
        self._name = name
        self._digest = hashlib.sha256()
        self._size = 0
        self._open = True
        disk.create(name)

    def write(self, data: bytes) -> None:
        """Add bytes; ``NoRoom`` when the disk is full."""
        self._disk.write(self._name, self._size, data)
        self._digest.update(data)
        self._size += len(data)

    def seal(self) -> Awaitable[Blob]:
        """Sync it and give it its name; fires with the ``Blob``."""
        blob = Blob(self._digest.hexdigest(), self._size)
        self._open = False

        def settle() -> Blob:
            try:
                self._disk.sync(self._name)
                self._disk.rename(self._name, blob_name(blob.sha256))
            except NoRoom:
                self._disk.remove(self._name)
                raise
            return blob

        sealed: Awaitable[Blob] = self._run(settle)
        return sealed

    def abandon(self) -> None:
        """Forget what was written; harmless after ``seal``."""
        if self._open:
            self._open = False
            self._disk.remove(self._name)


class _Source(io.RawIOBase):
    """Reads a file of a disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._offset = 0
        self._size = disk.size(name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._offset = start + offset
        return self._offset

    def readinto(self, buffer: Any) -> int:
        data = self._disk.read(self._name, self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)
