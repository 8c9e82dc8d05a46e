"""Reading ahead in several processes: what is said of a journal is the same, only sooner."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_kit import SECOND, Note, change, flip, happy, pen_of, segments, tear, with_blob, write
from happy.cli import ahead as ahead_module
from happy.cli import verdict as verdict_module
from happy.cli.ahead import Ahead, processes_for
from happy.cli.verdict import Verification
from happy.codec import encode
from happy.errors import JournalError
from happy.journal.disk import FileDisk
from happy.journal.frame import (
    SEGMENT_HEADER_SIZE,
    Kind,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
)
from happy.journal.names import segment_name, snapshot_name
from happy.journal.snapshots import snapshot_names
from snapshot_kit import numbers_let_go

# A process of several threads should not fork, says Python; these do nothing that could wait.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _no_pause():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("happy.cli.segments._PAUSE_S", 0)
        yield


def silent(*_):
    """Take no interest."""


def verdict(path, processes):
    return Verification(path, silent, processes).verdict()


def same(path):
    """Return what one process and several say of a journal, which must be the same."""
    alone = verdict(path, 0)
    assert verdict(path, 2) == alone
    return alone


# --- the same words ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A journal of six segments with a blob, to be damaged."""
    path = tmp_path_factory.mktemp("original") / "journal"
    segments(path, 3)
    with_blob(path, b"early", 10 * SECOND)
    segments(path, 3, at=20 * SECOND)
    with_blob(path, b"late", 50 * SECOND)
    return path


