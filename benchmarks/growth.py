"""How it grows: with clients, events, state and fronts; and whether the model on paper holds.

    python benchmarks/growth.py [--directory DIR] [--seconds S] [--rows N] [--within S]
                                [--json FILE]

Every quantity is measured over a decade or more. The constants of the model
(``happy.bench.model``) are fitted to some of the points and predict the others; exits with 1
when one is off by more than the stated error, or an answer was wrong. ``docs/benchmarks.md``
says what the figures mean.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from itertools import count as count_up
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from growth_report import checked, holds
from replay import Bank, Put, write_journal
from twisted.internet.defer import Deferred, inlineCallbacks
from web_load import run_wrk

from happy.app import definition_of
from happy.bench.children import ChildFailed, cpu_s_by_process, result_of
from happy.bench.clients import SOURCE, Clients, run_on_reactor
from happy.bench.machine import MEMORY_TYPES, cores, cores_for, file_system_of, machine_of
from happy.bench.parts import serving
from happy.codec import encode
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.side_process import make_snapshot

CLIENTS: Final = (1, 4, 16, 64, 256, 1_024)
CLIENTS_OF_A_STATE: Final = 64
CLIENTS_OF_FRONTS: Final = 256
FRONTS: Final = (0, 1, 2)
ROUNDS: Final = 2
WITHIN_S: Final = 300.0
FRAME_EVENTS: Final = 64  # a snapshot leaves the last two frames out: they might be quarantined
ROWS_OF_RESTARTS: Final = 160 * FRAME_EVENTS
GROWING_CLIENTS: Final = 1_024
GROWING_S_MAX: Final = 40.0
STEPS: Final = (1, 3, 10, 30, 100)
"""Parts of the largest size, in hundredths: two decades."""


# --- clients --------------------------------------------------------------------------------------


def by_clients(directory: Path, seconds: float) -> list[dict[str, Any]]:
    """Ask over HTTP with more and more clients; return throughput, latency, and syncs."""
    server, load = cores_for(cores())
    folder = directory / "clients"
    folder.mkdir()
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in CLIENTS}
    with serving(folder, on=server) as (port, process):
        asked(load, 16, 1, port, process.pid)
        for _ in range(ROUNDS):
            for count in CLIENTS:
                runs[count].append(asked(load, count, seconds, port, process.pid))
    frames = frames_of(folder / "served" / "data" / "measured")
    return [
        {
            "clients": count,
            "per_s": round(median(run["per_s"] for run in found)),
            "p50_us": round(median(run["p50_us"] for run in found), 1),
            "p99_us": round(median(run["p99_us"] for run in found), 1),
            "cpu_us": round(median(run["server_us"] for run in found), 1),
            "events_per_sync": round(median(events_per_frame(frames, run) for run in found), 1),
            "wrong": sum(run["wrong"] for run in found),
        }
        for count, found in runs.items()
    ]


def asked(  # noqa: PLR0913 - what is asked of whom, and how
    on: Sequence[int],
    clients: int,
    seconds: float,
    port: int,
    server: int,
    request: Sequence[str] = ("POST",),
    path: str = "/next",
    counted: str = "/last",
) -> dict[str, Any]:
    """Load a server with wrk; return what came of it, with the processor's time by process.

    Each answer is to have raised by one the number that is at ``counted``.
    """
    first, used, load_s = last_number(port, counted), cpu_s_by_process(server), children_s()
    url = f"http://127.0.0.1:{port}{path}"
    run = run_wrk(",".join(map(str, on)), clients, seconds, url, *request)
    time.sleep(0.2)  # for what was on its way when the load ended
    taken = last_number(port, counted) - first
    later = cpu_s_by_process(server)
    answers = max(run["answers"], 1)
    us = {pid: (later[pid] - used.get(pid, 0.0)) / answers * 1e6 for pid in later}
    return {
        "per_s": run["answers"] / run["duration_us"] * 1e6,
        "p50_us": run["p50_us"],
        "p99_us": run["p99_us"],
        "seqs": (first, first + taken),
        "server_us": sum(us.values()),
        "container_us": us[server],
        "load_us": (children_s() - load_s) / answers * 1e6,
        "wrong": int(run["refused"] + run["broken"] + (not answers <= taken <= answers + clients)),
    }


def last_number(port: int, path: str = "/last") -> int:
    """Return the last number that was given out, or the one at another path."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return int(answer.read())


