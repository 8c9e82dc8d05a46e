"""How fast ``happy journal verify`` reads, and how much memory that takes.

    python benchmarks/verify.py [--directory DIR] [--megabytes N] [--event-bytes N]

Writes a journal of 1 GB in segments of the default size, frames of 64 events as under 64
clients, no two events of a frame alike or equally long, and runs the command on it three times,
and three times on one processor, in turns; the journal is in memory by then, so it is the program
that is measured and not the disk. Memory is that of all its processes, what they share counted
once. Exits with 1 when the best run is below 200 MB/s, or memory above 64 MiB.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import click

from happy.codec import encode
from happy.event import event
from happy.journal.frame import (
    SEGMENT_HEADER_SIZE,
    Kind,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
)
from happy.journal.names import segment_name
from happy.limits import MIB, Limits

HAPPY: Final = Path(sys.executable).with_name("happy")
RUNS: Final = 3
SOURCE: Final = "http POST /note"
FRAME_EVENTS: Final = 64
SPEED_MB_S_MIN: Final = 200
MEMORY_BYTES_MAX: Final = 64 * MIB
WATCH_EVERY_S: Final = 0.05
SECOND: Final = 1_000_000_000
BEGIN_NS: Final = 1_700_000_000 * SECOND


@event
class Noted:
    """A text."""

    text: str


def records_about(size: int) -> list[bytes]:
    """Return the records of a frame, of ``size`` bytes on the average, no two of them alike."""
    bare = len(encode(Noted(""), SOURCE)) + 2
    sizes = [size - bare + at - FRAME_EVENTS // 2 for at in range(FRAME_EVENTS + 1)]
    del sizes[FRAME_EVENTS // 2]
    return [encode(Noted(secrets.token_hex(size)[:size]), SOURCE) for size in sizes]


def write_journal(path: Path, size: int, records: list[bytes]) -> int:
    """Write a journal of about ``size`` bytes, without syncs; return its bytes."""
    journal_id = os.urandom(16)
    chain = first_chain(journal_id)
    seq, number, previous_end, written, time_ns = 1, 0, 0, 0, BEGIN_NS
    while written < size:
        number += 1
        header = SegmentHeader(journal_id, number, seq, time_ns, previous_end, chain, number)
        with (path / segment_name(seq)).open("wb") as file:
            offset = file.write(encode_segment_header(header))
            assert offset == SEGMENT_HEADER_SIZE
            while True:
                frame, chain_after = encode_frame(
                    Kind.EVENTS,
                    records,
                    first_seq=seq,
                    time_ns=time_ns,
                    offset=offset,
                    durable_end=offset,
                    salt=number,
                    chain=chain,
                )
                if offset + len(frame) > Limits().segment_bytes_max or written + offset >= size:
                    break
                offset += file.write(frame)
                seq += FRAME_EVENTS
                time_ns += SECOND // 1_000
                chain = chain_after
        previous_end = offset
        written += offset
    return written


@attrs.frozen
class Run:
    """What it took, in seconds, seconds of processors, and bytes at the most."""

    wall_s: float
    cpu_s: float
    memory_bytes: int


def verify(path: Path, processors: set[int]) -> Run:
    """Run the command on these processors."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [HAPPY, "journal", "verify", path],
        stdout=subprocess.PIPE,
        preexec_fn=partial(os.sched_setaffinity, 0, processors),  # noqa: PLW1509 - no threads yet
    )
    with watched(process.pid) as memory:
        assert process.stdout is not None
        said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0 or ": whole: " not in said:
        raise SystemExit(f"the journal is not whole: {said}")
    return Run(time.perf_counter() - begun, used.ru_utime + used.ru_stime, max(memory))


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Gather meanwhile what a process and its children take of memory, in bytes."""
    found = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_EVERY_S):
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found.append(sum(map(memory_of, [str(pid), *children])))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        over.set()
        watching.join()


def memory_of(pid: str) -> int:
    """Return the memory of a process in bytes; of pages that several have, its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@click.command()
@click.option("--directory", type=click.Path(path_type=Path), help="Where; a temporary one.")
@click.option("--megabytes", default=1_000, show_default=True)
@click.option("--event-bytes", default=256, show_default=True)
def main(directory: Path | None, megabytes: int, event_bytes: int) -> None:
    """Measure and print; status 1 when it is too slow or takes too much."""
    place = Path(tempfile.mkdtemp(prefix="happy-verify-", dir=directory))
    try:
        size = write_journal(place, megabytes * 1_000_000, records_about(event_bytes))
        all_of_them = os.sched_getaffinity(0)
        runs: dict[str, list[Run]] = {}
        for _ in range(RUNS):
            for processors in (all_of_them, {min(all_of_them)}):
                name = "1 processor" if len(processors) == 1 else f"{len(processors)} processors"
                runs.setdefault(name, []).append(verify(place, processors))
    finally:
        shutil.rmtree(place)
    print(f"{size:,} bytes in events of about {event_bytes}, {FRAME_EVENTS} to a frame")
    for name, measured in runs.items():
        for run in measured:
            print(
                f"{name}: {size / run.wall_s / 1e6:6.0f} MB/s  {run.wall_s:6.2f} s  "
                f"({run.cpu_s:.2f} s of processors)  {run.memory_bytes / MIB:.0f} MiB"
            )
    best = next(iter(runs.values()))
    fast = size / min(run.wall_s for run in best) / 1e6 >= SPEED_MB_S_MIN
    small = all(run.memory_bytes <= MEMORY_BYTES_MAX for some in runs.values() for run in some)
    raise SystemExit(not (fast and small))


if __name__ == "__main__":
    main()
