"""Looking at a journal under load, and copying it: nothing that was answered is missing."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli_kit import happy
from conftest import NUMBERS
from happy.cli.bounds import Wanted
from happy.cli.entries import entries
from happy.journal.names import NEXT_SEGMENT
from witness_kit import Load, Witness, ask_again

HAPPY = Path(sys.executable).with_name("happy")
SEGMENT_BYTES = [8192, 65536]
COPIES = 4
ASKED_AGAIN = 50
TIMEOUT_S = 60


def run(*command):
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def answers_in(journal):
    """Return the number that each key was given."""
    keys = [entry.record.key for entry in entries(journal, Wanted()) if entry.record.key]
    return {key: number for number, key in enumerate(keys, 1)}


@pytest.fixture
def follow():
    """Return a function that follows a journal in a process, which is gone after the test."""
    started = []

    def start(journal):
        command = [HAPPY, "journal", "show", journal, "--follow"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass


@pytest.mark.parametrize("segment_bytes", SEGMENT_BYTES)
def test_copies_under_load_hold_what_was_answered(container, tmp_path, follow, segment_bytes):
    """Promise 1, for copies too: `happy backup` and a plain `cp -r`, beside 16 clients.

    A backup is whole. A plain copy is, too, or becomes so by a repair; it opens, and whoever
    was answered before the copy was begun gets the same answer from it. Who follows the journal
    meanwhile sees every event, once and in order.
    """
    limits = f"[limits]\nsegment_bytes_max = {segment_bytes}\n"
    house = container(NUMBERS + limits).start()
    journal = house.data / "numbers"
    backup = tmp_path / "backup"
    witness = Witness()
    backups, copies = [], []
    following = follow(journal)
    with Load(house.port("numbers", "http"), witness):
        while witness.last_seq < 100:
            assert run(HAPPY, "journal", "verify", journal).returncode == 0
        for number in range(COPIES):
            known = witness.known()
            # In a process of its own, so that the clients here have their time.
            done = run(HAPPY, "backup", journal, "--to", backup)
            assert done.returncode == 0, done.stderr
            backups.append((shutil.copytree(backup, tmp_path / f"backup-{number}"), known))
            known = witness.known()
            copied = run("cp", "-r", journal, tmp_path / f"copy-{number}")
            # A segment that was being prepared may have got its name meanwhile.
            assert all(NEXT_SEGMENT in line for line in copied.stderr.splitlines()), copied.stderr
            copies.append((tmp_path / f"copy-{number}", known))
    house.stop()
    events = len(list(entries(journal, Wanted())))
    with following:
        # It was held up by a full pipe meanwhile, and catches up over all those segments.
        assert [json.loads(following.stdout.readline())["seq"] for _ in range(events)] == list(
            range(1, events + 1)
        )
        following.send_signal(signal.SIGINT)
        assert following.wait(TIMEOUT_S) == 0
    for kept, known in backups:
        assert happy("journal", "verify", kept).exit_code == 0
        assert known.items() <= answers_in(kept).items()
    repaired = 0
    for copy, known in copies:
        good = copy
        if happy("journal", "verify", copy).exit_code == 2:
            good = copy.with_name(f"{copy.name}-repaired")
            done = happy("journal", "repair", copy, "--to", good, "--yes")
            assert done.exit_code == 0, done.stderr
            repaired += 1
        assert known.items() <= answers_in(good).items()
    print(f"{COPIES} copies, {repaired} had to be repaired; {len(witness.numbers)} answers")
    restored = container(NUMBERS, name="restored")
    done = happy("restore", good, "--to", restored.data / "numbers", "--verify",
                 "--config", restored.config)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    restored.start()
    ask_again(restored.port("numbers", "http"), witness, [*known][-ASKED_AGAIN:])
