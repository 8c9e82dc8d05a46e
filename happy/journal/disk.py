"""The only door to the file system.

Everything else says what it wants of a directory of files; this says how: private files,
positioned writes, preallocation, ``fdatasync``, and a lock that lives as long as the process.
``happy.testing.MemoryDisk`` is the same door without a file system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from happy.errors import JournalError, Locked, NoRoom, SyncFailed
from happy.journal.mounts import file_system_type, is_network
from happy.journal.names import APPLYING, LOCK

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700

_STARTED_BYTES = 8
_SAME_START_NS = 2_000_000_000  # no machine starts twice in two seconds
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Disk(Protocol):
    """A directory of files. Names may have one folder in them, made when needed."""

    def lock(self) -> None:
        """Take the directory for this process, making it if needed; ``Locked`` names who has it."""

    def close(self) -> None:
        """Let go of the files and the lock."""

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files, in order; with ``folder``, of those in it."""

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Return bytes of a file, fewer at its end."""

    def free_bytes(self) -> int:
        """Return how much more there is room for, as far as the file system knows."""

    def create(self, name: str, size: int = 0) -> None:
        """Make an empty file, or empty one that is there, with room for ``size`` bytes.

        Raises ``NoRoom`` when there is none; then no file is left.
        """

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write all of ``data`` at ``offset``; ``NoRoom`` or ``SyncFailed`` when it cannot."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file."""

    def sync(self, name: str) -> None:
        """Make what was written to a file durable; ``SyncFailed`` is final for the process."""

    def rename(self, name: str, to: str) -> None:
        """Give a file another name, durably."""

    def remove(self, name: str) -> None:
        """Remove a file, durably."""

    def forget(self, name: str) -> None:
        """Say that a file will not be used soon."""

    def shared_bytes(self, size: int) -> memoryview:
        """Return bytes that outlive the process, and not the machine: zeros after its start.

        Where there is no room for them, they end with the process.
        """


