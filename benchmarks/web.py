"""HTTP beside others: durable numbers, queries and hellos, on real servers and real sockets.

    python benchmarks/web.py [--clients 64,256] [--rounds 5] [--seconds 2] [--only NAMES]
                             [--data DIR] [--json FILE]

``docs/benchmarks.md`` says what is measured and how. Servers run on the first core that this
process may use, the load on the last; rounds take turns, in a new order each time. Whatever
cannot be started is named and left out. Everything is on the loopback interface, below one
directory, and gone at the end. Exits with 1 when an answer was wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from web_load import run_paced, run_wrk
from web_peers import (
    ROWS,
    SERVERS,
    Missing,
    Room,
    Row,
    cpu_s,
    make_python,
    need,
    port_of,
    tree_of,
    versions,
)
from web_proof import CALLS, proof_of
from web_report import markdown, ratios_of, summary_of

from happy.bench.machine import machine_of

SECONDS_MAX: Final = 30.0
ROUNDS_MAX: Final = 50
CLIENTS_MAX: Final = 1_000
WARM_UP_S: Final = 1.0
LONE_S: Final = 1.0
PROOF_S: Final = 1.0
FLOOR_SYNCS: Final = 300
FLOOR_BYTES: Final = 1 << 20
HALF: Final = "happy POST /next"


class Bench:
    """All servers, running, and what was found of them."""

    def __init__(self, room: Room, load_core: int, wanted: Sequence[Row]) -> None:
        self.room = room
        self.load_core = load_core
        self.wrong: list[str] = []
        self.closed: dict[str, int] = {}
        self.missing: dict[str, str] = {}
        self.runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.rows: list[Row] = []
        self._servers: dict[str, tuple[int, list[int]]] = {}
        self._wanted = wanted

    def start(self) -> None:
        """Start all that can be started."""
        for name in dict.fromkeys(row.server for row in self._wanted):
            say(f"starting {name}")
            try:
                port, processes = SERVERS[name](self.room)
            except (Missing, OSError) as error:
                self.missing[name] = str(error)
                say(f"left out: {name}: {error}")
                continue
            self._servers[name] = port, [process.pid for process in processes]
        self.rows = [row for row in self._wanted if row.server in self._servers]

    def port(self, row: Row) -> int:
        """Return the port that a row is asked at."""
        return port_of(row, self.room, self._servers[row.server][0])

    def roots(self, row: Row) -> list[int]:
        """Return the processes that serve a row."""
        return self._servers[row.server][1]

    def last(self, row: Row) -> int:
        """Return the last number that a service gave out."""
        assert row.last is not None
        url = f"http://127.0.0.1:{self.port(row)}{row.last}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.read())

    def turn(self, row: Row, clients: int, seconds: float) -> dict[str, Any]:
        """Load one server for a while; what its answers say is checked."""
        before = self.last(row) if row.last else 0
        used_s = cpu_s(self.roots(row))
        url = f"http://127.0.0.1:{self.port(row)}{row.path}"
        run: dict[str, Any] = run_wrk(self.load_core, clients, seconds, url, row.method)
        run["cpu_s"] = cpu_s(self.roots(row)) - used_s
        if row.closes:
            self.closed[row.name] = self.closed.get(row.name, 0) + int(run["broken"])
        if run["refused"] or (run["broken"] and not row.closes):
            self.wrong.append(
                f"{row.name}: {run['refused']:.0f} refused, {run['broken']:.0f} broken"
            )
        if row.last:
            self._check(row, before, run["answers"], clients)
        return run

    def _check(self, row: Row, before: int, answers: float, clients: int) -> None:
        """See that as many numbers are gone as were answered, and those that were in flight."""
        time.sleep(0.2)  # for what was on its way when the load ended
        taken = self.last(row) - before
        if not answers <= taken <= answers + clients:
            self.wrong.append(f"{row.name}: {answers:.0f} answers, but {taken} numbers are gone")

    def measure(self, clients: Sequence[int], rounds: int, seconds: float) -> None:
        """Take turns."""
        for row in self.rows:
            self.turn(row, clients[0], WARM_UP_S)
        for number in range(rounds):
            for count in clients:
                say(f"round {number + 1} of {rounds}, {count} connections")
                for row in random.sample(self.rows, len(self.rows)):
                    self.runs.setdefault((row.name, count), []).append(
                        self.turn(row, count, seconds)
                    )

    # --- more about one of them ---------------------------------------------------------------

    def paced(self, row: Row, clients: int, rate: float, seconds: float) -> dict[str, Any]:
        """Load one server at a constant rate, with every answer looked at."""
        asked = (row.method, row.path)
        found = run_paced(self.load_core, self.port(row), asked, clients, rate, seconds)
        self.wrong += [f"{row.name}: {fault}" for fault in found["faults"]]
        if found["refused"] or found["unanswered"]:
            self.wrong.append(f"{row.name}: refused or unanswered at {rate:.0f} a second")
        return {"clients": clients, "rate": round(rate), **found}

    def half(self, clients: Sequence[int], seconds: float, rounds: int) -> list[dict[str, Any]]:
        """Return latencies at half of the most that was reached."""
        found = []
        for row in self.rows:
            if row.name != HALF:
                continue
            for count in clients:
                rate = summary_of(self.runs[row.name, count])["per_s"] / 2
                runs = [self.paced(row, count, rate, seconds) for _ in range(rounds)]
                for key in ("p50_us", "p99_us"):
                    runs[0][key] = median(run[key] for run in runs)
                found.append({"name": row.name, **runs[0]})
        return found

    def lone(self, rounds: int) -> dict[str, float] | None:
        """Return what a lone client waits, and what a sync takes: by turns."""
        row = next((row for row in self.rows if row.name == HALF), None)
        if row is None:
            return None
        requests, syncs = [], []
        for _ in range(rounds):
            requests.append(self.paced(row, 1, 0, LONE_S)["p50_us"])
            syncs.append(sync_us(self.room))
        beyond = median(a - b for a, b in zip(requests, syncs, strict=True))
        return {"p50_us": median(requests), "sync_us": median(syncs), "beyond_us": beyond}

    def proof(self) -> dict[str, int] | None:
        """Watch our server with strace while a lone client takes numbers."""
        row = next((row for row in self.rows if row.name == HALF), None)
        if row is None:
            return None
        try:
            strace = need("strace")
        except Missing as error:
            self.missing["strace"] = str(error)
            return None
        trace = self.room.directory / "trace"
        pids = [option for pid in sorted(tree_of(self.roots(row))) for option in ("-p", str(pid))]
        watching = subprocess.Popen(
            [strace, "-f", "-s", "24", "-e", f"trace={CALLS}", "-o", trace, *pids],
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(0.5)
            self.paced(row, 1, 0, PROOF_S)
        finally:
            watching.send_signal(signal.SIGINT)
            watching.wait(30)
        found = proof_of(trace.read_text(errors="replace").splitlines())
        if not found.answers or found.after_sync < found.answers:
            self.wrong.append(f"{row.name}: an answer did not wait for a sync")
        return {"answers": found.answers, "after_sync": found.after_sync, "syncs": found.syncs}


def sync_us(room: Room) -> float:
    """Return the median of one write and sync, over zeros, on the servers' core and disk."""
    program = f"""
import os, time
file = os.open("floor", os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(file, bytes({FLOOR_BYTES}), 0)
os.fsync(file)
taken = []
for number in range({FLOOR_SYNCS}):
    start = time.perf_counter_ns()
    os.pwrite(file, b"x" * 160, number * 160)
    os.fdatasync(file)
    taken.append(time.perf_counter_ns() - start)
    time.sleep(0.0002)
print(sorted(taken)[len(taken) // 2] / 1e3)
"""
    argv = ["taskset", "-c", str(room.core), sys.executable, "-c", program]
    said = subprocess.run(argv, cwd=room.directory, capture_output=True, text=True, check=True)
    return float(said.stdout)


