# ruff: noqa: PLC0415, PLR0913 - only the container imports Twisted; runs have as many parts
"""What making a snapshot of a million rows costs those who are served meanwhile.

    python benchmarks/snapshot.py [--rows 1000000] [--seconds 120] [--rate 300]

A container serves an application with so many rows. Requests come at a fixed rate, each measured
from the moment it was due, while the container makes one snapshot after the other with pauses
between. Requests that came while one was being made are compared with the others; so is how late
the reactor was at a tick of 5 ms, and the container's own resident memory.

The machine has others to serve, too. So a process that does nothing else ticks beside the
container; and of the time that the reactor was late, that is told apart in which the container's
threads were at work. What it waited for a processor is not among that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
from klein import Klein

from happy.app import App, handles
from happy.codec import encode
from happy.event import event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.state import state, table
from happy.table import Table

CONNECTIONS = 8
TICK_S = 0.005
BATCH = 4096
CONFIG = """\
data = "data"
[limits]
snapshot_behind_bytes_max = {behind}
[apps.store]
app = "snapshot:Store"
http = "tcp:0:interface=127.0.0.1"
[log]
access = "off"
"""


@attrs.frozen
class Row:
    """A row of usual size."""

    owner: str
    size: int
    note: str


@event
class Put:
    """A row comes, or is replaced."""

    key: int
    size: int


@state
class Rows:
    """Many rows."""

    rows: Table[int, Row] = table(index=("owner",))


class Store(App):
    """Keeps rows."""

    state = Rows
    http = Klein()

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        late = os.environ.get("LATE")
        if late is not None:
            from twisted.internet import reactor

            _Ticks(reactor, Path(late))

    @handles(Put)
    def put(state: Any, event: Put, _context: Any) -> int:
        """Keep a row."""
        state.rows[event.key] = Row(f"owner {event.key % 1000}", event.size, "a note of some words")
        return event.key

    @http.route("/put/<int:key>", methods=["POST"])
    async def post(self, _request: Any, key: int) -> bytes:
        """Put a row."""
        return b"%d\n" % await self.submit(Put(key, key))


class _Ticks:
    """Notes in a file when the reactor came late, and how long its process was at work then."""

    def __init__(self, reactor: Any, file: Path) -> None:
        self._reactor = reactor
        self._file = file.open("w", buffering=1)
        self._worked_s = 0.0
        reactor.callWhenRunning(self._tick, None)

    def _tick(self, due: float | None) -> None:
        now, worked_s = time.monotonic(), time.process_time()
        if due is not None:
            late = max(0.0, now - due)
            self._file.write(f"{now} {late} {min(late, worked_s - self._worked_s)}\n")
        self._worked_s = worked_s
        self._reactor.callLater(TICK_S, self._tick, now + TICK_S)


def idle(file: Path) -> None:
    """Tick and do nothing else until the end, and note how late it was."""
    with file.open("w", buffering=1) as notes:
        while True:
            due = time.monotonic() + TICK_S
            time.sleep(TICK_S)
            now = time.monotonic()
            notes.write(f"{now} {now - due} 0\n")


def fill(path: Path, rows: int) -> None:
    """Write the journal of an application that has so many rows."""
    disk = FileDisk(path)
    disk.lock()
    size = 64 * 1024 * 1024
    begin_ns = time.time_ns()
    pen = Appender(
        disk,
        create_journal(disk, os.urandom(16), 1, begin_ns, size),
        segment_bytes_max=size,
        new_salt=lambda: random.getrandbits(32),
    )
    for first in range(0, rows, BATCH):
        batch = range(first, min(first + BATCH, rows))
        pen.append([encode(Put(key, key), "fill") for key in batch], begin_ns)
    pen.mark(Kind.CLOSE_MARK, begin_ns)
    disk.close()


@attrs.define
class Seen:
    """What was seen: when, and how long it took."""

    answers: list[tuple[float, float]] = attrs.Factory(list)
    making: list[tuple[float, bool, int]] = attrs.Factory(list)
    """When, whether a snapshot was being made, and the container's resident bytes."""


