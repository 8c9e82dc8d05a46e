"""`happy quarantine`: what is passed over, and trying it again as a new event."""

from __future__ import annotations

import pytest

from cli_kit import SECOND, Note, contents, happy, lines, pen_of, records, write
from happy.codec import decode_record, encode
from happy.event import TimerFired
from happy.journal.frame import Kind
from happy.journal.quarantine import Quarantined


@pytest.fixture
def journal(tmp_path):
    """A journal of which the event with seq 2 is quarantined, and that went on."""
    path = tmp_path / "notes"
    write(path, [[Note("one")]], close=True)
    disk, pen = pen_of(path)
    pen.append([encode(Note("deadly"), "http POST /", "key"), encode(Note("three"))], 5 * SECOND)
    quarantine(disk, pen, 2)
    write(path, [[Note("four")]], close=True, at=7 * SECOND)
    return path


def quarantine(disk, pen, seq):
    pen.mark(Kind.QUARANTINE_MARK, 6 * SECOND, body=Quarantined(seq, 3).encode())
    disk.close()


ROW = {
    "seq": 2,
    "type": "Note",
    "source": "http POST /",
    "key": "key",
    "deaths": 3,
    "quarantined": "1970-01-01T00:00:06.000000Z",
    "released_as": None,
}


def test_ls_shows_what_is_quarantined(journal):
    """Each event with its type, where it came from, and since when it is passed over."""
    before = contents(journal)
    result = happy("quarantine", "ls", journal)
    assert (result.exit_code, lines(result)) == (0, [ROW])
    assert contents(journal) == before


def test_ls_shows_nothing_where_nothing_is(tmp_path):
    """A journal without a quarantine mark has no line; no journal is said so."""
    write(tmp_path / "notes", [[Note("one")]])
    result = happy("quarantine", "ls", tmp_path / "notes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert happy("quarantine", "ls", tmp_path / "none").exit_code == 3


def test_a_release_is_a_new_event(journal):
    """The same event stands at the end, without its key; what was before is as it was."""
    before = records(journal)
    result = happy("quarantine", "release", journal, 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert lines(result) == [{"journal": str(journal), "seq": 2, "released_as": 5}]
    *same, added = records(journal)
    assert same == before
    old, new = decode_record(before[1]), decode_record(added)
    assert (new.type, new.version, bytes(new.body)) == (old.type, old.version, bytes(old.body))
    assert (new.source, new.key) == ("release of 2", None)
    assert lines(happy("quarantine", "ls", journal)) == [{**ROW, "released_as": 5}]


def test_an_event_is_released_once(journal):
    """A second release would let it happen twice."""
    assert happy("quarantine", "release", journal, 2).exit_code == 0
    before = contents(journal)
    result = happy("quarantine", "release", journal, 2)
    assert result.exit_code == 1
    assert "seq 2 was released already, as seq 5" in result.stderr
    assert contents(journal)[before_name(before)] == before[before_name(before)]


def before_name(files):
    return max(name for name in files if name.endswith(".segment"))


def test_only_what_is_quarantined_can_be_released(journal):
    """Any other event has its outcome."""
    result = happy("quarantine", "release", journal, 3)
    assert (result.exit_code, "seq 3 is not quarantined" in result.stderr) == (1, True)


def test_a_running_container_is_not_disturbed(journal):
    """While somebody holds the journal nothing is released."""
    disk, _ = pen_of(journal)
    result = happy("quarantine", "release", journal, 2)
    assert (result.exit_code, "in use by process" in result.stderr) == (4, True)
    disk.close()
    assert happy("quarantine", "release", journal, 2).exit_code == 0


def test_nothing_is_written_behind_what_may_be_poison(journal):
    """While the last batches may not have been applied, a release would hide that they were not."""
    write(journal, [[Note("five")], [Note("six")]], at=8 * SECOND)
    result = happy("quarantine", "release", journal, 2)
    assert result.exit_code == 1
    assert "its last events may not have been applied yet; start the container" in result.stderr


def test_a_timer_fires_once(tmp_path):
    """What only says that a timer fired cannot happen again: the timer is gone."""
    path = tmp_path / "notes"
    disk, pen = pen_of(path)
    pen.append([encode(TimerFired(1, 0), "timer")], SECOND)
    quarantine(disk, pen, 1)
    result = happy("quarantine", "release", path, 1)
    assert (result.exit_code, "let the application set the timer" in result.stderr) == (1, True)
