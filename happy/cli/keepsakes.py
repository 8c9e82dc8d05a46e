"""The snapshots beside a journal: whether they are good, are of its history, and copying them.

A journal whose first segments were let go is only whole together with a snapshot that covers
them; a whole journal is none the worse for a damaged one, which the next start passes over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from happy.errors import BadSnapshot, Corrupt
from happy.journal.disk import FileDisk
from happy.journal.frame import SegmentHeader
from happy.journal.names import snapshot_seq, unfinished_name
from happy.journal.recovery import Start
from happy.journal.snapshots import Snapshot, snapshot_names

_PIECE_BYTES: Final = 4 * 1024 * 1024


def start_at(header: SegmentHeader) -> Start | None:
    """Return with what a reader begins that is to read all segments that are kept.

    That is None when the first of them is the first of the journal.
    """
    if header.number == 1:
        return None
    return Start(header.first_seq - 1, header.chain, 0)


@attrs.frozen
class SnapshotReport:
    """A snapshot as ``happy journal snapshots`` shows it; of a damaged one only ``complaint``."""

    name: str
    seq: int
    """The last event that it holds."""
    size_bytes: int | None = None
    time_ns: int | None = None
    """The time of that event's batch."""
    created_ns: int | None = None
    complaint: str | None = None
    """What is wrong with it; None when every checksum is right."""


def snapshot_reports(disk: FileDisk) -> Iterator[SnapshotReport]:
    """Yield how each snapshot is, the newest first; all of them is read."""
    for name in snapshot_names(disk):
        try:
            snapshot = Snapshot(disk, name)
            snapshot.verify()
        except BadSnapshot as error:
            yield SnapshotReport(name, snapshot_seq(name) or 0, complaint=str(error))
        else:
            header = snapshot.header
            yield SnapshotReport(
                name, header.seq, snapshot.size_bytes, header.time_ns, header.created_ns
            )


class Keepsakes:
    """The snapshots of a journal, checked; ``join`` is told where in the journal they end."""

    def __init__(self, disk: FileDisk) -> None:
        """Read all snapshots that are there now."""
        self.complaints: list[str] = []
        """What is wrong with those that are not good."""
        self._good: dict[int, Snapshot] = {}
        self._joined: set[int] = set()
        for name in snapshot_names(disk):
            try:
                snapshot = Snapshot(disk, name)
                snapshot.verify()
            except BadSnapshot as error:
                self.complaints.append(str(error))
            else:
                self._good[snapshot.header.seq] = snapshot

    @property
    def good(self) -> int:
        """How many were found good."""
        return len(self._good)

    def holds(self, next_seq: int, chain: bytes) -> bool:
        """Say whether a snapshot ends at a place between two frames, or before the first."""
        snapshot = self._good.get(next_seq - 1)
        return snapshot is not None and snapshot.header.chain == chain

    def join(self, next_seqs: Iterable[int]) -> None:
        """Take in the places of the journal where snapshots end."""
        self._joined.update(next_seq - 1 for next_seq in next_seqs)

    def look(self, next_seq: int, chain: bytes) -> None:
        """Take in a place, if a snapshot ends there."""
        if self.holds(next_seq, chain):
            self.join([next_seq])

    @property
    def joined(self) -> tuple[str, ...]:
        """The names of those that are of this history, the newest first."""
        return tuple(found.name for seq, found in self._good.items() if seq in self._joined)

    @property
    def newest(self) -> Snapshot | None:
        """The newest good one, with which a start begins."""
        return next(iter(self._good.values()), None)

    def check(self, first: SegmentHeader, next_seq: int) -> None:
        """Raise ``Corrupt`` unless the journal and its snapshots are of one history.

        ``first`` is the header of the first segment that is there, ``next_seq`` the seq behind
        the last event. Snapshots made meanwhile, behind that, do not count.
        """
        for seq, snapshot in self._good.items():
            if first.first_seq <= seq + 1 <= next_seq and seq not in self._joined:
                raise Corrupt(
                    f"{snapshot.name}: it is not of this journal's history; restore both from one "
                    "backup"
                )
        self.check_beginning(first)

    def check_beginning(self, first: SegmentHeader) -> None:
        """Raise ``Corrupt`` when nothing holds what was before the first segment that is there."""
        if first.number != 1 and not self._joined:
            reasons = "; ".join(self.complaints)
            raise Corrupt(
                f"what was before seq {first.first_seq} was let go, and no good snapshot holds it"
                f"{f' ({reasons})' if reasons else ''}; restore one from a backup"
            )


def copy_snapshots(names: tuple[str, ...], source: Path, to: FileDisk) -> int:
    """Copy those snapshots that are good and not there yet, and remove older ones there.

    Returns how many were copied. One that is gone or damaged is left away: whether what is there
    then is enough, the check of the whole copy says.
    """
    here = FileDisk(source)
    there = set(snapshot_names(to))
    copied = 0
    for name in names:
        if name in there:
            continue
        part = unfinished_name(name)
        try:
            Snapshot(here, name).verify()
            to.create(part)
            size = here.size(name)
            for offset in range(0, size, _PIECE_BYTES):
                to.write(part, offset, here.read(name, offset, _PIECE_BYTES))
            to.sync(part)
            Snapshot(to, part).verify()
        except (BadSnapshot, FileNotFoundError):
            to.remove(part)
            continue
        to.rename(part, name)
        copied += 1
    if copied:
        for name in there - set(names):
            to.remove(name)
    return copied
