"""``happy status``: how the container is, or what its journals tell when none runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import msgspec

from happy.cli.asking import NoAnswer, ask
from happy.cli.metrics import metrics_text, why_unwell
from happy.cli.output import (
    Unwell,
    config_option,
    is_terminal,
    json_option,
    rfc3339,
    safe,
    short_bytes,
    short_time,
    write_json,
    write_table,
)
from happy.cli.places import data_path
from happy.cli.segments import State, journals_in, segment_names, survey
from happy.journal.disk import FileDisk


class _Door(msgspec.Struct):
    kind: str
    where: str


class _Front(msgspec.Struct):
    number: int
    pid: int | None
    state: str
    restarts: int
    connections: int

    @property
    def told(self) -> str:
        """How it is, in a line."""
        where = "" if self.pid is None else f" (process {self.pid})"
        return f"{self.state}{where}: {self.connections} connections, {self.restarts} restarts"


class _Core(msgspec.Struct):
    pid: int | None
    state: str
    restarts: int
    lag: int
    resident_bytes: int | None

    @property
    def told(self) -> str:
        """How it is, in a line."""
        where = "" if self.pid is None else f" (process {self.pid})"
        size = "" if self.resident_bytes is None else f"{short_bytes(self.resident_bytes)}, "
        return f"{self.state}{where}: {size}{self.lag} behind, {self.restarts} restarts"


class _Memory(msgspec.Struct):
    level: str
    state_bytes: int


class _Digest(msgspec.Struct):
    seq: int
    state: str
    time: str


class _Snapshot(msgspec.Struct):
    seq: int
    created_ns: int | None
    size_bytes: int
    running: bool
    error: str | None

    @property
    def told(self) -> str:
        """How the snapshots are, in a few words."""
        told = "none"
        if self.created_ns is not None:
            size = short_bytes(self.size_bytes)
            told = f"seq {self.seq}, {short_time(self.created_ns)}, {size}"
        if self.running:
            return f"{told}; the next is being made"
        return told if self.error is None else f"{told}; not made: {self.error}"


class _Application(msgspec.Struct):
    name: str
    mood: str
    seq: int
    waiting: int
    owed: int
    failed: int
    doors: list[_Door]
    memory: _Memory | None = None
    digest: _Digest | None = None
    snapshot: _Snapshot | None = None
    quarantined: list[int] = []
    held: int = 0
    timers: int = 0
    schedules: int = 0
    next_due_s: int | None = None
    fronts: list[_Front] = []
    core: _Core | None = None
    disk_full: bool = False

    @property
    def due(self) -> str:
        """How many timers and schedules there are, and in how long the next is due."""
        count = str(self.timers + self.schedules)
        return count if self.next_due_s is None else f"{count}, next in {self.next_due_s} s"

    @property
    def told(self) -> Iterator[tuple[str, str]]:
        """How it is, in lines that each have a head."""
        waiting = f"; {self.waiting} waiting" if self.waiting else ""
        yield "events", f"{self.seq}, {self.failed} failed{waiting}"
        if self.quarantined:
            yield "quarantined", f"{len(self.quarantined)}"
        held = f", {self.held} held" if self.held else ""
        yield "owed", f"{self.owed}{held}"
        yield "timers", self.due
        yield "state", _shown(self.memory)
        if self.disk_full:
            yield "disk", "full: new events are refused until there is room"
        if self.digest is not None:
            yield "digest", f"{self.digest.state[:8]} at {self.digest.seq}, {self.digest.time}"
        if self.snapshot is not None:
            yield "snapshot", self.snapshot.told
        for door in self.doors:
            yield door.kind, door.where
        for front in self.fronts:
            yield f"front {front.number}", front.told
        if self.core is not None:
            yield "core", self.core.told


class _Answer(msgspec.Struct):
    """What the container says, as far as it is shown; a later one may say more."""

    apps: list[_Application]


@click.command()
@click.argument("data", metavar="[DATA_DIR]", type=click.Path(path_type=Path), required=False)
@config_option("Ask the container of this configuration.")
@click.option("--metrics", is_flag=True, help="Write metrics as Prometheus reads them.")
@json_option
def status(data: Path | None, config: Path | None, metrics: bool, as_json: bool) -> None:
    """Ask the container how it is.

    Say which by --config FILE or by its data directory. When none runs there, its journals
    are looked at instead, read-only. Without a terminal: a line of JSON.

    Exit status 1 when no container answers, or an application takes no events at present.
    """
    path = data_path(data, config)
    as_json = as_json or not is_terminal()
    try:
        line = ask(path, b"status")
        answer = msgspec.json.decode(line, type=_Answer)
    except msgspec.DecodeError:
        raise Unwell(f"{path}: the container gave no answer that can be read") from None
    except NoAnswer as error:
        if metrics:
            click.echo(metrics_text(None), nl=False)
        else:
            _show_journals(path, as_json)
        raise Unwell(f"{path}: {error}") from None
    plain = msgspec.json.decode(line)
    if metrics:
        click.echo(metrics_text(plain["apps"]), nl=False)
    elif as_json:
        write_json({"running": True, **plain})
    else:
        _show_applications(answer)
    unwell = [f"{app['name']} {why}" for app in plain["apps"] if (why := why_unwell(app))]
    if unwell:
        raise Unwell(f"{path}: {', '.join(unwell)}")


def _show_applications(answer: _Answer) -> None:
    for app in answer.apps:
        click.echo(safe(f"{app.name}: {app.mood}"))
        for head, told in app.told:
            click.echo(safe(f"  {head:<12}{told}"))


def _shown(memory: _Memory | None) -> str:
    """Return what the state takes, and a word when that is much."""
    if memory is None:
        return "?"
    size = short_bytes(memory.state_bytes)
    return size if memory.level == "roomy" else f"{size}, {memory.level}"


def _show_journals(data: Path, as_json: bool) -> None:
    journals = [_look_at(path) for path in journals_in(data)]
    if as_json:
        write_json({"running": False, "data": str(data), "journals": [*map(_as_json, journals)]})
        return
    write_table(
        ("journal", "last seq ", "used ", "last event", "state"),
        [
            (
                journal.name,
                "?" if journal.seq is None else str(journal.seq),
                short_bytes(journal.used_bytes),
                "" if journal.until_ns is None else short_time(journal.until_ns),
                journal.state,
            )
            for journal in journals
        ],
    )


@attrs.frozen
class _Journal:
    """What the segments of a journal tell together."""

    name: str
    seq: int | None
    used_bytes: int
    segments: int
    until_ns: int | None
    state: State


def _look_at(path: Path) -> _Journal:
    disk = FileDisk(path)
    reports = list(survey(disk, segment_names(disk, path)))
    last = reports[-1]
    return _Journal(
        path.name,
        last.last_seq,
        sum(report.used_bytes or 0 for report in reports),
        len(reports),
        last.until_ns,
        next((r.state for r in reports if r.state is State.CORRUPT), last.state),
    )


def _as_json(journal: _Journal) -> dict[str, Any]:
    plain = attrs.asdict(journal)
    until_ns = plain.pop("until_ns")
    return {**plain, "until": None if until_ns is None else rfc3339(until_ns)}
