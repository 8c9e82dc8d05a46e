"""The real container while its disk fails, while it stops, and while others want its journal."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import time

import pytest

from conftest import NUMBERS, need
from edge_kit import wait_until
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.journal.names import LOCK
from happy.journal.replay import Reader
from witness_kit import Load, Witness, ask_again, numbers_in, verified

PATIENCE_S = 60

SYNC_FAILS = "enable name=posix/io/sync/fdatasync,failinfo=5,onetime"
WRITE_FAILS = "enable name=posix/io/rw/pwrite,failinfo=5,onetime"
WRITES_ARE_SHORT = "enable_random name=posix/io/rw/pwrite/reduce,probability=0.5"
WRITES_ARE_WHOLE = "disable name=posix/io/rw/pwrite/reduce"


@pytest.fixture
def faulty(container, tmp_path):
    """Return a function that makes a container whose system calls can be made to fail."""
    need("fiu-ctrl")

    def make(*observer: str):
        return container(wrapper=(*observer, need("fiu-run"), "-x", "-f", str(tmp_path / "fiu")))

    return make


def order(house, fault: str, pid: int) -> None:
    """Let a fault happen from now on."""
    done = subprocess.run(
        ["fiu-ctrl", "-f", house.folder.parent / "fiu", "-c", fault, str(pid)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "rror" not in done.stdout + done.stderr, done


def frames(house) -> list:
    """Read what a process left, changing nothing."""
    return list(Reader(FileDisk(house.data / "numbers"), cut=False).frames())


def said_once(house) -> str:
    """Return the one sentence with which the log says that the application halted."""
    assert "Traceback" not in "\n".join(house.lines)
    (line,) = [line for line in house.lines if "numbers: halted: " in line]
    assert "#critical]" in line
    return line


def end_under_load(house, fault: str) -> Witness:
    """Let a fault happen under load; the process must end by itself."""
    witness = Witness()
    with Load(house.port("numbers", "http"), witness):
        wait_until(lambda: len(witness.numbers) > 100, "some are answered", wait_s_max=60)
        order(house, fault, house.process.pid)
        assert house.process.wait(60) == 1
    house.read_all()
    return witness


def holds_everything(house, witness: Witness) -> None:
    """Start again: what was answered is there, what was not is answered now, none twice."""
    house.start()
    known = random.Random(12).sample([*witness.numbers], k=100)
    ask_again(house.port("numbers", "http"), witness, [*witness.unanswered, *known])
    house.stop()
    assert sorted(witness.numbers.values()) == list(range(1, len(witness.numbers) + 1))
    assert numbers_in(house.data / "numbers") == witness.numbers
    assert verified(house.data / "numbers") == "whole"


# --- the disk fails -----------------------------------------------------------------------------


def test_after_a_sync_that_failed_nothing_is_answered(faulty):
    """Promises 1 and 7: one failed sync ends the process, though the next sync would succeed."""
    house = faulty().start()
    witness = end_under_load(house, SYNC_FAILS)
    assert said_once(house).endswith(": the disk did not keep it: input/output error")
    failed = frames(house)[-1]
    assert failed.kind is Kind.EVENTS
    assert witness.last_seq == failed.first_seq - 1
    house.wrapper = ()
    witness.unanswered |= set(witness.refused)
    holds_everything(house, witness)


def test_after_a_write_that_failed_nothing_is_answered(faulty):
    """Promises 1 and 7: one failed write ends the process; what it left is whole."""
    house = faulty().start()
    witness = end_under_load(house, WRITE_FAILS)
    assert said_once(house).endswith(": cannot be written: input/output error")
    last = frames(house)[-1]
    assert witness.last_seq == last.first_seq + last.count - 1
    house.wrapper = ()
    witness.unanswered |= set(witness.refused)
    holds_everything(house, witness)


def test_short_writes_are_continued(faulty, tmp_path):
    """A disk that takes half of a write is given the rest, and answers mean what they mean."""
    trace = tmp_path / "trace"
    house = faulty(
        need("strace"), "-f", "-qq", "-o", str(trace), "-e", "trace=pwrite64,fdatasync"
    ).start()
    (pid,) = children_of(house.process.pid)
    witness = Witness()
    with Load(house.port("numbers", "http"), witness):
        order(house, WRITES_ARE_SHORT, pid)
        wait_until(lambda: more_written(trace) > 30, "writes are continued", wait_s_max=60)
        # A frame that was killed halfway may be ambiguous; that is for the tests of recovery.
        order(house, WRITES_ARE_WHOLE, pid)
        enough = len(witness.numbers) + 100
        wait_until(lambda: len(witness.numbers) >= enough, "more is answered")
        house.kill()
    assert more_written(trace) > 30
    house.wrapper = ()
    holds_everything(house, witness)


def more_written(trace) -> int:
    """Return how many more writes than syncs there were."""
    calls = re.findall(r"(pwrite64|fdatasync)\(", trace.read_text())
    return calls.count("pwrite64") - calls.count("fdatasync")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123 - of the kernel
        return [int(child) for child in children.read().split()]


# --- stopping -----------------------------------------------------------------------------------


def test_sigterm_under_load_answers_or_refuses_everything(container, forkers):
    """What was admitted is answered, the journal is closed, and nothing is left to mend.

    It ends when all is done, and not when the time for it is over.
    """
    house = container(NUMBERS.replace("[log]", "limits = { drain_timeout_s = 600 }\n[log]"))
    house.spawn = forkers().fork
    witness = Witness()
    moments = random.Random(2005)
    for _ in range(10):
        house.start()
        with Load(house.port("numbers", "http"), witness):
            time.sleep(moments.uniform(0.02, 0.2))
            assert house.stop() == -signal.SIGTERM
        assert frames(house)[-1].kind is Kind.CLOSE_MARK
    assert verified(house.data / "numbers") == "whole"
    assert numbers_in(house.data / "numbers") == witness.numbers
    assert sorted(witness.numbers.values()) == list(range(1, len(witness.numbers) + 1))
    assert not [line for line in house.lines if "cut off" in line or "not everything" in line]


# --- directories that cannot be used ------------------------------------------------------------


def without_privileges() -> tuple[str, ...]:
    """Return what runs a program so that modes count for it, as they do not for root."""
    if os.geteuid() != 0:
        return ()
    return (need("setpriv"), "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize("data", ["data", "closed/data"])
def test_a_directory_without_permission_is_a_sentence(container, data):
    """Who may not write there, or may not make the directory, is told so and makes nothing."""
    house = container(NUMBERS.replace('"data"', f'"{data}"'), wrapper=without_privileges())
    closed = house.folder / data.partition("/")[0]
    closed.mkdir(mode=0o555)
    assert house.fail_to_start() == (
        f"numbers: {house.folder / data / 'numbers'}: cannot be used: permission denied"
    )
    assert list(closed.iterdir()) == []


def test_a_journal_without_permission_is_a_sentence(container):
    """A journal that may not be written is refused before anything is read or changed."""
    house = container(wrapper=without_privileges()).start()
    house.stop()
    journal = house.data / "numbers"
    before = {path: path.read_bytes() for path in journal.iterdir()}
    for path in before:
        path.chmod(0o400)
    journal.chmod(0o500)
    assert house.fail_to_start() == f"numbers: {journal}: cannot be written: permission denied"
    assert {path: path.read_bytes() for path in journal.iterdir()} == before
    journal.chmod(0o700)


@pytest.mark.parametrize("file", ["data", "data/numbers"])
def test_a_file_in_the_place_of_the_directory_is_a_sentence(container, file):
    """A file where the data or the journal should be is named and left alone."""
    house = container()
    path = house.folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    sentence = house.fail_to_start()
    assert str(path) in sentence
    assert sentence.endswith("not a directory")
    assert path.read_text() == "mine"


# --- two processes ------------------------------------------------------------------------------

RACES = 20


def first_to_end(houses: list):
    """Return the one whose process ends first."""
    patience = time.monotonic() + PATIENCE_S
    while time.monotonic() < patience:
        for house in houses:
            with contextlib.suppress(subprocess.TimeoutExpired):
                house.process.wait(0.01)
                return house
    raise AssertionError("both serve")


def test_of_two_that_start_at_once_one_serves(container, forkers):
    """In every race one gets the journal; the other is told who has it, with or without LOCK."""
    houses = [container(name=name) for name in ("one", "two")]
    shared = houses[0].data
    houses[1].config.write_text(NUMBERS.replace('"data"', f'"{shared}"'))
    houses[1].data = shared
    for house in houses:
        house.spawn = forkers().fork
    witness = Witness()
    won: list[str] = []
    for race in range(RACES):
        for house in houses:
            house.launch()
        loser = first_to_end(houses)
        (winner,) = [house for house in houses if house is not loser]
        refused = f"in use by process {winner.process.pid} on {socket.gethostname()}; stop "
        assert loser.process.wait(60) == 1
        assert refused in loser.read_all()[-1]
        winner.await_serving()
        if race % 2:
            (shared / "numbers" / LOCK).unlink()
            assert refused in loser.fail_to_start()
        ask_again(winner.port("numbers", "http"), witness, [witness.new_key()])
        winner.kill()
        won.append(winner.folder.name)
    print(f"{RACES} races, {won.count('one')} won by the first to be started")
    winner.start().stop()
    assert numbers_in(shared / "numbers") == witness.numbers
    assert sorted(witness.numbers.values()) == list(range(1, RACES + 1))
