"""Where a replay begins: with all of history where it is kept, and else with a snapshot."""

import random
import shutil
import sys
from itertools import pairwise

import pytest

from cli_kit import flip, happy, lines
from happy.app import definition_of
from happy.cli.beginnings import Joint
from happy.errors import Corrupt
from happy.journal.recovery import Start
from happy.limits import Limits
from happy.snapshotting import SnapshotMaker
from past_kit import Past, script
from side_kit import Sides


def play(app):
    """Let something happen in several segments, with a snapshot in the middle of it."""
    script(app)
    for number in range(6):
        app.post(f"/{number}" + "x" * 1500)
    definition = definition_of(type(app.app))
    SnapshotMaker(definition, app.disk, random.Random, lambda: 0.0).make(1, kept=9)
    for number in range(6):
        app.post(f"/{number}" + "y" * 1500)
    app.post("/b7?size=20")


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Return an application with a past that has a snapshot at seq 15."""
    limits = Limits(segment_bytes_max=8192)
    made = Past(tmp_path_factory.mktemp("past"), "shop_of_beginnings", play, limits)
    (snapshot,) = (made.journal / "snapshots").glob("*")
    assert snapshot.name.startswith(f"{SNAPSHOT:020}"), snapshot
    yield made
    sys.modules.pop(made.module, None)
    sys.path[:] = [place for place in sys.path if place != str(made.folder)]


SNAPSHOT = 15
LAST = 24


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


@pytest.fixture
def kept(past, tmp_path):
    """Return a copy of the journal whose first segments were let go."""
    copy = shutil.copytree(past.journal, tmp_path / "shop")
    segments = sorted(copy.glob("*.segment"))
    going = [one for one, after in pairwise(segments) if int(after.stem) <= SNAPSHOT + 1]
    assert going
    for segment in going:
        segment.unlink()
    return copy


def run(past, journal, command, *options):
    return happy(command, "shop", "--config", past.config, "--data", journal, *options)


def test_all_of_history_is_replayed_where_it_is_kept(past):
    """A snapshot saves nothing of a replay that is to say what all of it comes to."""
    (said,) = lines(run(past, past.journal, "replay", "--json"))
    assert (said["seq"], said["begin_seq"], sum(said["types"].values())) == (LAST, 0, LAST)


def test_one_moment_needs_no_more_than_the_snapshot_before_it(past, tmp_path):
    """`diff` does not read what a snapshot holds: damage there does not concern it."""
    copy = shutil.copytree(past.journal, tmp_path / "shop")
    flip(min(copy.glob("*.segment")), 5000)
    assert run(past, copy, "replay").exit_code == 2
    result = run(past, copy, "diff", SNAPSHOT + 1, LAST)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == run(past, past.journal, "diff", SNAPSHOT + 1, LAST).stdout
    assert 'items["b7"] size: 8 -> 20' in result.stdout
    assert run(past, copy, "diff", SNAPSHOT - 1, LAST).exit_code == 2


def test_what_was_let_go_is_taken_from_the_oldest_snapshot(past, kept):
    """The replay comes to the same, and says what it begins with; what was before is not there."""
    (whole,) = lines(run(past, past.journal, "replay", "--json"))
    (said,) = lines(run(past, kept, "replay", "--json"))
    assert (said["begin_seq"], said["digest"]) == (SNAPSHOT, whole["digest"])
    text = run(past, kept, "replay").stdout
    assert f"replayed {LAST - SNAPSHOT} events behind the snapshot of seq {SNAPSHOT}, to" in text
    result = run(past, kept, "replay", "--until", SNAPSHOT - 1)
    assert result.exit_code == 3
    assert "no snapshot of an early enough moment is there" in result.stderr
    assert run(past, kept, "diff", SNAPSHOT - 1, LAST).exit_code == 3
    shutil.rmtree(kept / "snapshots")
    assert run(past, kept, "replay").exit_code == 3


def test_the_story_of_a_row_says_where_it_begins(past, kept):
    """With the row as it was then, or that it was not there."""
    text = run(past, kept, "why", "items", "b7").stdout
    assert text.startswith(
        f'up to seq {SNAPSHOT} only what it came to is kept: items["b7"] was '
        '{"size":8,"source":"web"}\n'
    )
    first, second = lines(run(past, kept, "why", "items", "b7", "--json"))
    assert (first["seq"], first["did"]["row"]["size"]) == (SNAPSHOT, 8)
    assert second["did"]["fields"] == {"size": {"old": 8, "new": 20}}
    result = run(past, kept, "why", "items", "pot")
    assert result.exit_code == 1


def test_the_gate_begins_both_sides_with_one_snapshot(past, kept, monkeypatch):
    """The same code passes, other code does not; code of another state cannot begin: status 7."""
    sides = Sides()
    monkeypatch.setattr("happy.cli.gate.spawn", sides)
    try:
        result = run(past, kept, "replay", "--with", past.other())
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"shop: the same over {LAST - SNAPSHOT} events\n"
        result = run(past, kept, "replay", "--with", past.other("state.puts += 1", "pass"))
        assert result.exit_code == 5
        other = past.other("size: int\n    source", "size: str\n    source")
        result = run(past, kept, "replay", "--with", other)
        assert result.exit_code == 7
        assert result.stderr.startswith(f"with {other}: ")
    finally:
        sides.close()


def test_a_damaged_snapshot_is_no_beginning(past, kept):
    """Where segments were let go, nothing can be replayed without it: status 3, and why."""
    (snapshot,) = (kept / "snapshots").glob("*")
    flip(snapshot, 600)
    result = run(past, kept, "replay")
    assert result.exit_code == 3
    assert "cannot be made again: snapshots/" in result.stderr


def test_what_is_read_must_continue_the_snapshot():
    """By its chain, at its seq; a journal without that place has another history."""
    start = Start(5, b"chain", 1)
    joint = Joint(start)
    joint.look("seq 4", 5, b"other")
    joint.look("seq 5", 6, b"before a mark")
    joint.look("seq 6", 6, b"chain")
    joint.look("seq 6", 7, b"more")
    joint = Joint(start)
    with pytest.raises(Corrupt, match="the snapshot that ends with seq 5 is not of this journal"):
        joint.look("seq 6", 7, b"more")
    Joint(None).look("seq 6", 7, b"more")
