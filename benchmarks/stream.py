"""A million durable numbers a second: a stream maker, one that orders, and one that applies.

    python benchmarks/stream.py [--directory DIR] [--seconds S] [--rounds N] [--json] [--syncs]

Three processes. The *maker* makes events, encodes them and hands them over in batches through a
socket; it checks every number that comes back. The *order* makes a frame of what has gathered,
writes and syncs it, and hands it, as it is on the disk, to the *core*: ``happy core``, on its
standard input. Outcomes come back by its standard output. ``benchmarks/README.md`` says more.
Exits with 1 when the bound does not hold, or any number is not the one after that before.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import IO, Any, Final

import click
import msgspec

from happy.bench.children import cpu_s
from happy.bench.machine import MEMORY_TYPES, cores, file_system_of
from happy.codec import encode, encode_all
from happy.examples.numbers import COUNT_MAX, Next
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Packed
from happy.limits import Limits
from happy.split.batches import Batch, BatchStream, Settled, SettledStream
from happy.split.outcome_frame import OutcomeStream
from happy.split.sequencer import JournalSequencer

NUMBERS_MIN: Final = 1_000_000
"""Durable numbers in a second, on two cores."""
CORE: Final = "happy.examples.numbers:NumberService"
SOURCE: Final = "stream"
BATCH_EVENTS: Final = 2_048
IN_FLIGHT: Final = 12
"""Batches that the maker does not wait for."""
FRAME_BATCHES_MAX: Final = 2
PIECE_BYTES: Final = 1024 * 1024
SYNC_ROUND_S: Final = 0.5


# --- the maker -----------------------------------------------------------------------------------


class Maker:
    """Makes batches of events, and knows which numbers must come back.

    Alike, they are prepared once, as a door does for requests that spell the same; ``distinct``,
    each is made and encoded by itself, and takes as many numbers as chance says.
    """

    def __init__(self, batch_events: int, *, distinct: bool) -> None:
        self.number = 0
        self.answered = 0
        self._expected = 1
        self._distinct = distinct
        self._counts: deque[list[int]] = deque()
        self._alike = [1] * batch_events
        self._record = encode(Next(), SOURCE)
        self._random = random.Random(1)

    def make(self) -> Batch:
        """Return the next batch."""
        counts, records = self._alike, [self._record] * len(self._alike)
        if self._distinct:
            counts = self._random.choices(range(1, COUNT_MAX + 1), k=len(counts))
            records = encode_all([Next(count) for count in counts], SOURCE)
        self._counts.append(counts)
        self.number += 1
        return Batch(self.number, Packed.of(records))

    def check(self, settled: Settled) -> None:
        """Check every number of a batch."""
        *due, following = accumulate(self._counts.popleft(), initial=self._expected)
        numbers = _numbers(b"\xdd" + settled.count.to_bytes(4, "big") + settled.outcomes)
        if numbers != due:
            raise SystemExit(f"batch {settled.number}: {due[0]} and those after it were to come")
        self._expected = following
        self.answered += len(due)


_numbers = msgspec.msgpack.Decoder(list[int]).decode


def make(end: socket.socket, seconds: float, maker: Maker) -> None:
    """Make batches for so long; say on standard output how many numbers came back, and when."""
    settled = SettledStream(Limits().frame_bytes_max)
    waiting = 0
    cpu_s = time.process_time()
    began = now = time.perf_counter()
    while waiting or now - began < seconds:
        if waiting < IN_FLIGHT and now - began < seconds:
            end.sendall(maker.make().encode())
            waiting += 1
        else:
            for one in settled.feed(end.recv(PIECE_BYTES)):
                maker.check(one)
                waiting -= 1
        now = time.perf_counter()
    cpu_s = time.process_time() - cpu_s
    print(json.dumps({"events": maker.answered, "seconds": now - began, "cpu_s": cpu_s}))


# --- the order -----------------------------------------------------------------------------------


class Order:
    """Orders batches of one maker, and brings them to a core and back."""

    def __init__(
        self, directory: Path, maker: socket.socket, core: subprocess.Popen[bytes]
    ) -> None:
        self._disk = FileDisk(directory)
        self._disk.lock()
        size = Limits().segment_bytes_max
        tail = create_journal(self._disk, os.urandom(16), 1, time.time_ns(), size)
        appender = Appender(self._disk, tail, segment_bytes_max=size, new_salt=lambda: 1)
        self.sequencer = JournalSequencer(self._disk, appender, time.time_ns)
        self.frames = 0
        self._maker = maker
        self._core = core
        self._come: SimpleQueue[Batch | None] = SimpleQueue()
        self._durable: deque[list[Batch]] = deque()
        self._follower = self.sequencer.follow()
        self._outcomes = OutcomeStream()
        self._wake()
        self.threads = [
            threading.Thread(target=work) for work in (self._receive, self._publish, self._return)
        ]

    def _wake(self) -> None:
        """Wait until the core has read which journal it is: its start is not measured."""
        self._feed()
        while self._outcomes.header is None:
            list(self._outcomes.feed(_pipe(self._core.stdout).read(PIECE_BYTES)))

    def _feed(self) -> None:
        while data := self._follower.more():
            _pipe(self._core.stdin).write(data)

    def run(self) -> None:
        """Work until the maker has hung up and all is answered."""
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()
        self._disk.close()

    def _receive(self) -> None:
        stream = BatchStream(Limits().frame_bytes_max)
        while data := self._maker.recv(PIECE_BYTES):
            for batch in stream.feed(data):
                self._come.put(batch)
        self._come.put(None)

    def _publish(self) -> None:
        while batches := self._gathered():
            self._durable.append(batches)
            self.sequencer.publish([batch.records for batch in batches])
            self.frames += 1
            self._feed()
        _pipe(self._core.stdin).close()

    def _gathered(self) -> list[Batch]:
        """Return what waits, as much as is to be one frame; nothing at the end."""
        batches: list[Batch] = []
        while not batches or (len(batches) < FRAME_BATCHES_MAX and not self._come.empty()):
            batch = self._come.get()
            if batch is None:
                self._come.put(None)
                break
            batches.append(batch)
        return batches

    def _return(self) -> None:
        while data := _pipe(self._core.stdout).read(PIECE_BYTES):
            for frame in self._outcomes.feed(data):
                self._settle(frame.first_seq, frame.count, frame.body)
        self._outcomes.end()

    def _settle(self, first_seq: int, count: int, body: bytes) -> None:
        batches = self._durable.popleft()
        if sum(len(batch.records) for batch in batches) != count:
            raise SystemExit(f"seq {first_seq}: the core answers another frame")
        if len(batches) == 1:
            answers = [body]
        else:
            answers = split(body, count, [len(batch.records) for batch in batches])
        said = []
        for batch, answer in zip(batches, answers, strict=True):
            settled = Settled(batch.number, first_seq, len(batch.records), answer)
            said.append(settled.encode())
            first_seq += settled.count
        self._maker.sendall(b"".join(said))


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def split(body: bytes, count: int, counts: list[int]) -> Iterator[bytes]:
    """Yield the outcomes of each batch."""
    items = _items(b"\xdd" + count.to_bytes(4, "big") + body)
    at = 0
    for size in counts:
        yield b"".join(items[at : at + size])
        at += size


_items = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


# --- a round -------------------------------------------------------------------------------------


def one_round(
    directory: Path, seconds: float, batch_events: int, *, distinct: bool
) -> dict[str, Any]:
    """Run all three once in an empty directory; return what came of it."""
    ours, its = socket.socketpair()
    for end in (ours, its):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
    with (
        tempfile.TemporaryDirectory(dir=directory) as folder,
        subprocess.Popen(
            [Path(sys.executable).with_name("happy"), "core", CORE, "--live-from", "1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        ) as core,
    ):  # fmt: skip
        order = Order(Path(folder), ours, core)
        command = [sys.executable, __file__, "--maker", str(its.fileno())]
        command += ["--seconds", str(seconds), "--batch", str(batch_events)]
        command += ["--distinct"] if distinct else []
        pin(core.pid, -1)
        core_s, order_s = cpu_s(core.pid), time.process_time()
        with subprocess.Popen(command, pass_fds=[its.fileno()], stdout=subprocess.PIPE) as maker:
            its.close()
            order.run()
            order_s = time.process_time() - order_s
            core_s = cpu_s(core.pid) - core_s
            said = json.loads(_pipe(maker.stdout).read())
    ours.close()
    numbers = said["events"]
    if order.sequencer.next_seq != numbers + 1:
        raise SystemExit(f"{order.sequencer.next_seq - 1} are durable and {numbers} were answered")
    return {
        "events": "distinct" if distinct else "alike",
        "numbers": numbers,
        "numbers_per_s": round(numbers / said["seconds"]),
        "events_per_frame": round(numbers / order.frames),
        "frames": order.frames,
        "maker_cpu_us": round(said["cpu_s"] / numbers * 1e6, 3),
        "order_cpu_us": round(order_s / numbers * 1e6, 3),
        "core_cpu_us": round(core_s / numbers * 1e6, 3),
    }


def pin(pid: int, which: int) -> None:
    """Keep a process, and what it starts from now on, on one core of this machine."""
    os.sched_setaffinity(pid, {CORES[which]})


CORES: Final = cores()
"""The first is for the maker and the order, the last for the core."""


def proof(directory: Path) -> bool:
    """Show with strace that each frame is synced before it goes to the core."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        trace = Path(folder) / "trace"
        strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync,write"]
        child = [sys.executable, __file__, "--directory", folder, "--rounds", "1", "--json"]
        done = subprocess.run(
            [*strace, *child, "--seconds", str(SYNC_ROUND_S)], stdout=subprocess.PIPE, check=False
        )
        frames = json.loads(done.stdout)["rounds"][0]["frames"]
        early, syncs, handed = handed_early(trace.read_text())
    print(f"{frames} frames, {syncs} syncs, {handed} hand-overs to the core, {early} before a sync")
    return syncs >= frames == handed and not early


