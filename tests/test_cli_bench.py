"""`happy bench`: figures of this machine, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_kit import happy
from happy.bench import parts
from happy.bench.children import ChildFailed
from happy.cli.bench import short_time_us, title_of

HAPPY = Path(sys.executable).with_name("happy")
WAIT_S_MAX = 60


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One run of the whole, as short as it gets."""
    folder = tmp_path_factory.mktemp("measured")
    done = subprocess.run(
        [HAPPY, "bench", folder, "--seconds", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return folder, done


def test_everything_is_measured_and_right(measured):
    """Disk, journal, order, HTTP and replay, each with figures above zero and no wrong answer."""
    _, done = measured
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {row["what"] for row in said["rows"]} == {
        "sync", "append", "order", "POST /next", "GET /last", "replay",
    }  # fmt: skip
    assert all(row["per_s"] > 0 and row["p50_us"] > 0 for row in said["rows"])
    assert all(row.get("wrong", 0) == 0 for row in said["rows"])
    assert all(row["limit"] for row in said["rows"] if row["what"] == "POST /next")
    assert said["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert [one["cores"] for one in said["predictions"]] == sorted(
        {2, 4, 8, 16, said["machine"]["cores"]}
    )
    assert all(one["per_s"] > 0 and one["bottleneck"] for one in said["predictions"])


def test_nothing_is_left_behind(measured):
    """The directory is as empty as before."""
    folder, _ = measured
    assert list(folder.iterdir()) == []


def test_one_that_is_ended_cleans_up(tmp_path):
    """SIGTERM while a server runs: the status says so, the files are gone, and the processes."""
    process = subprocess.Popen(
        [HAPPY, "bench", tmp_path, "--seconds", "300"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + WAIT_S_MAX
        while not list(tmp_path.glob("happy-bench-*/happy/*.segment")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S_MAX) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


ROWS = [
    {"what": "sync", "batch": 1, "per_s": 8_000, "p50_us": 120.0, "p99_us": 400.0},
    {"what": "append", "batch": 64, "per_s": 8_000, "p50_us": 120.0, "p99_us": 400.0},
    {"what": "order", "clients": 1, "per_s": 4_000, "p50_us": 1.0, "p99_us": 1.0, "cpu_us": 9.0},
    {"what": "order", "clients": 64, "per_s": 70_000, "p50_us": 1.0, "p99_us": 1.0, "cpu_us": 9.0},
    {"what": "POST /next", "clients": 1, "per_s": 3_000, "p50_us": 300.0, "p99_us": 1.0,
     "cpu_us": 200.0, "limit": "the disk", "wrong": 0},
    {"what": "POST /next", "clients": 64, "per_s": 30_000, "p50_us": 2_100.0, "p99_us": 1.0,
     "cpu_us": 30.0, "limit": "the server's core", "wrong": 0},
    {"what": "POST /next", "clients": 256, "per_s": 33_000, "p50_us": 2_100.0, "p99_us": 1.0,
     "cpu_us": 34.0, "container_us": 9.0, "fronts": 1, "limit": "the fronts", "wrong": 0},
    {"what": "replay", "events": 100_000, "per_s": 900_000, "p50_us": 111_000.0},
]  # fmt: skip


def parts_that(rows):
    return (parts.Part("all", 1, lambda _folder, _seconds, tick: tick() or rows),)


def test_people_get_a_table(tmp_path, monkeypatch):
    """Each row with its unit, then what is to be expected elsewhere."""
    monkeypatch.setattr(parts, "PARTS", parts_that(ROWS))
    done = happy("bench", tmp_path)
    assert done.exit_code == 0
    assert re.search(r"64 connections +30,000 +2\.1 ms +1\.0 us +30\.0 us +the server", done.stdout)
    assert "Predicted for 256 clients over HTTP:" in done.stdout


def test_a_wrong_answer_is_status_2(tmp_path, monkeypatch):
    """The figures are shown, and that there is a bug."""
    monkeypatch.setattr(parts, "PARTS", parts_that([*ROWS[:-1], {**ROWS[-1], "wrong": 3}]))
    done = happy("bench", tmp_path)
    assert done.exit_code == 2
    assert "3 answers were wrong" in done.stderr
    assert done.stdout


def test_a_part_that_fails_is_status_1_and_a_sentence(tmp_path, monkeypatch):
    """Nothing is shown as if it were all, and the directory is cleaned up."""

    def fails(_folder, _seconds, _tick):
        raise ChildFailed("the container did not start: no room")

    monkeypatch.setattr(parts, "PARTS", (parts.Part("all", 1, fails),))
    done = happy("bench", tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{tmp_path}: the container did not start: no room" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["missing"], [".", "--seconds", "0"], [".", "."]])
def test_what_cannot_be_measured_is_not_understood(arguments):
    """A directory that is not there, and no time: status 64."""
    assert happy("bench", *arguments).exit_code == 64


def test_memory_is_complained_about(tmp_path, monkeypatch):
    """On tmpfs the figures are shown, and what they are worth."""
    monkeypatch.setattr(parts, "PARTS", parts_that(ROWS))
    monkeypatch.setattr("happy.bench.machine.file_system_of", lambda _: "tmpfs")
    done = happy("bench", tmp_path)
    assert done.exit_code == 0
    assert "tmpfs is memory: a sync costs nothing there" in done.stderr


@pytest.mark.parametrize(
    ("row", "title"),
    [
        (ROWS[0], "sync: one write"),
        (ROWS[1], "journal: 64 events an append"),
        (ROWS[2], "order: 1 client"),
        (ROWS[4], "POST /next: 1 connection"),
        (ROWS[6], "POST /next: 256 connections, 1 front"),
        (ROWS[-1], "replay: 100,000 events"),
    ],
)
def test_each_row_says_what_it_is_about(row, title):
    """Events through the order, numbers over HTTP and replayed events are told apart."""
    assert title_of(row) == title


@pytest.mark.parametrize(("value", "text"), [(None, ""), (120.04, "120.0 us"), (2_100.0, "2.1 ms")])
def test_times_are_short(value, text):
    """Microseconds below a millisecond, then milliseconds."""
    assert short_time_us(value) == text
