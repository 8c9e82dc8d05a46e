"""Whether two fronts beat one process on all cores, with a real HTTP load; and with a bare one.

    python benchmarks/fronts.py [--directory DIR] [--rounds N] [--seconds S] [--json FILE]

Both loads come with an access log in a file, a real disk, and all that a browser sends.

- **Orders**: JSON bodies of some 200 bytes over a declared route, no two of them alike, from
  5,000 browsers, each with its own cookie, answered with JSON. So every head is read, every body is
  decoded, checked and encoded for the journal: that is the work of a door, which fronts can take
  off the container, and what nearly every POST of a real application asks for.
- **Bare**: one request without a body, byte for byte the same. The door knows it by its bytes and
  has its event ready, so fronts have next to nothing to take off, and cost the hand-over.
  That is the best case of one process, and no load that there is outside of a benchmark.

What is not real in either: 64 or 256 connections stay open and each asks again as soon as it is
answered, as a proxy's do rather than those of browsers, which come, ask a few times and go; the
loopback interface has neither loss nor distance; no TLS; and the load takes its part of the same
cores, which clients elsewhere would not take. As a batch job (``chrt --batch``) it waits for its
turn there: else each answer would push aside the process that sends the next one.

All containers are there all the time and asked by turns, so that what else the machine does meets
all of them; told are medians, of the ratios too. The throughput of each is what it serves when as
many ask as it can use: with fewer, all of them wait in one place now and then, and processors have
nothing to do. Exits with 1 when that of the fronts is not higher with orders, or when an answer or
a count is wrong: as many orders must have been taken as were answered, and at most those in flight
more, of as many copies as they asked for.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from attrs import frozen
from growth import asked, last_number

from happy.bench.machine import MEMORY_TYPES, cores, file_system_of
from happy.bench.parts import NUMBERS, serving

COUNTS: Final = (0, 2)
CLIENTS: Final = (64, 256)
COPIES: Final = (1, 5)
"""The least and the most copies of an order; those in between are asked for as often."""

Run = dict[str, Any]
Row = dict[str, Any]
Server = tuple[int, int]
"""A port, and the process that has it."""


@frozen
class Load:
    """What is asked of which application, and where that says how often it was done."""

    app: str
    request: tuple[str, ...]
    """As ``load.lua`` takes it."""
    path: str
    counted: str
    copies: str | None = None
    """Where the sum of the orders' counts is."""


ORDERS: Final = "orders"
LOADS: Final = {
    ORDERS: Load("orders:OrderDesk", ("POST", "orders"), "/orders", "/taken", "/copies"),
    "bare": Load(NUMBERS, ("POST", "browser"), "/next", "/last"),
}


@contextlib.contextmanager
def containers(folder: Path) -> Iterator[dict[str, dict[int, Server]]]:
    """Run a container for each load and count of fronts; yield them."""
    with contextlib.ExitStack() as stack:
        found: dict[str, dict[int, Server]] = {name: {} for name in LOADS}
        for name, load in LOADS.items():
            for count in COUNTS:
                place = folder / f"{name}-{count}"
                place.mkdir()
                port, process = stack.enter_context(
                    serving(
                        place, on=cores(), app=load.app, more=f"fronts = {count}\n",
                        log='access_file = "access.log"',
                    )
                )  # fmt: skip
                found[name][count] = port, process.pid
        yield found


def turn(load: Load, server: Server, clients: int, seconds: float) -> Run:
    """Ask a container for a while; return what came of it, its counts checked."""
    port, process = server
    before = last_number(port, load.copies) if load.copies else 0
    run = asked(cores(), clients, seconds, port, process, load.request, load.path, load.counted)
    run["fronts_us"] = run["server_us"] - run["container_us"]
    if load.copies:
        first, last = run["seqs"]
        run["wrong"] += not adds_up(last - first, last_number(port, load.copies) - before, clients)
    return run


def adds_up(taken: int, copies: int, clients: int) -> bool:
    """Return whether orders taken one after the other can have been of so many copies.

    Counts go from the least to the most again and again, so what begins and ends anywhere is off
    the mean by at most 3; and of each client one order may be missing, sent at the very end.
    """
    least, most = COPIES
    off = abs(copies - taken * (least + most) / 2)
    return off <= 3 + clients * (most - least) / 2


