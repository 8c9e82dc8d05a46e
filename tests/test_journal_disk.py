"""The door to the file system, and its twin in memory."""

import errno
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from happy.errors import JournalError, Locked, NoRoom, SyncFailed
from happy.journal.disk import FileDisk
from happy.journal.names import LOCK
from happy.testing.disk import MemoryDisk, Step


@pytest.fixture(params=["file", "memory"])
def disk(request, tmp_path):
    """A locked, empty disk of each sort."""
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


@pytest.fixture
def file_disk(tmp_path):
    """A locked disk on a real directory."""
    made = FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


def others(disk, folder=""):
    return [name for name in disk.names(folder) if name != LOCK]


# --- both sorts ---------------------------------------------------------------------------------


def test_shared_bytes_outlives_the_process_and_not_the_machine(disk, monkeypatch):
    """What one process leaves in memory the next one finds; after the machine's start, zeros."""
    assert bytes(disk.shared_bytes(32)) == bytes(32)
    disk.shared_bytes(32)[8:12] = b"left"
    disk.close()
    disk.lock()
    assert bytes(disk.shared_bytes(32)) == bytes(8) + b"left" + bytes(20)
    if isinstance(disk, MemoryDisk):
        disk.crash()
        disk.lock()
    else:
        monkeypatch.setattr("time.clock_gettime_ns", lambda _clock: 0)
    assert bytes(disk.shared_bytes(32)) == bytes(32)


def test_shared_bytes_of_another_size_is_new(disk):
    """What another version of the program left is not taken for anything."""
    disk.shared_bytes(32)[:] = b"x" * 32
    assert bytes(disk.shared_bytes(64)) == bytes(64)


def test_without_room_they_end_with_the_process(file_disk, monkeypatch):
    """A full disk keeps nobody from starting."""
    full = OSError(errno.ENOSPC, "full")
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(full))
    file_disk.shared_bytes(32)[:] = b"x" * 32
    assert others(file_disk) == []
    assert bytes(file_disk.shared_bytes(32)) == bytes(32)


def test_a_new_file_is_zeros_of_the_size_asked_for(disk):
    """A created file has its room, and reads as zeros."""
    disk.create("a", 5000)
    assert (disk.size("a"), disk.read("a")) == (5000, bytes(5000))
    disk.create("b")
    assert (disk.size("b"), disk.read("b")) == (0, b"")


def test_a_file_created_again_is_empty_again(disk):
    """Creating what is there begins it anew."""
    disk.create("a")
    disk.write("a", 0, b"before")
    disk.create("a", 10)
    assert disk.read("a") == bytes(10)


def test_bytes_are_read_where_they_were_written(disk):
    """Writes go where they are told, over what is there and beyond the end."""
    disk.create("a", 10)
    disk.write("a", 2, b"abc")
    disk.write("a", 9, b"xyz")
    disk.write("a", 14, b"!")
    disk.write("a", 0, b"")
    assert disk.read("a") == b"\0\0abc\0\0\0\0xyz\0\0!"
    assert disk.read("a", 3, 2) == b"bc"
    assert disk.read("a", 10) == b"yz\0\0!"
    assert disk.read("a", 10, 100) == b"yz\0\0!"
    assert disk.read("a", 100) == b""
    disk.truncate("a", 4)
    assert disk.read("a") == b"\0\0ab"


def test_names_are_listed_in_order_by_folder(disk):
    """The directory and each folder list their own files, in order; folders are made as needed."""
    for name in ("b", "a", "inner/d", "inner/c"):
        disk.create(name)
    assert others(disk) == ["a", "b"]
    assert disk.names("inner") == ["inner/c", "inner/d"]
    assert disk.names("nowhere") == []


def test_a_renamed_file_is_what_it_was(disk):
    """A rename takes the content along, over what had the name, and writing goes on."""
    disk.create("a")
    disk.create("b")
    disk.write("a", 0, b"content")
    disk.write("b", 0, b"older and longer")
    disk.sync("a")
    disk.rename("a", "b")
    assert others(disk) == ["b"]
    disk.write("b", 0, b"C")
    assert disk.read("b") == b"Content"


