"""`happy snapshot`: one is made by hand, or a sentence says why not."""

import pytest

from cli_kit import contents, happy, lines
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.journal.names import SNAPSHOTS, segment_name, snapshot_name
from snapshot_kit import Branch

CONFIG = """\
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0"
"""


@pytest.fixture
def numbers(tmp_path):
    """The number service on a disk, open, with five events that are vouched for."""
    (tmp_path / "happy.toml").write_text(CONFIG)
    made = Branch(FileDisk(tmp_path / "data" / "numbers"), NumberService)
    made.open()
    for n in range(5):
        made.append(Next(n))
    made.mark()
    yield made
    made.disk.close()


def snapshot(numbers, *options, name="numbers"):
    config = numbers.disk.path.parent.parent / "happy.toml"
    return happy("snapshot", name, "--config", config, *options)


def test_one_is_made_beside_a_container(numbers):
    """The journal is in use; its last durable seq is covered, and nothing else is changed."""
    before = contents(numbers.disk.path)
    done = snapshot(numbers, "--json")
    assert done.exit_code == 0, done.output
    (said,) = lines(done)
    assert (said["name"], said["seq"], said["events"]) == (snapshot_name(5), 5, 5)
    assert said["good"][0]["seq"] == 5
    after = contents(numbers.disk.path)
    assert {name for name in after if name not in before} <= {
        f"{SNAPSHOTS}/LOCK",
        snapshot_name(5),
    }
    assert all(after[name] == data for name, data in before.items())


def test_what_is_said_in_words(numbers):
    """The file, the seq and the size; or that there was nothing to do."""
    assert "0005.snapshot: all up to seq 5, " in snapshot(numbers).stdout
    again = snapshot(numbers)
    assert again.exit_code == 0
    assert "nothing has happened since seq 5" in again.stdout


def test_a_damaged_one_is_told_and_replaced(numbers):
    """Damage of the last one is on standard error; the new one counts."""
    snapshot(numbers)
    numbers.disk.truncate(snapshot_name(5), 100)
    done = snapshot(numbers)
    assert done.exit_code == 0
    assert f"not used: {snapshot_name(5)}: " in done.stderr
    assert numbers.recalled().machine.seq == 5


def test_why_none_was_made(numbers, tmp_path):
    """No journal, another process at work, damage: each has its status and its sentence."""
    missing = snapshot(numbers, "--data", tmp_path / "nowhere")
    assert (missing.exit_code, "no journal is here" in missing.stderr) == (3, True)
    folder = FileDisk(numbers.disk.path / SNAPSHOTS)
    folder.lock()
    busy = snapshot(numbers)
    assert (busy.exit_code, "in use by process" in busy.stderr) == (4, True)
    folder.close()
    numbers.append(*[Next()] * 30)
    numbers.append(*[Next()] * 30)
    numbers.disk.write(segment_name(1), 4100, b"!")
    damaged = snapshot(numbers)
    assert damaged.exit_code == 2, damaged.output
    assert snapshot(numbers, name="others").exit_code == 64
