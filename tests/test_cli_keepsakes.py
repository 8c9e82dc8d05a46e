"""Snapshots and the tools: verified, carried along, and needed where segments are gone."""

import sys

import pytest

from cli_kit import happy, lines, segments
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.journal.names import segment_name, segment_seq, snapshot_name
from happy.journal.snapshots import snapshot_names
from snapshot_kit import Branch, numbers_let_go

CONFIG = """\
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0"
"""


@pytest.fixture
def numbers(tmp_path):
    """The number service, closed, with two snapshots and its first segments let go."""
    (tmp_path / "happy.toml").write_text(CONFIG)
    return numbers_let_go(tmp_path / "data" / "numbers")


def verify(path, *options):
    return happy("journal", "verify", path, *options)


def test_a_journal_with_a_snapshot_for_its_beginning_is_whole(numbers):
    """What was let go is held by a snapshot, which is of this history: all is well."""
    done = verify(numbers.disk.path, "--json")
    assert done.exit_code == 0, done.output
    (said,) = lines(done)
    assert (said["health"], said["events"], said["snapshots"]) == ("whole", 240, 2)
    assert said["first_seq"] > 1
    in_words = verify(numbers.disk.path)
    assert f"{241 - said['first_seq']} events" in in_words.output
    assert "2 snapshots" in in_words.output


def test_the_snapshots_of_a_journal_are_listed(numbers):
    """The newest first: what each holds, when it was made, and which one a start passes over."""
    listed = happy("journal", "snapshots", numbers.disk.path)
    assert listed.exit_code == 0, listed.output
    newest, older = lines(listed)
    assert (newest["name"], newest["seq"], newest["state"]) == (snapshot_name(210), 210, "good")
    assert older["seq"] == 150
    assert newest["size_bytes"] == (numbers.disk.path / snapshot_name(210)).stat().st_size
    assert newest["time"] > older["time"] >= older["created"]  # all made at the same moment
    numbers.disk.truncate(snapshot_name(210), 200)
    listed = happy("journal", "snapshots", numbers.disk.path, "--json")
    assert [line["state"] for line in lines(listed)] == ["damaged", "good"]
    assert listed.exit_code == 1
    assert f"the next start passes over: {snapshot_name(210)}: " in listed.stderr


def test_a_journal_may_have_no_snapshots_and_what_is_none_has_no_list(tmp_path):
    """An empty list is no fault; a directory without a journal is one."""
    segments(tmp_path / "new", 1)
    listed = happy("journal", "snapshots", tmp_path / "new")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert happy("journal", "snapshots", tmp_path).exit_code == 1


def test_on_a_terminal_the_snapshots_are_a_table(numbers, monkeypatch):
    """With local times; of a damaged one there is its seq and no more."""
    monkeypatch.setattr(sys.modules["happy.cli.journal"], "is_terminal", lambda: True)
    numbers.disk.truncate(snapshot_name(210), 200)
    head, newest, older = happy("journal", "snapshots", numbers.disk.path).stdout.splitlines()
    assert head.split() == ["seq", "size", "until", "made", "state"]
    assert newest.split() == ["210", "?", "damaged"]
    assert (older.split()[0], older.split()[-1]) == ("150", "good")


def test_a_damaged_snapshot_is_told(numbers):
    """The journal is whole without it: status 1, and which it is."""
    numbers.disk.truncate(snapshot_name(210), 200)
    done = verify(numbers.disk.path)
    assert done.exit_code == 1
    assert f"the next start passes over: {snapshot_name(210)}: " in done.stderr


def test_without_a_good_snapshot_a_beginning_is_missing(numbers):
    """Where what was let go is held by nothing any more, the journal is damaged."""
    for name in snapshot_names(numbers.disk):
        numbers.disk.truncate(name, 200)
    done = verify(numbers.disk.path)
    assert done.exit_code == 2
    assert "was let go, and no good snapshot holds it" in done.stderr


def test_a_snapshot_of_another_history_is_told(numbers, tmp_path):
    """Whole, and not of this journal: the start would refuse it, and so it is damage."""
    other = Branch(FileDisk(tmp_path / "other"), NumberService, seed=2)
    other.open()
    for n in range(1, 221):
        other.append(Next(n))
    made = other.make()
    other.disk.close()
    (tmp_path / "other" / made.name).rename(numbers.disk.path / made.name)
    done = verify(numbers.disk.path)
    assert done.exit_code == 2
    assert "not of this journal's history" in done.stderr


def test_a_backup_and_its_restored_copy_have_the_snapshots(numbers, tmp_path):
    """A backup of a journal without its beginning opens; restored, it comes to the same state."""
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    done = happy("backup", numbers.disk.path, "--to", backup, "--json")
    assert done.exit_code == 0, done.output
    assert lines(done)[0]["snapshots_copied"] == 2
    again = happy("backup", numbers.disk.path, "--to", backup, "--json")
    assert lines(again)[0]["snapshots_copied"] == 0
    options = ("--verify", "--config", tmp_path / "happy.toml", "--app", "numbers")
    done = happy("restore", backup, "--to", restored, *options)
    assert done.exit_code == 0, done.output
    assert snapshot_names(FileDisk(restored)) == [snapshot_name(210), snapshot_name(150)]
    whole = numbers.open().core.machine
    numbers.disk.close()
    copy = Branch(FileDisk(restored), NumberService)
    assert copy.open().core.machine.digest() == whole.digest()
    copy.disk.close()


def test_a_backup_follows_new_snapshots(numbers, tmp_path):
    """What the journal does not keep any more goes from the backup when newer ones came."""
    backup = tmp_path / "backup"
    happy("backup", numbers.disk.path, "--to", backup)
    numbers.open()
    numbers.append(Next())
    numbers.mark()
    numbers.make()
    numbers.disk.close()
    done = happy("backup", numbers.disk.path, "--to", backup, "--json")
    assert done.exit_code == 0, done.output
    assert lines(done)[0]["snapshots_copied"] == 1
    assert snapshot_names(FileDisk(backup)) == snapshot_names(numbers.disk)
    assert segment_name(1) not in FileDisk(backup).names()
    assert any(segment_seq(name) for name in FileDisk(backup).names())


def test_a_damaged_snapshot_is_not_carried_along(numbers, tmp_path):
    """A backup holds good ones only; it is whole where the journal had a damaged one."""
    numbers.disk.write(snapshot_name(210), 300, b"!!!!")
    done = happy("backup", numbers.disk.path, "--to", tmp_path / "backup")
    assert done.exit_code == 0, done.output
    assert snapshot_names(FileDisk(tmp_path / "backup")) == [snapshot_name(150)]
    assert verify(tmp_path / "backup").exit_code == 0
