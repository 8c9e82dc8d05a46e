"""`happy journal repair`: the good beginning as a new journal, and the old one as it was."""

import os
import pty
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli_kit import (
    SECOND,
    Note,
    change,
    contents,
    flip,
    happy,
    lines,
    pen_of,
    records,
    segments,
    tear,
    with_blob,
    write,
)
from happy.cli.keepsakes import start_at
from happy.cli.salvage import salvage
from happy.cli.segments import header_of
from happy.codec import encode
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.journal.names import snapshot_name
from happy.journal.replay import Reader
from happy.journal.snapshots import snapshot_names
from snapshot_kit import Branch, numbers_let_go

PAGE = 4096
HAPPY = Path(sys.executable).with_name("happy")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def repair(path, to, *options):
    return happy("journal", "repair", path, "--to", to, *options)


def verify(path):
    return happy("journal", "verify", path)


@pytest.fixture
def old(tmp_path):
    """Return a journal of five segments, two events each, to be damaged."""
    segments(tmp_path / "old", 5)
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path):
    """Return where the repaired one will be."""
    return tmp_path / "new"


def test_repair_says_what_would_be_lost_and_does_nothing_by_itself(old, new):
    """Without a terminal and without --yes: the plan, status 1, no file."""
    names = sorted(file.name for file in old.glob("*.segment"))
    flip(old / names[1], 5000)
    before = contents(old)
    result = repair(old, new)
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    told = result.stdout
    assert f"{names[1]}, offset 4096, from seq 3 on" in told
    assert "2 events, 2 segments" in told
    assert "up to seq 2" in told
    assert "damaged: seq 3 to 4" in told
    for name, first in zip(names[2:], (5, 7, 9), strict=True):
        assert f"left out: seq {first} to {first + 1} in {name}, 2 events" in told
    assert not new.exists()
    assert not (new.parent / "new.part").exists()
    assert contents(old) == before


def test_repair_writes_the_good_beginning_beside(old, new):
    """It verifies whole, holds what was before the damage, and can be written on."""
    good = records(old)
    flip(sorted(old.glob("*.segment"))[3], 5000)
    before = contents(old)
    result = repair(old, new, "--yes")
    assert result.exit_code == 0, result.stderr
    assert verify(new).exit_code == 0
    assert records(new) == good[:6]
    assert contents(old) == before
    write(new, [[Note("again")]], at=10**12)
    assert verify(new).exit_code == 0
    assert len(records(new)) == 7


def test_the_plan_is_json_for_programs(old, new):
    """What is kept, what is lost, and what is whole but cannot be kept."""
    names = sorted(file.name for file in old.glob("*.segment"))
    flip(old / names[3], 5000)
    result = repair(old, new, "--json")
    assert result.exit_code == 1
    (plan,) = lines(result)
    assert plan["kept"]["events"] == 6
    assert plan["lost"]["first_seq"] == 7
    assert [(w["segment"], w["first_seq"], w["last_seq"]) for w in plan["lost"]["whole"]] == [
        (names[4], 9, 10)
    ]
    behind = (old / names[3]).read_bytes()[4096:], (old / names[4]).read_bytes()
    assert plan["lost"]["bytes"] == sum(len(data.rstrip(b"\0")) for data in behind)


def test_frames_behind_damage_in_the_same_segment_are_named(tmp_path, new):
    """A hole in the middle of a file: what is behind it is whole and cannot be kept."""
    (file,) = write(tmp_path / "old", [[Note(letter * 100)] for letter in "abcdef"])
    change(file, file.read_bytes().index(b"ccc"), b"?")
    result = repair(tmp_path / "old", new, "--yes")
    assert result.exit_code == 0
    assert "damaged: seq 3\n" in result.stdout
    assert "left out: seq 4 to 6" in result.stdout
    assert len(records(new)) == 2


def test_a_missing_segment_ends_what_is_kept(old, new):
    """The hole is named by its seqs."""
    sorted(old.glob("*.segment"))[2].unlink()
    result = repair(old, new, "--yes")
    assert result.exit_code == 0
    assert "damaged: seq 5 to 6" in result.stdout
    assert len(records(new)) == 4


def test_a_damaged_header_ends_what_is_kept(old, new):
    """Its frames are whole, and left out; the segments before are kept."""
    file = sorted(old.glob("*.segment"))[4]
    flip(file, 100)
    result = repair(old, new, "--yes")
    assert result.exit_code == 0
    assert "left out: seq 9 to 10" in result.stdout
    assert verify(new).exit_code == 0
    assert len(records(new)) == 8


def test_an_ambiguous_tail_can_be_given_up(tmp_path, new):
    """It is the way to go on without the last frame, knowing what that was."""
    (file,) = write(tmp_path / "old", [[Note("aaaa")], [Note("bbbb")]])
    file.write_bytes(file.read_bytes().replace(b"bbbb", b"bXbb"))
    result = repair(tmp_path / "old", new, "--yes")
    assert result.exit_code == 0
    assert "damaged: seq 2" in result.stdout
    assert len(records(new)) == 1


