"""Snapshots on a disk: whole under their names or not there, and found again."""

import attrs
import pytest

from happy.errors import BadSnapshot, NoRoom, SyncFailed, UnfitSnapshot
from happy.journal.disk import FileDisk
from happy.journal.names import SNAPSHOTS, snapshot_name, unfinished_name
from happy.journal.snapshot_format import (
    Block,
    Description,
    Form,
    Section,
    SnapshotHeader,
)
from happy.journal.snapshots import (
    Snapshot,
    good_snapshots,
    snapshot_names,
    sweep_snapshots,
    write_snapshot,
)
from happy.testing.disk import MemoryDisk

BLOCKS = [Block(0, Form.EXACT, 1, bytes([n]) * 300_000) for n in range(60)]


def header_of(seq, blocks=BLOCKS):
    description = Description(state="S", digest="d", sections=(Section("rows", len(blocks)),))
    return SnapshotHeader(b"j" * 16, seq, 5, b"c" * 16, 6, description)


def fine(_snapshot):
    """Find nothing wrong."""


def write(disk, seq, check=fine):
    return write_snapshot(disk, header_of(seq, BLOCKS[:2]), BLOCKS[:2], check)


@pytest.fixture(params=["file", "memory"])
def disk(request, tmp_path):
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


def test_a_large_snapshot_comes_back(disk):
    """What was written in many pieces is read, block by block."""
    written = write_snapshot(disk, header_of(9), BLOCKS, Snapshot.verify)
    again = Snapshot(disk, written.name)
    assert list(again.blocks()) == BLOCKS
    assert again.header == header_of(9)
    assert (again.start.seq, again.start.chain, again.start.time_ns) == (9, b"c" * 16, 5)
    assert again.size_bytes == disk.size(snapshot_name(9))


def test_it_has_no_name_before_it_was_checked(disk):
    """Whoever checks finds it under a name that is no snapshot's; what he raises ends it."""

    def look(snapshot):
        assert snapshot.name == unfinished_name(snapshot_name(3))
        assert snapshot_names(disk) == []
        raise BadSnapshot("no good")

    with pytest.raises(BadSnapshot, match="no good"):
        write(disk, 3, look)
    assert disk.names(SNAPSHOTS) == []


def test_what_goes_wrong_leaves_nothing():
    """A full disk, a failing sync, a failing generator: no snapshot, nothing unfinished."""
    disk = MemoryDisk()
    disk.room = 400_000
    with pytest.raises(NoRoom):
        write(disk, 3)
    assert disk.names(SNAPSHOTS) == []
    disk.room = None
    disk.syncs_left = 0
    with pytest.raises(SyncFailed):
        write(disk, 3)
    disk.syncs_left = None
    assert disk.names(SNAPSHOTS) == []
    with pytest.raises(ValueError, match="too few"):
        write_snapshot(disk, header_of(4), BLOCKS[:1], fine)
    assert disk.names(SNAPSHOTS) == []


def test_the_newest_comes_first(disk):
    """Snapshots are found by their names, whatever else is there."""
    for seq in (7, 100, 20):
        write(disk, seq)
    for name in ("x.snapshot", "00000000000000000005.snapshot.part", "LOCK"):
        disk.create(f"{SNAPSHOTS}/{name}")
    assert snapshot_names(disk) == [snapshot_name(seq) for seq in (100, 20, 7)]


def test_damage_and_wrong_names_are_told_with_the_name(disk):
    """What is wrong with a snapshot is said with its name; so it is when it is not there."""
    write(disk, 7)
    disk.rename(snapshot_name(7), snapshot_name(8))
    with pytest.raises(BadSnapshot, match=r"0008.snapshot: it covers all up to seq 7"):
        Snapshot(disk, snapshot_name(8))
    write(disk, 9)
    disk.write(snapshot_name(9), 5000, b"!")
    with pytest.raises(BadSnapshot, match=r"0009.snapshot: offset .*: the checksum of a block"):
        Snapshot(disk, snapshot_name(9)).verify()
    with pytest.raises(BadSnapshot, match="not there"):
        Snapshot(disk, snapshot_name(10))


def fits(header):
    if header.seq == 20:
        raise UnfitSnapshot("of another state")


def test_only_enough_good_ones_let_the_others_go(disk):
    """As long as there are not enough good snapshots, none is removed; then all others are."""
    for seq in (7, 20, 30):
        write(disk, seq)
    disk.write(snapshot_name(30), 5000, b"!")
    disk.create(unfinished_name(snapshot_name(40)))
    good, complaints = good_snapshots(disk, fits)
    assert [found.seq for found in good] == [7]
    assert complaints[0].startswith(snapshot_name(30))
    assert complaints[1] == f"{snapshot_name(20)}: of another state"
    sweep_snapshots(disk, good, kept=2)
    assert disk.names(SNAPSHOTS) == [snapshot_name(seq) for seq in (7, 20, 30)]
    for seq in (40, 50):
        write(disk, seq)
    good, _ = good_snapshots(disk, fits)
    assert attrs.asdict(good[0])["size_bytes"] == disk.size(snapshot_name(50))
    sweep_snapshots(disk, good, kept=2)
    assert disk.names(SNAPSHOTS) == [snapshot_name(seq) for seq in (40, 50)]