def test_a_removed_file_is_gone(disk):
    """A removed file is not there; removing what is not there is no fault."""
    disk.create("a")
    disk.create("inner/a")
    for name in ("a", "inner/a", "a", "nowhere/a"):
        disk.remove(name)
    assert others(disk) == disk.names("inner") == []
    with pytest.raises(FileNotFoundError):
        disk.read("a")
    with pytest.raises(FileNotFoundError):
        disk.size("a")


def test_a_forgotten_file_can_be_used_again(disk):
    """Forgetting lets go of a file, not of what is in it."""
    disk.create("a")
    disk.write("a", 0, b"one")
    disk.forget("a")
    disk.write("a", 3, b"two")
    disk.sync("a")
    assert disk.read("a") == b"onetwo"


def test_a_disk_can_be_opened_again_after_it_was_closed(disk):
    """Closing lets go of the lock, and twice is no fault."""
    disk.create("a", 3)
    disk.close()
    disk.close()
    disk.lock()
    assert disk.read("a") == bytes(3)


def test_a_locked_disk_is_not_locked_twice(disk):
    """Who holds the directory holds it alone, in one process too."""
    again = FileDisk(disk.path) if isinstance(disk, FileDisk) else disk
    with pytest.raises(Locked, match="in use by"):
        again.lock()


NAMES = st.sampled_from(["a", "b", "inner/c"])


VERBS = {
    "mkdir": "mkdir",
    "posix_fallocate": "allocate",
    "pwrite": "write",
    "ftruncate": "truncate",
    "fdatasync": "sync",
    "rename": "rename",
    "unlink": "unlink",
}


class Calls:
    """Notes what a ``FileDisk`` asks of the operating system, as the steps of its twin."""

    def __init__(self, path):
        self.path = path
        self.steps = []

    def note_in(self, patch):
        for call, verb in VERBS.items():
            patch.setattr(os, call, self.noting(getattr(os, call), lambda *_, verb=verb: verb))
        patch.setattr(os, "fsync", self.noting(os.fsync, self.sync_of))
        patch.setattr(os, "open", self.noting(os.open, self.made_by))

    def noting(self, call, verb_of):
        def noted(*given):
            result = call(*given)
            verb, name = verb_of(*given), self.name(given[0])
            if verb is not None and name is not None:
                self.steps.append(Step(verb, name))
            return result

        return noted

    def name(self, given):
        path = Path(f"/proc/self/fd/{given}").readlink() if isinstance(given, int) else Path(given)
        if path == self.path:
            return ""
        return str(path.relative_to(self.path)) if path.is_relative_to(self.path) else None

    def sync_of(self, file):
        return "sync_dir" if stat.S_ISDIR(os.fstat(file).st_mode) else "sync"

    def made_by(self, path, flags, *_):
        return "create" if flags & os.O_CREAT and Path(path).name != LOCK else None


