"""What the tests of streams and cores share: journals as streams, and what a core said of them."""

from __future__ import annotations

import importlib
import itertools
import random

from happy.apply import Machine
from happy.codec import EventDecoder, encode
from happy.journal.appender import Appender, create_journal
from happy.journal.frame import SEGMENT_HEADER_SIZE, Frame, Kind, records_of
from happy.journal.quarantine import Quarantined, backlog_body, foreseen
from happy.journal.replay import Reader
from happy.split.filter import Filter
from happy.split.frame_stream import FrameStream
from happy.split.outcome_frame import OutcomeStream, decode_outcomes
from happy.testing import MemoryDisk

SECOND = 1_000_000_000
JOURNAL_ID = bytes(range(16))


def stream_of(disk):
    """Return the frames of a journal as `happy journal cat` writes them."""
    reader = Reader(disk, cut=False)
    ends = {}
    for frame in reader.frames():
        ends[reader.segments[-1].name] = frame.end
    return b"".join(
        disk.read(segment.name)[: ends.get(segment.name, SEGMENT_HEADER_SIZE)]
        for segment in reader.segments
    )


def journal(frames, segment_bytes=4096 + 2048, *, close=True):
    """Write a journal: of each frame its records, or the kind of a mark.

    Records may come with the seq from which on nothing had been applied.
    """
    disk = MemoryDisk()
    disk.lock()
    tail = create_journal(disk, JOURNAL_ID, 1, SECOND, segment_bytes)
    salts = iter(range(2, 10_000))
    pen = Appender(disk, tail, segment_bytes_max=segment_bytes, new_salt=lambda: next(salts))
    for number, frame in enumerate(frames, 2):
        if isinstance(frame, Quarantined):
            pen.mark(Kind.QUARANTINE_MARK, number * SECOND, body=frame.encode())
        elif isinstance(frame, Kind):
            pen.mark(frame, number * SECOND)
        else:
            behind, records = frame if isinstance(frame, tuple) else (None, frame)
            backlog = b"" if behind is None else backlog_body(behind)
            pen.append([r if isinstance(r, bytes) else encode(r, "test") for r in records],
                       number * SECOND, backlog=backlog)  # fmt: skip
    if close:
        pen.mark(Kind.CLOSE_MARK, 10**6 * SECOND)
    disk.close()
    return disk


def pieces(data, cuts):
    """Return data cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def resolve(name):
    """Return the class that a reply is an instance of."""
    module, _, qualname = name.partition(":")
    return getattr(importlib.import_module(module), qualname)


def frames_said(data):
    """Return the outcome frames in what a core wrote."""
    stream = OutcomeStream()
    found = list(stream.feed(data))
    stream.end()
    return found


def said(data):
    """Return the outcomes in what a core wrote."""
    return [outcome for frame in frames_said(data) for outcome in decode_outcomes(frame, resolve)]


def through(definition, data, cuts=(), **options):
    """Put a stream through a core; return what it wrote, and the core."""
    station = Filter(definition, random.Random, **options)
    wrote = [answer for piece in pieces(data, cuts) for answer in station.feed(piece)]
    return b"".join([*wrote, *station.end()]), station


def inline(definition, data):
    """Apply a stream one event at a time; return the outcomes and the machine."""
    block, *steps = FrameStream().feed(data)
    machine = Machine(definition, block.journal_id, random.Random)
    decoder = EventDecoder(definition.events)
    outcomes = []
    for frame in foreseen(step for step in steps if isinstance(step, Frame)):
        machine.quarantine(frame.quarantined)
        for record in records_of(frame) if frame.kind is Kind.EVENTS else ():
            outcomes += machine.apply([decoder.entry(machine.seq + 1, frame.time_ns, record)])
    return outcomes, machine
