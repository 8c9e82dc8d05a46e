"""A disk without a file system, for tests: what was not synced can be lost.

The twin of ``happy.journal.disk.FileDisk``; the same tests run on both.
"""

from __future__ import annotations

from happy.errors import Locked, NoRoom, SyncFailed


class MemoryDisk:
    """A ``Disk`` in memory. ``crash`` is the power cut, ``room`` the bytes it can hold.

    ``syncs_left`` counts down with every sync; the sync that finds it at 0 fails, and as on a
    real disk what it should have kept is lost though it can still be read: a later sync that
    succeeds does not keep it either. Names are durable at once.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.syncs_left: int | None = None
        self.syncs_count = 0
        self._files: dict[str, _File] = {}
        self._locked = False

    def crash(self) -> None:
        """Lose all that was not synced, and the lock."""
        for file in self._files.values():
            file.crash()
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
        return sorted(n for n in self._files if n.rpartition("/")[0] == folder)

    def size(self, name: str) -> int:
        """See ``Disk``."""
        return len(self._file(name).shown)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """See ``Disk``."""
        end = None if size is None else offset + size
        return bytes(self._file(name).shown[offset:end])

    def create(self, name: str, size: int = 0) -> None:
        """See ``Disk``."""
        self._files.pop(name, None)
        if size > self._room_left():
            raise _no_room()
        self._files[name] = _File(size)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """See ``Disk``. As on a real disk, what there is room for stands there after ``NoRoom``."""
        file = self._file(name)
        if not data:
            return
        growth = offset + len(data) - len(file.shown)
        if growth > 0 and growth > (room := max(0, self._room_left())):
            fitting = len(data) - growth + int(room)
            if fitting > 0:
                file.change(offset, data[:fitting])
            raise _no_room()
        file.change(offset, data)

    def truncate(self, name: str, size: int) -> None:
        """See ``Disk``."""
        self._file(name).change(size, None)

    def sync(self, name: str) -> None:
        """See ``Disk``."""
        file = self._file(name)
        if self.syncs_left is not None:
            if self.syncs_left == 0:
                file.unsynced.clear()
                raise SyncFailed(f"{name}: the disk did not keep it")
            self.syncs_left -= 1
        self.syncs_count += 1
        file.sync()

    def rename(self, name: str, to: str) -> None:
        """See ``Disk``."""
        self._files[to] = self._file(name)
        if to != name:
            del self._files[name]

    def remove(self, name: str) -> None:
        """See ``Disk``."""
        self._files.pop(name, None)

    def forget(self, name: str) -> None:
        """See ``Disk``."""

    def _file(self, name: str) -> _File:
        try:
            return self._files[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def _room_left(self) -> float:
        if self.room is None:
            return float("inf")
        return self.room - sum(len(file.shown) for file in self._files.values())


class _File:
    """What a file shows, what of it is durable, and the changes between the two."""

    def __init__(self, size: int) -> None:
        self.shown = bytearray(size)
        self.durable = bytearray(size)
        self.unsynced: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        """Write ``data``, or with None cut the file."""
        self.unsynced.append((offset, data))
        _change(self.shown, offset, data)

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _change(self.durable, offset, data)
        self.unsynced.clear()

    def crash(self) -> None:
        self.unsynced.clear()
        self.shown = bytearray(self.durable)


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _no_room() -> NoRoom:
    return NoRoom("the disk is full; new events are refused until there is room")