class Twins(RuleBasedStateMachine):
    """Whatever is done to both disks: both show the same, in the same steps."""

    @initialize()
    def start(self):
        """Make one disk of each sort."""
        folder = self.make_folder()
        folder.mkdir()
        self.disks = [MemoryDisk(), FileDisk(folder)]
        self.steps, self.calls = [], Calls(folder)
        self.disks[0].before_step = self.steps.append
        self.both(lambda disk: disk.lock())

    def both(self, work):
        def of(disk):
            try:
                return work(disk)
            except (FileNotFoundError, JournalError) as error:
                return type(error)

        self.steps.clear()
        self.calls.steps.clear()
        one = of(self.disks[0])
        with pytest.MonkeyPatch.context() as patch:
            self.calls.note_in(patch)
            other = of(self.disks[1])
        assert one == other
        assert self.steps == self.calls.steps
        for folder in ("", "inner"):
            assert others(self.disks[0], folder) == others(self.disks[1], folder)
        for name in others(self.disks[0]) + self.disks[0].names("inner"):
            assert self.disks[0].read(name) == self.disks[1].read(name)

    @rule(name=NAMES, size=st.integers(0, 9000))
    def create(self, name, size):
        """Create a file."""
        self.both(lambda disk: disk.create(name, size))

    @rule(name=NAMES, offset=st.integers(0, 9000), data=st.binary(max_size=50))
    def write(self, name, offset, data):
        """Write to a file that may not be there."""
        self.both(lambda disk: disk.write(name, offset, data))

    @rule(name=NAMES, size=st.integers(0, 9000))
    def truncate(self, name, size):
        """Cut, or lengthen, a file that may not be there."""
        self.both(lambda disk: disk.truncate(name, size))

    @rule(name=NAMES)
    def sync(self, name):
        """Sync a file that may not be there."""
        self.both(lambda disk: disk.sync(name))

    @rule(name=NAMES, to=NAMES)
    def rename(self, name, to):
        """Rename a file that may not be there, to a folder that may not be there."""
        self.both(lambda disk: disk.rename(name, to))

    @rule(name=NAMES)
    def remove(self, name):
        """Remove a file that may not be there."""
        self.both(lambda disk: disk.remove(name))

    @rule(name=NAMES)
    def look(self, name):
        """Ask for a file that may not be there."""
        self.both(lambda disk: (disk.size(name), disk.read(name, 3, 5)))

    @rule()
    def restart(self):
        """Let go, and begin again."""
        self.both(lambda disk: (disk.close(), disk.lock()))

    def teardown(self):
        """Let go."""
        self.disks[1].close()


def test_the_disk_in_memory_is_a_twin(tmp_path):
    """What an application is tested on shows, syncs and forgets as what it will run on."""
    folders = iter(range(10**6))
    machine = type("TwinsHere", (Twins,), {"make_folder": lambda _: tmp_path / str(next(folders))})
    machine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
    machine.TestCase("runTest").runTest()
    assert next(folders) >= 40  # each run of it had a folder of its own


# --- the disk in memory -------------------------------------------------------------------------


def durable(**files):
    """Return a disk on which these files are, for good."""
    disk = MemoryDisk()
    disk.lock()
    for name, content in files.items():
        disk.create("part")
        disk.write("part", 0, content)
        disk.sync("part")
        disk.rename("part", name)
    return disk


def survivors(disk, grain=512):
    """Return what each possible power cut leaves of the file ``a``."""
    count = disk.doubtful(grain)
    subsets = ([n for n in range(count) if bits >> n & 1] for bits in range(1 << count))
    return [disk.survivor(kept, grain).read("a") for kept in subsets]


def test_a_power_cut_loses_what_was_not_synced():
    """After the power cut a file is what it was when it was last synced, and the lock is free."""
    disk = durable(a=b"one\0")
    disk.write("a", 0, b"two, longer")
    disk.truncate("a", 2)
    assert disk.read("a") == b"tw"
    disk.crash()
    assert disk.read("a") == b"one\0"
    disk.lock()


def test_what_was_synced_stays():
    """A power cut, by chance or not, takes nothing of what was synced."""
    disk = durable(a=b"one", b=b"two")
    for seed in (None, *range(50)):
        disk.crash(seed)
        assert (disk.names(), disk.read("a"), disk.read("b")) == (["a", "b"], b"one", b"two")
    assert disk.doubtful() == 0


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (lambda disk: disk.create("b"), ["a"], ["a", "b"]),
        (lambda disk: disk.rename("a", "b"), ["a"], ["b"]),
        (lambda disk: disk.remove("a"), ["a"], []),
        (lambda disk: disk.create("b", 100), ["a"], ["a", "b"]),
    ],
    ids=["create", "rename", "remove", "allocate"],
)
def test_a_name_is_durable_when_its_folder_was_synced(change, before, after):
    """Until the folder is synced a power cut leaves the old names or the new, each whole."""
    disk = durable(a=b"one")
    disk.lies = lambda step: step.verb == "sync_dir"
    change(disk)
    assert disk.names() == after
    assert disk.survivor(()).names() == before
    assert disk.survivor(range(disk.doubtful())).names() == after
    found = [disk.survivor({n}).names() for n in range(disk.doubtful())]
    assert all(names in (before, after) for names in found)
    disk.close()
    disk.lies = lambda _: False
    disk.lock()
    assert disk.survivor(()).names() == after


