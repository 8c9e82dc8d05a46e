"""A disk without a file system, for tests: what was not synced can be lost.

The twin of ``happy.journal.disk.FileDisk``: it makes the same steps in the same order, and the
same tests run on both. Between two steps the power can be cut. What was synced is there then;
of the rest each piece, by itself, is there or is not: every sector of a write, every change of
a file's length, every name that was made, changed or removed in a folder that was not synced.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from happy.errors import Locked, NoRoom, SyncFailed
from happy.journal.frame import SECTOR_SIZE

_PAGE_SIZE: Final = 4096
_GRAINS: Final = (SECTOR_SIZE, _PAGE_SIZE, sys.maxsize)


@frozen
class Step:
    """One call to the operating system: what it does, and to which file or folder.

    The verbs are ``mkdir create allocate write truncate sync rename unlink sync_dir``.
    """

    verb: str
    name: str


class MemoryDisk:
    """A ``Disk`` in memory. ``crash`` is the power cut, ``room`` the bytes it can hold.

    ``syncs_left`` counts down with every ``sync``; the one that finds it at 0 fails, and as on
    a real disk the data it should have kept is lost though it can still be read: a later sync
    that succeeds does not keep it either.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.syncs_left: int | None = None
        self.syncs_count = 0
        self.before_step: Callable[[Step], object] = lambda _step: None
        """Called before every step; what it raises comes instead of the step."""
        self.lies: Callable[[Step], bool] = lambda _step: False
        """Says of a sync whether it returns without having kept anything."""
        self._root = _Folder({})
        self._locked = False
        self._shared = bytearray()

    # --- the power cut ----------------------------------------------------------------------

    def crash(self, seed: int | None = None) -> None:
        """Cut the power: the lock is gone, and all that was not synced.

        With a ``seed`` some of it had reached the disk, in any order: whole writes, or torn at
        4096 or 512 bytes; the same for the same seed.
        """
        kept: Container[int] = ()
        grain = SECTOR_SIZE
        if seed is not None:
            chance = random.Random(seed)  # noqa: S311 - a test repeats itself
            grain, odds = chance.choice(_GRAINS), chance.random()
            kept = [n for n in range(self.doubtful(grain)) if chance.random() < odds]
        self._root = self.survivor(kept, grain)._root  # noqa: SLF001 - our own
        self._shared = bytearray()
        self._locked = False

    def doubtful(self, grain: int = SECTOR_SIZE) -> int:
        """Return into how many pieces of ``grain`` bytes falls what was not synced."""
        return sum(len(list(node.pieces(grain))) for node in self._nodes())

    def survivor(self, kept: Container[int], grain: int = SECTOR_SIZE) -> MemoryDisk:
        """Return the disk as a power cut now could leave it.

        Of the ``doubtful`` pieces those whose numbers are in ``kept`` have reached it.
        """
        after: dict[_Node, _Node] = {}
        number = 0
        for node in self._nodes():
            pieces = list(node.pieces(grain))
            after[node] = node.cut(p for n, p in enumerate(pieces, number) if n in kept)
            number += len(pieces)
        for node in after.values():
            if isinstance(node, _Folder):
                node.durable = {name: after[inner] for name, inner in node.durable.items()}
                node.shown = dict(node.durable)
        disk = MemoryDisk()
        disk.room = self.room
        root = after[self._root]
        assert isinstance(root, _Folder)
        disk._root = root
        return disk

    # --- what a disk does -------------------------------------------------------------------

    def lock(self) -> None:
        """See ``Disk``."""
        if self._locked:
            raise Locked("in use by another application")
        self._locked = True
        self._sync_folder("")

    def close(self) -> None:
        """See ``Disk``."""
        self._locked = False

    def names(self, folder: str = "") -> list[str]:
        """See ``Disk``."""
        found = self._folder(folder)
        prefix = f"{folder}/" if folder else ""
        files = {} if found is None else found.shown
        return sorted(prefix + base for base, node in files.items() if isinstance(node, _File))

    def size(self, name: str) -> int:
        """See ``Disk``."""
        return len(self._file(name).shown)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """See ``Disk``."""
        end = None if size is None else offset + size
        return bytes(self._file(name).shown[offset:end])

    def free_bytes(self) -> int:
        """See ``Disk``."""
        return int(min(max(0, self._room_left()), sys.maxsize))

    def create(self, name: str, size: int = 0) -> None:
        """See ``Disk``."""
        path, _, base = name.rpartition("/")
        folder = self._made_folder(path)
        self._step("create", name)
        file = folder.shown.get(base)
        if not isinstance(file, _File):
            file = _File(b"")
            folder.change({base: file})
        elif file.shown:
            file.set_size(0)
        if not size:
            return
        self._step("allocate", name)
        if size > self._room_left():
            self.remove(name)
            raise _no_room()
        file.set_size(size)
        self._keep(file, self._step("sync", name))

    def write(self, name: str, offset: int, data: bytes) -> None:
        """See ``Disk``. As on a real disk, what there is room for stands there after ``NoRoom``."""
        file = self._used_file(name)
        if not data:
            return
        self._step("write", name)
        growth = offset + len(data) - len(file.shown)
        if growth > 0 and growth > (room := max(0, self._room_left())):
            fitting = len(data) - growth + int(room)
            if fitting > 0:
                file.write(offset, data[:fitting])
            raise _no_room()
        file.write(offset, bytes(data))

    def truncate(self, name: str, size: int) -> None:
        """See ``Disk``."""
        file = self._used_file(name)
        self._step("truncate", name)
        file.set_size(size)

    def sync(self, name: str) -> None:
        """See ``Disk``."""
        file = self._used_file(name)
        step = self._step("sync", name)
        if self.syncs_left is not None:
            if self.syncs_left == 0:
                file.lose()
                raise SyncFailed(f"{name}: the disk did not keep it")
            self.syncs_left -= 1
        self.syncs_count += 1
        self._keep(file, step)

    def rename(self, name: str, to: str) -> None:
        """See ``Disk``."""
        file = self._used_file(name)
        path, _, base = name.rpartition("/")
        to_path, _, to_base = to.rpartition("/")
        source, target = self._folder(path), self._folder(to_path)
        if source is None or target is None:
            raise SyncFailed(f"{to}: cannot be written: no such file or directory")
        self._step("rename", name)
        if source is target:
            # A file system may lose it, but does not do half of it.
            source.change({base: None, to_base: file})
        else:
            target.change({to_base: file})
            source.change({base: None})
        self._sync_folder(to_path)

    def remove(self, name: str) -> None:
        """See ``Disk``."""
        path, _, base = name.rpartition("/")
        folder = self._folder(path)
        if folder is None or base not in folder.shown:
            return
        self._step("unlink", name)
        folder.change({base: None})
        self._sync_folder(path)

    def forget(self, name: str) -> None:
        """See ``Disk``."""

    def shared_bytes(self, size: int) -> memoryview:
        """See ``Disk``."""
        if len(self._shared) != size:
            self._shared = bytearray(size)
        return memoryview(self._shared)

    # --- inside -----------------------------------------------------------------------------

    def _step(self, verb: str, name: str) -> Step:
        step = Step(verb, name)
        self.before_step(step)
        return step

    def _keep(self, node: _Node, step: Step) -> None:
        if not self.lies(step):
            node.sync()

    def _sync_folder(self, path: str) -> None:
        folder = self._folder(path)
        assert folder is not None
        self._keep(folder, self._step("sync_dir", path))

    def _folder(self, path: str) -> _Folder | None:
        node = self._root.shown.get(path) if path else self._root
        return node if isinstance(node, _Folder) else None

    def _made_folder(self, path: str) -> _Folder:
        folder = self._folder(path)
        if folder is None:
            self._step("mkdir", path)
            folder = _Folder({})
            self._root.change({path: folder})
            self._sync_folder("")
        return folder

    def _file(self, name: str) -> _File:
        path, _, base = name.rpartition("/")
        folder = self._folder(path)
        file = None if folder is None else folder.shown.get(base)
        if not isinstance(file, _File):
            raise FileNotFoundError(name)
        return file

    def _used_file(self, name: str) -> _File:
        try:
            return self._file(name)
        except FileNotFoundError:
            raise SyncFailed(f"{name}: cannot be written: no such file or directory") from None

    def _nodes(self) -> Iterable[_Node]:
        """Return all that can be there after a power cut, each once, in the same order."""
        found: dict[_Node, None] = {self._root: None}
        for folder in (self._root, *self._root.known()):
            if isinstance(folder, _Folder):
                found.update(dict.fromkeys(folder.known()))
        return found

    def _room_left(self) -> float:
        if self.room is None:
            return float("inf")
        return self.room - sum(len(n.shown) for n in self._nodes_shown())

    def _nodes_shown(self) -> Iterator[_File]:
        for node in self._root.shown.values():
            inner = node.shown.values() if isinstance(node, _Folder) else (node,)
            yield from (file for file in inner if isinstance(file, _File))