@pytest.fixture
def path(original, tmp_path):
    """A copy of it."""
    return shutil.copytree(original, tmp_path / "journal")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A journal whose first segments were let go, with two snapshots."""
    return numbers_let_go(tmp_path_factory.mktemp("numbers") / "journal").disk.path


def files_of(path):
    return sorted(path.glob("*.segment"))


def foreign(path):
    """Put a segment of another journal in the place of one."""
    other = segments(path.parent / "other", 6, journal_id=b"k" * 16)
    shutil.copy(other[2], files_of(path)[2])


def doubled(path):
    files = files_of(path)
    shutil.copy(files[1], files[2])


def swapped(path):
    _, one, other, *_ = files_of(path)
    aside = path / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def misnamed(path):
    files_of(path)[2].rename(path / f"{10**6:020d}.segment")


def without_end(path):
    """Cut an earlier segment behind a whole frame: only the next header tells."""
    file = files_of(path)[1]
    os.truncate(file, 4096)


def broken_record(path):
    """End a journal with something that is no event, its checksums right."""
    disk, pen = pen_of(path)
    pen.append([b"\xc1"], 90 * SECOND)
    disk.close()
    write(path, [[Note("x" * 3000)]] * 2, at=99 * SECOND)


DAMAGE = {
    "none": silent,
    "missing first": lambda path: files_of(path)[0].unlink(),
    "missing between": lambda path: files_of(path)[2].unlink(),
    "missing last": lambda path: files_of(path)[-1].unlink(),
    "a byte of a first frame": lambda path: flip(files_of(path)[1], 4096 + 100),
    "a byte of a later frame": lambda path: flip(files_of(path)[1], 4096 + 3000),
    "a byte of the last segment": lambda path: flip(files_of(path)[-1], 4096 + 100),
    "a header": lambda path: flip(files_of(path)[3], 20),
    "two at once": lambda path: [flip(f, 4196) for f in files_of(path)[3:1:-1]],
    "cut short": lambda path: os.truncate(files_of(path)[1], 5000),
    "cut behind a frame": without_end,
    "without a header": lambda path: os.truncate(files_of(path)[1], 100),
    "torn": lambda path: tear(files_of(path)[-1], b"\r\n"),
    "the last without a header": lambda path: os.truncate(files_of(path)[-1], 100),
    "a hole": lambda path: change(files_of(path)[1], 4608, bytes(512)),
    "foreign": foreign,
    "doubled": doubled,
    "swapped": swapped,
    "misnamed": misnamed,
    "a record that is none": broken_record,
    "a blob missing": lambda path: next((path / "blobs").iterdir()).unlink(),
    "a blob changed": lambda path: [flip(f, 0) for f in (path / "blobs").iterdir()],
    "no segments": lambda path: [f.unlink() for f in files_of(path)],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_of_every_damage_several_processes_say_the_same(path, damage):
    """Health, sentence, place and counts; and for the operator, the same words and status."""
    DAMAGE[damage](path)
    said = same(path)
    # That a last segment is missing, nothing in the journal can tell.
    assert (said.health == "whole") == (damage in {"none", "missing last"}), said


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_several_processes_say_the_same(original, tmp_path_factory, data):
    """Bytes anywhere, ends cut off, files that are gone or stand for others."""
    path = shutil.copytree(original, tmp_path_factory.mktemp("changed") / "journal")
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from([*files_of(path), *sorted((path / "blobs").iterdir())]))
        size = file.stat().st_size
        match data.draw(st.sampled_from(["byte", "byte", "zeros", "cut", "gone", "other"])):
            case "byte" if size:
                flip(file, data.draw(st.integers(0, size - 1)))
            case "zeros" if size:
                change(file, data.draw(st.integers(0, size - 1)), bytes(512))
            case "cut":
                os.truncate(file, data.draw(st.integers(0, size)))
            case "gone" if len(files_of(path)) > 1:
                file.unlink()
            case "other":
                other = data.draw(st.sampled_from(files_of(path)))
                if other != file:
                    shutil.copy(other, file)
    assert same(path).health
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(("times", "good"), [((9, 1), 1), ((9, 1, 1), 1), ((1, 9, 8), 2)])
def test_a_time_that_goes_back_between_segments_is_told(tmp_path, times, good):
    """Each segment is good by itself, with the right chain: only beside the other one is it not.

    What shows a journal says so, too, and shows nothing behind it.
    """
    chain, previous_end = first_chain(b"j" * 16), 0
    for seq, time_s in enumerate(times, 1):
        header = SegmentHeader(b"j" * 16, seq, seq, SECOND, previous_end, chain, seq)
        frame, chain = encode_frame(
            Kind.EVENTS,
            [encode(Note("a"), "test")],
            first_seq=seq,
            time_ns=time_s * SECOND,
            offset=SEGMENT_HEADER_SIZE,
            durable_end=SEGMENT_HEADER_SIZE,
            salt=seq,
            chain=chain,
        )
        previous_end = SEGMENT_HEADER_SIZE + len(frame)
        (tmp_path / segment_name(seq)).write_bytes(encode_segment_header(header) + frame)
    said = same(tmp_path)
    assert said.health == "corrupt"
    assert "does not continue this journal" in said.sentence
    for command in ("show", "cat"):
        shown = happy("journal", command, tmp_path)
        assert (shown.exit_code, "does not continue this journal" in shown.stderr) == (1, True)
        assert b"test" in shown.stdout_bytes
    assert len(happy("journal", "show", tmp_path).stdout.splitlines()) == good


@pytest.mark.parametrize("damage", ["none", "gone", "cut", "moved"])
def test_of_snapshots_several_processes_say_the_same(numbers, tmp_path, damage):
    """Where the beginning was let go, whether a snapshot joins is seen by who read the place."""
    path = shutil.copytree(numbers, tmp_path / "journal")
    disk = FileDisk(path)
    newest, older = snapshot_names(disk)
    if damage == "gone":
        for name in (newest, older):
            (path / name).unlink()
    elif damage == "cut":
        os.truncate(path / newest, 200)
    elif damage == "moved":
        (path / newest).rename(path / snapshot_name(239))
    said = same(path)
    assert said.first_seq > 1
    assert said.snapshots == {"none": 2, "gone": 0, "cut": 1, "moved": 1}[damage]
    assert (said.health == "corrupt") == (damage == "gone")


# --- what is read where -----------------------------------------------------------------------


def test_who_asks_reads_only_what_nobody_has_found_good(path, monkeypatch):
    """Of good segments it looks at the header and at what is behind the frames."""
    here: list[int] = []
    read = FileDisk.read

    def noted(disk, name, offset=0, size=None):
        data = read(disk, name, offset, size)
        if offset >= SEGMENT_HEADER_SIZE:
            here.append(len(data.rstrip(b"\0")))
        return data

    monkeypatch.setattr(FileDisk, "read", noted)
    assert verdict(path, 0).health == "whole"
    assert sum(here) > 2000 * 6
    here.clear()
    assert verdict(path, 3).health == "whole"
    assert sum(here) == 0


@pytest.mark.parametrize(
    ("processors", "segments", "size", "expected"),
    [(1, 9, 10**9, 0), (2, 9, 10**9, 2), (4, 3, 10**9, 3), (64, 99, 10**9, 8), (2, 1, 10**9, 0),
     (2, 9, 10**6, 0)],
)  # fmt: skip
def test_as_many_processes_as_are_of_use(monkeypatch, processors, segments, size, expected):
    """One for each processor that this one may use, and for each segment; none for a small one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert processes_for(segments, size) == expected


