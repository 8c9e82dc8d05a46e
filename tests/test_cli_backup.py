"""`happy backup`: a journal of a journal in use, whole at every moment and never of another."""

import os
import shutil
from pathlib import Path

import pytest

from cli_kit import (
    Note,
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
from happy.journal.disk import FileDisk

LATER = 10**12


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def backup(*arguments):
    return happy("backup", *arguments)


def verify(path):
    return happy("journal", "verify", path)


@pytest.fixture
def live(tmp_path):
    """Return a journal of four segments, and a blob."""
    path = tmp_path / "data" / "notes"
    segments(path, 3)
    with_blob(path)
    return path


@pytest.fixture
def kept(tmp_path):
    """Return where the backup will be."""
    return tmp_path / "kept"


def copied(result):
    (report,) = lines(result)
    return report["segments_copied"], report["blobs_copied"]


def test_a_backup_is_a_journal(live, kept):
    """It verifies whole, holds the same events and blobs, and can be written on."""
    before = contents(live)
    result = backup(live, "--to", kept)
    assert result.exit_code == 0, result.stderr
    assert "whole: 7 events, 4 segments, 1 blob; copied 4 segments, 1 blob" in result.stdout
    assert contents(live) == before
    assert verify(kept).exit_code == 0
    assert records(kept) == records(live)
    assert {name for name in contents(kept) if "segment" not in name} == {
        name for name in before if name.startswith("blobs/")
    }
    write(kept, [[Note("again")]], at=LATER)
    assert verify(kept).exit_code == 0


def test_a_second_backup_copies_what_is_new(live, kept):
    """Nothing, when nothing came; then the segment that grew, and those behind it."""
    assert copied(backup(live, "--to", kept, "--json")) == (4, 1)
    before = {path: path.stat().st_ino for path in kept.rglob("*") if path.is_file()}
    assert copied(backup(live, "--to", kept, "--json")) == (0, 0)
    assert {path: path.stat().st_ino for path in before} == before
    write(live, [[Note("small")]], at=LATER)
    assert copied(backup(live, "--to", kept, "--json")) == (1, 0)
    write(live, [[Note("x" * 4000)]] * 2, at=2 * LATER)
    with_again = with_blob(live, b"another text", at=3 * LATER)
    assert copied(backup(live, "--to", kept, "--json")) == (3, 1)
    assert records(kept) == records(live)
    assert (kept / "blobs" / with_again.name).exists()


def test_a_backup_beside_a_writer(live, kept):
    """The journal is locked and open; what the writer adds meanwhile is for the next time."""
    disk, _ = pen_of(live)
    assert backup(live, "--to", kept).exit_code == 0
    disk.close()
    assert records(kept) == records(live)


def test_whole_frames_only(live, kept):
    """A tail that was never finished is no part of the backup."""
    write(live, [[Note("x" * 900)]], at=LATER)
    everything = records(live)
    tear(max(live.glob("*.segment")))
    assert backup(live, "--to", kept).exit_code == 0
    assert verify(kept).exit_code == 0
    assert records(kept) == everything[:-1]


def test_what_is_copied_is_durable_first(live, kept, monkeypatch):
    """A backup never knows more than a power cut leaves: the source is synced before."""
    synced = []
    sync = os.fdatasync

    def fdatasync(file):
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        sync(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    assert backup(live, "--to", kept).exit_code == 0
    assert synced[0] == str(max(live.glob("*.segment")))


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
def test_an_interrupted_backup_is_finished_by_the_next(live, kept, monkeypatch, operation):
    """Broken off at every step, the backup is a whole older state; then it is finished."""
    original = getattr(FileDisk, operation)
    points = 0
    while True:
        left = points

        def broken(self, *arguments):
            nonlocal left
            if self.path == kept:
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
            return original(self, *arguments)

        shutil.rmtree(kept, ignore_errors=True)
        assert backup(live, "--to", kept).exit_code == 0
        for file in sorted(kept.glob("*.segment"))[2:]:
            file.unlink()
        shutil.rmtree(kept / "blobs")
        write(live, [[Note("more")]], at=LATER * (points + 1))
        with monkeypatch.context() as patch:
            patch.setattr(FileDisk, operation, broken)
            result = backup(live, "--to", kept)
        assert verify(kept).exit_code == 0, verify(kept).stderr
        assert records(kept) == records(live)[: len(records(kept))]
        if result.exit_code == 0:
            break
        points += 1
        assert backup(live, "--to", kept).exit_code == 0
        assert verify(kept).exit_code == 0
        assert records(kept) == records(live)
    assert points >= 3


# --- what is refused --------------------------------------------------------------------------


def refusal(live, kept):
    """Return why a backup is refused, in one line; the old one stays as it was."""
    before = contents(kept)
    result = backup(live, "--to", kept)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert {k: v for k, v in contents(kept).items() if k != "LOCK"} == before
    return result.stderr


def test_another_journal_is_not_written_over(tmp_path, live, kept):
    """Two applications never share a backup."""
    segments(tmp_path / "other", 2, journal_id=b"k" * 16)
    assert backup(tmp_path / "other", "--to", kept).exit_code == 0
    assert "holds another history" in refusal(live, kept)


def test_a_newer_backup_is_not_written_over(live, kept):
    """The journal was put back, the backup knows more: in segments, or in the last one."""
    shutil.copytree(live, live.parent / "older")
    write(live, [[Note("lost otherwise")]], at=LATER)
    backup(live, "--to", kept)
    assert "goes on in another way" in refusal(live.parent / "older", kept)
    write(live, [[Note("x" * 4000)]] * 2, at=2 * LATER)
    backup(live, "--to", kept)
    assert "the journal has not" in refusal(live.parent / "older", kept)


def test_a_forked_history_is_not_written_over(live, kept):
    """The journal was put back and went on in another way."""
    shutil.copytree(live, live.parent / "fork")
    write(live, [[Note("this way")]], at=LATER)
    backup(live, "--to", kept)
    write(live.parent / "fork", [[Note("that way")], [Note("and on")]], at=LATER)
    assert "goes on in another way" in refusal(live.parent / "fork", kept)
    write(live, [[Note("x" * 4000)]] * 2, at=2 * LATER)
    backup(live, "--to", kept)
    write(live.parent / "fork", [[Note("x" * 4000)]] * 2, at=2 * LATER)
    assert "history" in refusal(live.parent / "fork", kept)


def test_a_gap_is_not_made(live, kept):
    """Segments that the journal has dropped since are missing from an old backup."""
    backup(live, "--to", kept)
    first = min(live.glob("*.segment"))
    for file in sorted(kept.glob("*.segment"))[1:]:
        file.unlink()
    for file in sorted(live.glob("*.segment"))[:2]:
        file.unlink()
    assert not first.exists()
    assert "is gone" in refusal(live, kept)


def test_something_else_is_not_written_to(live, kept):
    """A directory of other files is no place for a backup."""
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    assert "holds something else" in refusal(live, kept)


def test_a_damaged_journal_does_not_spoil_its_backup(live, kept):
    """Status 2, with the place; the backup is whole, and has what was good."""
    backup(live, "--to", kept)
    write(live, [[Note("x" * 4000)]] * 3, at=LATER)
    flip(sorted(live.glob("*.segment"))[5], 5000)
    result = backup(live, "--to", kept)
    assert result.exit_code == 2
    assert "00000000000000000009.segment" in result.stderr
    assert verify(kept).exit_code == 0
    assert len(records(kept)) == 8


def test_damage_in_the_backup_is_noticed(live, kept):
    """What is not copied again is read again."""
    backup(live, "--to", kept)
    flip(sorted(kept.glob("*.segment"))[1], 5000)
    result = backup(live, "--to", kept)
    assert result.exit_code == 2
    assert str(kept) in result.stderr


def test_a_changed_blob_is_not_copied(live, kept):
    """A blob that is not what its name says is named, and the backup has it not."""
    (blob,) = (live / "blobs").iterdir()
    blob.write_bytes(b"something else")
    result = backup(live, "--to", kept)
    assert result.exit_code == 2
    assert f"blobs/{blob.name}" in result.stderr
    assert not (kept / "blobs" / blob.name).exists()


def test_a_full_disk_is_a_sentence(live, kept, monkeypatch):
    """Status 4, and it speaks of the backup's disk."""
    write_to = FileDisk.write

    def no_room(disk, name, offset, data):
        if disk.path == kept:
            raise disk._failure(name, OSError(28, "no space left on device"))
        write_to(disk, name, offset, data)

    monkeypatch.setattr(FileDisk, "write", no_room)
    result = backup(live, "--to", kept)
    assert result.exit_code == 4
    assert result.stderr == f"{kept}: the disk is full\n"


# --- which journals ---------------------------------------------------------------------------


def test_a_configuration_names_journals(tmp_path, live, kept):
    """All of them, or those that are named, each to its own directory."""
    segments(tmp_path / "data" / "other", 2, journal_id=b"k" * 16)
    config = tmp_path / "happy.toml"
    config.write_text('data = "data"\n[apps.notes]\napp = "gone:Gone"\n')
    assert backup("--config", config, "other", "--to", kept).exit_code == 0
    assert sorted(path.name for path in kept.iterdir()) == ["other"]
    found = lines(backup("--config", config, "--to", kept, "--json"))
    assert [(r["backup"], r["segments_copied"]) for r in found] == [
        (str(kept / "notes"), 4),
        (str(kept / "other"), 0),
    ]


def test_what_cannot_be_backed_up(tmp_path, live, kept):
    """Not a journal is 3; a command line that cannot be meant is 64."""
    assert backup(tmp_path / "data", "--to", kept).exit_code == 3
    assert backup(tmp_path / "none", "--to", kept).exit_code == 3
    assert not kept.exists()
    assert backup("--to", kept).exit_code == 64
    assert backup(live, live, "--to", kept).exit_code == 64
    assert backup(live, "--to", live).exit_code == 64
