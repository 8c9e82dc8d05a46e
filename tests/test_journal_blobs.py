"""Bodies too large for a frame: named by what is in them, durable before they are named."""

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import Corrupt, NoRoom, SyncFailed
from happy.event import Blob
from happy.journal.blobs import Blobs
from happy.journal.disk import FileDisk
from happy.journal.names import BLOBS
from happy.testing.disk import MemoryDisk


def at_once(work):
    return work()


class Later:
    """Keeps work until it is told to do it."""

    def __init__(self):
        self.work = []

    def __call__(self, work):
        self.work.append(work)


@pytest.fixture(params=["file", "memory"])
def disk(request, tmp_path):
    """A locked, empty disk of each sort."""
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


def store(blobs, *pieces):
    writer = blobs.writer()
    for piece in pieces:
        writer.write(piece)
    return writer.seal()


def test_a_body_comes_back_as_it_was_written(disk):
    """What was written in pieces is read in pieces, byte for byte, and named by its digest."""
    blobs = Blobs(disk, at_once)
    blob = store(blobs, b"one ", b"", b"two ", b"three")
    assert blob == Blob(hashlib.sha256(b"one two three").hexdigest(), 13)
    with blobs.open(blob) as body:
        assert [body.read(5), body.read(5), body.read(), body.read()] == [
            b"one t",
            b"wo th",
            b"ree",
            b"",
        ]


@given(st.lists(st.binary(max_size=40_000), max_size=4), st.integers(1, 20_000))
def test_any_body_comes_back(pieces, size):
    """Whatever the pieces it came in, a body is read back whole in pieces of any size."""
    blobs = Blobs(MemoryDisk(), at_once)
    blob = store(blobs, *pieces)
    with blobs.open(blob) as body:
        assert b"".join(iter(lambda: body.read(size), b"")) == b"".join(pieces)
    assert blob.size == sum(map(len, pieces))


def test_a_body_can_be_read_from_anywhere(disk):
    """A range of a body can be read without what is before it."""
    blobs = Blobs(disk, at_once)
    blob = store(blobs, bytes(range(100)))
    with blobs.open(blob) as body:
        assert (body.seek(90), body.read(5)) == (90, bytes(range(90, 95)))
        assert (body.seek(-2, io.SEEK_END), body.read()) == (98, b"bc")
        assert (body.seek(10), body.seek(5, io.SEEK_CUR), body.tell()) == (10, 15, 15)
        assert (body.seek(1000), body.read()) == (1000, b"")
        with pytest.raises(ValueError, match="negative seek"):
            body.seek(-1)


def test_a_sealed_body_survives_a_power_cut():
    """When sealing is through, the body is durable under its name, and nothing else is left."""
    disk = MemoryDisk()
    blobs = Blobs(disk, at_once)
    blob = store(blobs, b"x" * 1000)
    disk.crash()
    assert blobs.open(blob).read() == b"x" * 1000
    assert disk.names(BLOBS) == [f"blobs/{blob.sha256}"]


def test_a_body_is_synced_before_it_has_its_name():
    """Until the sync is through there is no blob of that name for an event to name."""
    disk, later = MemoryDisk(), Later()
    blobs = Blobs(disk, later)
    store(blobs, b"body")
    blob = Blob(hashlib.sha256(b"body").hexdigest(), 4)
    with pytest.raises(FileNotFoundError):
        blobs.open(blob)
    before = disk.syncs_count
    later.work.pop()()
    assert disk.syncs_count == before + 1
    assert blobs.open(blob).read() == b"body"


def test_the_same_body_twice_is_one_blob(disk):
    """A body that is there already takes no more room."""
    blobs = Blobs(disk, at_once)
    assert store(blobs, b"same") == store(blobs, b"sa", b"me")
    assert len(disk.names(BLOBS)) == 1


def test_bodies_are_written_side_by_side(disk):
    """Two bodies that arrive at once do not meet."""
    blobs = Blobs(disk, at_once)
    one, other = blobs.writer(), blobs.writer()
    for _ in range(3):
        one.write(b"1")
        other.write(b"2")
    assert blobs.open(one.seal()).read() == b"111"
    assert blobs.open(other.seal()).read() == b"222"


def test_an_abandoned_body_is_gone(disk):
    """What is abandoned takes no room; abandoning twice, or after sealing, does no harm."""
    blobs = Blobs(disk, at_once)
    writer = blobs.writer()
    writer.write(b"never mind")
    writer.abandon()
    writer.abandon()
    assert disk.names(BLOBS) == []
    writer = blobs.writer()
    writer.write(b"kept")
    blob = writer.seal()
    writer.abandon()
    assert blobs.open(blob).read() == b"kept"


def test_what_was_being_written_is_swept(disk):
    """What a process that ended was writing is removed at the next start; what was sealed stays."""
    blobs = Blobs(disk, at_once)
    blob = store(blobs, b"kept")
    for _ in range(3):
        blobs.writer().write(b"half a bo")
    again = Blobs(disk, at_once)
    again.sweep()
    assert disk.names(BLOBS) == [f"blobs/{blob.sha256}"]
    assert store(again, b"kept") == blob


def test_a_full_disk_leaves_no_half_body():
    """With any amount of room: a body is there whole, or refused and, once abandoned, gone."""
    stored = []
    for room in range(0, 1200, 37):
        disk = MemoryDisk()
        disk.room = room
        blobs = Blobs(disk, at_once)
        writer = blobs.writer()
        try:
            for _ in range(10):
                writer.write(b"x" * 100)
            blob = writer.seal()
        except NoRoom:
            writer.abandon()
            assert disk.names(BLOBS) == []
        else:
            assert blobs.open(blob).read() == b"x" * 1000
            stored.append(room)
    assert stored == [room for room in range(0, 1200, 37) if room >= 1000]


def test_a_body_that_finds_no_room_for_its_name_is_gone(disk, monkeypatch):
    """A full disk at the very last step leaves nothing behind either."""
    blobs = Blobs(disk, at_once)

    def full(_name, _to):
        raise NoRoom("the disk is full")

    monkeypatch.setattr(disk, "rename", full)
    with pytest.raises(NoRoom):
        store(blobs, b"body")
    assert disk.names(BLOBS) == []


def test_a_body_that_was_not_kept_is_not_named():
    """When the sync fails no blob is given out."""
    disk = MemoryDisk()
    disk.syncs_left = 0
    with pytest.raises(SyncFailed):
        store(Blobs(disk, at_once), b"body")
    assert not any(name.endswith("0") for name in disk.names(BLOBS))
    assert all(name.endswith(".part") for name in disk.names(BLOBS))


@pytest.mark.parametrize("digest", ["../LOCK", "a" * 63, "A" * 64])
def test_no_blob_names_another_file(disk, digest):
    """Only a digest opens a blob; a path from anywhere does not."""
    with pytest.raises(ValueError, match="not a SHA-256"):
        Blobs(disk, at_once).open(Blob(digest, 1))


def test_a_body_that_is_not_there_says_so(disk):
    """A blob that is gone is a missing file, not an empty body."""
    with pytest.raises(FileNotFoundError):
        Blobs(disk, at_once).open(Blob("a" * 64, 1))


def test_a_body_of_another_size_is_not_given_out(disk):
    """A stored body that was cut or grew is told, not taken for what the event named."""
    blobs = Blobs(disk, at_once)
    blob = store(blobs, b"x" * 1000)
    disk.truncate(f"blobs/{blob.sha256}", 999)
    with pytest.raises(Corrupt, match="999 bytes instead of 1000"):
        blobs.open(blob)
