"""A disk without a file system, for tests: what was not synced can be lost.

The twin of ``happy.journal.disk.FileDisk``; the same tests run on both.
"""

from __future__ import annotations

from happy.errors import Locked, NoRoom, SyncFailed


class MemoryDisk:
    """A ``Disk`` in memory. ``crash`` is the power cut, ``room`` the bytes it can hold.

    ``syncs_left`` counts down with every sync; the sync that finds it at 0 fails.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.syncs_left: int | None = None
        self.syncs_count = 0
        self._written: dict[str, bytearray] = {}
        self._durable: dict[str, bytes] = {}
        self._locked = False

    def crash(self) -> None:
        """Lose all that was not synced, and the lock."""
        self._written = {name: bytearray(data) for name, data in self._durable.items()}
        self._locked = False

    def lock(self) -> None:
        """See ``Disk``."""
        if self._locked:
            raise Locked("in use by another application")
        self._locked = True

    def close(self) -> None:
        """See ``Disk``."""
        self._locked = False

    def names(self, folder: str = "") -> list[str]:
        """See ``Disk``."""
        return sorted(n for n in self._written if n.rpartition("/")[0] == folder)

    def size(self, name: str) -> int:
        """See ``Disk``."""
        return len(self._file(name))

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """See ``Disk``."""
        end = None if size is None else offset + size
        return bytes(self._file(name)[offset:end])

    def create(self, name: str, size: int = 0) -> None:
        """See ``Disk``."""
        self._written.pop(name, None)
        self._take_room(size)
        self._written[name] = bytearray(size)
        self._durable[name] = bytes(size)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """See ``Disk``."""
        file = self._file(name)
        self._take_room(max(0, offset + len(data) - len(file)))
        if len(file) < offset:
            file.extend(bytes(offset - len(file)))
        file[offset : offset + len(data)] = data

    def truncate(self, name: str, size: int) -> None:
        """See ``Disk``."""
        del self._file(name)[size:]

    def sync(self, name: str) -> None:
        """See ``Disk``."""
        if self.syncs_left is not None:
            if self.syncs_left == 0:
                raise SyncFailed(f"{name}: the disk did not keep it")
            self.syncs_left -= 1
        self.syncs_count += 1
        self._durable[name] = bytes(self._file(name))

    def rename(self, name: str, to: str) -> None:
        """See ``Disk``."""
        self._written[to] = self._written.pop(name)
        self._durable[to] = self._durable.pop(name)

    def remove(self, name: str) -> None:
        """See ``Disk``."""
        self._written.pop(name, None)
        self._durable.pop(name, None)

    def forget(self, name: str) -> None:
        """See ``Disk``."""

    def _file(self, name: str) -> bytearray:
        try:
            return self._written[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def _take_room(self, size: int) -> None:
        if self.room is not None and size > self.room - sum(map(len, self._written.values())):
            raise NoRoom("the disk is full; new events are refused until there is room")
