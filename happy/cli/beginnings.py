"""Where a replay begins: before the first event, or with a snapshot.

Whoever wants all of history begins with as much of it as is kept: where old segments were let
go, that is the oldest snapshot. Whoever wants one moment only begins with the last one before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import attrs

from happy.app import Definition
from happy.apply import Machine
from happy.cli.bounds import Wanted
from happy.cli.segments import header_of, segment_names
from happy.codec import EventDecoder
from happy.errors import BadSnapshot, Corrupt, NotAJournal
from happy.journal.disk import Disk
from happy.journal.frame import SegmentHeader
from happy.journal.recovery import Start
from happy.journal.snapshots import Snapshot, snapshot_names
from happy.recall import Recall


@attrs.frozen
class Beginning:
    """A machine, and what it holds already, if a snapshot gave it."""

    machine: Machine
    start: Start | None = None


def beginning(  # noqa: PLR0913 - all it depends on
    path: Path,
    disk: Disk,
    definition: Definition,
    decoder: EventDecoder,
    until: Wanted,
    near: Wanted | None,
) -> Beginning:
    """Return where to begin; with ``near``, with the last snapshot in that part of history.

    Raises ``NotAJournal`` when the events from the beginning on are not kept, and no snapshot
    that can be used, and ends before ``until`` does, holds what was before.
    """
    header = header_of(disk, segment_names(disk, path)[0])
    recall = Recall(definition, decoder, random.Random)
    whole = header.number == 1
    reasons: list[str] = []
    if near is not None or not whole:
        for snapshot in _snapshots(disk, header, newest_first=near is not None, reasons=reasons):
            if not (near or until).covers(snapshot.start):
                continue
            try:
                return Beginning(recall.load(snapshot).machine, snapshot.start)
            except BadSnapshot as error:
                reasons.append(str(error))
    if whole:
        return Beginning(recall.new_machine(header.journal_id))
    why = "; ".join(reasons) or "no snapshot of an early enough moment is there"
    raise NotAJournal(
        f"{path}: its segments begin with seq {header.first_seq}, and what was before cannot be "
        f"made again: {why}; ask for a later moment, or take a backup that has more"
    )


def _snapshots(
    disk: Disk, first: SegmentHeader, *, newest_first: bool, reasons: list[str]
) -> Iterator[Snapshot]:
    """Yield the snapshots that the segments follow; what is wrong with others, to ``reasons``."""
    names = snapshot_names(disk)
    for name in names if newest_first else reversed(names):
        try:
            snapshot = Snapshot(disk, name)
        except BadSnapshot as error:
            reasons.append(str(error))
            continue
        follows = snapshot.start.seq + 1 >= first.first_seq
        if follows and snapshot.header.journal_id == first.journal_id:
            yield snapshot


class Joint:
    """Sees to it that what is read is the history of the snapshot that the replay began with."""

    def __init__(self, start: Start | None) -> None:
        self._start = start

    def look(self, where: str, next_seq: int, chain: bytes) -> None:
        """Take in a place of the journal; ``Corrupt`` when the snapshot's was none of its own."""
        start = self._start
        if start is None:
            return
        if next_seq == start.seq + 1 and chain == start.chain:
            self._start = None
        elif next_seq > start.seq + 1:
            raise Corrupt(
                f"{where}: the snapshot that ends with seq {start.seq} is not of this journal's "
                "history; restore both from one backup"
            )