def test_what_needs_no_repair_gets_none(old, new):
    """Whole and torn journals start as they are: status 0, and nothing is written."""
    for prepare in (lambda: None, lambda: tear(max(old.glob("*.segment")))):
        prepare()
        result = repair(old, new, "--yes")
        assert result.exit_code == 0
        assert "nothing to repair" in result.stdout
        assert not new.exists()


def test_what_cannot_be_repaired_is_said(old, new):
    """Without the first header nothing is good; no journal is status 3."""
    flip(min(old.glob("*.segment")), 20)
    result = repair(old, new, "--yes")
    assert result.exit_code == 2
    assert "cannot be repaired" in result.stderr
    assert repair(old.parent, new, "--yes").exit_code == 3
    assert not new.exists()


def test_nothing_is_written_over(old, new):
    """Whatever is at the new place stays; an empty directory is free."""
    flip(sorted(old.glob("*.segment"))[1], 5000)
    new.mkdir()
    (new / "notes.txt").write_text("mine")
    result = repair(old, new, "--yes")
    assert result.exit_code == 1
    assert contents(new) == {"notes.txt": b"mine"}
    assert repair(old, old, "--yes").exit_code == 1
    (new / "notes.txt").unlink()
    assert repair(old, new, "--yes").exit_code == 0
    assert verify(new).exit_code == 0


def test_an_interrupted_repair_is_done_again(old, new):
    """What an earlier try left beside is cleared away."""
    flip(sorted(old.glob("*.segment"))[3], 5000)
    left = new.parent / "new.part"
    (left / "blobs").mkdir(parents=True)
    (left / "blobs" / ("0" * 64)).write_bytes(b"half")
    (left / "00000000000000000099.segment").write_bytes(b"half")
    assert repair(old, new, "--yes").exit_code == 0
    assert not left.exists()
    assert len(records(new)) == 6
    assert verify(new).exit_code == 0


# --- blobs ------------------------------------------------------------------------------------


def test_blobs_come_along(old, new):
    """They are linked, for they never change."""
    blob = with_blob(old)
    write(old, [[Note("y" * 900)], [Note("z" * 900)]], at=60 * SECOND)
    file = max(old.glob("*.segment"))
    change(file, file.read_bytes().index(b"yyy"), b"?")
    assert repair(old, new, "--yes").exit_code == 0
    assert (new / "blobs" / blob.name).stat().st_ino == blob.stat().st_ino
    assert verify(new).stdout.endswith("1 blob\n")


@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_missing_blobs_are_named(old, new, fault):
    """The journal is written all the same, with status 2 for what it lacks."""
    blob = with_blob(old)
    write(old, [[Note("y" * 900)], [Note("z" * 900)]], at=60 * SECOND)
    file = max(old.glob("*.segment"))
    change(file, file.read_bytes().index(b"yyy"), b"?")
    blob.unlink() if fault == "missing" else blob.write_bytes(b"something else")
    result = repair(old, new, "--yes")
    assert result.exit_code == 2
    assert f"blobs/{blob.name}" in result.stderr
    assert len(records(new)) == 11
    assert not (new / "blobs" / blob.name).exists()


def test_blobs_alone_cannot_be_repaired(old, new):
    """Every event is there, and only a backup has the blob."""
    with_blob(old).unlink()
    result = repair(old, new, "--yes")
    assert result.exit_code == 2
    assert "backup" in result.stderr
    assert not new.exists()


# --- copies made beside a writer --------------------------------------------------------------


def test_a_copy_of_several_moments_is_whole_or_repaired(tmp_path):
    """Promise 1, for a plain copy: read page by page while it grew, it has what was there before.

    Every page boundary, with the pages before it older than those behind. Where the older part
    ends in a hole, the copy is refused, and a repair has all that the older moment had.
    """
    disk, pen = pen_of(tmp_path / "live", size=8 * PAGE)
    file = tmp_path / "live" / disk.names()[0]
    moments = [(0, file.read_bytes())]
    for size in (700, 2500, 90, 1300, 3000, 40, 2000, 800, 5000, 100, 900):
        pen.append([encode(Note("x" * size), "test")], SECOND)
        moments.append((pen.next_seq - 1, file.read_bytes()))
    disk.close()
    statuses = Counter()
    for (events, older), (_, newer) in combinations(moments, 2):
        for boundary in range(PAGE, len(older), PAGE):
            copy = tmp_path / f"copy-{statuses.total()}"
            copy.mkdir()
            (copy / file.name).write_bytes(older[:boundary] + newer[boundary:])
            found = salvage(copy)
            statuses[found.fault is None] += 1
            assert found.events >= events
            assert found.fault is None or "a good one after it" in found.fault
    print(f"{statuses.total()} copies, {statuses[False]} of them with a hole")
    assert statuses[True] > statuses[False] > 0


