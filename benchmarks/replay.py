"""How fast a journal is replayed, and what a handler costs in the machine.

    python benchmarks/replay.py [--events N] [--rows N] [--runs N] [--json]

Three tables. *Replay* reads a journal from its file, as an opening does: frames are checked,
records decoded, handlers run, rows undone or kept, the digest computed at the end; where it says
*marked*, every 10,000 events too, and compared with the mark that the journal has there.
*Machine* is the handler alone, with undo and outcome, for entries that are there already. *Undo*
compares ways of taking back a change of one row. All is told in processor time: one thread does
it, and waits for nothing. Exits with 1 when a bound does not hold.
"""

from __future__ import annotations

import gc
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import click

from happy import App, Table, event, handles, state, table
from happy.app import Definition, definition_of
from happy.apply import Machine
from happy.codec import EventDecoder, encode
from happy.collecting import collecting_seldom
from happy.event import Entry
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.journal.frame import (
    Kind,
    SegmentHeader,
    encode_frame,
    encode_segment_header,
    first_chain,
)
from happy.journal.names import segment_name
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.marks import mark_of
from happy.opening import replay_frame
from happy.undo import Undo

NUMBERS_MIN: Final = 1_000_000
"""Events of the numbers example replayed in a second."""
UPDATES_MIN: Final = 200_000
"""Events replayed in a second that change a row with two indexes: none, one or both of them."""
HANDLER_US_MAX: Final = 1.5
"""What an event of the numbers example costs in the machine."""
JOURNAL_ID: Final = bytes(range(16))
SOURCE: Final = "http POST /next"
TIME_NS: Final = 1_700_000_000_000_000_000


@event
class Put:
    """Put a row."""

    key: int
    owner: int
    number: int
    amount: int


@attrs.frozen
class Row:
    """An account: two indexes, and one field that has none."""

    owner: int
    number: int
    amount: int


@state
class Accounts:
    """A table with a plain and a unique index."""

    rows: Table[int, Row] = table(index=("owner",), unique=("number",))


class Bank(App):
    """Puts rows."""

    state = Accounts

    @handles(Put)
    def put(state: Accounts, event: Put, _context: Any) -> None:
        """Put a row in its place."""
        state.rows[event.key] = Row(event.owner, event.number, event.amount)


def puts(count: int, rows: int, changing: str) -> Iterable[Put]:
    """Yield events that change rows in random order: the amount, and what is said."""
    draw = random.Random(1)
    for n in range(count):
        key = draw.randrange(rows)
        owner = n % 1000 if changing in {"owner", "both"} else key % 1000
        number = rows + n if changing == "both" else key
        yield Put(key, owner, number, n)


def marked_frames(
    records: list[bytes], frame_events: int, definition: Definition, *, marked: bool
) -> Iterator[tuple[Kind, int, list[bytes], bytes]]:
    """Yield kind, first seq, records and mark of the frames of a journal."""
    machine = Machine(definition, JOURNAL_ID, random.Random)
    decoder = EventDecoder(definition.events)
    marked_seq = 0
    for first in range(0, len(records), frame_events):
        batch = records[first : first + frame_events]
        yield Kind.EVENTS, first + 1, batch, b""
        if marked:
            machine.replay(TIME_NS + first + 1, decoder.together(batch) or ())
            if machine.seq - marked_seq >= Limits().digest_events_max:
                marked_seq = machine.seq
                yield Kind.DIGEST_MARK, machine.seq + 1, [], mark_of(machine).body()


def write_journal(
    path: Path,
    records: list[bytes],
    frame_events: int,
    definition: Definition,
    *,
    marked: bool = False,
) -> None:
    """Write a journal of one segment, without syncs."""
    path.mkdir()
    chain = first_chain(JOURNAL_ID)
    header = SegmentHeader(JOURNAL_ID, 1, 1, 0, 0, chain, 1)
    with (path / segment_name(1)).open("wb") as file:
        offset = file.write(encode_segment_header(header))
        frames = marked_frames(records, frame_events, definition, marked=marked)
        for kind, first_seq, batch, mark in frames:
            frame, chain = encode_frame(
                kind,
                batch,
                first_seq=first_seq,
                time_ns=TIME_NS + first_seq,
                offset=offset,
                durable_end=offset,
                salt=1,
                chain=chain,
                mark=mark,
            )
            offset += file.write(frame)


def replay(path: Path, definition: Definition) -> tuple[float, str]:
    """Replay a journal; return its processor seconds and the machine's digest."""
    gc.collect()
    began = time.process_time()
    machine = Machine(definition, JOURNAL_ID, random.Random)
    decoder = EventDecoder(definition.events)
    with collecting_seldom():
        for frame in Reader(FileDisk(path), cut=False).frames():
            replay_frame(machine, decoder, frame)
    found = machine.digest()
    return time.process_time() - began, found


def in_machine(count: int, batch: int) -> float:
    """Return the processor seconds that the machine takes for events of the numbers example."""
    definition = definition_of(NumberService)
    machine = Machine(definition, JOURNAL_ID, random.Random)
    entries = [Entry(seq, 1, Next(1), SOURCE) for seq in range(1, count + 1)]
    batches = [entries[first : first + batch] for first in range(0, count, batch)]
    gc.collect()
    began = time.process_time()
    for entries in batches:
        machine.apply(entries)
    return time.process_time() - began