def test_a_name_is_not_durable_because_the_file_is():
    """Syncing a new file does not sync the folder that it is in."""
    disk = MemoryDisk()
    disk.create("a")
    disk.write("a", 0, b"one")
    disk.sync("a")
    disk.crash()
    assert disk.names() == []


def test_a_folder_that_was_not_synced_takes_its_files_along():
    """Files in a folder whose own name was lost are lost; with it they are there."""
    disk = MemoryDisk()
    disk.lies = lambda step: step == Step("sync_dir", "")
    disk.create("inner/a")
    disk.rename("inner/a", "inner/b")
    assert disk.names("inner") == ["inner/b"]
    assert disk.survivor(()).names("inner") == []
    assert disk.survivor(range(disk.doubtful())).names("inner") == ["inner/b"]


def test_a_file_moved_to_another_folder_may_be_in_both():
    """Two folders are not synced as one: a power cut never loses a file that is moved."""
    disk = durable(a=b"one")
    disk.create("inner/other")
    disk.rename("inner/other", "inner/other")
    disk.rename("a", "inner/a")
    assert (disk.names(), disk.names("inner")) == ([], ["inner/a", "inner/other"])
    left = disk.survivor(())
    assert (left.names(), left.names("inner")) == (["a"], ["inner/a", "inner/other"])
    left.write("a", 0, b"two")
    assert left.read("inner/a") == b"two"


def test_a_write_is_torn_between_sectors():
    """Each sector of a write that was not synced is there or is not, and never half of one."""
    disk = durable(a=bytes(2000))
    disk.write("a", 500, b"x" * 600)
    cut = [(500, 512), (512, 1024), (1024, 1100)]
    expected = []
    for bits in range(8):
        content = bytearray(2000)
        for n, (start, end) in enumerate(cut):
            if bits >> n & 1:
                content[start:end] = b"x" * (end - start)
        expected.append(bytes(content))
    assert survivors(disk) == expected
    assert survivors(disk, 4096) == [expected[0], expected[7]]


def test_writes_are_reordered():
    """A later write may be there without an earlier one; where both are, the later counts."""
    disk = durable(a=b"....")
    disk.write("a", 0, b"11")
    disk.write("a", 1, b"22")
    assert sorted(survivors(disk)) == [b"....", b".22.", b"11..", b"122."]


def test_a_file_grows_with_or_without_its_bytes():
    """Length and bytes are not one: what lies between was never written, and is zeros."""
    disk = durable(a=b"one")
    disk.write("a", 600, b"two")
    assert set(survivors(disk)) == {b"one", b"one" + bytes(600), b"one" + bytes(597) + b"two"}


def test_a_cut_may_come_back():
    """A file that was cut and not synced may have its old end again, under a new write too."""
    disk = durable(a=b"one two")
    disk.truncate("a", 3)
    disk.write("a", 3, b"!")
    assert set(survivors(disk)) == {b"one two", b"one!two", b"one", b"one\0", b"one!"}


def test_bytes_that_were_there_are_in_no_doubt():
    """Writing what stands there already makes no difference, unless it stood otherwise between."""
    disk = durable(a=b"one")
    disk.write("a", 0, b"one")
    assert disk.doubtful() == 0
    disk.write("a", 0, b"two")
    disk.write("a", 0, b"one")
    assert set(survivors(disk)) == {b"one", b"two"}
    assert disk.survivor(range(disk.doubtful())).read("a") == b"one"


def test_a_file_begun_anew_may_be_the_old_one():
    """Creating over a file loses what was in it at a time that only a sync tells."""
    disk = durable(a=b"one")
    disk.create("a")
    assert set(survivors(disk)) == {b"one", b""}
    disk.sync("a")
    assert survivors(disk) == [b""]