# --- asking -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1), ("", 1)])
def test_a_terminal_is_asked(old, new, answer, status):
    """After the plan; only a yes writes."""
    flip(sorted(old.glob("*.segment"))[3], 5000)
    ours, its = pty.openpty()
    try:
        with subprocess.Popen(
            [HAPPY, "journal", "repair", old, "--to", new], stdin=its, stdout=its, stderr=its
        ) as asking:
            said = b""
            while b"Write it?" not in said:
                said += os.read(ours, 4096)
            assert b"left out: seq 9 to 10" in said
            assert not new.exists()
            os.write(ours, answer.encode() + b"\n")
            assert asking.wait(60) == status
    finally:
        os.close(ours)
        os.close(its)
    assert new.exists() == (status == 0)


# --- everything -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Return a journal of several segments and frames, to be damaged."""
    path = tmp_path_factory.mktemp("original")
    write(path, [[Note("x" * 600)] * (1 + n % 3) for n in range(10)])
    return path


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_byte_is_damaged_a_beginning_is_saved(original, tmp_path_factory, data):
    """The result is whole and a beginning of what was, up to the frame before the damage."""
    path = tmp_path_factory.mktemp("damaged")
    for file in original.glob("*.segment"):
        (path / file.name).write_bytes(file.read_bytes())
    files = sorted(path.glob("*.segment"))
    file = data.draw(st.sampled_from(files))
    used = len(file.read_bytes().rstrip(b"\0"))
    flip(file, data.draw(st.integers(0, used - 1)))
    before = contents(path)
    result = repair(path, path / "new", "--yes")
    assert {k: v for k, v in contents(path).items() if not k.startswith("new/")} == before
    everything = records(original)
    if result.exit_code == 0 and (path / "new").exists():
        saved = records(path / "new")
        assert saved == everything[: len(saved)]
        assert len(saved) >= int(file.name[:20]) - 1
        assert verify(path / "new").exit_code == 0
    elif result.exit_code == 0:
        assert "torn" in result.stdout
    else:
        assert result.exit_code in {2, 3}
        assert file == files[0]


# --- snapshots --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a journal with snapshots of seq 150 and 210, its first segments let go."""
    return numbers_let_go(tmp_path_factory.mktemp("kept") / "old").disk.path


def damage(kept, old, seq):
    """Copy the journal, damaged at an event; return the copy and the last seq of its beginning."""
    shutil.copytree(kept, old)
    frames = list(Reader(FileDisk(old), cut=False, start=start_of_kept(old)).frames())
    frame = next(f for f in frames if f.first_seq <= seq < f.first_seq + f.count)
    file = max(f for f in old.glob("*.segment") if int(f.name[:20]) <= seq)
    flip(file, frame.offset + 80)
    return frame.first_seq - 1


def start_of_kept(path):
    return start_at(header_of(FileDisk(path), min(path.glob("*.segment")).name))


def test_where_the_beginning_was_let_go_the_snapshots_of_what_is_kept_come_along(
    kept, tmp_path, new
):
    """The repaired journal is whole, begins where the old one does, and has what is behind."""
    old = tmp_path / "old"
    last = damage(kept, old, 230)
    result = repair(old, new, "--yes", "--json")
    assert result.exit_code == 0, result.output
    (plan,) = lines(result)
    first = plan["kept"]["first_seq"]
    assert 1 < first <= 150
    assert plan["kept"]["events"] == last - first + 1
    assert (plan["lost"]["first_seq"], plan["kept"]["snapshots"]) == (last + 1, 2)
    assert plan["starts_from"] is None
    assert verify(new).exit_code == 0
    assert "2 snapshots" in verify(new).stdout


def test_a_snapshot_of_what_is_not_kept_stays_behind(kept, tmp_path, new):
    """And it is told that a start with it loses nothing of the state: history alone is damaged."""
    old = tmp_path / "old"
    damage(kept, old, 160)
    result = repair(old, new, "--yes")
    assert result.exit_code == 0, result.output
    assert "the snapshot of seq 210 is good, and so is all behind it" in result.stdout
    assert snapshot_names(FileDisk(new)) == [snapshot_name(150)]
    assert verify(new).exit_code == 0


def test_without_the_beginning_and_a_snapshot_of_it_nothing_can_be_repaired(kept, tmp_path, new):
    """Events that stand on nothing are no journal; a start with a later snapshot is told of."""
    old = tmp_path / "old"
    damage(kept, old, 160)
    (old / snapshot_name(150)).unlink()
    result = repair(old, new, "--yes")
    assert result.exit_code == 2
    assert "was let go, and no good snapshot holds it" in result.stderr
    assert "the snapshot of seq 210 is good, and so is all behind it" in result.stderr
    assert not new.exists()


def test_of_a_whole_history_the_snapshots_of_what_is_kept_come_along(tmp_path, new):
    """So that the next start need not replay all of it."""
    disk = FileDisk(tmp_path / "old")
    made = Branch(disk, NumberService)
    made.open()
    made.append(*[Next(1)] * 3)
    made.mark()
    assert [good.seq for good in made.make().good] == [3]
    made.append(Next(2))
    made.append(Next(3))
    disk.close()
    damage(tmp_path / "old", tmp_path / "copy", 4)
    assert repair(tmp_path / "copy", new, "--yes").exit_code == 0
    assert snapshot_names(FileDisk(new)) == [snapshot_name(3)]
    assert verify(new).exit_code == 0