def undoing(rows: int, changes: int) -> dict[str, Callable[[], float]]:
    """Return ways to change a row so that it can be taken back, each with its seconds."""
    keys = [random.Random(2).randrange(rows) for _ in range(changes)]

    def timed(change: Callable[[int], None]) -> float:
        gc.collect()
        began = time.process_time()
        for key in keys:
            change(key)
        return time.process_time() - began

    def table_and_undo() -> float:
        undo = Undo(root := Accounts())
        root.rows.fill(((key, key, Row(0, key, 0)) for key in range(rows)), rows)

        def change(key: int) -> None:
            undo.save()
            root.rows[key] = Row(0, key, 1)
            undo.commit()
            undo.tidy()

        return timed(change)

    def persistent_map(make: Callable[[dict[int, Row]], Any]) -> float:
        found = [make({key: Row(0, key, 0) for key in range(rows)})]

        def change(key: int) -> None:
            found[0] = found[0].set(key, Row(0, key, 1))

        return timed(change)

    ways: dict[str, Callable[[], float]] = {"table, indexes and digest": table_and_undo}
    with suppress(ImportError):
        import immutables  # noqa: PLC0415 - for the comparison alone

        ways["immutables.Map, no index"] = partial(persistent_map, immutables.Map)
    with suppress(ImportError):
        import pyrsistent  # noqa: PLC0415 - likewise

        ways["pyrsistent.pmap, no index"] = partial(persistent_map, pyrsistent.pmap)
    return ways


def measured(runs: int, ways: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Run all ways by turns, so that what disturbs the machine disturbs all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            seconds[name].append(way())
    return seconds


def replays(place: Path, events: int, rows: int) -> dict[str, tuple[Callable[[], float], int, int]]:
    """Write the journals; return how to replay each, its events, and events that do not count."""
    numbers = [encode(Next(1), SOURCE)] * events
    inserts = [encode(Put(key, key % 1000, key, 0), SOURCE) for key in range(rows)]
    ways: dict[str, tuple[Callable[[], float], int]] = {}

    def add(
        name: str, app: type[App], records: list[bytes], frame_events: int, *, marked: bool = False
    ) -> None:
        path = place / name.replace(" ", "-").replace(",", "")
        definition = definition_of(app)
        write_journal(path, records, frame_events, definition, marked=marked)
        ways[name] = (lambda: replay(path, definition)[0], len(records))

    for frame_events in (64, 1024):
        add(f"numbers, {frame_events} a frame", NumberService, numbers, frame_events)
    add("inserts, two indexes", Bank, inserts, 1024)
    for changing in ("none", "owner", "both"):
        records = [encode(put, SOURCE) for put in puts(events, rows, changing)]
        for marked in (False, True):
            name = f"updates, {changing} changes{', marked' * marked}"
            add(name, Bank, inserts + records, 1024, marked=marked)
    return ways


@click.command()
@click.option("--events", default=200_000, show_default=True)
@click.option("--rows", default=10_000, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(events: int, rows: int, runs: int, as_json: bool) -> None:
    """Measure and print; status 1 when a bound does not hold."""
    place = Path(tempfile.mkdtemp(prefix="happy-replay-"))
    try:
        ways = replays(place, events, rows)
        seconds = measured(runs, {name: way for name, (way, _) in ways.items()})
    finally:
        shutil.rmtree(place)
    handler = measured(
        runs,
        {f"{batch} a batch": lambda batch=batch: in_machine(events, batch) for batch in (64, 1024)},
    )
    undone = measured(runs, undoing(rows, events // 4))
    inserting = statistics.median(seconds["inserts, two indexes"])
    found: dict[str, Any] = {}
    for name, (_, count) in ways.items():
        updating = name.startswith("updates")
        taken = statistics.median(seconds[name]) - (inserting if updating else 0)
        found[name] = (count - (rows if updating else 0)) / taken
        if not as_json:
            print(f"{name:31} {found[name]:12,.0f} events/s  {1e6 / found[name]:6.2f} us")
    for name, taken in handler.items():
        found[f"handler, {name}"] = statistics.median(taken) / events * 1e6
        if not as_json:
            print(f"handler, {name:22} {'':21}  {found[f'handler, {name}']:6.2f} us")
    for name, taken in undone.items():
        found[f"undo, {name}"] = statistics.median(taken) / (events // 4) * 1e6
        if not as_json:
            print(f"undo, {name:46} {found[f'undo, {name}']:6.2f} us")
    if as_json:
        print(json.dumps(found))
    holds = (
        min(found["numbers, 64 a frame"], found["numbers, 1024 a frame"]) >= NUMBERS_MIN,
        min(found[f"updates, {what} changes"] for what in ("none", "owner", "both")) >= UPDATES_MIN,
        max(found["handler, 64 a batch"], found["handler, 1024 a batch"]) <= HANDLER_US_MAX,
    )
    raise SystemExit(not all(holds))


if __name__ == "__main__":
    main()
