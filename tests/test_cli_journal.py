"""`happy journal ls` and `show`: what is in a journal, without changing or locking it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from happy.cli import main
from happy.codec import encode
from happy.event import event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind

HAPPY = Path(sys.executable).with_name("happy")
SECOND = 1_000_000_000
SEGMENT_BYTES = 8192


@event
class Note:
    text: str


@event(version=3, name="other.Thing")
class Thing:
    raw: bytes


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def write_journal(path, batches, *, close=True):
    """Write batches, the n-th at second n."""
    disk = FileDisk(path)
    disk.lock()
    tail = create_journal(disk, b"j" * 16, 1, SECOND, SEGMENT_BYTES)
    appender = Appender(disk, tail, segment_bytes_max=SEGMENT_BYTES, new_salt=lambda: 2)
    for number, batch in enumerate(batches, start=1):
        appender.append([encode(e, "test", f"key-{number}") for e in batch], number * SECOND)
    if close:
        appender.mark(Kind.CLOSE_MARK, (len(batches) + 1) * SECOND)
    disk.close()
    return sorted(path.glob("*.segment"))


def journal(*arguments):
    return CliRunner().invoke(main, ["journal", *map(str, arguments)])


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def on_terminal(*arguments, **environment):
    """Run the script with a terminal as its standard output; return status and text."""
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [HAPPY, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=its,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment},
        )
        return done.returncode, os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(its)


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir()}


# --- ls ---------------------------------------------------------------------------------------


def test_ls_tells_each_segment(tmp_path):
    """Numbers, seqs, bytes and times of every segment; the last one closed."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    result = journal("ls", tmp_path)
    assert result.exit_code == 0
    found = lines(result)
    assert [s["name"] for s in found] == [f.name for f in files]
    assert [s["number"] for s in found] == [1, 2, 3, 4, 5]
    assert [s["first_seq"] for s in found] == [1, 3, 5, 7, 9]
    assert [s["events"] for s in found] == [2, 2, 2, 2, 2]
    assert [s["state"] for s in found] == ["sealed"] * 4 + ["closed"]
    assert [s["size_bytes"] for s in found] == [f.stat().st_size for f in files]
    assert [s["used_bytes"] for s in found[:-1]] == [s["size_bytes"] for s in found[:-1]]
    assert found[0]["created"] == found[0]["from"] == "1970-01-01T00:00:01.000000Z"
    assert found[-1]["until"] == "1970-01-01T00:00:05.000000Z"


def test_ls_on_a_terminal_is_a_table_that_fits(tmp_path):
    """A terminal of 80 columns gets a table, with `--json` it gets JSON."""
    write_journal(tmp_path, [[Note("a")]])
    status, table = on_terminal("journal", "ls", tmp_path)
    assert status == 0
    assert len(table.splitlines()) == 2
    assert "first seq" in table
    assert "{" not in table
    status, said = on_terminal("journal", "ls", "--json", tmp_path)
    assert json.loads(said)["events"] == 1


def test_no_color_is_respected(tmp_path):
    """With NO_COLOR nothing is coloured."""
    write_journal(tmp_path, [[Note("a")]])
    _, table = on_terminal("journal", "ls", tmp_path, NO_COLOR="1")
    assert "\x1b[3" not in table


def test_ls_beside_a_writer_is_open(tmp_path):
    """A journal that is locked and not closed can be looked at, and is left as it is."""
    write_journal(tmp_path, [[Note("a")]], close=False)
    disk = FileDisk(tmp_path)
    disk.lock()
    before = contents(tmp_path)
    result = journal("ls", tmp_path)
    assert result.exit_code == 0
    assert lines(result)[0]["state"] == "open"
    assert contents(tmp_path) == before
    disk.close()


def test_ls_names_damaged_segments_and_shows_the_others(tmp_path):
    """One bad header is status 1, and does not hide the rest."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    with files[1].open("r+b") as file:
        file.seek(100)
        file.write(b"x")
    result = journal("ls", tmp_path)
    assert result.exit_code == 1
    assert [s["state"] for s in lines(result)] == [
        "sealed", "corrupt", "sealed", "sealed", "closed",
    ]  # fmt: skip
    assert files[1].name in result.stderr


def test_ls_notices_a_sealed_segment_that_was_cut(tmp_path):
    """A sealed segment shorter than the next one says is damaged."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    os.truncate(files[0], files[0].stat().st_size - 1)
    result = journal("ls", tmp_path)
    assert result.exit_code == 1
    assert lines(result)[0]["state"] == "corrupt"


