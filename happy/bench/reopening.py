"""How long an application takes to open: its journal is read, checked and replayed.

    python -m happy.bench.reopening DIRECTORY MODULE:CLASS SECONDS

opens the journal in DIRECTORY as a container does, again and again for some seconds and at least
once, and writes nothing to it. One line of JSON at the end.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor

from happy.app import Definition, definition_of
from happy.bench.figures import percentile
from happy.footprint import read_footprint
from happy.journal.disk import FileDisk
from happy.limits import Limits
from happy.stream import Stream
from happy.world import real_world


@frozen
class Reopened:
    """One opening: how long it took, how far the journal goes, and the memory of the process."""

    seconds: float
    seq: int
    resident_bytes: int


def reopen(directory: Path, definition: Definition) -> Reopened:
    """Open a journal and let go of it."""
    world, _ = real_world(reactor, "reopened")
    stream = Stream("bench", definition, FileDisk(directory), world, Limits())
    gc.collect()
    start_s = time.perf_counter()
    stream.open()
    taken_s = time.perf_counter() - start_s
    seq, resident_bytes = stream.journaled().seq, read_footprint().resident_bytes or 0
    stream.abandon()
    return Reopened(taken_s, seq, resident_bytes)


def reopened(directory: Path, definition: Definition, seconds: float) -> dict[str, Any]:
    """Open a journal again and again for some seconds; return the median time, and the rest.

    The memory is that after the first time.
    """
    end_s = time.monotonic() + seconds
    runs = [reopen(directory, definition)]
    while time.monotonic() < end_s:
        runs.append(reopen(directory, definition))
    middle_s = percentile([run.seconds for run in runs], 50)
    first = runs[0]
    return {
        "seq": first.seq,
        "seconds": middle_s,
        "runs": len(runs),
        "events_per_s": first.seq / middle_s,
        "resident_bytes": first.resident_bytes,
    }


def main(directory: str, application: str, seconds: str) -> None:
    """Reopen, and print the figures."""
    module, _, name = application.partition(":")
    definition = definition_of(getattr(import_module(module), name))
    print(json.dumps(reopened(Path(directory), definition, float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
