"""`happy restore`: a backup becomes the journal of an application, and replays as it should."""

import random
import sys

import pytest

from cli_kit import (
    Note,
    contents,
    flip,
    happy,
    lines,
    records,
    segments,
    tear,
    with_blob,
    write,
)
from happy.app import definition_of
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.journal.disk import FileDisk
from happy.journal.replay import Reader
from happy.opening import replay_frame

APPLICATION = """
import itertools
from klein import Klein
from happy import App, Table, handles, state, table
from cli_kit import Note

calls = itertools.count()

@state
class Notes:
    count: int = 0
    texts: Table[int, Note] = table()

class Notebook(App):
    state = Notes
    http = Klein()

    @handles(Note)
    def note(state, event, context):
        if event.text == "bad":
            raise ValueError(event.text)
        state.count += {addend}
        state.texts[context.seq] = event
"""
CONFIG = """
data = "data"
[apps.notes]
app = "{module}:Notebook"
http = "tcp:0:interface=127.0.0.1"
"""


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("happy.cli.segments._PAUSE_S", 0)


def restore(backup, to, *options):
    return happy("restore", backup, "--to", to, *options)


def verify(path):
    return happy("journal", "verify", path)


@pytest.fixture
def kept(tmp_path):
    """Return a backup."""
    segments(tmp_path / "live", 4)
    write(tmp_path / "live", [[Note("bad")], [Note("good")]], at=10**12)
    happy("backup", tmp_path / "live", "--to", tmp_path / "kept")
    return tmp_path / "kept"


@pytest.fixture
def data(tmp_path):
    """Return the data directory; it is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def configured(tmp_path):
    """Return a function that writes an application, and the configuration that has it."""
    made = []

    def make(addend="1"):
        module = f"notebook_{tmp_path.name}_{len(made)}"
        made.append(module)
        (tmp_path / f"{module}.py").write_text(APPLICATION.format(addend=addend))
        config = tmp_path / f"{module}.toml"
        config.write_text(CONFIG.format(module=module))
        return config

    yield make
    for module in made:
        sys.modules.pop(module, None)


def test_restore_makes_a_journal(kept, data):
    """All of it, whole, with its blobs; it can be written on, and the backup stays as it is."""
    with_blob(kept, at=10**13)
    before = contents(kept)
    result = restore(kept, data / "notes")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{data / 'notes'}: whole: 11 events, 5 segments, 1 blob\n"
    assert verify(data / "notes").exit_code == 0
    assert records(data / "notes") == records(kept)
    assert contents(kept) == before
    write(data / "notes", [[Note("again")]], at=10**14)
    assert verify(data / "notes").exit_code == 0
    assert sorted(path.name for path in data.iterdir()) == ["notes"]


def test_restore_writes_over_nothing(kept, data):
    """A journal, or anything else, that is there stays: status 1."""
    segments(data / "notes", 1)
    before = contents(data)
    result = restore(kept, data / "notes")
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert contents(data) == before
    (data / "file").write_text("mine")
    assert restore(kept, data / "file").exit_code == 1
    (data / "empty").mkdir()
    assert restore(kept, data / "empty").exit_code == 0


def test_a_damaged_backup_is_not_restored(kept, data):
    """Status 2, with the place in the backup."""
    flip(sorted(kept.glob("*.segment"))[2], 5000)
    result = restore(kept, data / "notes")
    assert result.exit_code == 2
    assert "00000000000000000005.segment, offset 4096" in result.stderr
    assert not (data / "notes").exists()


def test_what_is_no_backup_is_status_3(tmp_path, data):
    """Nothing is made."""
    assert restore(tmp_path, data / "notes").exit_code == 3
    assert restore(tmp_path / "none", data / "notes").exit_code == 3
    assert not data.exists()


def test_a_plain_copy_is_a_backup(kept, data):
    """A torn tail is left away, and so are the zeros of a segment that was preallocated."""
    everything = records(kept)
    write(kept, [[Note("x" * 900)]], at=10**13)
    tear(max(kept.glob("*.segment")))
    assert restore(kept, data / "notes").exit_code == 0
    assert verify(data / "notes").exit_code == 0
    assert records(data / "notes") == everything


def test_an_interrupted_restore_is_done_again(kept, data, monkeypatch):
    """Broken off at any file, nothing has the name of the journal; then it works."""
    rename = FileDisk.rename
    for count in range(5):
        left = count

        def broken(*arguments):
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(5, "input/output error")
            rename(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(FileDisk, "rename", broken)
            assert restore(kept, data / "notes").exit_code == 4
        assert list(data.iterdir()) == []
    assert restore(kept, data / "notes").exit_code == 0


# --- replaying --------------------------------------------------------------------------------


def state_digest(path, app):
    """Replay a journal and digest its state, by the shortest way."""
    definition = definition_of(app)
    decoder = EventDecoder(definition.events)
    reader = Reader(FileDisk(path), cut=False)
    machine = None
    for frame in reader.frames():
        machine = machine or Machine(
            definition, reader.segments[0].header.journal_id, random.Random
        )
        replay_frame(machine, decoder, frame)
    return machine.digest()


def test_verify_replays_what_was_restored(kept, data, configured):
    """The digest is that of the machine, and the events whose handlers raised are counted."""
    config = configured()
    result = restore(kept, data / "notes", "--verify", "--config", config, "--json")
    assert result.exit_code == 0, result.stderr
    (said,) = lines(result)
    application = sys.modules[config.stem].Notebook
    assert said["digest"] == state_digest(kept, application)
    assert (said["seq"], said["failed"], said["events"]) == (10, 1, 10)
    drill = restore(kept, data / "drill", "--verify", "--config", config, "--app", "notes")
    assert f"state digest {said['digest']}" in drill.stdout


def test_handlers_that_do_otherwise_each_time_are_noticed(kept, data, configured):
    """Status 5: restored, and the two replays differ."""
    config = configured(addend="next(calls)")
    result = restore(kept, data / "notes", "--verify", "--config", config)
    assert result.exit_code == 5
    assert "another state" in result.stderr
    assert verify(data / "notes").exit_code == 0


def test_an_application_of_another_kind_is_noticed(kept, data, tmp_path):
    """Status 5 and the event's name: this code does not know the journal."""
    config = tmp_path / "numbers.toml"
    config.write_text(CONFIG.replace("{module}:Notebook", "happy.examples.numbers:NumberService"))
    result = restore(kept, data / "notes", "--verify", "--config", config)
    assert result.exit_code == 5
    assert "'Note'" in result.stderr


def test_verify_needs_to_know_the_application(kept, data, configured):
    """Said before anything is written."""
    config = configured()
    for options in (["--verify"], ["--verify", "--config", config, "--app", "nobody"]):
        assert restore(kept, data / "notes", *options).exit_code == 64
    (data.parent / "bad.toml").write_text("data = 1")
    result = restore(kept, data / "notes", "--verify", "--config", data.parent / "bad.toml")
    assert result.exit_code == 1
    assert "bad.toml:1: data: " in result.stderr
    assert not data.exists()
