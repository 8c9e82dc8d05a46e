"""The process that makes snapshots: beside a container, behind all others, and never in its way."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from happy.app import definition_of
from happy.errors import Locked, NoSnapshot, NotAJournal
from happy.examples.numbers import NumberService
from happy.journal.disk import FileDisk
from happy.journal.names import SNAPSHOTS, segment_seq, snapshot_name
from happy.journal.snapshots import snapshot_names
from happy.limits import Limits
from happy.side_process import Report, SideProcess, _report, make_snapshot, order_of
from snapshot_kit import Banking, Branch, Paid, told

DEADLINE_S = 120
SEGMENT = Limits(segment_bytes_max=8192)


def await_(condition, what):
    """Wait until something is so; return it."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


@pytest.fixture
def bank(tmp_path):
    """A bank on a real disk, open, with thirty events."""
    made = Branch(FileDisk(tmp_path / "bank"), limits=SEGMENT)
    made.open()
    for n in range(1, 31):
        made.append(Paid(f"a{n % 7}", n), keyed=n % 2 == 0)
    made.mark()
    yield made
    made.disk.close()


def order(bank, **changed):
    path = Path(__file__).parent
    made = order_of(bank.disk.path, Banking, bank.definition, path, 2, 1)
    return msgspec.structs.replace(made, **changed)


def test_it_makes_a_snapshot_beside_a_writer(bank):
    """A process of its own reads the journal that is locked by us, and says what it made."""
    made = SideProcess().run(order(bank))
    assert (made.name, made.seq, made.events) == (snapshot_name(30), 30, 30)
    assert [good.seq for good in made.good] == [30]
    assert told(bank.recalled().machine) == told(bank.replayed())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"schemas": ()}, "has another state than the one that runs"),
        ({"app": "snapshot_kit:Gone"}, "has no class Gone"),
        ({"journal": "/nowhere/at/all"}, "no journal is here"),
    ],
    ids=["schema", "class", "journal"],
)
def test_what_keeps_it_from_making_one_is_a_sentence(bank, changed, why):
    """Another state on the disk, no such class, no journal: each is said, and nothing is there."""
    report = _report(order(bank, **changed))
    assert report.made is None
    assert why in report.error
    assert bank.disk.names(SNAPSHOTS) == []


def test_there_is_one_at_a_time(bank):
    """Whoever finds another at work says who it is; the journal's own lock is another."""
    folder = FileDisk(bank.disk.path / SNAPSHOTS)
    folder.lock()
    with pytest.raises(Locked, match="in use by process"):
        make_snapshot(bank.disk.path, bank.definition, 2)
    folder.close()
    assert make_snapshot(bank.disk.path, bank.definition, 2).seq == 30


def test_no_folder_is_made_where_no_journal_is(tmp_path):
    """A wrong name makes no directories."""
    with pytest.raises(NotAJournal):
        make_snapshot(tmp_path / "other", definition_of(NumberService), 2)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os.kill(os.getpid(), 9)", "its process was ended by signal 9"),
        ("import sys; print('hm'); sys.exit('a sad end')", "ended with status 1: a sad end"),
        ("pass", "ended with status 0"),
        ("raise MemoryError", "ended with status 1: MemoryError"),
    ],
)
def test_an_end_without_a_word_is_told(bank, monkeypatch, program, why):
    """A process that was killed, or broke, is an error that says how it ended."""
    command = [sys.executable, "-c", program]
    monkeypatch.setattr("happy.side_process._command", lambda _order: command)
    with pytest.raises(NoSnapshot, match=why):
        SideProcess().run(order(bank))


def test_a_process_that_cannot_be_started_is_told(bank, monkeypatch):
    """Without an interpreter there is an error, and no traceback."""
    monkeypatch.setattr("happy.side_process._command", lambda _order: ["/nowhere/python"])
    with pytest.raises(NoSnapshot, match="cannot be started"):
        SideProcess().run(order(bank))


def test_it_can_be_ended(bank, monkeypatch):
    """Who waits for it hears of it at once, and none is started any more."""
    side = SideProcess()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr("happy.side_process._command", lambda _order: command)
    ended = []

    def run():
        with contextlib.suppress(NoSnapshot):
            side.run(order(bank))
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    await_(lambda: side._process, "the process")
    side.end()
    thread.join(DEADLINE_S)
    assert ended == [True]
    with pytest.raises(NoSnapshot, match="the container is stopping"):
        side.run(order(bank))


def test_a_report_is_one_line_of_json():
    """What is said is text that other programs can read, too."""
    said = msgspec.json.encode(Report(error="why"))
    assert json.loads(said) == {"error": "why"}
    assert msgspec.json.decode(said, type=Report) == Report(error="why")


# --- with a container ---------------------------------------------------------------------------

CONFIG = """\
data = "data"
[limits]
segment_bytes_max = 16_384
snapshot_behind_bytes_max = 20_000
snapshot_retry_s = 1
snapshot_niceness_min = 1
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
[apps.numbers.retention]
bytes_max = 20_000
archive = "archive"
[log]
access = "off"
"""


def post(port, times):
    """Take some numbers; return the last."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        for _ in range(times):
            connection.request("POST", "/next")
            last = int(connection.getresponse().read())
    return last


def snapshot_status(container):
    (app,) = container.status()["apps"]
    return app["snapshot"]


def kill_a_child(pid, enough):
    """Kill the first process that a process starts."""
    while not enough.is_set():
        listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, check=False)
        for child in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
                return
        time.sleep(0.005)


def test_a_container_makes_snapshots_and_lets_segments_go(container):
    """It serves on when the process is killed, tries again, archives, and starts from them."""
    made = container(CONFIG)
    made.start()
    port = made.port("numbers", "http")
    assert snapshot_status(made)["seq"] == 0
    enough = threading.Event()
    killer = threading.Thread(target=kill_a_child, args=(made.process.pid, enough))
    killer.start()
    try:
        error = await_(lambda: post(port, 50) and snapshot_status(made)["error"], "an error")
    finally:
        enough.set()
        killer.join(DEADLINE_S)
    assert error == "its process was ended by signal 9"

    journal, archive = made.data / "numbers", FileDisk(made.folder / "archive")

    def archived():
        post(port, 50)
        return [name for name in archive.names() if segment_seq(name) is not None]

    moved = await_(archived, "segments in the archive")
    assert len(snapshot_names(FileDisk(journal))) >= 2
    # Each is removed when its copy is durable.
    await_(lambda: not any((journal / name).exists() for name in moved), "their removal")
    status = snapshot_status(made)
    assert status["seq"] > 0
    assert status["error"] is None
    last = post(port, 1)
    made.kill()
    made.start()
    assert any("the state as of seq" in line for line in made.lines)
    assert post(made.port("numbers", "http"), 1) == last + 1
    made.stop()
