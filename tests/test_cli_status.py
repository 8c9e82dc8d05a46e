"""`happy status`: the container's own words, or what the journals tell without one."""

import json
import socket
import threading
from importlib import import_module

import pytest
from click.testing import CliRunner

from happy.cli import main
from happy.codec import encode
from happy.event import event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk

SECOND = 1_000_000_000


@event
class Note:
    text: str


def status(*arguments):
    return CliRunner().invoke(main, ["status", *map(str, arguments)])


def write_journal(path, events):
    disk = FileDisk(path)
    disk.lock()
    tail = create_journal(disk, b"j" * 16, 1, SECOND, 8192)
    appender = Appender(disk, tail, segment_bytes_max=8192, new_salt=lambda: 2)
    for n in range(events):
        appender.append([encode(Note(str(n)))], SECOND)
    disk.close()


@pytest.fixture
def answering(tmp_path):
    """Return a function that answers the next question on the control socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "control.sock"))
    listening.listen()
    threads = []

    def answer(line):
        def serve():
            peer, _ = listening.accept()
            with peer:
                assert peer.makefile("rb").readline() == b"status\n"
                peer.sendall(line)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return tmp_path

    yield answer
    for thread in threads:
        thread.join(60)
    listening.close()


def test_a_running_container_tells_its_applications(container):
    """Status 0 and a line of JSON; by data directory and by configuration alike."""
    house = container().start()
    by_data = status(house.data)
    by_config = status("--config", house.config)
    assert by_data.exit_code == by_config.exit_code == 0
    said = json.loads(by_data.stdout)
    again = json.loads(by_config.stdout)
    memory = [answer["apps"][0].pop("memory") for answer in (said, again)]
    assert said == again
    assert all(seen["state_bytes"] < seen["process_bytes"] for seen in memory)
    assert said["running"] is True
    assert [(app["name"], app["mood"]) for app in said["apps"]] == [("numbers", "open")]


def test_an_application_that_is_not_open_is_status_1(answering):
    """A container that runs is not yet well."""
    app = dict.fromkeys(("seq", "waiting", "owed", "failed"), 0)
    app |= {"name": "a", "mood": "halted", "doors": []}
    result = status(answering(json.dumps({"apps": [app]}).encode() + b"\n"))
    assert result.exit_code == 1
    assert result.stderr.endswith(": a is halted\n")


def test_a_core_is_shown_and_is_missed(answering, monkeypatch):
    """With its process, its size and its restarts; without one, the application is not well."""
    module = import_module("happy.cli.status")
    monkeypatch.setattr(module, "is_terminal", lambda: True)
    app = dict.fromkeys(("seq", "waiting", "owed", "failed"), 0)
    core = {"pid": 77, "state": "serving", "restarts": 2, "lag": 3, "resident_bytes": 5_000_000}
    app |= {"name": "a", "mood": "open", "doors": [], "core": core}
    shown = status(answering(json.dumps({"apps": [app]}).encode() + b"\n"))
    assert shown.exit_code == 0
    words = " ".join(shown.stdout.split())
    assert all(word in words for word in ("77)", "serving", "behind", "restarts"))
    app["core"] = core | {"pid": None, "state": "ended", "resident_bytes": None}
    missed = status(answering(json.dumps({"apps": [app]}).encode() + b"\n"))
    assert missed.exit_code == 1
    assert missed.stderr.endswith(": a has no core at present\n")


def test_a_full_disk_is_shown_and_is_status_1(answering, monkeypatch):
    """People see it in a line of its own, in a terminal of any width."""
    monkeypatch.setattr(import_module("happy.cli.status"), "is_terminal", lambda: True)
    app = dict.fromkeys(("waiting", "owed", "failed"), 0)
    app |= {"name": "a", "mood": "open", "seq": 12, "disk_full": True}
    app["doors"] = [{"kind": "http", "where": "127.0.0.1:80"}]
    shown = status(answering(json.dumps({"apps": [app]}).encode() + b"\n"))
    assert shown.exit_code == 1
    assert shown.stderr.endswith(": a has a full disk\n")
    lines = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert lines[0] == ["a:", "open"]
    assert ["disk", "full: new events are refused until there is room"] in lines
    assert ["http", "127.0.0.1:80"] in lines
    assert max(map(len, shown.stdout.splitlines())) < 80


def test_no_container_is_said_and_the_journals_are_looked_at(tmp_path):
    """Status 1, with the last seq and the size of every journal there is."""
    write_journal(tmp_path / "notes", 5)
    (tmp_path / "other").mkdir()
    result = status(tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path}: no container runs here\n"
    said = json.loads(result.stdout)
    assert said["running"] is False
    (journal,) = said["journals"]
    assert (journal["name"], journal["seq"], journal["state"]) == ("notes", 5, "open")
    assert journal["until"] == "1970-01-01T00:00:01.000000Z"
    assert journal["used_bytes"] > 4096


def test_a_socket_that_nobody_listens_on_is_no_container(tmp_path):
    """What a crash left behind does not confuse."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    assert status(tmp_path).stderr == f"{tmp_path}: no container runs here\n"


@pytest.mark.parametrize("line", [b"", b"nonsense\n", b"[]\n", b"{}\n"])
def test_an_answer_that_is_none_is_a_sentence(answering, line):
    """Half an answer, or somebody else's, is no traceback."""
    result = status(answering(line))
    assert result.exit_code == 1
    assert result.stderr.endswith(": the container gave no answer that can be read\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data = 1", "names no data directory"),
        ("data = ", "invalid value"),
        (None, "cannot be read: no such file or directory"),
        ('data = "none"', "no such directory"),
    ],
)
def test_a_configuration_that_does_not_tell_is_a_sentence(tmp_path, text, why):
    """Only the data directory is read from it; without one, status 1."""
    config = tmp_path / "happy.toml"
    if text is not None:
        config.write_text(text)
    result = status("--config", config)
    assert result.exit_code == 1
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1
