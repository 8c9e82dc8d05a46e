"""`happy journal show --follow`: what is there, then what comes, whatever the writer does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli_kit import SECOND, Note, happy, lines, pen_of, segments, tear, write
from happy.cli.bounds import Wanted
from happy.cli.entries import entries
from happy.codec import encode
from happy.errors import Corrupt
from happy.journal.frame import FRAME_MAGIC, Kind
from happy.journal.names import segment_name

HAPPY = Path(sys.executable).with_name("happy")
BEGUN = 1_000 * SECOND


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def followed(path, *acts, wanted=None):
    """Follow a journal; each act happens when there is nothing more to show."""
    left = iter(acts)

    def wait():
        act = next(left, None)
        if act is None:
            return False
        act()
        return True

    return [entry.seq for entry in entries(path, wanted or Wanted(), wait)]


def test_what_comes_is_shown_over_segments(tmp_path):
    """Appends, marks, rotation and a clean end: each event once, in order."""
    write(tmp_path, [[Note("one")]])
    disk, pen = pen_of(tmp_path)
    seqs = iter(range(10_000))

    def append(*texts):
        pen.append([encode(Note(t), "test") for t in texts], BEGUN + next(seqs))

    seen = followed(
        tmp_path,
        lambda: append("two"),
        lambda: append("three", "four"),
        lambda: pen.mark(Kind.IDLE_MARK, BEGUN + next(seqs)),
        lambda: [append("x" * 3000) for _ in range(6)],
        lambda: pen.mark(Kind.CLOSE_MARK, BEGUN + next(seqs)),
        lambda: append("x" * 6000),
        lambda: None,
        lambda: append("the end"),
    )
    disk.close()
    assert seen == list(range(1, 13))
    assert len(list(tmp_path.glob("*.segment"))) > 3


def test_a_frame_half_written_is_waited_for(tmp_path):
    """However a frame comes to the disk, it is shown when it is whole."""
    (file,) = write(tmp_path, [[Note("a")], [Note("b" * 2000)], [Note("c")]])
    whole = file.read_bytes()
    begin, end = whole.index(b"bbb"), whole.rindex(b"bbb") + 3
    file.write_bytes(whole[: whole.rindex(FRAME_MAGIC, 0, begin)].ljust(len(whole), b"\0"))
    states = [
        whole[:begin].ljust(len(whole), b"\0"),
        whole[: begin + 700].ljust(len(whole), b"\0"),
        whole[:begin] + bytes(1500) + whole[begin + 1500 :],  # the next one is there before it
        whole[: end - 1].ljust(len(whole), b"\0"),
        whole,
    ]
    acts = [lambda state=state: file.write_bytes(state) for state in states]
    assert followed(tmp_path, *acts) == [1, 2, 3]


def test_a_restart_after_a_crash_is_followed(tmp_path):
    """A torn tail is waited at, and what the next start writes in its place is shown."""
    (file,) = write(tmp_path, [[Note("a")], [Note("x" * 999)]])
    tear(file)
    seen = followed(
        tmp_path,
        lambda: write(tmp_path, [[Note("after the crash")]], at=BEGUN),
        lambda: None,
    )
    assert seen == [1, 2]


def test_damage_is_said_once_it_is_sure(tmp_path):
    """A bad frame with a good one after it, that stays, is no frame being written."""
    (file,) = write(tmp_path, [[Note("aaaa")], [Note("bbbb")], [Note("cccc")]])
    whole = file.read_bytes()
    begin = whole.rindex(FRAME_MAGIC, 0, whole.index(b"bbbb"))
    file.write_bytes(whole[:begin].ljust(len(whole), b"\0"))
    damage = [lambda: file.write_bytes(whole.replace(b"bbbb", b"bXbb"))]
    with pytest.raises(Corrupt, match=f"{file.name}, offset .* from seq 2 on"):
        followed(tmp_path, *damage, *[lambda: None] * 50)


def test_a_segment_that_does_not_continue_is_said(tmp_path):
    """Nothing of another history is shown."""
    write(tmp_path / "a", [[Note("x" * 3000)]])
    files = write(tmp_path / "b", [[Note("y" * 6000)], [Note("z" * 3000)]])
    name = segment_name(2)
    assert files[1].name == name

    def swap():
        (tmp_path / "a" / name).write_bytes(files[1].read_bytes())

    with pytest.raises(Corrupt, match=f"{name}: it does not continue"):
        followed(tmp_path / "a", swap, *[lambda: None] * 3)


def test_what_is_wanted_can_come_later(tmp_path):
    """--from waits for its seq, --to ends the following by itself."""
    write(tmp_path, [[Note("one")]])
    seen = followed(
        tmp_path,
        lambda: write(tmp_path, [[Note("n")]] * 6, at=BEGUN),
        lambda: pytest.fail("there was nothing to wait for"),
        wanted=Wanted(3, 5),
    )
    assert seen == [3, 4, 5]


def test_follow_ends_quietly(tmp_path):
    """Ctrl-C is status 0, and a reader that goes away ends it though nothing comes."""
    segments(tmp_path, 2)
    command = [HAPPY, "journal", "show", tmp_path, "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as showing:
        shown = [json.loads(showing.stdout.readline())["seq"] for _ in range(4)]
        write(tmp_path, [[Note("five")]], at=BEGUN)
        assert [*shown, json.loads(showing.stdout.readline())["seq"]] == [1, 2, 3, 4, 5]
        showing.send_signal(signal.SIGINT)
        assert showing.wait(60) == 0
        assert showing.stderr.read() == b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as showing:
        os.read(showing.stdout.fileno(), 10)
        showing.stdout.close()
        assert showing.wait(60) in {0, 1}
        assert showing.stderr.read() == b""


# --- times ------------------------------------------------------------------------------------

AT = "1970-01-01T00:00:{:02}Z"


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        (("--from", AT.format(3)), [3, 4, 5, 6, 7, 8]),
        (("--from", "1970-01-01T00:00:03.000001Z"), [4, 5, 6, 7, 8]),
        (("--from", "1970-01-01T01:00:03+01:00"), [3, 4, 5, 6, 7, 8]),
        (("--to", AT.format(3)), [1, 2, 3]),
        (("--from", AT.format(3), "--to", AT.format(5)), [3, 4, 5]),
        (("--from", 2, "--to", AT.format(3)), [2, 3]),
        (("--from", AT.format(7), "--to", 7), [7]),
        (("--from", AT.format(59)), []),
        (("--to", "1969-12-31T23:59:59Z"), []),
    ],
)
def test_moments_choose_entries(tmp_path, options, seqs):
    """--from and --to take moments, over segments, both ends included."""
    files = write(tmp_path, [[Note("x" * 2000)]] * 8)
    assert len(files) > 3
    assert [e["seq"] for e in lines(happy("journal", "show", tmp_path, *options))] == seqs


def test_moments_leave_segments_unread(tmp_path):
    """Segments that end before the moment are not looked at: the first may even be gone."""
    files = write(tmp_path, [[Note("x" * 2000)]] * 8)
    files[0].unlink()
    result = happy("journal", "show", tmp_path, "--from", AT.format(7))
    assert [e["seq"] for e in lines(result)] == [7, 8]


def test_a_moment_without_an_offset_is_local_time(tmp_path, monkeypatch):
    """As `happy journal ls` shows them."""
    monkeypatch.setenv("TZ", "Etc/GMT-2")
    __import__("time").tzset()
    write(tmp_path, [[Note("a")]] * 3)
    result = happy("journal", "show", tmp_path, "--from", "1970-01-01 02:00:03")
    monkeypatch.undo()
    __import__("time").tzset()
    assert [e["seq"] for e in lines(result)] == [3]


@pytest.mark.parametrize("bound", ["0", "-1", "soon", "2026-13-01", ""])
def test_what_is_neither_seq_nor_moment_is_a_usage_error(tmp_path, bound):
    """It says what can be written instead."""
    result = happy("journal", "show", tmp_path, "--to", bound)
    assert result.exit_code == 64
    assert "neither a seq" in result.stderr