def say(text: str) -> None:
    """Tell the user what is going on."""
    click.echo(text, err=True)


def figures_of(bench: Bench, clients: Sequence[int], machine: dict[str, Any]) -> dict[str, Any]:
    """Return what was found."""
    rows = [
        {"name": row.name, "kind": row.kind, "clients": count,
         **summary_of(bench.runs[row.name, count])}
        for count in clients
        for row in bench.rows
    ]  # fmt: skip
    return {
        "machine": {
            **machine,
            **versions(bench.room),
        },
        "clients": list(clients),
        "rows": rows,
        "ratios": ratios_of(bench.runs),
        "missing": bench.missing,
    }


def _counts(_: Any, __: Any, value: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(word) for word in value.split(","))
    except ValueError:
        raise click.BadParameter("numbers with commas between them, as in 64,256") from None
    if not all(1 <= count <= CLIENTS_MAX for count in counts):
        raise click.BadParameter(f"each from 1 to {CLIENTS_MAX}")
    return counts


def _rows(_: Any, __: Any, value: str | None) -> tuple[Row, ...]:
    if value is None:
        return ROWS
    wanted = value.lower().split(",")
    found = tuple(row for row in ROWS if any(w in (row.server, row.name.lower()) for w in wanted))
    if not found:
        raise click.BadParameter(f"name some of {', '.join(SERVERS)}")
    return found


@click.command()
@click.option("--clients", default="64,256", callback=_counts, help="Connections at a time.")
@click.option("--rounds", default=5, type=click.IntRange(1, ROUNDS_MAX))
@click.option("--seconds", default=2, type=click.IntRange(1, int(SECONDS_MAX)), help="Of a turn.")
@click.option("--only", callback=_rows, help="Servers or rows, with commas between them.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="A directory on the disk that matters.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".cache" / "happy-benchmarks",
    help="Where the peers' Python packages are kept.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(  # noqa: PLR0913 - the command line
    clients: tuple[int, ...],
    rounds: int,
    seconds: int,
    only: tuple[Row, ...],
    data: Path,
    cache: Path,
    json_file: Path | None,
) -> None:
    """Measure HTTP servers beside each other."""
    for program in ("wrk", "taskset", "chrt", "setpriv"):
        try:
            need(program)
        except Missing as error:
            raise click.ClickException(str(error)) from None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise click.ClickException("two cores are needed: one for the server, one for the load")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache.mkdir(parents=True, exist_ok=True)
    say(f"the peers' packages go to {cache}")
    python, lost = make_python(cache)
    machine = machine_of(data)
    directory = Path(tempfile.mkdtemp(prefix="happy-web-", dir=data))
    directory.chmod(0o755)  # servers that run as nobody read below it
    room = Room(directory, cores[0], python)
    bench = Bench(room, cores[-1], only)
    try:
        bench.start()
        bench.measure(clients, rounds, seconds)
        found = figures_of(bench, clients, machine)
        found["half"] = bench.half(clients, seconds, rounds)
        found["lone"] = bench.lone(rounds)
        found["proof"] = bench.proof()
    finally:
        room.close()
        shutil.rmtree(directory, ignore_errors=True)
    found["missing"] |= dict.fromkeys(lost, "cannot be installed")
    found["wrong"] = bench.wrong
    found["closed"] = bench.closed
    click.echo(markdown(found))
    for key in ("half", "lone", "proof", "missing", "closed", "wrong"):
        click.echo(f"{key}: {json.dumps(found[key])}")
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n")
    raise SystemExit(bool(bench.wrong))


if __name__ == "__main__":
    main()
