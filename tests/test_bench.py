"""What `happy bench` and benchmarks/ share: statistics, the model, the load, the processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.app import definition_of
from happy.bench import children, parts
from happy.bench.appends import appends_for
from happy.bench.children import ChildFailed, cpu_s, last_line, result_of, running
from happy.bench.clients import turn_events
from happy.bench.figures import faults_in, percentile, spread
from happy.bench.load import Load, request_of, whole_answer
from happy.bench.machine import complaint_about, cores, cores_for, file_system_of, machine_of
from happy.bench.model import (
    CONTAINER,
    DISK,
    FRONTS,
    INLINE,
    PROCESSORS,
    Line,
    Work,
    best_fronts,
    limit_of,
    limit_of_fronts,
    predict,
    response_line,
    throughput,
    work_of,
    worst_error,
)
from happy.bench.reopening import reopened
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from snapshot_kit import Branch

WAIT_S_MAX = 60


# --- statistics -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 1_000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_are_not_above(values, percent):
    """Nearest rank: at least so many per cent are at or below it, and no lower value does."""
    found = percentile(values, percent)
    assert found in values
    assert sum(v <= found for v in values) * 100 >= percent * len(values)
    assert sum(v < found for v in values) * 100 < percent * len(values)


def test_a_spread_is_the_median_and_the_99th():
    """Of 1 to 100 us these are 50 and 99."""
    assert spread(range(1, 101)) == {"p50_us": 50, "p99_us": 99}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(1, 1_000))
def test_numbers_dealt_out_in_order_have_no_fault(connections, first):
    """However numbers in a row go to connections, nothing is wrong with them."""
    numbers = [[], [], []]
    for number, connection in enumerate(connections, first):
        numbers[connection].append(number)
    assert faults_in(numbers) == []


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ([[1, 2], [2, 3]], "a number was given out twice"),
        ([[1, 2], [4]], "there is a gap"),
        ([[2, 1], [3]], "on a connection, a number is less than the one before"),
    ],
)
def test_wrong_numbers_are_told(numbers, fault):
    """Doubled, lost and swapped numbers are each found."""
    assert faults_in(numbers) == [fault]


# --- the model ------------------------------------------------------------------------------------


@given(
    st.integers(1, 10_000),
    st.integers(1, 1_000),
    st.lists(st.integers(1, 5_000), min_size=2, unique=True, max_size=8),
)
def test_a_line_is_found_again(base, each, counts):
    """What was measured without noise gives the constants it was made with."""
    line = Line.through((count, base + each * count) for count in counts)
    assert line.base == pytest.approx(base, rel=1e-3, abs=1e-2 * each)
    assert line.each == pytest.approx(each, rel=1e-3)


def test_a_line_does_not_begin_below_zero():
    """Points that lean the other way get the best line through zero: no time is negative."""
    line = Line.through([(1, 1.0), (10, 20.0)])
    assert line.base == 0
    assert 1.0 < line.each < 2.0


def test_a_line_needs_two_counts():
    """One count tells nothing of growth."""
    with pytest.raises(ValueError, match="two counts"):
        Line.through([(5, 1.0), (5, 2.0)])


def test_throughput_grows_from_one_sync_each_to_the_work_alone():
    """One client gets an event per response, many get what the work allows."""
    line = Line(base=200.0, each=20.0)
    assert throughput(line, 1) == pytest.approx(1e6 / 220)
    assert throughput(line, 100_000) == pytest.approx(1e6 / 20, rel=0.01)
    measured = [(clients, throughput(line, clients)) for clients in (1, 8, 64, 512)]
    assert response_line(measured).each == pytest.approx(20.0)


def test_the_worst_error_is_relative():
    """A prediction of 90 for 100 is 10 % off, as is one of 11 for 10."""
    assert worst_error([(90, 100), (11, 10), (5, 5)]) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("fronts", "cores_there", "clients", "bottleneck", "demand_us"),
    [
        (0, 4, 1_000, INLINE, 30),
        (1, 4, 1_000, FRONTS, 25),
        (4, 8, 1_000, FRONTS, 25 / 4),
        (2, 2, 1_000, PROCESSORS, 15),
        (16, 32, 1_000, CONTAINER, 5),
    ],
)
def test_the_bottleneck_is_the_largest_demand(fronts, cores_there, clients, bottleneck, demand_us):
    """Fronts share their work, the container does not, and all share the processors."""
    work = Work(front_us=25.0, container_us=5.0, wait_us=150.0)
    found = predict(work, fronts=fronts, cores=cores_there, clients=clients)
    assert found.bottleneck == bottleneck
    assert found.per_s == pytest.approx(clients / (150 + demand_us * clients) * 1e6)


def test_few_clients_wait_for_the_disk():
    """While the sync takes longer than all the work there is, the disk is named."""
    work = Work(front_us=25.0, container_us=5.0, wait_us=8_000.0)
    assert predict(work, fronts=0, cores=2, clients=64).bottleneck == DISK
    assert predict(work, fronts=0, cores=2, clients=1_024).bottleneck == INLINE


def test_the_fewest_fronts_that_help_are_advised():
    """On one core no front helps; on many, as many as keep the container busy."""
    work = Work(front_us=24.0, container_us=5.0, wait_us=100.0)
    assert best_fronts(work, cores=1, clients=256).fronts == 0
    many = best_fronts(work, cores=16, clients=256)
    assert many.fronts == 5
    assert many.bottleneck == CONTAINER


def test_the_work_at_each_station_is_told_apart():
    """One front and its container show the work of each, one process that without a hand-over."""
    rows = [
        {"what": "sync", "p50_us": 120.0},
        {"what": "order", "clients": 64, "cpu_us": 6.0},
        {"what": "POST /next", "clients": 1, "per_s": 4_000, "cpu_us": 200.0},
        {"what": "POST /next", "clients": 64, "per_s": 28_000, "cpu_us": 31.0},
        {"what": "POST /next", "clients": 256, "per_s": 32_000, "cpu_us": 30.0},
        {"what": "POST /next", "clients": 256, "per_s": 9_000, "cpu_us": 34.0,
         "container_us": 9.0, "fronts": 1},
    ]  # fmt: skip
    work = work_of(rows)
    assert (work.front_us, work.container_us, work.inline_us) == (25.0, 9.0, 30.0)
    assert 120.0 <= work.wait_us <= 250.0


@pytest.mark.parametrize(
    ("server", "load", "shared", "limit"),
    [
        (0.99, 0.5, False, "the server"),
        (0.6, 0.98, False, "the load generator"),
        (0.3, 0.2, False, "the disk, or other work"),
        (0.5, 0.5, True, "one core for both"),
    ],
)
def test_what_was_the_limit_is_said(server, load, shared, limit):
    """A figure that is the load generator's is never taken for the server's."""
    assert limit_of(server, load, shared=shared) == limit


@pytest.mark.parametrize(
    ("front", "container", "load", "limit"),
    [
        (1.0, 0.4, 0.5, PROCESSORS),
        (0.95, 0.4, 0.2, FRONTS),
        (0.4, 0.95, 0.2, CONTAINER),
        (0.3, 0.2, 0.2, "the disk, or other work"),
    ],
)
def test_the_limit_of_fronts_is_said(front, container, load, limit):
    """Both cores taken, or one process at its end."""
    assert limit_of_fronts(front, container, load, cores=2) == limit


# --- the machine ----------------------------------------------------------------------------------


def test_the_machine_is_told(tmp_path):
    """Figures come with the cores, the kernel and the file system they were taken on."""
    found = machine_of(tmp_path)
    assert found["cores"] == len(cores()) >= 1
    assert found["file_system"] == file_system_of(tmp_path)
    json.dumps(found)


@pytest.mark.parametrize(
    ("kind", "complains"), [("ext4", False), ("xfs", False), ("tmpfs", True), ("nfs4", True)]
)
def test_file_systems_without_a_disk_are_complained_about(kind, complains):
    """A sync that reaches no disk of this machine measures nothing."""
    assert (complaint_about(kind) is not None) == complains


def test_server_and_load_are_kept_apart():
    """The first core serves and the last asks; with one core both are there."""
    assert cores_for([2, 3, 7]) == ([2], [7])
    assert cores_for([5]) == ([5], [5])


# --- processes ------------------------------------------------------------------------------------


def test_a_child_runs_on_its_cores_and_is_gone_afterwards(tmp_path):
    """It is pinned before it begins, and ended with all it started when the context is left."""
    program = "import os, time; print(os.sched_getaffinity(0), flush=True); time.sleep(600)"
    with running([sys.executable, "-c", program], cores()[:1], tmp_path) as process:
        assert process.stdout.readline().strip() == str({cores()[0]})
        assert cpu_s(process.pid) >= 0
    assert process.returncode == -signal.SIGTERM


def test_a_child_goes_with_its_parent(tmp_path):
    """Who measured is killed, and the kernel ends what it had started."""
    parent = f"""
