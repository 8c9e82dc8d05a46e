"""What a durable append costs: ours, SQLite's, LMDB's, and the least that the disk allows.

    python benchmarks/journal.py [--directory DIR] [--seconds S] [--json] [--syncs]

``benchmarks/README.md`` says what is measured and what the figures mean. Exits with 1 when a
bound that we promise does not hold.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.python.failure import Failure
from ways import FLOOR, OURS, PEERS, VERSIONS, WAYS, Way

from happy.app import App, definition_of, handles
from happy.apply import Machine
from happy.codec import EventDecoder, encode
from happy.event import Exchange, event
from happy.journal.disk import FileDisk
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.opening import replay_frame
from happy.state import state
from happy.stream import Stream
from happy.world import real_world

reactor: Any = real_reactor  # its interfaces are found at run time

SOURCE: Final = "benchmark"
RECORD_BYTES: Final = 256
BATCHES: Final = (1, 64)
CLIENTS: Final = (1, 64, 1_024)
TURN_APPENDS: Final = 25
TURN_EVENTS: Final = {1: 25, 64: 1_280, 1_024: 5_120}
WARM_UP_TURNS: Final = 2
SYNCS_APPENDS: Final = 100  # of each, counted by strace
MEMORY_FILE_SYSTEMS: Final = {"tmpfs", "ramfs"}
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


class TimedDisk(FileDisk):
    """A disk that takes the time of its syncs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.syncs_us: list[float] = []

    def sync(self, name: str) -> None:
        """Sync, and remember how long it took."""
        start = time.perf_counter_ns()
        super().sync(name)
        self.syncs_us.append((time.perf_counter_ns() - start) / 1e3)


class Clients:
    """A stream of its own on the reactor, and what its clients hear."""

    def __init__(self, directory: Path, count: int) -> None:
        self.count = count
        self.latencies_us: list[float] = []
        self.beyond_us: list[float] = []
        """Of a lone client: what each answer took beyond the sync that it waited for."""
        self.events = 0
        self.syncs = 0
        self.seconds = 0.0
        self.directory = directory / f"stream-{count}"
        self._left = self._unanswered = self._ready = 0
        self._done: Deferred[None] = Deferred()
        self._disk = TimedDisk(self.directory)
        world, self._thread = real_world(reactor, str(count))
        self._stream = Stream("notes", definition_of(Notes), self._disk, world, Limits())
        self._stream.open()
        room = RECORD_BYTES - len(encode(Note(b""), SOURCE))
        self._note = Note(random.randbytes(room))
        assert len(encode(self._note, SOURCE)) == RECORD_BYTES
        self._thread.start()

    @inlineCallbacks
    def turn(self, *, counts: bool) -> Generator[Deferred[Any], Any, None]:
        """Have the clients submit, each one event after the other, until all are answered."""
        before = len(self.latencies_us), len(self.beyond_us)
        self._disk.syncs_us.clear()
        self._left = self._unanswered = TURN_EVENTS[self.count]
        self._done = Deferred()
        self._ready = self.count
        start = time.perf_counter()
        self._submit()
        yield self._done
        if counts:
            self.seconds += time.perf_counter() - start
            self.events += TURN_EVENTS[self.count]
            self.syncs += len(self._disk.syncs_us)
        else:
            del self.latencies_us[before[0] :], self.beyond_us[before[1] :]

    def _submit(self) -> None:
        ready, self._ready = min(self._ready, self._left), 0
        self._left -= ready
        for _ in range(ready):
            start_ns = time.perf_counter_ns()
            answer = self._stream.submit(self._note, Exchange(SOURCE))
            answer.addCallback(self._answered, start_ns)

    def _answered(self, _: object, start_ns: int) -> None:
        took_us = (time.perf_counter_ns() - start_ns) / 1e3
        self.latencies_us.append(took_us)
        if self.count == 1:
            self.beyond_us.append(took_us - self._disk.syncs_us[-1])
        if not self._ready:
            # A peer's next words come in a later turn of the reactor.
            reactor.callLater(0, self._submit)
        self._ready += 1
        self._unanswered -= 1
        if not self._unanswered:
            self._done.callback(None)

    @inlineCallbacks
    def close(self) -> Generator[Deferred[Any], Any, None]:
        """Close the stream in good order."""
        yield self._stream.close()
        self._thread.stop()


