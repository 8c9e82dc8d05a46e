"""What a durable append costs: ours, SQLite's, LMDB's, and the least that the disk allows.

    python benchmarks/journal.py [--directory DIR] [--seconds S] [--json] [--syncs]

``benchmarks/README.md`` says what is measured and what the figures mean. Exits with 1 when a
bound that we promise does not hold.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from twisted.internet.defer import Deferred, inlineCallbacks
from ways import FLOOR, OURS, PEERS, VERSIONS, WAYS

from happy.app import App, definition_of, handles
from happy.bench.appends import RECORD_BYTES, appends_us
from happy.bench.clients import SOURCE, Clients, run_on_reactor
from happy.bench.figures import spread
from happy.bench.machine import MEMORY_TYPES, file_system_of, machine_of
from happy.bench.reopening import reopened
from happy.codec import encode
from happy.event import event
from happy.state import state

BATCHES: Final = (1, 64)
CLIENTS: Final = (1, 64, 1_024)
TURN_APPENDS: Final = 25
REOPENING_S: Final = 1.0
WARM_UP_TURNS: Final = 2
SYNCS_APPENDS: Final = 100  # of each, counted by strace
SYNC_CALLS: Final = "fsync,fdatasync,msync,sync_file_range"


# --- the whole way of an event -------------------------------------------------------------------


@event
class Note:
    """Something to keep."""

    body: bytes


@state
class Count:
    """How many notes there were."""

    notes: int = 0


class Notes(App):
    """Counts what it is told."""

    state = Count

    @handles(Note)
    def note(state: Count, _event: Note, _context: object) -> int:
        """Count one."""
        state.notes += 1
        return state.notes


def clients_of(directory: Path, count: int) -> Clients:
    """Return clients that submit notes, each a record of so many bytes."""
    room = RECORD_BYTES - len(encode(Note(b""), SOURCE))
    note = Note(os.urandom(room))
    assert len(encode(note, SOURCE)) == RECORD_BYTES
    return Clients(directory, count, Notes, repeat(note))


# --- measuring -----------------------------------------------------------------------------------


@inlineCallbacks
def measure(directory: Path, seconds: float) -> Generator[Deferred[Any], Any, dict[str, Any]]:
    """Take turns for some seconds; return all figures."""
    ways = {name: way(directory) for name, way in WAYS.items()}
    taken: dict[tuple[str, int], list[float]] = {(n, b): [] for n in ways for b in BATCHES}
    streams: list[Clients] = []
    machine = machine_of(directory)
    turns = 0
    try:
        streams += (clients_of(directory, count) for count in CLIENTS)
        end = time.monotonic() + seconds
        while turns <= WARM_UP_TURNS or time.monotonic() < end:
            counts = turns >= WARM_UP_TURNS
            for batch in BATCHES:
                for name in random.sample(list(ways), len(ways)):
                    found = appends_us(ways[name], batch, TURN_APPENDS)
                    if counts:
                        taken[name, batch] += found
            for stream in streams:
                yield stream.turn(counts=counts)
            turns += 1
    finally:
        for way in ways.values():
            way.close()
        for stream in streams:
            yield stream.close()
    replayed = reopened(streams[-1].directory, definition_of(Notes), REOPENING_S)
    return {
        "machine": {**machine, **VERSIONS},
        "turns": turns - WARM_UP_TURNS,
        "appends": [
            {"way": name, "batch": batch, **spread(times)} for (name, batch), times in taken.items()
        ],
        "streams": [stream.figures() for stream in streams],
        "replayed_per_s": round(replayed["events_per_s"]),
    }


# --- saying --------------------------------------------------------------------------------------


def bounds_of(figures: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return what we promise, each with whether it held."""
    p50 = {(row["way"], row["batch"]): row["p50_us"] for row in figures["appends"]}
    streams = {row["clients"]: row for row in figures["streams"]}
    beyond = streams[1]["beyond_sync_p50_us"]
    shared = streams[64]["events_per_sync"]
    bounds = [
        (f"a lone append takes {beyond:.0f} us beyond its sync, at most 300", beyond <= 300),
        (f"64 clients get {shared:.1f} events into a sync, at least 10", shared >= 10),
    ]
    for batch in BATCHES:
        peer = min(PEERS, key=lambda name: p50[name, batch])
        ratio = p50[OURS, batch] / p50[peer, batch]
        bounds.append(
            (f"{batch} per batch takes {ratio:.2f} of what {peer} takes, at most 1", ratio <= 1)
        )
    return bounds


