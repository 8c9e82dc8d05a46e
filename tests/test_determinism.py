"""Promise 4 over a long history: whoever replays it, wherever, comes to the same digest.

The history is ten thousand events of a help desk (``make_golden_helpdesk.py``), digest marks and
all: a replay that differed on its way would stop at the first of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from make_golden_helpdesk import GOLDEN, golden_disk, kinds_of, replayed

HERE = Path(__file__).parent
EXPECTED = json.loads((GOLDEN / "helpdesk-v1.json").read_text())
SEEDS = range(10)


def other_pythons():
    """Yield the interpreters of other versions that this machine has, the newest first."""
    places = [*map(str, Path("~/.pyenv/versions").expanduser().glob("3.*/bin"))]
    places += os.environ["PATH"].split(os.pathsep)
    for minor in reversed(range(sys.version_info.minor + 1, 30)):
        found = shutil.which(f"python3.{minor}", path=os.pathsep.join(places))
        if found is not None:
            yield found


def equipped(python, place):
    """Return an interpreter of that version that can import happy; None when there is none."""
    made = subprocess.run(
        [python, "-m", "venv", place], capture_output=True, text=True, check=False, timeout=300
    )
    fresh = f"{place}/bin/python"
    if made.returncode:
        return None
    installed = subprocess.run(
        [fresh, "-m", "pip", "install", "-q", str(HERE.parent)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return None if installed.returncode else fresh


def replay_elsewhere(python, seed):
    """Replay the history in a process of its own, with another seed for its hashes."""
    done = subprocess.run(
        [python, HERE / "make_golden_helpdesk.py", "--replay"],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_history_has_all_that_an_application_does():
    """Requests, mail, timers, schedules and effects, mixed; some failed, some are owed yet."""
    kinds = kinds_of(golden_disk())
    assert kinds == EXPECTED["kinds"]
    assert sum(kinds.values()) == EXPECTED["seq"] >= 10_000
    by_origin = {}
    for kind, count in kinds.items():
        origin = kind.split()[0]
        by_origin[origin] = by_origin.get(origin, 0) + count
    assert min(by_origin[origin] for origin in ("http", "smtp", "timer", "effect")) > 500
    assert by_origin["schedule"] > 100
    assert EXPECTED["failed"] > 100


def test_the_history_comes_to_its_digest_for_ever():
    """Promise 9: what was journaled then is what it was, in every later version."""
    machine = replayed(golden_disk())
    assert (machine.seq, machine.failed, len(machine.outbox), machine.digest()) == (
        EXPECTED["seq"], EXPECTED["failed"], EXPECTED["owed"], EXPECTED["digest"],
    )  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_hashes_does_not_matter(seed):
    """Promise 4: whatever order sets and hashes have in a process, the digest is the same."""
    assert replay_elsewhere(sys.executable, seed) == EXPECTED["digest"]


def test_another_python_comes_to_the_same(tmp_path):
    """Promise 4: a replay by another version of Python, where there is one, is the same."""
    others = (equipped(python, tmp_path / Path(python).name) for python in other_pythons())
    other = next(filter(None, others), None)
    if other is None:
        pytest.skip("there is no other version of Python here that happy can be installed in")
    for seed in (0, 1):
        assert replay_elsewhere(other, seed) == EXPECTED["digest"]


def test_the_history_is_not_made_again():
    """The program that made it refuses to write over it."""
    done = subprocess.run(
        [sys.executable, HERE / "make_golden_helpdesk.py"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert "helpdesk-v1.tar.xz" in done.stderr