def test_a_last_segment_without_a_header_is_torn(tmp_path):
    """What a start would let go does not keep anybody from reading the rest."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    os.truncate(files[-1], 100)
    assert [s["state"] for s in lines(journal("ls", tmp_path))][-1] == "torn"
    result = journal("show", tmp_path)
    assert result.exit_code == 0
    assert lines(result)[-1]["seq"] == 8


@pytest.mark.parametrize("command", ["ls", "show"])
def test_no_journal_is_a_sentence(tmp_path, command):
    """An empty place, a missing one, and a data directory: one sentence each, status 1."""
    write_journal(tmp_path / "data" / "notes", [[Note("a")]])
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.mkdir()
    assert journal(command, empty).stderr == f"{empty}: no journal is here\n"
    assert journal(command, missing).stderr == f"{missing}: no such directory\n"
    result = journal(command, tmp_path / "data")
    assert result.exit_code == 1
    assert str(tmp_path / "data" / "notes") in result.stderr


# --- show -------------------------------------------------------------------------------------


def test_show_prints_entries_in_order(tmp_path):
    """Each entry is a line: place, moment, type, version, source, key, body."""
    write_journal(tmp_path, [[Note("a")], [Note("b"), Thing(b"\xff")]])
    result = journal("show", tmp_path)
    assert result.exit_code == 0
    found = lines(result)
    assert [entry["seq"] for entry in found] == [1, 2, 3]
    assert found[0] == {
        "seq": 1,
        "time": "1970-01-01T00:00:01.000000Z",
        "type": "Note",
        "version": 1,
        "source": "test",
        "key": "key-1",
        "body": {"text": "a"},
    }
    assert (found[2]["type"], found[2]["version"]) == ("other.Thing", 3)
    assert found[2]["body"] == {"raw": {"$base64": "/w=="}}


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        ((), range(1, 21)),
        (("--from", 9), range(9, 21)),
        (("--to", 4), range(1, 5)),
        (("--from", 10, "--to", 11), [10, 11]),
        (("--from", 12, "--to", 11), []),
        (("--from", 99), []),
        (("--limit", 3), [1, 2, 3]),
        (("--limit", 0), []),
        (("--type", "other.Thing"), range(2, 21, 2)),
        (("--type", "other.Thing", "--from", 5, "--limit", 2), [6, 8]),
        (("--type", "other.Thing", "--type", "Note", "--to", 3), [1, 2, 3]),
        (("--type", "Nothing"), []),
    ],
)
def test_show_chooses(tmp_path, options, seqs):
    """Seqs, types and a limit choose entries, over segments and inside batches."""
    files = write_journal(tmp_path, [[Note("x" * 900), Thing(b"x" * 900)]] * 10)
    assert len(files) > 3
    result = journal("show", tmp_path, *options)
    assert result.exit_code == 0
    assert [entry["seq"] for entry in lines(result)] == list(seqs)


def test_show_reads_on_from_the_segment_it_needs(tmp_path):
    """What stands before the wanted seq is not read: it may even be gone."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    files[0].unlink()
    assert [e["seq"] for e in lines(journal("show", tmp_path, "--from", 9))] == [9, 10]


def test_show_by_configuration(tmp_path):
    """`--config FILE NAME` finds the journal, though the application cannot be imported."""
    write_journal(tmp_path / "var" / "notes", [[Note("a")]])
    config = tmp_path / "happy.toml"
    config.write_text('data = "var"\n[apps.notes]\napp = "gone:Gone"\n')
    result = journal("show", "--config", config, "notes")
    assert [entry["seq"] for entry in lines(result)] == [1]


def test_show_stops_at_damage_after_showing_what_is_before(tmp_path):
    """The good part is shown, then one sentence names the place; status 1."""
    (file,) = write_journal(tmp_path, [[Note("aaaa")], [Note("bbbb")], [Note("cccc")]])
    data = file.read_bytes()
    file.write_bytes(data.replace(b"bbbb", b"bXbb"))
    result = journal("show", tmp_path)
    assert result.exit_code == 1
    assert [entry["seq"] for entry in lines(result)] == [1]
    assert len(result.stderr.splitlines()) == 1
    assert f"{file.name}, offset " in result.stderr
    assert "from seq 2 on" in result.stderr


def test_show_notices_a_missing_segment(tmp_path):
    """A hole between segments is said with its seqs."""
    files = write_journal(tmp_path, [[Note("x" * 1000)] * 2] * 5)
    files[1].unlink()
    result = journal("show", tmp_path)
    assert result.exit_code == 1
    assert "seq 3 to 4 are missing" in result.stderr
    assert [entry["seq"] for entry in lines(result)] == [1, 2]


def test_show_leaves_out_a_torn_tail(tmp_path):
    """What nobody was answered for is not shown, and no error either."""
    (file,) = write_journal(tmp_path, [[Note("a")], [Note("b" * 999)]], close=False)
    os.truncate(file, file.read_bytes().rindex(b"bbb") - 100)
    result = journal("show", tmp_path)
    assert result.exit_code == 0
    assert [entry["seq"] for entry in lines(result)] == [1]


def test_a_closed_pipe_ends_quietly(tmp_path):
    """`happy journal show DIR | head -1` says nothing on standard error."""
    write_journal(tmp_path, [[Note("x" * 100)] * 60] * 100)
    with subprocess.Popen(
        [HAPPY, "journal", "show", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as showing:
        first = showing.stdout.readline()
        showing.stdout.close()
        said = showing.stderr.read()
    assert json.loads(first)["seq"] == 1
    assert said == b""