def status(data: Path) -> dict[str, Any]:
    """Ask the container."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(60)
        asking.connect(str(data / "control.sock"))
        asking.sendall(b"status\n")
        answer: dict[str, Any] = json.loads(asking.makefile().readline())["apps"][0]
        return answer


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def request_at(
    rate: float, number: int, port: int, rows: int, end: float, seen: Seen
) -> None:
    """Send the requests of one connection when they are due."""
    reading, writing = await asyncio.open_connection("127.0.0.1", port)
    pause = CONNECTIONS / rate
    due = time.monotonic() + pause * number / CONNECTIONS
    while due < end:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        key = random.randrange(rows)
        writing.write(b"POST /put/%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % key)
        head = await reading.readuntil(b"\r\n\r\n")
        await reading.readline()
        assert head.startswith(b"HTTP/1.1 200"), head
        seen.answers.append((due, time.monotonic() - due))
        due += pause
    writing.close()


async def watch(data: Path, pid: int, end: float, seen: Seen) -> None:
    """Look now and then whether a snapshot is being made."""
    while time.monotonic() < end:
        told = (await asyncio.to_thread(status, data))["snapshot"]
        seen.making.append((time.monotonic(), told["running"], resident_bytes(pid)))
        if told["error"]:
            raise SystemExit(told["error"])
        await asyncio.sleep(0.2)


async def run(rate: float, port: int, rows: int, seconds: float, data: Path, pid: int) -> Seen:
    """Serve requests and watch, for so long."""
    seen = Seen()
    end = time.monotonic() + seconds
    clients = (request_at(rate, n, port, rows, end, seen) for n in range(CONNECTIONS))
    await asyncio.gather(watch(data, pid, end, seen), *clients)
    return seen


def split(points: list[tuple[float, float]], seen: Seen) -> tuple[list[float], list[float]]:
    """Return what came while no snapshot was being made, and while one was, each sorted."""
    apart: tuple[list[float], list[float]] = ([], [])
    looks = iter(seen.making)
    now, following = next(looks), next(looks, None)
    for at, took in sorted(points):
        while following is not None and following[0] <= at:
            now, following = following, next(looks, None)
        if following is not None and now[1] == following[1] and now[0] <= at:
            apart[now[1]].append(took)
    return sorted(apart[0]), sorted(apart[1])


def told(name: str, values: list[float]) -> dict[str, float]:
    """Show and return how values are spread, in milliseconds."""
    spread = {
        part: 1000 * values[min(len(values) - 1, int(len(values) * share))]
        for part, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1))
    }
    shown = "  ".join(f"{part} {value:8.2f} ms" for part, value in spread.items())
    print(f"{name:36} {len(values):7}  {shown}")
    return spread


def serve(folder: Path, seconds: float) -> tuple[subprocess.Popen[bytes], int]:
    """Start the container; return it and its port when it serves and has its first snapshot."""
    here = Path(__file__).parent
    environ = {**os.environ, "PYTHONPATH": str(here), "LATE": str(folder / "late")}
    twistd = str(Path(sys.executable).with_name("twistd"))
    command = [twistd, "-n", "--pidfile=", "happy", "--config"]
    log = (folder / "log").open("wb")
    container = subprocess.Popen(
        [*command, str(folder / "happy.toml")], env=environ, stdout=log, stderr=log, cwd=folder
    )
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        try:
            found = status(folder / "data")
        except OSError:
            if container.poll() is not None:
                break
            continue
        if found["snapshot"]["seq"] and not found["snapshot"]["running"]:
            return container, int(found["doors"][0]["where"].rpartition(":")[2])
    raise SystemExit((folder / "log").read_text())


def main() -> None:
    """Measure, show, and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--idle", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.idle is not None:
        idle(given.idle)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        # So that one is made after about 15 seconds of load.
        behind = int(given.rate * 15 * 170)
        (folder / "happy.toml").write_text(CONFIG.format(behind=behind))
        fill(folder / "data" / "store", given.rows)
        container, port = serve(folder, 600)
        beside = subprocess.Popen([sys.executable, __file__, "--idle", str(folder / "idle")])
        try:
            data = folder / "data"
            seen = asyncio.run(
                run(given.rate, port, given.rows, given.seconds, data, container.pid)
            )
        finally:
            beside.kill()
            beside.wait()
            container.send_signal(signal.SIGTERM)
            container.wait()
        late, late_idle = (noted(folder / name) for name in ("late", "idle"))
    report(seen, late, late_idle)


def noted(file: Path) -> list[tuple[float, float, float]]:
    """Return what ticks noted: when, how late, and how much of that at work."""
    lines = (line.split() for line in file.read_text().splitlines())
    return [(float(at), float(late), float(work)) for at, late, work in filter(_whole, lines)]


def _whole(words: list[str]) -> bool:
    return len(words) == 3  # the last line of who was killed may not be


Late = list[tuple[float, float, float]]


def report(seen: Seen, late: Late, late_idle: Late) -> None:
    """Show what was seen; exit with 1 when a bound does not hold."""
    if not all(split(seen.answers, seen)):
        raise SystemExit("there was not both: a snapshot being made, and none; try more --seconds")
    ways = {
        "answers": seen.answers,
        "idle process late": [(at, by) for at, by, _ in late_idle],
        "reactor late": [(at, by) for at, by, _ in late],
        "reactor late, at work": [(at, work) for at, _, work in late],
    }
    spread = {
        (what, making): told(f"{what}, {'making one' if making else 'usually'}", values)
        for what, points in ways.items()
        for making, values in enumerate(split(points, seen))
    }
    usual, during = spread["answers", 0], spread["answers", 1]
    pause = spread["reactor late", 1]["most"]
    idle_pause = spread["idle process late", 1]["most"]
    before = max(resident for _, running, resident in seen.making if not running)
    most = max(resident for _, running, resident in seen.making if running)
    more = most / before - 1
    print(
        f"resident: {before / 2**20:.0f} MiB usually, {most / 2**20:.0f} MiB making ({more:+.1%})"
    )
    bounds = {
        "p99 at most twice as long": during["p99"] <= 2 * usual["p99"],
        "no pause above 20 ms": pause <= 20,
        "less than 5 % more memory": more < 0.05,
    }
    for bound, holds in bounds.items():
        print(f"{'holds' if holds else 'BROKEN'}: {bound}")
    if pause > 20 and idle_pause > 10:
        print(f"an idle process was woken {idle_pause:.0f} ms late: the machine has much to do")
    sys.exit(not all(bounds.values()))


if __name__ == "__main__":
    main()
