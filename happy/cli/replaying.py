"""Replaying a journal that nobody serves, with its application's own code."""

from __future__ import annotations

import random
from pathlib import Path

import attrs

from happy.apply import Machine
from happy.codec import EventDecoder
from happy.config import AppConfig
from happy.errors import NotAJournal
from happy.journal.disk import FileDisk
from happy.journal.replay import Reader
from happy.opening import replay_frame
from happy.state import digest


@attrs.frozen
class Replayed:
    """What a replay came to."""

    seq: int
    failed: int
    """How many handlers raised, over the whole history."""
    digest: str
    """Of the application's state."""


def replayed(path: Path, app: AppConfig) -> Replayed:
    """Replay the journal in a directory; nothing is written and no effect is performed.

    Raises ``JournalError`` when it is damaged, or the application does not know its events.
    """
    machine: Machine | None = None
    decoder = EventDecoder(app.definition.events)
    reader = Reader(FileDisk(path), cut=False)
    for frame in reader.frames():
        if machine is None:
            machine = _machine(reader, app)
        replay_frame(machine, decoder, frame)
    if machine is None:
        if not reader.segments:
            raise NotAJournal(f"{path}: no journal is here")
        machine = _machine(reader, app)
    return Replayed(machine.seq, machine.failed, digest(machine.state))


def _machine(reader: Reader, app: AppConfig) -> Machine:
    return Machine(app.definition, reader.segments[0].header.journal_id, random.Random)