class _File:
    """What a file shows, what of it is durable, and the changes between the two."""

    def __init__(self, durable: bytes | bytearray) -> None:
        self.shown = bytearray(durable)
        self.durable = bytearray(durable)
        self.unsynced: list[tuple[int, bytes | None]] = []
        """Bytes and where they were written; without a byte, how long the file is at least
        since; with None, exactly."""

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.shown):
            self.unsynced.append((end, b""))
        self.unsynced.append((offset, data))
        _change(self.shown, offset, data)

    def set_size(self, size: int) -> None:
        data = b"" if size > len(self.shown) else None
        self.unsynced.append((size, data))
        _change(self.shown, size, data)

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _change(self.durable, offset, data)
        self.unsynced.clear()

    def lose(self) -> None:
        """Forget the data to be synced: it is shown, and will not be written.

        Lengths stay: file systems log them, and stop altogether when they cannot.
        """
        self.unsynced = [change for change in self.unsynced if not change[1]]

    def pieces(self, grain: int) -> Iterator[tuple[int, bytes | None]]:
        for offset, data in self.unsynced:
            if not data:
                yield offset, data
                continue
            start = 0
            while start < len(data):
                end = start + grain - (offset + start) % grain
                piece = offset + start, data[start:end]
                if self._changed_by(*piece):
                    yield piece
                start = end

    def _changed_by(self, offset: int, data: bytes) -> bool:
        """Say whether it makes a difference that bytes are written: others may stand there."""
        end = offset + len(data)
        if self.durable[offset:end] != data:
            return True
        touching = [o for o, d in self.unsynced if d is None or (o < end and offset < o + len(d))]
        return len(touching) > 1

    def cut(self, pieces: Iterable[tuple[int, bytes | None]]) -> _File:
        content = self.durable.copy()
        for offset, data in pieces:
            _change(content, offset, data)
        return _File(content)