def handed_early(trace: str) -> tuple[int, int, int]:
    """Return how many frames went to the core with no sync after the one before; syncs; frames."""
    early = syncs = handed = 0
    synced = False
    for line in trace.splitlines():
        if "fdatasync" in line and line.endswith("= 0"):
            synced = True
            syncs += 1
        elif re.search(r'write\(\d+, "HFRM', line):
            handed += 1
            early += not synced
            synced = False
    return early, syncs, handed


# --- the command ---------------------------------------------------------------------------------


@click.command()
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="Where to write, in a folder that is removed afterwards.",
)
@click.option("--seconds", default=3.0, help="How long the maker makes, in each round.")
@click.option("--rounds", default=5)
@click.option("--batch", default=BATCH_EVENTS, help="Events in a batch of the maker.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--syncs", is_flag=True, help="Show with strace that frames are synced instead.")
@click.option("--distinct", is_flag=True, help="Make and encode each event by itself.")
@click.option("--maker", type=int, hidden=True)
def main(  # noqa: PLR0913 - one for each option
    directory: Path,
    seconds: float,
    rounds: int,
    batch: int,
    as_json: bool,
    syncs: bool,
    distinct: bool,
    maker: int | None,
) -> None:
    """Measure durable numbers a second from a stream maker to a core and back."""
    if maker is not None:
        make(socket.socket(fileno=maker), seconds, Maker(batch, distinct=distinct))
        return
    kind = file_system_of(directory)
    if kind in MEMORY_TYPES:
        raise click.UsageError(f"{directory} is in memory ({kind}): nothing is durable there")
    if syncs:
        sys.exit(0 if proof(directory) else 1)
    if len(CORES) < 2:
        raise click.UsageError("two cores are needed")
    pin(0, 0)
    found = [one_round(directory, seconds, batch, distinct=distinct) for _ in range(rounds)]
    middle = round(median(one["numbers_per_s"] for one in found))
    if as_json:
        print(json.dumps({"numbers_per_s": middle, "rounds": found}))
    else:
        columns = list(found[0])
        print("  ".join(columns))
        for one in found:
            print("  ".join(_cell(one[name], len(name)) for name in columns))
        print(f"median: {middle:,} durable numbers a second (bound: {NUMBERS_MIN:,})")
    sys.exit(0 if middle >= NUMBERS_MIN else 1)


def _cell(value: float | str, width: int) -> str:
    return f"{value:>{width}}" if isinstance(value, str) else f"{value:>{width},}"


if __name__ == "__main__":
    main()