def test_a_power_cut_by_seed_is_repeatable():
    """A seed gives the same disk again; many seeds give all there is between none and all."""

    def after(seed):
        disk = durable(a=bytes(9000))
        disk.write("a", 0, b"x" * 9000)
        disk.create("b")
        disk.crash(seed)
        return disk.names(), disk.read("a")

    found = [after(seed) for seed in range(60)]
    assert found == [after(seed) for seed in range(60)]
    written = [content.count(b"x") for _, content in found]
    assert {0, 9000} < set(written)
    assert any(count % 4096 in (0, 9000 % 4096) and 0 < count < 9000 for count in written)
    assert any(count % 512 == 0 and count % 4096 for count in written)
    assert {tuple(names) for names, _ in found} == {("a",), ("a", "b")}


def test_a_disk_looked_at_is_not_changed():
    """Looking at what a power cut would leave cuts nothing, here or there."""
    disk = durable(a=b"one")
    disk.write("a", 0, b"two")
    left = disk.survivor(())
    left.write("a", 0, b"six")
    left.rename("a", "b")
    assert (disk.names(), disk.read("a"), disk.doubtful()) == (["a"], b"two", 1)


def test_a_step_can_be_kept_from_happening():
    """What is raised before a step comes instead of it; what was done before it stays."""
    disk = durable(a=b"one")

    def cut(step):
        if step.verb == "sync_dir":
            raise SyncFailed("the disk did not keep it")

    disk.before_step = cut
    with pytest.raises(SyncFailed):
        disk.rename("a", "b")
    assert disk.names() == ["b"]
    assert disk.survivor(()).names() == ["a"]


def test_a_disk_that_lies_keeps_nothing():
    """A sync that lies returns as any other; what it was asked for is in doubt still."""
    disk = durable(a=b"one")
    disk.write("a", 0, b"two")
    disk.lies = lambda step: step == Step("sync", "a")
    disk.sync("a")
    assert disk.survivor(()).read("a") == b"one"
    disk.lies = lambda _: False
    disk.sync("a")
    assert disk.survivor(()).read("a") == b"two"


def test_a_failed_sync_loses_what_it_should_have_kept():
    """As on a real disk: it can be read, the next sync succeeds, the power cut shows the gap."""
    disk = durable(a=b"")
    disk.syncs_left = 0
    disk.write("a", 0, b"one")
    with pytest.raises(SyncFailed, match="a: the disk did not keep it"):
        disk.sync("a")
    disk.syncs_left = None
    disk.write("a", 3, b"two")
    disk.sync("a")
    assert disk.read("a") == b"onetwo"
    disk.crash()
    assert disk.read("a") == b"\0\0\0two"


def test_a_full_disk_in_memory_takes_what_fits():
    """Creating takes all its room or leaves no file; a write stops where the room ends."""
    disk = MemoryDisk()
    disk.room = 10
    with pytest.raises(NoRoom):
        disk.create("a", 11)
    assert disk.names() == []
    disk.create("a", 8)
    with pytest.raises(NoRoom):
        disk.write("a", 6, b"abcdefg")
    assert disk.read("a") == bytes(6) + b"abcd"
    disk.room = 0
    disk.write("a", 0, b"0123456789")
    with pytest.raises(NoRoom):
        disk.write("a", 50, b"x")
    assert disk.read("a") == b"0123456789"


# --- the real one -------------------------------------------------------------------------------


def modes(path):
    return {p.relative_to(path): stat.S_IMODE(p.stat().st_mode) for p in [path, *path.rglob("*")]}


def test_nobody_else_can_read_the_files(tmp_path):
    """Directories are 0700 and files 0600, whatever the umask says, those above made too."""
    before = os.umask(0)
    try:
        disk = FileDisk(tmp_path / "data" / "app")
        disk.lock()
        disk.create("a", 10)
        disk.create("inner/b")
        disk.rename("inner/b", "inner/c")
        disk.close()
    finally:
        os.umask(before)
    found = modes(tmp_path / "data")
    assert len(found) == 6
    for path, mode in found.items():
        assert mode == (0o700 if (tmp_path / "data" / path).is_dir() else 0o600), path