class _Folder:
    """What names a folder shows, which of them are durable, and the changes between the two."""

    def __init__(self, durable: Mapping[str, _Node]) -> None:
        self.shown = dict(durable)
        self.durable = dict(durable)
        self.unsynced: list[Mapping[str, _Node | None]] = []

    def change(self, names: Mapping[str, _Node | None]) -> None:
        """Give names to files, or with None take them away; all of it or nothing."""
        self.unsynced.append(names)
        _rename(self.shown, names)

    def sync(self) -> None:
        for names in self.unsynced:
            _rename(self.durable, names)
        self.unsynced.clear()

    def known(self) -> Iterator[_Node]:
        """Yield all that has a name here, or may have one after a power cut."""
        for names in (self.shown, self.durable, *self.unsynced):
            yield from (node for node in names.values() if node is not None)

    def pieces(self, _grain: int) -> Iterator[Any]:
        yield from self.unsynced

    def cut(self, pieces: Iterable[Mapping[str, _Node | None]]) -> _Folder:
        entries = self.durable.copy()
        for names in pieces:
            _rename(entries, names)
        return _Folder(entries)


_Node = _File | _Folder


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


def _rename(entries: dict[str, _Node], names: Mapping[str, _Node | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


def _no_room() -> NoRoom:
    return NoRoom("the disk is full; new events are refused until there is room")