def show(figures: dict[str, Any], bounds: list[tuple[str, bool]]) -> None:
    """Print the figures for people."""
    console = Console()
    about = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures["machine"].items())
    console.print(f"{about}\n{figures['turns']} turns, records of {RECORD_BYTES} bytes\n")
    appends = Table(title="one durable append")
    for heading in ("", "batch", "p50 us", "p99 us", "us per event", "of the floor"):
        appends.add_column(heading, justify="right" if heading else "left")
    floor = {r["batch"]: r["p50_us"] for r in figures["appends"] if r["way"] == FLOOR}
    for row in sorted(figures["appends"], key=lambda row: row["batch"]):
        appends.add_row(
            row["way"],
            str(row["batch"]),
            f"{row['p50_us']:.0f}",
            f"{row['p99_us']:.0f}",
            f"{row['p50_us'] / row['batch']:.1f}",
            f"{row['p50_us'] / floor[row['batch']]:.2f}",
        )
    console.print(appends)
    streams = Table(title="submit to answer")
    for heading in ("clients", "p50 us", "p99 us", "events per sync", "events/s"):
        streams.add_column(heading, justify="right")
    for row in figures["streams"]:
        streams.add_row(
            str(row["clients"]),
            f"{row['p50_us']:.0f}",
            f"{row['p99_us']:.0f}",
            f"{row['events_per_sync']:.1f}",
            f"{row['events_per_s']:,}",
        )
    console.print(streams)
    console.print(f"replay: {figures['replayed_per_s']:,} events/s\n", highlight=False)
    for sentence, held in bounds:
        console.print(f"{'yes' if held else 'NO '}  {sentence}", highlight=False)
    if VERSIONS["lmdb"] is None:
        console.print("lmdb is not installed and was left out: pip install lmdb")


# --- counting syncs ------------------------------------------------------------------------------


def append_only(directory: Path, name: str, appends: int) -> None:
    """Append records one way, one by one, to be watched by strace."""
    way = WAYS[name](directory)
    appends_us(way, 1, appends)
    way.close()


def syncs_of(directory: Path, name: str) -> int:
    """Return how often the kernel is asked to sync by appends alone."""
    counts = []
    for appends in (0, SYNCS_APPENDS):
        folder = directory / f"{name}-{appends}"
        folder.mkdir()
        trace = folder / "trace"
        strace = ["strace", "-f", "-o", str(trace), "-e", f"trace={SYNC_CALLS}"]
        child = [sys.executable, __file__, "--only", name, str(appends), "--directory", str(folder)]
        subprocess.run([*strace, *child], check=True)
        counts.append(sum("sync(" in line for line in trace.read_text().splitlines()))
    return counts[1] - counts[0]


def show_syncs(directory: Path) -> bool:
    """Print the syncs of every way; return whether each append had one."""
    least = SYNCS_APPENDS
    for name in WAYS:
        syncs = syncs_of(directory, name)
        print(f"{name}: {syncs} syncs for {SYNCS_APPENDS} appends")
        least = min(least, syncs)
    return least >= SYNCS_APPENDS


# --- the command ---------------------------------------------------------------------------------


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="Where to write, in a folder that is removed afterwards.",
)
@click.option("--seconds", default=30.0, help="How long to take turns.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--syncs", is_flag=True, help="Count the syncs of each with strace instead.")
@click.option("--only", type=(click.Choice(list(WAYS)), int), hidden=True)
def main(
    directory: Path, seconds: float, as_json: bool, syncs: bool, only: tuple[str, int] | None
) -> None:
    """Measure durable appends, beside those of others."""
    if only is not None:
        append_only(directory, *only)
        return
    kind = file_system_of(directory)
    if kind in MEMORY_TYPES:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing there is durable")
    folder = Path(tempfile.mkdtemp(prefix="happy-journal-", dir=directory))
    try:
        good = show_syncs(folder) if syncs else _measured(folder, seconds, as_json=as_json)
    finally:
        shutil.rmtree(folder)
    raise SystemExit(not good)


def _measured(directory: Path, seconds: float, *, as_json: bool) -> bool:
    """Measure on the reactor and print; return whether all bounds held."""
    figures = run_on_reactor(lambda: measure(directory, seconds))
    bounds = bounds_of(figures)
    if as_json:
        print(json.dumps({**figures, "bounds": dict(bounds)}, indent=2))
    else:
        show(figures, bounds)
    return all(held for _, held in bounds)


if __name__ == "__main__":
    main()