def test_a_new_directory_is_durable(tmp_path, monkeypatch):
    """Every directory above a new name is synced, so that a power cut cannot take it away."""
    synced = []
    fsync = os.fsync

    def noting(file):
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noting)
    disk = FileDisk(tmp_path / "data" / "app")
    disk.lock()
    assert {str(tmp_path), str(tmp_path / "data"), str(tmp_path / "data" / "app")} <= set(synced)
    synced.clear()
    disk.create("inner/a")
    assert str(disk.path) in synced
    synced.clear()
    disk.rename("inner/a", "inner/b")
    assert str(disk.path / "inner") in synced
    synced.clear()
    disk.remove("inner/b")
    assert synced == [str(disk.path / "inner")]
    disk.close()


HOLD = """
import sys
from pathlib import Path
from happy.journal.disk import FileDisk
disk = FileDisk(Path(sys.argv[1]))
disk.lock()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path/app`` until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "app")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


def test_a_second_process_is_refused_by_name(holder, tmp_path):
    """Who comes second hears which process on which host holds the journal, and what to do."""
    with pytest.raises(Locked) as refused:
        FileDisk(tmp_path / "app").lock()
    assert str(refused.value) == (
        f"{tmp_path / 'app'}: in use by process {holder.pid} on {socket.gethostname()}; stop that "
        "process, or give this application another data directory"
    )


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"], ids=["deleted", "emptied", "noise"])
def test_the_lock_holds_without_its_file(holder, tmp_path, content):
    """The lock is on the directory: whatever a hand does to the LOCK file, it holds."""
    lock = tmp_path / "app" / LOCK
    lock.unlink()
    if content is not None:
        lock.write_bytes(content)
    with pytest.raises(Locked, match="in use by"):
        FileDisk(tmp_path / "app").lock()
    assert lock.exists() == (content is not None)


def test_a_killed_process_holds_nothing(holder, tmp_path):
    """After kill -9 the next start takes the lock at once."""
    holder.kill()
    holder.wait(timeout=60)
    disk = FileDisk(tmp_path / "app")
    disk.lock()
    assert f"process {os.getpid()} on " in (tmp_path / "app" / LOCK).read_text()
    disk.close()


def test_a_second_process_changes_nothing(holder, tmp_path):
    """Who is refused leaves the directory as it was, the holder's name too."""
    before = {p: p.read_bytes() for p in (tmp_path / "app").iterdir()}
    with pytest.raises(Locked):
        FileDisk(tmp_path / "app").lock()
    assert {p: p.read_bytes() for p in (tmp_path / "app").iterdir()} == before


def sentence(error):
    assert re.fullmatch(r"/\S+: [a-z][^\n]*[^\n.]", str(error)), str(error)
    return str(error)


def test_a_file_in_the_place_of_the_directory_is_a_sentence(tmp_path):
    """A file where the directory should be, or above it, is named and left alone."""
    (tmp_path / "app").write_text("mine")
    for path in (tmp_path / "app", tmp_path / "app" / "inner" / "deep"):
        with pytest.raises(JournalError) as refused:
            FileDisk(path).lock()
        assert sentence(refused.value) == f"{path}: cannot be used: not a directory"
    assert (tmp_path / "app").read_text() == "mine"


