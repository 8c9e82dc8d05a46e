"""Ways to make records durable, to be compared by ``journal.py``: ours, others', and the least."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.limits import MIB, Limits

lmdb: Any
try:
    import lmdb
except ImportError:  # a peer to compare with, nothing we need
    lmdb = None

FLOOR_BYTES: Final = 16 * MIB


class Way(Protocol):
    """One way to make records durable."""

    def append(self, records: Sequence[bytes]) -> None:
        """Return when the disk has them."""

    def close(self) -> None:
        """Let go of the files."""


class Floor:
    """One write and one sync, over zeros that are on the disk already: less is not durable."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "floor", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._file, bytes(FLOOR_BYTES), 0)
        os.fsync(self._file)
        self._offset = 0

    def append(self, records: Sequence[bytes]) -> None:
        """See ``Way``; from the start again when the room is used up."""
        data = b"".join(records)
        if self._offset + len(data) > FLOOR_BYTES:
            self._offset = 0
        os.pwrite(self._file, data, self._offset)
        os.fdatasync(self._file)
        self._offset += len(data)

    def close(self) -> None:
        """See ``Way``."""
        os.close(self._file)


class Ours:
    """The appender as a stream uses it, without the thread."""

    def __init__(self, directory: Path) -> None:
        self._disk = FileDisk(directory / "happy")
        self._disk.lock()
        size = Limits().segment_bytes_max
        tail = create_journal(self._disk, os.urandom(16), 1, time.time_ns(), size)
        self._appender = Appender(self._disk, tail, segment_bytes_max=size, new_salt=lambda: 1)

    def append(self, records: Sequence[bytes]) -> None:
        """See ``Way``."""
        self._appender.append(records, time.time_ns())

    def close(self) -> None:
        """See ``Way``."""
        self._disk.close()


class Sqlite:
    """SQLite with a write-ahead log that is synced at every commit."""

    def __init__(self, directory: Path) -> None:
        self._database = sqlite3.connect(directory / "events.sqlite", isolation_level=None)
        (mode,) = self._database.execute("PRAGMA journal_mode = WAL").fetchone()
        assert mode == "wal", mode
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, record BLOB)")

    def append(self, records: Sequence[bytes]) -> None:
        """See ``Way``."""
        run = self._database.execute
        run("BEGIN")
        self._database.executemany(
            "INSERT INTO events (record) VALUES (?)", [(record,) for record in records]
        )
        run("COMMIT")

    def close(self) -> None:
        """See ``Way``."""
        self._database.close()


class Lmdb:
    """LMDB as it comes: synced at every commit; keys in order, put at the end."""

    def __init__(self, directory: Path) -> None:
        self._environment = lmdb.open(str(directory / "lmdb"), map_size=4096 * MIB)
        self._seq = 0

    def append(self, records: Sequence[bytes]) -> None:
        """See ``Way``."""
        seq = self._seq
        with self._environment.begin(write=True) as transaction:
            for record in records:
                seq += 1
                transaction.put(seq.to_bytes(8), record, append=True)
        self._seq = seq

    def close(self) -> None:
        """See ``Way``."""
        self._environment.close()


FLOOR: Final = "pwrite + fdatasync"
OURS: Final = "happy"
WAYS: Final[dict[str, Callable[[Path], Way]]] = {
    FLOOR: Floor,
    OURS: Ours,
    "sqlite3 WAL FULL": Sqlite,
    **({"lmdb": Lmdb} if lmdb is not None else {}),
}
PEERS: Final = [name for name in WAYS if name not in {FLOOR, OURS}]

VERSIONS: Final = {
    "sqlite3": sqlite3.sqlite_version,
    "lmdb": None if lmdb is None else ".".join(map(str, lmdb.version())),
}
