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

from twisted.internet import reactor

from happy.app import Definition, definition_of
from happy.bench.figures import percentile
from happy.journal.disk import FileDisk
from happy.limits import Limits
from happy.stream import Stream
from happy.world import real_world


def reopen(directory: Path, definition: Definition) -> tuple[float, int]:
    """Open a journal and let go of it; return the seconds, and the seq it came to."""
    world, _ = real_world(reactor, "reopened")
    stream = Stream("bench", definition, FileDisk(directory), world, Limits())
    gc.collect()
    start_s = time.perf_counter()
    stream.open()
    taken_s = time.perf_counter() - start_s
    seq = stream.journaled().seq
    stream.abandon()
    return taken_s, seq


def reopened(directory: Path, definition: Definition, seconds: float) -> dict[str, Any]:
    """Open a journal again and again for some seconds; return the median time and the seq."""
    taken: list[float] = []
    end_s = time.monotonic() + seconds
    while not taken or time.monotonic() < end_s:
        taken_s, seq = reopen(directory, definition)
        taken.append(taken_s)
    middle_s = percentile(taken, 50)
    return {"seq": seq, "seconds": middle_s, "runs": len(taken), "events_per_s": seq / middle_s}


def main(directory: str, application: str, seconds: str) -> None:
    """Reopen, and print the figures."""
    module, _, name = application.partition(":")
    definition = definition_of(getattr(import_module(module), name))
    print(json.dumps(reopened(Path(directory), definition, float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
