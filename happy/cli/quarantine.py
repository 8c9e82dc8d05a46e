"""``happy quarantine``: the events that are passed over, and trying one again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from secrets import randbits
from typing import Any, Final

import attrs
import click

from happy.cli.bodies import records_in
from happy.cli.bounds import Wanted
from happy.cli.frames import steps
from happy.cli.output import (
    Unwell,
    is_terminal,
    json_option,
    rfc3339,
    safe,
    short_time,
    write_json,
    write_table,
)
from happy.cli.places import journal_argument, journal_path
from happy.cli.segments import header_of, segment_names
from happy.cli.statuses import Status, statuses
from happy.codec import Record, encode_again
from happy.event import ScheduleFired, TimerFired, event_meta
from happy.journal.appender import Appender
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame, Kind
from happy.journal.names import NEXT_SEGMENT
from happy.journal.quarantine import BATCHES_IN_DOUBT, Foresight, quarantined_by
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.journal.snapshots import Snapshot, snapshot_names
from happy.limits import Limits

_RELEASE: Final = "release of "
_FIRED: Final = tuple(event_meta(cls).name for cls in (TimerFired, ScheduleFired))


@attrs.define
class Passed:
    """An event that is passed over by every replay."""

    seq: int
    deaths: int
    time_ns: int
    """When it was quarantined."""
    record: Record | None
    """None when the segment that held it was let go."""
    released_as: int | None = None
    """The seq that it has where it is tried again."""


@click.group()
def quarantine() -> None:
    """Look at events that ended the program, and try one again."""


@quarantine.command()
@journal_argument
@json_option
def ls(place: str, config: Path | None, as_json: bool) -> None:
    """List the events that are quarantined.

    Each failed, and is passed over by every replay. DEATHS says how often the program ended
    while it was applied. A table has local times; JSON, a line for each event, RFC 3339 in UTC.
    The container may run.

    \b
    Exit status:
      0  listed, or there are none
      2  the journal is damaged
      3  not a journal
      4  something could not be read
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    with statuses(path):
        found = list(passed_over(path).values())
    if as_json or not is_terminal():
        write_json(*map(_as_json, found))
    else:
        write_table(
            ("seq ", "type", "source", "deaths ", "quarantined", "released as "),
            map(_as_row, found),
        )


@quarantine.command()
@journal_argument
@click.argument("seq", type=click.IntRange(min=1))
@json_option
def release(place: str, config: Path | None, seq: int, as_json: bool) -> None:
    """Let a quarantined event happen again.

    It does so now, as a new event at the end of the order. History stays as it is: at its old
    place the event failed. The new one has a new seq and no key; it is applied at the next
    start, by the code that runs then. If its handler ends the program again, it is quarantined
    again. Stop the container first.

    \b
    Exit status:
      0  done
      1  not done: it is not quarantined, was released already, or cannot be now
      2  the journal is damaged
      3  not a journal
      4  in use, or something could not be read or written
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    with statuses(path):
        segment_names(FileDisk(path), path)
        disk = FileDisk(path)
        disk.lock()
        try:
            record = _releasable(path, seq)
            as_seq = append_event(disk, encode_again(record, f"{_RELEASE}{seq}"))
        finally:
            disk.close()
    if as_json:
        write_json({"journal": str(path), "seq": seq, "released_as": as_seq})
    else:
        click.echo(safe(f"{path}: seq {seq} happens again as seq {as_seq}, at the next start"))


def passed_over(path: Path) -> dict[int, Passed]:
    """Return what is quarantined in a journal, by seq; it may be in use."""
    found: dict[int, Passed] = {}
    foresight = Foresight()
    for frame in _frames(path):
        if frame.kind is Kind.QUARANTINE_MARK:
            said = quarantined_by(frame)
            records = (pair for batch in foresight.held for pair in records_in(batch))
            record = next((record for seq, record in records if seq == said.seq), None)
            found[said.seq] = Passed(said.seq, said.deaths, frame.time_ns, record)
        elif frame.kind is Kind.EVENTS and found:
            _note_releases(frame, found)
        foresight.take(frame)
    return found


def _frames(path: Path) -> Iterator[Frame]:
    return (step for step in steps(path, Wanted()) if isinstance(step, Frame))


def _note_releases(frame: Frame, found: dict[int, Passed]) -> None:
    for seq, record in records_in(frame):
        of, of_seq = record.source[: len(_RELEASE)], record.source[len(_RELEASE) :]
        if of == _RELEASE and of_seq.isdecimal() and int(of_seq) in found:
            found[int(of_seq)].released_as = seq


def _releasable(path: Path, seq: int) -> Record:
    """Return the record of an event that can be released; ``Unwell`` says why it cannot."""
    passed = passed_over(path).get(seq)
    if passed is None:
        raise Unwell(f"{path}: seq {seq} is not quarantined", Status.NOT_DONE)
    if passed.released_as is not None:
        raise Unwell(
            f"{path}: seq {seq} was released already, as seq {passed.released_as}",
            Status.NOT_DONE,
        )
    if passed.record is None:
        raise Unwell(f"{path}: the segment with seq {seq} is not kept any more", Status.NOT_DONE)
    if passed.record.type in _FIRED:
        raise Unwell(
            f"{path}: seq {seq} is a {passed.record.type}, which happens once; let the "
            "application set the timer again",
            Status.NOT_DONE,
        )
    return passed.record


def append_event(disk: FileDisk, record: bytes) -> int:
    """Write a record to the end of a journal that is locked; return its seq."""
    reader = Reader(disk, cut=True, start=_start_of(disk))
    foresight = Foresight()
    for frame in reader.frames():
        foresight.take(frame)
    batches = sum(1 for frame in foresight.held if frame.kind is Kind.EVENTS)
    tail = reader.tail
    if tail is None or batches >= BATCHES_IN_DOUBT:
        raise Unwell(
            f"{disk.path}: its last events may not have been applied yet; start the container "
            "once, and stop it",
            Status.NOT_DONE,
        )
    disk.remove(NEXT_SEGMENT)
    size = Limits().segment_bytes_max
    appender = Appender(disk, tail, segment_bytes_max=size, new_salt=lambda: randbits(32))
    seq = appender.next_seq
    appender.append([record], max(time.time_ns(), tail.position.time_ns))
    return seq


def _start_of(disk: FileDisk) -> Start | None:
    """Return where reading begins: with the journal, or a snapshot if its beginning is gone."""
    if header_of(disk, segment_names(disk, disk.path)[0]).number == 1:
        return None
    names = snapshot_names(disk)
    return Snapshot(disk, names[0]).start if names else None


def _as_json(passed: Passed) -> dict[str, Any]:
    record = passed.record
    return {
        "seq": passed.seq,
        "type": None if record is None else record.type,
        "source": None if record is None else record.source,
        "key": None if record is None else record.key,
        "deaths": passed.deaths,
        "quarantined": rfc3339(passed.time_ns),
        "released_as": passed.released_as,
    }


def _as_row(passed: Passed) -> tuple[str, ...]:
    record = passed.record
    return (
        str(passed.seq),
        "?" if record is None else record.type,
        "?" if record is None else record.source,
        str(passed.deaths),
        short_time(passed.time_ns),
        "" if passed.released_as is None else str(passed.released_as),
    )
