"""The process that makes a snapshot beside the container, and starting it.

It is a new program, not a fork: nothing of the container's memory is copied, or touched. It
stands behind everything else on the machine - at the processor, at the disk, and first in the row
when the memory runs out - and holds a lock of its own on the folder of the snapshots, so that
there is one of them whoever starts it. It says what it did in one line of JSON.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from twisted.internet.defer import Deferred, DeferredLock

from happy import background
from happy.app import App, Definition
from happy.config import AppConfig, Config
from happy.config.imports import import_application, importable_from
from happy.errors import HappyError, NoSnapshot, NotAJournal
from happy.housekeeping import Housekeeping
from happy.image import Image, Schemas
from happy.journal.disk import FileDisk
from happy.journal.names import SNAPSHOTS, segment_seq
from happy.journal.retention import Held, let_go
from happy.snapshotting import Made, SnapshotMaker
from happy.stream import Stream
from happy.world import World

_SAID_MAX: Final = 500
_GC_THRESHOLD: Final = 200_000
"""A state is no garbage: looking for some in it each 700 objects takes longer than the rest."""


class Order(msgspec.Struct, frozen=True):
    """What a process is to make a snapshot of."""

    journal: str
    """The directory of the journal."""
    app: str
    """The application, as ``module:Class``."""
    base: str
    """The directory that is first on its path."""
    kept: int
    """How many snapshots stay."""
    niceness: int
    schemas: Schemas
    """What the state of the application is, as the container knows it."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process says when it has ended: what it made, or why it made nothing."""

    made: Made | None = None
    error: str = ""


def order_of(  # noqa: PLR0913 - as many as it has
    journal: Path, app: type[App], definition: Definition, base: Path, kept: int, niceness: int
) -> Order:
    """Return the order for the snapshots of an application."""
    name = f"{app.__module__}:{app.__qualname__}"
    schemas = Image(definition).schemas
    return Order(str(journal.absolute()), name, str(base.absolute()), kept, niceness, schemas)


class SideProcess:
    """The process, started again and again; one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, order: Order) -> Made:
        """Start the process and wait for its end; ``NoSnapshot`` says why it made nothing."""
        if self._ended:
            raise NoSnapshot("the container is stopping")
        try:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                _command(order),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except OSError as error:
            raise NoSnapshot(f"its process cannot be started: {error.strerror}") from None
        self._process = process
        self._kill_if_ended()
        said, complained = process.communicate()
        self._process = None
        return _made(process.returncode, said, complained)

    def end(self) -> None:
        """Kill the process if there is one, and start none any more."""
        self._ended = True
        self._kill_if_ended()

    def _kill_if_ended(self) -> None:
        # Whichever comes last, the process or the end, sees the other: no lock is needed.
        process = self._process
        if process is not None and self._ended:
            process.kill()


def housekeeping_of(
    stream: Stream, world: World, config: AppConfig, container: Config, one_at_a_time: DeferredLock
) -> Housekeeping:
    """Return the housekeeping of an application, which makes snapshots in processes.

    ``one_at_a_time`` is shared by all applications of the container.
    """
    side = SideProcess()
    path = container.data / config.name
    limits, retention = config.limits, config.retention
    order = order_of(
        path,
        config.app,
        config.definition,
        container.path.parent,
        limits.snapshots_kept_max,
        limits.snapshot_niceness_min,
    )
    archive = None if retention.archive is None else FileDisk(retention.archive)

    def make() -> Deferred[Made]:
        return one_at_a_time.run(world.run_aside, partial(side.run, order))

    def let_segments_go(verified_seqs: list[int]) -> list[Held]:
        if retention.keeps_all:
            return []
        # Not the stream's own door to the disk: that one is its thread's.
        return let_go(FileDisk(path), verified_seqs, retention.budget, world.time_ns(), archive)

    return Housekeeping(
        config.name, world, limits, stream.journaled, make, let_segments_go, side.end
    )


def _command(order: Order) -> list[str]:
    python = [sys.executable, "-P", background.__file__, msgspec.json.encode(order).decode()]
    ionice = shutil.which("ionice")
    return python if ionice is None else [ionice, "-c", "idle", "-t", *python]


def _made(status: int, said: bytes, complained: bytes) -> Made:
    """Return what a process made, as it says at its end."""
    last = said.splitlines()[-1:] or [b""]
    try:
        report = msgspec.json.decode(last[0], type=Report)
    except msgspec.MsgspecError:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        words = complained.decode(errors="replace").strip().splitlines()[-1:]
        told = f": {words[0][:_SAID_MAX]}" if words else ""
        raise NoSnapshot(f"its process {how}{told}") from None
    if report.made is None:
        raise NoSnapshot(report.error)
    return report.made


def make_snapshot(journal: Path, definition: Definition, kept: int) -> Made:
    """Make a snapshot of a journal, in use or not; see ``SnapshotMaker.make``.

    Raises ``Locked`` when somebody else is making one, and ``NotAJournal``.
    """
    disk = FileDisk(journal)
    if not any(segment_seq(name) is not None for name in disk.names()):
        raise NotAJournal(f"{journal}: no journal is here")
    folder = FileDisk(journal / SNAPSHOTS)
    folder.lock()
    try:
        maker = SnapshotMaker(definition, disk, random.Random, time.process_time)
        return maker.make(time.time_ns(), kept=kept)
    finally:
        disk.close()
        folder.close()


def _report(order: Order) -> Report:
    try:
        with importable_from(Path(order.base)):
            definition = import_application(order.app)
        if Image(definition).schemas != order.schemas:
            return Report(
                error="the application on the disk has another state than the one that runs; "
                "there will be snapshots again when the container has been started anew"
            )
        return Report(make_snapshot(Path(order.journal), definition, order.kept))
    except MemoryError:
        return Report(error="there is not enough memory for a second state")
    except (HappyError, ValueError, OSError) as error:
        return Report(error=str(error))


def main() -> None:
    """Do what the order on the command line says, in the process that ``background`` prepared."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    gc.set_threshold(_GC_THRESHOLD)
    report = _report(order)
    sys.stdout.write(f"\n{msgspec.json.encode(report).decode()}\n")
    sys.exit(report.made is None)
