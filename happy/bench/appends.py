"""Durable appends: ours, and the least that the disk allows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.limits import MIB, Limits

RECORD_BYTES: Final = 256
FLOOR_BYTES: Final = 16 * MIB
TURN_APPENDS: Final = 10


class Way(Protocol):
    """One way to make records durable."""

    def append(self, records: Sequence[bytes]) -> None:
        """Return when the disk has them."""

    def close(self) -> None:
        """Let go of the files."""


class Floor:
    """One write and one sync, over zeros that are on the disk already: less is not durable."""

    def __init__(self, directory: Path, size: int = FLOOR_BYTES) -> None:
        self._size = size
        self._file = os.open(directory / "floor", os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self._file, bytes(size), 0)
        os.fsync(self._file)
        self._offset = 0

    def append(self, records: Sequence[bytes]) -> None:
        """See ``Way``; from the start again when the room is used up."""
        data = b"".join(records)
        if self._offset + len(data) > self._size:
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


def appends_us(way: Way, batch: int, times: int) -> list[float]:
    """Return how long each of some appends of ``batch`` records took."""
    records = [os.urandom(RECORD_BYTES) for _ in range(batch)]
    found = []
    for _ in range(times):
        start = time.perf_counter_ns()
        way.append(records)
        found.append((time.perf_counter_ns() - start) / 1e3)
    return found


def appends_for(
    directory: Path, batches: Sequence[int], seconds: float, tick: Callable[[], object]
) -> dict[tuple[str, int], list[float]]:
    """Take turns for some seconds between the floor and ours; return what each append took.

    By turns, so that what disturbs the machine disturbs both.
    """
    ways: dict[str, Way] = {"floor": Floor(directory), "ours": Ours(directory)}
    taken: dict[tuple[str, int], list[float]] = {(n, b): [] for n in ways for b in batches}
    end_s = time.perf_counter() + seconds
    try:
        while time.perf_counter() < end_s or not all(taken.values()):
            for (name, batch), times_us in taken.items():
                times_us.extend(appends_us(ways[name], batch, TURN_APPENDS))
            tick()
    finally:
        for way in ways.values():
            way.close()
    return taken
