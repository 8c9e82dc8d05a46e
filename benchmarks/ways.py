"""Ways to make records durable, to be compared by ``journal.py``: ours, others', and the least."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from happy.bench.appends import Floor, Ours, Way
from happy.limits import MIB

lmdb: Any
try:
    import lmdb
except ImportError:  # a peer to compare with, nothing we need
    lmdb = None


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