def test_without_room_for_processes_it_is_read_in_this_one(path, monkeypatch):
    """A limit on processes makes it slower, and nothing else."""

    def no_fork():
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", no_fork)
    assert verdict(path, 2).health == "whole"


def test_the_bar_tells_what_all_processes_have_read(path, monkeypatch):
    """It never goes back, ends where the frames end, and says the same as that of one process."""
    monkeypatch.setattr(ahead_module, "_TELL_BYTES", 1)
    monkeypatch.setattr(verdict_module, "_TELL_BYTES", 1)

    def told(processes):
        bar = []
        Verification(path, lambda *now: bar.append(now), processes).verdict()
        return bar

    alone, several = told(0), told(2)
    assert several == sorted(set(several))
    assert several[-1] == alone[-1]
    assert several[-1][0] <= several[-1][1]


# --- ends -------------------------------------------------------------------------------------


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def ended(*_):
    os._exit(3)


@pytest.mark.parametrize(("read", "how"), [(killed, "by SIGKILL"), (ended, "with status 3")])
def test_a_process_that_ends_is_told_in_a_sentence(path, monkeypatch, read, how):
    """Nothing is known then: status 4, no traceback, and no process is left."""
    monkeypatch.setattr(verdict_module, "read_stretch", read)
    monkeypatch.setattr(verdict_module, "processes_for", lambda *_: 2)
    result = happy("journal", "verify", path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"was ended {how}: nothing is known of the journal" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert multiprocessing.active_children() == []


def test_what_goes_wrong_there_goes_wrong_here(path, monkeypatch):
    """A process that cannot read leaves it to who asked, who says it in the usual words."""

    def unreadable(*_):
        raise JournalError("it: cannot be read: input/output error")

    monkeypatch.setattr(FileDisk, "read", unreadable)
    with pytest.raises(JournalError, match="input/output error"):
        verdict(path, 2)
    assert multiprocessing.active_children() == []


def test_an_interrupt_is_for_who_asked_alone():
    """The others read on; who began them ends them."""

    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with Ahead(2, ["a", "b"], interrupted, silent) as ahead:
        assert ahead.take("a") is ahead.take("b") is None
    assert multiprocessing.active_children() == []


def test_an_interrupted_verification_knows_nothing(path, monkeypatch):
    """Ctrl-C is status 4 and a sentence: 1 would mean a torn tail, and nothing to do."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(verdict_module.Reader, "frames", interrupted)
    monkeypatch.setattr(verdict_module, "processes_for", lambda *_: 2)
    result = happy("journal", "verify", path)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == f"{path}: interrupted: nothing is known of the journal\n"
    assert multiprocessing.active_children() == []


ORPHANS = """\
import os, signal
from happy.cli.ahead import Ahead
with Ahead(3, ["a", "b", "c", "d"], lambda *_: None, lambda *_: None) as ahead:
    ahead.take("a")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_process_outlives_who_asked():
    """Killed or not: where nobody asks any more, nobody waits to be asked."""
    process = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE)
    # All of them hold this pipe; that it ends says that all of them have.
    assert process.communicate(timeout=60) == (b"", None)
    assert process.returncode == -signal.SIGKILL


def test_the_command_reads_a_large_journal_in_several_processes(tmp_path, monkeypatch):
    """The same words as of one process, and JSON too."""
    path = tmp_path / "journal"
    segments(path, 4, close=True)
    alone = [happy("journal", "verify", path, *more).stdout for more in ([], ["--json"])]
    monkeypatch.setattr(ahead_module, "_ALONE_BYTES_MAX", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    begun = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: begun.append(1) or fork())
    several = [happy("journal", "verify", path, *more).stdout for more in ([], ["--json"])]
    assert several == alone
    assert len(begun) == 2 * 2