def replayed_per_s(directory: Path) -> float:
    """Return how many events a second a journal is replayed with."""
    definition = definition_of(Notes)
    decoder = EventDecoder(definition.events)
    machine = Machine(definition, b"", random.Random)
    start = time.perf_counter()
    for frame in Reader(FileDisk(directory), cut=False).frames():
        replay_frame(machine, decoder, frame)
    return machine.seq / (time.perf_counter() - start)


# --- measuring -----------------------------------------------------------------------------------


@inlineCallbacks
def measure(directory: Path, seconds: float) -> Generator[Deferred[Any], Any, dict[str, Any]]:
    """Take turns for some seconds; return all figures."""
    ways = {name: way(directory) for name, way in WAYS.items()}
    taken: dict[tuple[str, int], list[float]] = {(n, b): [] for n in ways for b in BATCHES}
    streams: list[Clients] = []
    load = os.getloadavg()[0]
    turns = 0
    try:
        streams += (Clients(directory, count) for count in CLIENTS)
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
    replayed = replayed_per_s(streams[-1].directory)
    return {
        "machine": machine_of(directory, load),
        "turns": turns - WARM_UP_TURNS,
        "appends": [
            {"way": name, "batch": batch, **spread(times)} for (name, batch), times in taken.items()
        ],
        "streams": [stream_figures(stream) for stream in streams],
        "replayed_per_s": round(replayed),
    }


def appends_us(way: Way, batch: int, times: int) -> list[float]:
    """Return how long each of some appends took."""
    records = [random.randbytes(RECORD_BYTES) for _ in range(batch)]
    found = []
    for _ in range(times):
        start = time.perf_counter_ns()
        way.append(records)
        found.append((time.perf_counter_ns() - start) / 1e3)
    return found


def spread(times_us: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    return {
        "p50_us": round(median(times_us), 1),
        "p99_us": round(quantiles(times_us, n=100)[98], 1),
    }


def stream_figures(clients: Clients) -> dict[str, float]:
    """Return what the clients of a stream heard."""
    figures = {
        "clients": clients.count,
        **spread(clients.latencies_us),
        "events_per_sync": round(clients.events / clients.syncs, 1),
        "events_per_s": round(clients.events / clients.seconds),
    }
    if clients.beyond_us:
        figures["beyond_sync_p50_us"] = spread(clients.beyond_us)["p50_us"]
    return figures


def machine_of(directory: Path, load: float) -> dict[str, Any]:
    """Return what the figures were taken on, and how busy it was before."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **VERSIONS,
        "file_system": file_system_of(directory),
        "load": round(load, 2),
    }


def file_system_of(directory: Path) -> str:
    """Return the type of the file system that a directory is on."""
    found = subprocess.run(
        ["df", "--output=fstype", directory],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()[-1]


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
    if kind in MEMORY_FILE_SYSTEMS:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing there is durable")
    folder = Path(tempfile.mkdtemp(prefix="happy-journal-", dir=directory))
    try:
        good = show_syncs(folder) if syncs else _measured(folder, seconds, as_json=as_json)
    finally:
        shutil.rmtree(folder)
    raise SystemExit(not good)


def _measured(directory: Path, seconds: float, *, as_json: bool) -> bool:
    """Measure on the reactor and print; return whether all bounds held."""
    found: list[Any] = []

    def begin() -> None:
        done = measure(directory, seconds)
        done.addBoth(found.append)
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    (figures,) = found
    if isinstance(figures, Failure):
        figures.raiseException()
    bounds = bounds_of(figures)
    if as_json:
        print(json.dumps({**figures, "bounds": dict(bounds)}, indent=2))
    else:
        show(figures, bounds)
    return all(held for _, held in bounds)


if __name__ == "__main__":
    main()
