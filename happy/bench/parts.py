"""The short form of all benchmarks: what ``happy bench`` measures, part by part.

Each part takes its share of the time, in processes of its own or in this one, and returns rows:
a dict each, of figures with their unit in the name.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

from attrs import frozen

from happy.bench.appends import appends_for
from happy.bench.children import ChildFailed, Tick, cpu_s_by_process, last_line, result_of, running
from happy.bench.figures import spread
from happy.bench.machine import cores, cores_for
from happy.bench.model import limit_of, limit_of_fronts

SECONDS_MIN: Final = 1.0
SECONDS_MAX: Final = 600.0
BATCHES: Final = (1, 64)
CLIENTS: Final = (1, 64, 1_024)
CONNECTIONS: Final = (1, 64, 256)
CONNECTIONS_OF_FRONTS: Final = 256
NUMBERS: Final = "happy.examples.numbers:NumberService"
REOPENED: Final = CLIENTS[-1]
_BEGINNINGS_S: Final = 6.0  # processes that start: not measured, and part of the time
_WARM_UP: Final = ("POST", "/next", 16)
_WARM_UP_S: Final = 0.2  # not measured either
_PIECE_BYTES: Final = 65_536
_GRACE_S: Final = 120.0  # beyond its time, then a process is ended

Row = dict[str, Any]


@frozen
class Part:
    """One part: what it is called, its share of the time, and how it is done."""

    title: str
    share: float
    measure: Callable[[Path, float, Tick], list[Row]]


def seconds_of(parts: Sequence[Part], seconds: float) -> list[float]:
    """Return the time for each part, so that all of it with its beginnings takes ``seconds``."""
    measured_s = max(seconds - _BEGINNINGS_S, seconds / 3)
    shares = sum(part.share for part in parts)
    return [measured_s * part.share / shares for part in parts]


def _disk(directory: Path, seconds: float, tick: Tick) -> list[Row]:
    taken = appends_for(directory, BATCHES, seconds, tick)
    rows: list[Row] = []
    for (name, batch), times_us in taken.items():
        found = spread(times_us)
        if name == "floor" and batch != 1:
            continue
        rows.append(
            {
                "what": "sync" if name == "floor" else "append",
                "batch": batch,
                "per_s": round(batch / found["p50_us"] * 1e6),
                **found,
            }
        )
    return rows


def _order(clients: int) -> Callable[[Path, float, Tick], list[Row]]:
    def measure(directory: Path, seconds: float, tick: Tick) -> list[Row]:
        server, _ = cores_for(cores())
        found = result_of(
            ("happy.bench.clients", directory, clients, seconds), server, directory,
            within_s=seconds + _GRACE_S, tick=tick,
        )  # fmt: skip
        return [{"what": "order", "per_s": found.pop("events_per_s"), **found}]

    return measure


def _http(directory: Path, seconds: float, tick: Tick) -> list[Row]:
    with serving(directory) as (port, process):
        asked = [("POST", "/next", count) for count in CONNECTIONS] + [("GET", "/last", 64)]
        asking(port, process.pid, _WARM_UP, directory, _WARM_UP_S, tick)
        return [
            asking(port, process.pid, one, directory, seconds / len(asked), tick) for one in asked
        ]


def _front(directory: Path, seconds: float, tick: Tick) -> list[Row]:
    folder = directory / "front"
    folder.mkdir()
    with serving(folder, on=cores(), more="fronts = 1") as (port, process):
        asked = ("POST", "/next", CONNECTIONS_OF_FRONTS)
        asking(port, process.pid, _WARM_UP, directory, _WARM_UP_S, tick)
        row = asking(port, process.pid, asked, directory, seconds, tick)
    container_busy = row["server_busy"] * row["container_us"] / row["cpu_us"]
    front_busy = row["server_busy"] - container_busy
    limit = limit_of_fronts(front_busy, container_busy, row["load_busy"], len(cores()))
    return [{**row, "fronts": 1, "limit": limit}]


def asking(  # noqa: PLR0913 - whom, what, for how long
    port: int, server: int, asked: tuple[str, str, int], folder: Path, seconds: float, tick: Tick
) -> Row:
    """Load a server for a while; return its figures, and what kept it from more."""
    method, path, clients = asked
    server_cores, load_cores = cores_for(cores())
    before = cpu_s_by_process(server)
    found = result_of(
        ("happy.bench.load", port, method, path, clients, 0, seconds), load_cores, folder,
        within_s=seconds + _GRACE_S, tick=tick,
    )  # fmt: skip
    used = {pid: s - before.get(pid, 0.0) for pid, s in cpu_s_by_process(server).items()}
    answers, taken_s, used_s = found["answers"], found["seconds"], sum(used.values())
    server_busy, load_busy = used_s / taken_s, found["cpu_s"] / taken_s
    return {
        "what": f"{method} {path}",
        "clients": clients,
        "per_s": round(answers / taken_s),
        "p50_us": round(found["p50_us"], 1),
        "p99_us": round(found["p99_us"], 1),
        "cpu_us": round(used_s / answers * 1e6, 1),
        "container_us": round(used[server] / answers * 1e6, 1),
        "server_busy": round(server_busy, 2),
        "load_busy": round(load_busy, 2),
        "limit": limit_of(server_busy, load_busy, shared=server_cores == load_cores),
        "wrong": len(found["faults"]) + found["refused"] + found["unanswered"],
    }


@contextmanager
def serving(
    directory: Path,
    *,
    on: Sequence[int] | None = None,
    app: str = NUMBERS,
    more: str = "",
    log: str = 'access = "off"',
) -> Iterator[tuple[int, Popen[str]]]:
    """Run a container with an application, the numbers example; yield its port and its process.

    It runs on one core, or on those that are named; ``more`` is more of the application's
    configuration, and ``log`` that of the log. The journal is in ``served/data/measured``.
    """
    folder = directory / "served"
    folder.mkdir()
    config = folder / "happy.toml"
    config.write_text(_CONFIG.format(app=app, more=more, log=log), "utf-8")
    argv = [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", "happy", "--config", config]
    with running(argv, on or cores_for(cores())[0], folder) as process:
        yield port_of(process), process


_CONFIG: Final = """\
data = "data"
[apps.measured]
app = "{app}"
http = "tcp:0:interface=127.0.0.1:backlog=1024"
{more}
[log]
{log}
"""
_TWISTD: Final = "from twisted.scripts.twistd import run; run()"
_LISTENS: Final = re.compile(r"measured: http on \S*:(\d+)\s")


def port_of(process: Popen[str]) -> int:
    """Return the port that a container says it serves on."""
    assert process.stdout is not None
    said = ""
    end_s = time.monotonic() + _GRACE_S
    while (found := _LISTENS.search(said)) is None:
        left_s = end_s - time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, left_s))
        if not ready:
            raise ChildFailed(f"the container did not start within {_GRACE_S:.0f} s")
        # Not a line: the file would keep those that came with it, and select knows only the pipe.
        piece = os.read(process.stdout.fileno(), _PIECE_BYTES)
        if not piece:
            raise ChildFailed(f"the container did not start: {last_line(said)}")
        said += piece.decode("utf-8", "replace")
    return int(found[1])


def _reopened(directory: Path, seconds: float, tick: Tick) -> list[Row]:
    server, _ = cores_for(cores())
    journal = directory / f"stream-{REOPENED}"
    found = result_of(
        ("happy.bench.reopening", journal, NUMBERS, seconds), server, directory,
        within_s=seconds + _GRACE_S, tick=tick,
    )  # fmt: skip
    return [
        {
            "what": "replay",
            "events": found["seq"],
            "per_s": round(found["events_per_s"]),
            "p50_us": round(found["seconds"] * 1e6),
        }
    ]


PARTS: Final = (
    Part("disk and journal", 3, _disk),
    *(Part(f"order, {count:,} clients", 2, _order(count)) for count in CLIENTS),
    Part("HTTP", 8, _http),
    Part("HTTP, one front", 2, _front),
    Part("replay", 1, _reopened),
)