def measured(
    folder: Path, rounds: int, seconds: float
) -> dict[tuple[str, int], list[dict[int, Run]]]:
    """Return for each load and number of clients what came of each round, by count of fronts."""
    asks = [(name, clients) for name in LOADS for clients in CLIENTS]
    found: dict[tuple[str, int], list[dict[int, Run]]] = {each: [] for each in asks}
    with containers(folder) as there:
        for name, servers in there.items():
            for server in servers.values():
                turn(LOADS[name], server, CLIENTS[-1], 1)
        for number in range(rounds):
            order = COUNTS[:: -1 if number % 2 else 1]
            for (name, clients), runs in found.items():
                load, servers = LOADS[name], there[name]
                runs.append({n: turn(load, servers[n], clients, seconds) for n in order})
    return found


def row_of(name: str, clients: int, runs: Sequence[Mapping[int, Run]]) -> Row:
    """Return what came of a load with so many clients: medians over the rounds."""
    ratios = [run[2]["per_s"] / run[0]["per_s"] for run in runs]

    def us(count: int, part: str) -> float:
        return round(median(run[count][part] for run in runs), 1)

    return {
        "load": name,
        "clients": clients,
        "one_per_s": round(median(run[0]["per_s"] for run in runs)),
        "fronts_per_s": round(median(run[2]["per_s"] for run in runs)),
        "ratio": round(median(ratios), 3),
        "least_ratio": round(min(ratios), 3),
        "most_ratio": round(max(ratios), 3),
        "one_us": us(0, "server_us"),
        "fronts_us": us(2, "fronts_us"),
        "container_us": us(2, "container_us"),
        "load_us": us(2, "load_us"),
        "wrong": sum(one["wrong"] for run in runs for one in run.values()),
    }


def told(row: Row) -> str:
    """Say what came of a load with so many clients."""
    said = (
        f"{row['load']}, {row['clients']} clients: {row['one_per_s']:,} a second in one process, "
        f"{row['fronts_per_s']:,} with fronts, {row['ratio']:.2f} times as many "
        f"({row['least_ratio']:.2f} to {row['most_ratio']:.2f})\n"
        f"  CPU for each: {row['one_us']:.1f} us in one process; with fronts "
        f"{row['fronts_us']:.1f} us in them and {row['container_us']:.1f} us in the container; "
        f"{row['load_us']:.1f} us the load"
    )
    return said + f"\n  {row['wrong']} answers or counts were wrong" * bool(row["wrong"])


def throughput(rows: Sequence[Row], load: str) -> tuple[int, int]:
    """Return what one process and fronts serve of a load, each with as many clients as it takes."""
    of = [row for row in rows if row["load"] == load]
    return max(row["one_per_s"] for row in of), max(row["fronts_per_s"] for row in of)


def summed_up(rows: Sequence[Row]) -> Iterator[str]:
    """Say of each load how the throughput of fronts is to that of one process."""
    for load in LOADS:
        one, fronts = throughput(rows, load)
        yield f"{load}, the most of each: {one:,} and {fronts:,} a second, {fronts / one:.2f} times"


def holds(rows: Sequence[Row]) -> bool:
    """Return whether the throughput of orders is higher with fronts, and nothing was wrong."""
    one, fronts = throughput(rows, ORDERS)
    return fronts > one and not any(row["wrong"] for row in rows)


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="Where the journals are, in a folder that is removed afterwards.",
)
@click.option("--rounds", default=9)
@click.option("--seconds", default=3.0, help="How long each is asked in each round.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(directory: Path, rounds: int, seconds: float, json_file: Path | None) -> None:
    """Ask containers without fronts and with two by turns; fronts must serve more orders."""
    kind = file_system_of(directory)
    if kind in MEMORY_TYPES:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing is durable there")
    with tempfile.TemporaryDirectory(prefix="happy-fronts-", dir=directory) as name:
        found = measured(Path(name), rounds, seconds)
    rows = [row_of(load, clients, runs) for (load, clients), runs in found.items()]
    for row in rows:
        print(told(row))
    for line in summed_up(rows):
        print(line)
    if json_file is not None:
        json_file.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    raise SystemExit(not holds(rows))


if __name__ == "__main__":
    main()