def children_s() -> float:
    """Return the processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def frames_of(journal: Path) -> list[tuple[int, int]]:
    """Return the first seq and the events of each frame: each was a write and a sync."""
    return [
        (frame.first_seq, frame.count)
        for frame in Reader(FileDisk(journal), cut=False).frames()
        if frame.kind is Kind.EVENTS
    ]


def events_per_frame(frames: Sequence[tuple[int, int]], run: dict[str, Any]) -> float:
    """Return the mean events in the frames of a run."""
    first, last = run["seqs"]
    counts = [count for seq, count in frames if first < seq <= last]
    return sum(counts) / max(len(counts), 1)


# --- events ---------------------------------------------------------------------------------------


def by_events(directory: Path, events: int) -> list[dict[str, Any]]:
    """Put more and more events in one journal; return the throughput on the way."""
    found = child(directory, "grow", directory, events)
    marks: list[dict[str, Any]] = found["marks"]
    return marks


@inlineCallbacks
def grow(directory: Path, events: int) -> Generator[Deferred[Any], Any, dict[str, Any]]:
    """Submit events until there are so many, or it takes too long."""
    clients = Clients(directory, GROWING_CLIENTS, Bank, puts(1_000))
    marks = []
    try:
        yield clients.turn(counts=False)
        for hundredths in STEPS:
            before_events, before_s = clients.events, clients.seconds
            before_syncs = clients.syncs
            while clients.events < events * hundredths // 100 and clients.seconds < GROWING_S_MAX:
                yield clients.turn(counts=True)
            new = clients.events - before_events
            if not new:
                break
            marks.append(
                {
                    "events": clients.events,
                    "per_s": round(new / (clients.seconds - before_s)),
                    "events_per_sync": round(new / (clients.syncs - before_syncs), 1),
                }
            )
    finally:
        yield clients.close()
    return {"marks": marks}


def puts(rows: int) -> Iterator[Put]:
    """Yield events that change rows, one after the other, without end."""
    return (Put(n % rows, n % 1_000, n % rows, n) for n in count_up())


def restarts_by_events(
    directory: Path, rows: int, events: int, end_s: float
) -> list[dict[str, Any]]:
    """Reopen journals of more and more events behind a snapshot of so many rows."""
    found: list[dict[str, Any]] = []
    for hundredths in STEPS:
        if time.monotonic() > end_s:
            break
        tail = events * hundredths // 100
        folder = journal_of(directory, rows, tail)
        found.append(restart(directory, folder, rows, tail))
        shutil.rmtree(folder)
    return found


def restart(directory: Path, folder: Path, rows: int, tail: int) -> dict[str, Any]:
    """Reopen a journal with a snapshot of so many rows and a tail of so many events."""
    found = child(directory, "reopen", folder)
    return {
        "rows": rows,
        "tail": tail,
        "seconds": round(found["seconds"], 4),
        "memory_bytes": found["resident_bytes"],
    }


def journal_of(directory: Path, rows: int, tail: int) -> Path:
    """Write a journal with a snapshot of so many rows, whole frames, and a tail of events."""
    folder = directory / f"journal-{rows}-{tail}"
    bank = definition_of(Bank)
    inserts = [encode(Put(key, key % 1_000, key, 0), SOURCE) for key in range(rows)]
    write_journal(folder, inserts, FRAME_EVENTS, bank)
    make_snapshot(folder, bank, 1)
    if tail:
        longer = directory / "longer"
        events = puts(rows)
        records = inserts + [encode(next(events), SOURCE) for _ in range(tail)]
        write_journal(longer, records, FRAME_EVENTS, bank)
        for segment in longer.iterdir():
            segment.replace(folder / segment.name)
        longer.rmdir()
    return folder


# --- state ----------------------------------------------------------------------------------------


def by_rows(directory: Path, rows: int, seconds: float, end_s: float) -> list[dict[str, Any]]:
    """Make states of more and more rows; return restart, memory and throughput of each."""
    found: list[dict[str, Any]] = []
    for hundredths in STEPS:
        if time.monotonic() > end_s:
            break
        size = rows * hundredths // 100
        folder = journal_of(directory, size, 0).rename(directory / f"stream-{CLIENTS_OF_A_STATE}")
        row = restart(directory, folder, size, 0)
        row |= child(directory, "change", directory, size, seconds)
        shutil.rmtree(folder)
        found.append(row)
    return found


@inlineCallbacks
def change(
    directory: Path, rows: int, seconds: float
) -> Generator[Deferred[Any], Any, dict[str, Any]]:
    """Change rows of a state that is there."""
    clients = Clients(directory, CLIENTS_OF_A_STATE, Bank, puts(rows))
    try:
        yield clients.turn(counts=False)
        yield clients.run(seconds)
    finally:
        yield clients.close()
    figures = clients.figures()
    return {
        "per_s": figures["events_per_s"],
        "p50_us": figures["p50_us"],
        "p99_us": figures["p99_us"],
        "cpu_us": figures["cpu_us"],
    }


# --- fronts ---------------------------------------------------------------------------------------


def by_fronts(directory: Path, seconds: float) -> list[dict[str, Any]]:
    """Ask containers with more and more fronts, all of it on all cores; by turns."""
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in FRONTS}
    for number in range(ROUNDS):
        for count in FRONTS:
            folder = directory / f"fronts-{count}-{number}"
            folder.mkdir()
            with serving(folder, on=cores(), more=f"fronts = {count}\n") as (port, process):
                asked(cores(), CLIENTS_OF_FRONTS, 1, port, process.pid)
                run = asked(cores(), CLIENTS_OF_FRONTS, seconds, port, process.pid)
            runs[count].append(run)
            shutil.rmtree(folder)
    return [
        {
            "fronts": count,
            "clients": CLIENTS_OF_FRONTS,
            "cores": len(cores()),
            "per_s": round(median(run["per_s"] for run in found)),
            "p50_us": round(median(run["p50_us"] for run in found), 1),
            "p99_us": round(median(run["p99_us"] for run in found), 1),
            "front_us": round(median(run["server_us"] - run["container_us"] for run in found), 1),
            "container_us": round(median(run["container_us"] for run in found), 1),
            "load_us": round(median(run["load_us"] for run in found), 1),
            "wrong": sum(run["wrong"] for run in found),
        }
        for count, found in runs.items()
    ]


# --- the command ----------------------------------------------------------------------------------


def child(directory: Path, what: str, *arguments: object) -> dict[str, Any]:
    """Run a part of this script in a process of its own, on the servers' core."""
    server, _ = cores_for(cores())
    module = ("growth", "--child", what, *arguments)
    if what == "reopen":
        module = ("happy.bench.reopening", *arguments, "replay:Bank", 0)
    return result_of(module, server, directory, within_s=WITHIN_S, tick=lambda: None)