class FileDisk:
    """A ``Disk`` on a real directory; ``waits`` is called when a sync begins."""

    def __init__(self, path: Path, waits: Callable[[], object] | None = None) -> None:
        self.path = path
        self._waits = waits
        self._files: dict[str, int] = {}
        self._directory: int | None = None

    def lock(self) -> None:
        """See ``Disk``. The lock is on the directory itself: nobody can delete it by hand."""
        try:
            self._make_directory(self.path)
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be used: {_reason(error)}") from None
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder(directory)
            os.close(directory)
            raise Locked(
                f"{self.path}: in use by {holder}; stop that process, or give this "
                "application another data directory"
            ) from None
        except OSError as error:
            os.close(directory)
            raise JournalError(
                f"{self.path}: cannot be locked: {_reason(error)}; a local disk is needed"
            ) from None
        self._directory = directory
        try:
            # The last rename may be in memory only, left there by a process whose sync failed.
            os.fsync(directory)
            self._sign()
        except OSError as error:
            self.close()
            raise JournalError(f"{self.path}: cannot be written: {_reason(error)}") from None

    def close(self) -> None:
        """See ``Disk``."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def names(self, folder: str = "") -> list[str]:
        """See ``Disk``."""
        prefix = f"{folder}/" if folder else ""
        try:
            found = [entry.name for entry in (self.path / folder).iterdir() if entry.is_file()]
            return sorted(prefix + name for name in found)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self.path}: cannot be read: {_reason(error)}") from None

    def size(self, name: str) -> int:
        """See ``Disk``."""
        return (self.path / name).stat().st_size

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """See ``Disk``."""
        try:
            with (self.path / name).open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(-1 if size is None else size) or b""
        except FileNotFoundError:
            raise
        except OSError as error:
            raise JournalError(f"{self.path / name}: cannot be read: {_reason(error)}") from None

    def free_bytes(self) -> int:
        """See ``Disk``."""
        try:
            found = os.statvfs(self.path)
        except OSError:
            return sys.maxsize
        return found.f_bavail * found.f_frsize

    def create(self, name: str, size: int = 0) -> None:
        """See ``Disk``."""
        try:
            self._make_directory((self.path / name).parent)
            file = self._file(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if size:
                os.posix_fallocate(file, 0, size)
                os.fsync(file)
        except OSError as error:
            with contextlib.suppress(SyncFailed):
                self.remove(name)
            raise self._failure(name, error) from None

    def write(self, name: str, offset: int, data: bytes) -> None:
        """See ``Disk``. Only ``pwrite``, so that a position is never anybody else's."""
        try:
            file = self._file(name)
            written = os.pwrite(file, data, offset) if data else 0
            while written < len(data):
                written += os.pwrite(file, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise self._failure(name, error) from None

    def truncate(self, name: str, size: int) -> None:
        """See ``Disk``."""
        try:
            os.ftruncate(self._file(name), size)
        except OSError as error:
            raise self._failure(name, error) from None

    def sync(self, name: str) -> None:
        """See ``Disk``."""
        try:
            file = self._file(name)
            if self._waits is not None:
                self._waits()
            os.fdatasync(file)
        except OSError as error:
            raise SyncFailed(
                f"{self.path / name}: the disk did not keep it: {_reason(error)}"
            ) from None

    def rename(self, name: str, to: str) -> None:
        """See ``Disk``."""
        self._forget(name)
        self._forget(to)
        try:
            (self.path / name).rename(self.path / to)
        except OSError as error:
            raise self._failure(to, error) from None
        self._sync_directory((self.path / to).parent)

    def remove(self, name: str) -> None:
        """See ``Disk``."""
        self._forget(name)
        try:
            (self.path / name).unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise SyncFailed(f"{self.path / name}: cannot be removed: {_reason(error)}") from None
        self._sync_directory((self.path / name).parent)

    def forget(self, name: str) -> None:
        """See ``Disk``."""
        self._forget(name)

    def shared_bytes(self, size: int) -> memoryview:
        """See ``Disk``.

        It is a file that is mapped and never synced. What a power cut leaves of it is worthless,
        so before it stands when the machine was started. Where the clock was set since, that is
        another moment, and what was left is lost.
        """
        whole = _STARTED_BYTES + size
        try:
            if APPLYING not in self.names() or self.size(APPLYING) != whole:
                self.create(APPLYING, whole)
            shared = memoryview(mmap.mmap(self._file(APPLYING), whole))
        except NoRoom:
            return memoryview(bytearray(size))
        except OSError as error:
            raise self._failure(APPLYING, error) from None
        self._forget(APPLYING)
        # Not /proc's boot_id: a service may be kept from looking there.
        started_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if abs(int.from_bytes(shared[:_STARTED_BYTES], "little") - started_ns) > _SAME_START_NS:
            shared[_STARTED_BYTES:] = bytes(size)
            shared[:_STARTED_BYTES] = started_ns.to_bytes(_STARTED_BYTES, "little")
        return shared[_STARTED_BYTES:]

    def _forget(self, name: str) -> None:
        file = self._files.pop(name, None)
        if file is not None:
            os.close(file)

    def _file(self, name: str, flags: int = os.O_RDWR) -> int:
        file = self._files.get(name)
        if file is None or flags & os.O_TRUNC:
            self._forget(name)
            file = os.open(self.path / name, flags | os.O_CLOEXEC, FILE_MODE)
            self._files[name] = file
        return file

    @contextlib.contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        file = os.open(self.path / name, flags | os.O_CLOEXEC, FILE_MODE)
        try:
            yield file
        finally:
            os.close(file)

    def _make_directory(self, path: Path) -> None:
        """Make a directory, and those above it, durably; let it be when it is there."""
        if path.exists():
            return
        self._make_directory(path.parent)
        path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        self._sync_directory(path.parent)

    def _sync_directory(self, path: Path) -> None:
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise SyncFailed(f"{path}: the disk did not keep it: {_reason(error)}") from None

    def _failure(self, name: str, error: OSError) -> NoRoom | SyncFailed:
        if error.errno in _FULL:
            return NoRoom("the disk is full; new events are refused until there is room")
        return SyncFailed(f"{self.path / name}: cannot be written: {_reason(error)}")

    def _sign(self) -> None:
        """Say in the file LOCK who holds the directory; a full disk keeps nobody from starting."""
        try:
            with self._opened(LOCK, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as lock:
                os.write(lock, f"{_process(os.getpid())}\n".encode())
        except OSError as error:
            if error.errno not in _FULL:
                raise

    def _holder(self, directory: int) -> str:
        """Return who holds the lock: as the kernel knows it, else as LOCK says it."""
        file = os.fstat(directory)
        place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        # LOCK is written after the lock was taken, and anybody can delete it.
        found = re.search(rf"FLOCK +\S+ +WRITE +([1-9]\d*) +{place} ", _read_proc("locks"))
        if found:
            return _process(int(found[1]))
        try:
            return (self.path / LOCK).read_text().strip() or "another process"
        except (OSError, ValueError):
            return "another process"


def network_file_system(path: Path) -> str | None:
    """Return the type of the file system of ``path`` if another machine serves it, else None."""
    type_name = file_system_type(str(path.resolve()), _read_proc("self/mountinfo"))
    return type_name if is_network(type_name) else None


def _process(pid: int) -> str:
    return f"process {pid} on {socket.gethostname()}"


def _read_proc(name: str) -> str:
    """Return a table of the kernel; nothing where there is none, as on other systems."""
    try:
        return Path("/proc", name).read_text(errors="replace")
    except OSError:
        return ""


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