@pytest.mark.parametrize(
    ("call", "said"),
    [("open", "cannot be used"), ("fsync", "cannot be written"), ("write", "cannot be written")],
)
def test_a_directory_that_cannot_be_used_is_a_sentence(tmp_path, monkeypatch, call, said):
    """A read-only or failing directory is refused in one sentence, and nothing is left held."""
    (tmp_path / "app").mkdir()

    def failing(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as failure:
        failure.setattr(os, call, failing)
        with pytest.raises(JournalError, match=f"{said}: read-only file system") as refused:
            FileDisk(tmp_path / "app").lock()
    sentence(refused.value)
    disk = FileDisk(tmp_path / "app")
    disk.lock()
    disk.close()


def test_a_file_system_without_locks_is_told_from_a_lock(tmp_path, monkeypatch):
    """Where locks do not work nobody is said to hold one."""

    def failing(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", failing)
    with pytest.raises(JournalError, match="cannot be locked: no locks available") as refused:
        FileDisk(tmp_path / "app").lock()
    assert not isinstance(refused.value, Locked)
    sentence(refused.value)


@pytest.mark.parametrize(
    ("call", "work"),
    [
        ("open", lambda d: d.create("new", 10)),
        ("open", lambda d: d.write("other", 0, b"x")),
        ("posix_fallocate", lambda d: d.create("new", 10)),
        ("fsync", lambda d: d.create("new", 10)),
        ("pwrite", lambda d: d.write("a", 0, b"x")),
        ("ftruncate", lambda d: d.truncate("a", 0)),
        ("fdatasync", lambda d: d.sync("a")),
        ("rename", lambda d: d.rename("a", "b")),
        ("fsync", lambda d: d.rename("a", "b")),
        ("unlink", lambda d: d.remove("a")),
        ("fsync", lambda d: d.remove("a")),
    ],
)
def test_a_failing_disk_is_final_and_a_sentence(file_disk, monkeypatch, call, work):
    """Whatever call fails, it is one error that ends the process, and it names the file."""
    file_disk.create("a", 10)
    file_disk.create("other", 10)
    file_disk.forget("other")

    def failing(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as failure:
        failure.setattr(os, call, failing)
        with pytest.raises(SyncFailed, match="input/output error") as failed:
            work(file_disk)
    assert str(file_disk.path) in sentence(failed.value)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(
    ("call", "work"),
    [
        ("posix_fallocate", lambda d: d.create("new", 10)),
        ("fsync", lambda d: d.create("new", 10)),
        ("pwrite", lambda d: d.write("a", 0, b"x")),
    ],
)
def test_a_full_disk_is_told_from_a_failing_one(file_disk, monkeypatch, call, work, error):
    """No room, or a quota, refuses and does not end anything; a file half made is not left."""
    file_disk.create("a", 10)

    def full(*_):
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as failure:
        failure.setattr(os, call, full)
        with pytest.raises(NoRoom, match="the disk is full"):
            work(file_disk)
    assert others(file_disk) == ["a"]


def test_a_sync_of_a_directory_that_finds_no_room_is_final(file_disk, monkeypatch):
    """A rename that was done and may not be durable is never taken for one that was refused."""
    file_disk.create("a")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as failure:
        failure.setattr(os, "fsync", full)
        with pytest.raises(SyncFailed):
            file_disk.rename("a", "b")


def test_short_writes_are_finished(file_disk, monkeypatch):
    """A file system that takes a few bytes at a time gets them all."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda f, data, at: pwrite(f, bytes(data[:7]), at))
    file_disk.create("a")
    file_disk.write("a", 3, bytes(range(100)))
    assert file_disk.read("a") == bytes(3) + bytes(range(100))


def test_a_segment_is_really_preallocated(file_disk):
    """Room that was taken ahead is taken: the file system has given its blocks."""
    file_disk.create("a", 1 << 20)
    assert (file_disk.path / "a").stat().st_blocks * 512 >= 1 << 20


def test_closed_disks_leave_no_open_files(tmp_path):
    """Opening and closing, refused or not, leaves no file open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        disk = FileDisk(tmp_path / "app")
        disk.lock()
        disk.create("a", 10)
        disk.create("inner/b")
        disk.rename("inner/b", "inner/c")
        disk.write("inner/c", 0, b"x")
        with pytest.raises(Locked):
            FileDisk(tmp_path / "app").lock()
        disk.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_two_threads_write_to_two_files(file_disk):
    """The journal's thread and others may use the disk at once, each its own files."""
    failures = []

    def work(name):
        try:
            for n in range(100):
                file_disk.create(f"inner/{name}")
                file_disk.write(f"inner/{name}", 0, name.encode() * 100)
                file_disk.rename(f"inner/{name}", f"inner/{name}.{n % 3}")
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "pq"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert all(file_disk.read(n) == n[6:7].encode() * 100 for n in file_disk.names("inner"))