import sys, time
from pathlib import Path
from happy.bench.children import running
argv = [sys.executable, "-c", "import time; time.sleep(600)"]
with running(argv, [{cores()[0]}], Path(".")) as child:
    print(child.pid, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        child = int(process.stdout.readline())
        process.kill()
        wait_until(lambda: not cmdline(child))
        assert process.wait() == -signal.SIGKILL


def cmdline(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_until(condition):
    end = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_result_of_a_child_is_its_last_line(tmp_path, monkeypatch):
    """A module prints one line of JSON; what it says before that is not in the way."""
    (tmp_path / "measuring.py").write_text("print('a warning')\nprint('{\"per_s\": 3}')\n")
    monkeypatch.syspath_prepend(tmp_path)
    ticks = []
    found = result_of(
        ["measuring"], cores(), tmp_path, within_s=WAIT_S_MAX, tick=lambda: ticks.append(1)
    )
    assert found == {"per_s": 3}


@pytest.mark.parametrize(
    ("program", "within_s", "sentence"),
    [
        ("raise ConnectionError('the server closed a connection')", WAIT_S_MAX,
         "measuring ended with status 1: ConnectionError: the server closed a connection"),
        ("import sys; sys.exit(3)", WAIT_S_MAX, "measuring ended with status 3: it said nothing"),
        ("import time; time.sleep(600)", 0, "measuring did not end within 0 s"),
    ],
)  # fmt: skip
def test_a_child_that_fails_is_a_sentence(program, within_s, sentence, tmp_path, monkeypatch):
    """Not its traceback: the last line of it."""
    (tmp_path / "measuring.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChildFailed) as raised:
        result_of(["measuring"], cores(), tmp_path, within_s=within_s, tick=lambda: None)
    assert str(raised.value) == sentence


def test_what_a_process_said_is_cut_to_a_sentence():
    """The last line, and not more of it than one can read."""
    assert last_line("one\ntwo\n") == "two"
    assert len(last_line("x" * 10_000)) <= 300


def test_time_of_the_processor_is_counted_with_children():
    """What a process has used, and those below it: of ourselves, more than nothing."""
    sum(range(2_000_000))
    assert cpu_s(os.getpid()) > 0
    assert os.getpid() in children.cpu_s_by_process(os.getpid())


# --- the load -------------------------------------------------------------------------------------


def test_an_answer_is_whole_when_its_body_is():
    """At every cut of an answer before its end it is not; then it is status and body."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n17\n"
    assert [whole_answer(answer[:n]) for n in range(len(answer))] == [None] * len(answer)
    assert whole_answer(answer) == (200, b"17\n")


def test_a_request_is_http():
    """What is sent has a host, and a length where a method has a body."""
    assert request_of("GET", "/last") == b"GET /last HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert b"\r\nContent-Length: 0\r\n" in request_of("POST", "/next")


class Answering:
    """A server of two connections that answers each request with what it is told."""

    def __init__(self, answer):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._answer = answer
        self._count = 0
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._serve) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def _serve(self):
        connection, _ = self._listening.accept()
        with connection:
            while connection.recv(65_536):
                with self._lock:
                    self._count += 1
                    status, number = self._answer(self._count)
                    body = f"{number}\n"
                    connection.sendall(
                        f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
                    )

    def close(self):
        for thread in self.threads:
            thread.join(WAIT_S_MAX)
        self._listening.close()


def loaded(answer, rate=0.0, seconds=0.2):
    server = Answering(answer)
    load = Load(server.port, request_of("POST", "/next"), 2)
    load.run(rate, seconds)
    load.close()
    server.close()
    return load.found(numbers=True)


def test_a_load_counts_answers_and_finds_nothing_wrong_with_right_ones():
    """Numbers in a row, each once, over two connections."""
    found = loaded(lambda count: ("200 OK", count))
    assert found["answers"] > 0
    assert (found["refused"], found["unanswered"], found["faults"]) == (0, 0, [])
    assert 0 < found["p50_us"] <= found["p99_us"]


def test_a_load_begins_when_each_connection_has_been_answered():
    """What a server needs to accept connections is no latency; its numbers count all the same."""
    counts = []

    def answer(count):
        counts.append(count)
        return "200 OK", count

    found = loaded(answer)
    assert found["answers"] == len(counts) - 2
    assert found["faults"] == []


def test_a_load_finds_numbers_that_are_given_out_twice():
    """A server that repeats itself is caught."""
    assert "a number was given out twice" in loaded(lambda _count: ("200 OK", 7))["faults"]


def test_a_load_counts_what_was_refused():
    """An answer that is no 200 is no number."""
    found = loaded(lambda count: ("503 Busy", count))
    assert found["refused"] == found["answers"] > 0


def test_a_paced_load_does_not_ask_more_often():
    """At ten a second for a tenth of a second, one or two are asked."""
    assert 1 <= loaded(lambda count: ("200 OK", count), rate=10, seconds=0.1)["answers"] <= 2


# --- the rest -------------------------------------------------------------------------------------


def test_appends_take_turns_with_the_floor(tmp_path):
    """Each way and batch is measured at least once, however short the time."""
    taken = appends_for(tmp_path, (1, 4), 0.0, lambda: None)
    assert set(taken) == {(way, batch) for way in ("floor", "ours") for batch in (1, 4)}
    assert all(times and min(times) > 0 for times in taken.values())


@pytest.mark.parametrize("count", [1, 64, 1_024, 10_000])
def test_every_client_has_an_event_in_a_turn(count):
    """A turn is long enough for all clients, and for a median of a lone one."""
    assert turn_events(count) >= max(count, 25)


def test_a_journal_is_reopened_and_left_as_it_was(tmp_path):
    """Opening it tells its events; it can be opened again."""
    made = Branch(FileDisk(tmp_path / "numbers"), NumberService)
    made.open()
    for n in range(1, 6):
        made.append(Next(n))
    made.disk.close()
    for _ in range(2):
        found = reopened(tmp_path / "numbers", definition_of(NumberService), 0.0)
        assert (found["seq"], found["runs"]) == (5, 1)
        assert found["seconds"] > 0


@given(st.floats(1.0, 600.0))
def test_the_parts_share_the_time(seconds):
    """No part gets nothing, and all together leave time for processes to begin."""
    shares = parts.seconds_of(parts.PARTS, seconds)
    assert len(shares) == len(parts.PARTS)
    assert min(shares) > 0
    assert seconds / 4 <= sum(shares) <= seconds


@pytest.mark.parametrize("apart", [True, False])
def test_the_port_of_a_container_is_read_from_what_it_says(apart, tmp_path):
    """However its lines come, one by one or all at once, and though nothing follows them."""
    said = ["starting", "measured: http on 127.0.0.1:4711", "happy is serving measured", ""]
    pieces = [f"{line}\n" for line in said] if apart else ["\n".join(said)]
    program = f"""
import sys, time
for piece in {pieces!r}:
    sys.stdout.write(piece); sys.stdout.flush()
time.sleep(600)
"""
    with running([sys.executable, "-c", program], cores(), tmp_path) as process:
        assert parts.port_of(process) == 4711


def test_a_container_that_does_not_start_is_a_sentence(tmp_path):
    """Its last words are told."""
    with (
        running([sys.executable, "-c", "print('no room')"], cores(), tmp_path) as process,
        pytest.raises(ChildFailed, match="the container did not start: no room"),
    ):
        parts.port_of(process)
