"""Snapshots on the disk: written beside, verified, named; found again and read.

A snapshot that has its name was whole and was read back; whatever goes wrong before that
leaves a file that nobody takes for one. Reading it again checks everything again, for a disk
may forget. It is written and read piece by piece, and takes no more memory than a block.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from happy.errors import BadSnapshot, JournalError
from happy.journal.disk import Disk
from happy.journal.names import (
    SNAPSHOTS,
    is_part,
    snapshot_name,
    snapshot_seq,
    unfinished_name,
)
from happy.journal.recovery import Start
from happy.journal.replay import FileBytes
from happy.journal.snapshot_format import (
    Block,
    SnapshotHeader,
    decode_blocks,
    decode_header,
    encoded,
)

_WRITE_SIZE: Final = 1024 * 1024
_SYNC_SIZE: Final = 8 * 1024 * 1024
"""How much is written before a sync: a large one would hold up those of the journal."""


class Snapshot:
    """A snapshot that is there; ``header`` is known and checked, the rest is read by ``blocks``."""

    def __init__(self, disk: Disk, name: str) -> None:
        """Read the header. Raises ``BadSnapshot`` when it is damaged or not what its name says."""
        self.name = name
        with _named(name):
            try:
                self._content = FileBytes(disk, name)
                self.header, self._begin = decode_header(self._read)
            except FileNotFoundError:
                raise BadSnapshot("it is not there any more") from None
        seq = snapshot_seq(name)
        if seq not in (None, self.header.seq):
            raise BadSnapshot(f"{name}: it covers all up to seq {self.header.seq}")

    @property
    def size_bytes(self) -> int:
        """How large the file is."""
        return len(self._content)

    @property
    def start(self) -> Start:
        """Where a reader of the journal begins behind it."""
        return Start(self.header.seq, self.header.chain, self.header.time_ns)

    def blocks(self) -> Generator[Block, None, None]:
        """Yield the blocks, each checked; raise ``BadSnapshot`` when anything is wrong."""
        with _named(self.name):
            yield from decode_blocks(self._read, len(self._content), self.header, self._begin)

    def verify(self) -> None:
        """Read all of it; raise ``BadSnapshot`` when anything is wrong."""
        for _ in self.blocks():
            pass

    def _read(self, offset: int, size: int) -> bytes:
        return bytes(self._content[offset : offset + size])


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a snapshot's name before what is wrong with it."""
    try:
        yield
    except BadSnapshot as error:
        raise type(error)(f"{name}: {error}") from None


def snapshot_names(disk: Disk) -> list[str]:
    """Return the snapshots that are there, the newest first."""
    names = (name for name in disk.names(SNAPSHOTS) if snapshot_seq(name) is not None)
    return sorted(names, reverse=True)


def write_snapshot(
    disk: Disk,
    header: SnapshotHeader,
    blocks: Iterable[Block],
    check: Callable[[Snapshot], None],
) -> Snapshot:
    """Write a snapshot beside, durably; name it when ``check`` has read it and is content.

    Whatever goes wrong, no snapshot is there then, and nothing unfinished; what ``check``
    raises, and ``NoRoom`` or ``SyncFailed`` from the disk, is raised here.
    """
    name = snapshot_name(header.seq)
    part = unfinished_name(name)
    try:
        disk.create(part)
        _write(disk, part, encoded(header, blocks))
        disk.forget(part)
        check(Snapshot(disk, part))
        disk.rename(part, name)
    except BaseException:
        _remove_if_possible(disk, part)
        raise
    return Snapshot(disk, name)


def _write(disk: Disk, name: str, pieces: Iterable[bytes]) -> None:
    offset = unsynced = size = 0
    waiting: list[bytes] = []
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _WRITE_SIZE:
            disk.write(name, offset, b"".join(waiting))
            offset += size
            unsynced += size
            waiting, size = [], 0
        if unsynced >= _SYNC_SIZE:
            disk.sync(name)
            unsynced = 0
    disk.write(name, offset, b"".join(waiting))
    disk.sync(name)


def _remove_if_possible(disk: Disk, name: str) -> None:
    try:
        disk.remove(name)
    except JournalError:
        return  # the next one that is made will write over it


@attrs.frozen
class Good:
    """A snapshot whose bytes were read and found good."""

    name: str
    seq: int
    created_ns: int
    size_bytes: int


def good_snapshots(
    disk: Disk, check_fits: Callable[[SnapshotHeader], None]
) -> tuple[list[Good], list[str]]:
    """Read all snapshots; return the good ones, the newest first, and what is wrong with others.

    ``check_fits`` raises ``UnfitSnapshot`` for one that cannot be used.
    """
    good: list[Good] = []
    complaints: list[str] = []
    for name in snapshot_names(disk):
        try:
            snapshot = Snapshot(disk, name)
            snapshot.verify()
            with _named(name):
                check_fits(snapshot.header)
        except BadSnapshot as error:
            complaints.append(str(error))
        else:
            header = snapshot.header
            good.append(Good(name, header.seq, header.created_ns, snapshot.size_bytes))
    return good, complaints


def sweep_snapshots(disk: Disk, good: Sequence[Good], kept: int) -> None:
    """Remove what was not finished and, when there are ``kept`` good ones, all the others.

    Whoever calls this is the only one that makes snapshots here.
    """
    keep = {snapshot.name for snapshot in good[:kept]}
    enough = len(keep) == kept
    for name in disk.names(SNAPSHOTS):
        if is_part(name) or (enough and snapshot_seq(name) is not None and name not in keep):
            disk.remove(name)
