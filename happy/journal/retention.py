"""Letting old segments go: which may, and how, so that a power cut never leaves a gap.

A journal is kept whole unless somebody sets a budget, and even then a segment goes only when
two verified snapshots cover all of it: should the newer one be found damaged, the older one
and what follows it are still the whole state. Segments go from the oldest on, one after the
other, and the last one never.

The rule is pure. Doing it is either removing or moving to an archive: a directory of this
journal's own, on any file system, that never holds part of a segment under a segment's name.
Whoever does it holds the lock of the journal. What remains is read with a ``Start``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

import attrs

from happy.errors import Corrupt, JournalError, NoRoom, NotAJournal
from happy.journal.disk import Disk
from happy.journal.frame import SEGMENT_HEADER_SIZE, SegmentHeader, decode_segment_header
from happy.journal.names import segment_seq, unfinished_name
from happy.journal.replay import PIECE_SIZE

_SECOND_NS = 1_000_000_000


@attrs.frozen
class Budget:
    """How much of a journal is kept; None means that there is no such bound."""

    bytes_max: int | None = None
    """All segments together, the room that the last one has yet included."""
    age_max_s: int | None = None
    """Since the last event of a segment."""


@attrs.frozen
class Held:
    """A segment that is there."""

    name: str
    header: SegmentHeader
    size_bytes: int


def held_segments(disk: Disk) -> list[Held]:
    """Return the segments of a journal, in order; only their headers are read.

    Raises ``Corrupt`` when they do not follow each other: then none may go.
    """
    held = []
    for name in disk.names():
        if segment_seq(name) is None:
            continue
        try:
            header = decode_segment_header(disk.read(name, 0, SEGMENT_HEADER_SIZE))
        except (ValueError, NotAJournal) as error:
            raise Corrupt(f"{name}: {error}: nothing is let go of a damaged journal") from None
        held.append(Held(name, header, disk.size(name)))
    for one, following in pairwise(held):
        if not _follows(one, following):
            raise Corrupt(
                f"{following.name} does not follow {one.name}: nothing is let go of a journal "
                "that is not whole"
            )
    return held


def _follows(one: Held, following: Held) -> bool:
    """Say whether a segment is the next one, as far as headers tell."""
    return (
        segment_seq(one.name) == one.header.first_seq < following.header.first_seq
        and segment_seq(following.name) == following.header.first_seq
        and following.header.journal_id == one.header.journal_id
        and following.header.number == one.header.number + 1
        and following.header.previous_end <= one.size_bytes
    )


def retirable(
    held: Sequence[Held], verified_seqs: Collection[int], budget: Budget, now_ns: int
) -> list[Held]:
    """Return the segments that may go, the oldest first; they are a beginning of ``held``.

    ``verified_seqs`` are the last seqs of the snapshots that were verified, ``now_ns`` the time
    of day in nanoseconds since 1970.
    """
    newest_first = sorted(set(verified_seqs), reverse=True)
    if len(newest_first) < 2:
        return []
    covered_seq = newest_first[1]
    left = sum(segment.size_bytes for segment in held)
    going = []
    for segment, following in pairwise(held):
        # Marks may stand behind the last event: what follows the snapshot is proven from there.
        covered = following.header.first_seq <= covered_seq
        # The next one was begun when this one's last event had been written.
        age_ns = now_ns - following.header.created_ns
        large = budget.bytes_max is not None and left > budget.bytes_max
        old = budget.age_max_s is not None and age_ns > budget.age_max_s * _SECOND_NS
        if not covered or not (large or old):
            break
        going.append(segment)
        left -= segment.size_bytes
    return going


def retire(disk: Disk, going: Sequence[Held], archive: Disk | None = None) -> None:
    """Remove segments, in this order; with ``archive``, only when each is durable there.

    Interrupted at any point and done again, it finishes. Raises ``NoRoom`` when the archive has
    none, and ``JournalError`` when it holds another segment of that name; nothing is lost then.
    """
    for segment in going:
        if archive is not None:
            _keep(disk, archive, segment.name)
        disk.remove(segment.name)


def let_go(
    disk: Disk, verified_seqs: Collection[int], budget: Budget, now_ns: int, archive: Disk | None
) -> list[Held]:
    """Let go of all segments that may; return them. See ``retirable`` and ``retire``."""
    going = retirable(held_segments(disk), verified_seqs, budget, now_ns)
    retire(disk, going, archive)
    return going


def _keep(disk: Disk, archive: Disk, name: str) -> None:
    """Copy a segment to the archive; once more if it is there, for it may be in memory only."""
    # It was cut to its frames when it was full, perhaps in memory only: after a power cut it
    # would be longer than its copy.
    disk.sync(name)
    if name in archive.names() and not _same(disk, archive, name):
        raise JournalError(
            f"{name}: the archive holds another segment of this name; give each journal an "
            "archive of its own"
        )
    part = unfinished_name(name)
    try:
        archive.create(part, disk.size(name))
        for offset, piece in _pieces(disk, name):
            archive.write(part, offset, piece)
        archive.sync(part)
        archive.rename(part, name)
    except NoRoom:
        archive.remove(part)
        raise


def _same(disk: Disk, archive: Disk, name: str) -> bool:
    return disk.size(name) == archive.size(name) and all(
        piece == archive.read(name, offset, len(piece)) for offset, piece in _pieces(disk, name)
    )


def _pieces(disk: Disk, name: str) -> Iterator[tuple[int, bytes]]:
    for offset in range(0, disk.size(name), PIECE_SIZE):
        yield offset, disk.read(name, offset, PIECE_SIZE)