def _as_child(what: str, *arguments: str) -> None:
    directory, *numbers = arguments
    work: Any = {"grow": grow, "change": change}[what]
    found = run_on_reactor(lambda: work(Path(directory), int(numbers[0]), *map(float, numbers[1:])))
    print(json.dumps(found))


def measured(directory: Path, seconds: float, rows: int, end_s: float) -> dict[str, Any]:
    """Measure all of it; nothing is begun after ``end_s``, so that the largest are left out."""
    found: dict[str, Any] = {"machine": machine_of(directory)}
    for name, work in (
        ("clients", lambda: by_clients(directory, seconds)),
        ("fronts", lambda: by_fronts(directory, seconds)),
        ("rows", lambda: by_rows(directory, rows, seconds, end_s)),
        ("restarts", lambda: restarts_by_events(directory, ROWS_OF_RESTARTS, rows, end_s)),
        ("events", lambda: by_events(directory, rows)),
    ):
        start_s = time.monotonic()
        try:
            found[name] = work() if start_s < end_s else []
        except ChildFailed as error:
            found[name] = []
            click.echo(f"left out: {name}: {error}", err=True)
        click.echo(f"{name}: {time.monotonic() - start_s:.0f} s", err=True)
    return found


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="Where to write, in a folder that is removed afterwards.",
)
@click.option("--seconds", default=2.0, help="How long each load takes.")
@click.option("--rows", default=1_000_000, help="The largest state, and the longest journal.")
@click.option("--within", default=280.0, help="Begin nothing after so many seconds.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(directory: Path, seconds: float, rows: int, within: float, json_file: Path | None) -> None:
    """Measure how everything grows."""
    kind = file_system_of(directory)
    if kind in MEMORY_TYPES:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing is durable there")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="happy-growth-", dir=directory)).resolve()
    try:
        found = measured(folder, seconds, rows, time.monotonic() + within)
    finally:
        shutil.rmtree(folder)
    if not found["clients"]:
        raise click.ClickException("nothing to fit the model to: a server did not start")
    text = json.dumps(found, indent=1)
    if json_file is None:
        print(text)
    else:
        json_file.write_text(text + "\n")
    wrong = sum(row["wrong"] for name in ("clients", "fronts") for row in found[name])
    raise SystemExit(bool(wrong) or not holds(checked(found)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _as_child(*sys.argv[2:])
    else:
        main()
