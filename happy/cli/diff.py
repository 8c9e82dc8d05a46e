"""``happy diff``: what changed in an application between two moments of its history."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from happy.cli.applications import Application, application, application_options
from happy.cli.bounds import SeqOrTime, Wanted, wanted
from happy.cli.output import Unwell, counted, json_option, progress, rfc3339, safe, write_json
from happy.cli.statuses import statuses

if TYPE_CHECKING:
    from happy.cli.replaying import Replay
    from happy.row_diff import Change
    from happy.touched import Touch, Watch

_LIMIT = 100


@click.command()
@application_options
@click.argument("begin", type=SeqOrTime(seq_min=0), metavar="A")
@click.argument("end", type=SeqOrTime(), metavar="B")
@click.option("--limit", type=click.IntRange(min=0), default=_LIMIT, show_default=True,
              metavar="N", help="Show at most N rows; the others are counted.")  # fmt: skip
@json_option
def diff(  # noqa: PLR0913 - one for each option
    name: str,
    config: Path,
    data: Path | None,
    begin: int | datetime,
    end: int | datetime,
    limit: int,
    as_json: bool,
) -> None:
    """Show what changed in application NAME between A and B.

    Rows were added, removed or changed. A and B are seqs or times; the events behind A, up
    to and with B, are looked at. A seq of 0 is before the first event. Of a row that changed,
    the fields that did are shown, as items["b7"] size: 1 -> 2. A row that is as it was at A has
    not changed, whatever was done to it between; nor is the order of rows told.

    \b
    Exit status:
      0  done, whether anything changed or not
      1  not done: the configuration is not fit, or the journal ends before A or B
      2  not done: the journal is damaged
      3  not done: there is no journal
      4  not done: the code does not know an event, or something could not be read
    """  # noqa: D301 - click's mark
    of_one_kind = isinstance(begin, int) == isinstance(end, int)
    if of_one_kind and begin > end:  # type: ignore[operator] # mypy does not see that they are
        raise click.UsageError(f"B, {end}, comes before A, {begin}")
    app = application(name, config, data)
    with statuses(app.path), progress("replaying") as tell:
        found = _difference(app, wanted(1, begin), wanted(1, end), tell)
    if as_json:
        write_json(_plain(found, limit))
        return
    for line in _lines(found, limit):
        click.echo(safe(line))


@attrs.frozen
class _Moment:
    seq: int
    time_ns: int

    def __str__(self) -> str:
        return f"seq {self.seq} ({rfc3339(self.time_ns)})" if self.seq else "the beginning"

    def plain(self) -> dict[str, Any]:
        return {"seq": self.seq, "time": rfc3339(self.time_ns) if self.seq else None}


@attrs.frozen
class _Difference:
    name: str
    begin: _Moment
    end: _Moment
    changes: list[Change]

    def counts(self) -> dict[str, Counter[str]]:
        """Return how many rows were added, removed and changed, by table."""
        found: dict[str, Counter[str]] = {}
        for change in self.changes:
            if change.key is not None:
                found.setdefault(change.field, Counter())[change.kind] += 1
        return found


def _difference(app: Application, before: Wanted, until: Wanted, tell: Any) -> _Difference:
    from happy.cli.replaying import Replay, check_until  # noqa: PLC0415 - the applications' world
    from happy.row_diff import Packer  # noqa: PLC0415 - as above
    from happy.touched import Watch  # noqa: PLC0415 - as above

    watch = Watch(app.config.definition)
    replaying = Replay(app.path, watch.definition, until, tell, near=before)
    machine = replaying.machine
    if before.last is not None and before.last < replaying.begin_seq:
        raise Unwell(
            f"{app.path}: what is kept of its history begins behind seq {replaying.begin_seq}"
        )
    begin, touches = _touches(replaying, watch, before)
    check_until(app.path, until, machine.seq)
    check_until(app.path, before, machine.seq)
    changes = Packer().changes(machine.state, touches)
    return _Difference(app.config.name, begin, _Moment(machine.seq, machine.time_ns), changes)


def _touches(replaying: Replay, watch: Watch, before: Wanted) -> tuple[_Moment, list[Touch]]:
    """Replay; return the last event of ``before``, and the first touch of each row after it.

    So the earlier state is never kept: what stood in a row then, its first touch says.
    """
    from happy.event import Reply  # noqa: PLC0415 - as above

    machine = replaying.machine
    begin = _Moment(machine.seq, machine.time_ns)
    first: dict[tuple[str, Any], Touch] = {}
    for batch in replaying.batches():
        entries = list(batch)
        if before.covers(entries[-1]):
            machine.apply(entries)
            begin = _Moment(machine.seq, machine.time_ns)
            continue
        for entry in entries:
            (outcome,) = machine.apply([entry])
            touches, _ = watch.take()
            if before.covers(entry):
                begin = _Moment(entry.seq, entry.time_ns)
            elif isinstance(outcome, Reply):
                for touch in touches:
                    first.setdefault((touch.field, touch.key), touch)
    return begin, list(first.values())


def _lines(found: _Difference, limit: int) -> list[str]:
    from happy.cli.rows import change_lines  # noqa: PLC0415 - as above

    events = counted(found.end.seq - found.begin.seq, "event")
    lines = [f"{found.name}: {found.begin} to {found.end}, {events}"]
    for table, counts in found.counts().items():
        lines.append(f"{table}: " + ", ".join(f"{n:,} {kind}" for kind, n in counts.items()))
    if not found.changes:
        lines.append("nothing changed")
    for change in found.changes[:limit]:
        lines += [f"  {line}" for line in change_lines(change)]
    left = len(found.changes) - limit
    if left > 0:
        lines.append(f"  and {left:,} more")
    return lines


def _plain(found: _Difference, limit: int) -> dict[str, Any]:
    from happy.cli.rows import change_plain  # noqa: PLC0415 - as above

    return {
        "app": found.name,
        "from": found.begin.plain(),
        "to": found.end.plain(),
        "events": found.end.seq - found.begin.seq,
        "tables": {table: dict(counts) for table, counts in found.counts().items()},
        "changes": [change_plain(change) for change in found.changes[:limit]],
        "left_out": max(0, len(found.changes) - limit),
    }
