"""``happy why``: every event that touched a row, with what it did and where it came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import attrs
import click
import msgspec

from happy.cli.applications import Application, application, application_options
from happy.cli.bodies import plain
from happy.cli.output import Unwell, counted, json_option, progress, rfc3339, safe, write_json
from happy.cli.statuses import Status, statuses
from happy.effects import SETTLING, EffectId, Timer
from happy.event import Entry, Reply, name_of
from happy.row_diff import Change, Packer, unpacked
from happy.touched import ABSENT, FIELD, Touch, Watch
from happy.undo import fields_of
from happy.values import hints_of

if TYPE_CHECKING:
    from happy.cli.replaying import Replay

_LIMIT: Final = 1_000


@click.command()
@application_options
@click.argument("table")
@click.argument("key", required=False)
@click.option("--limit", type=click.IntRange(min=0), default=_LIMIT, show_default=True,
              metavar="N", help="Show the last N events; the others are counted.")  # fmt: skip
@json_option
def why(  # noqa: PLR0913 - one for each option
    name: str,
    config: Path,
    data: Path | None,
    table: str,
    key: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show every event that changed the row KEY of TABLE, in order.

    Each with its seq, time and type, where it came from - a request, a mail, a timer or the end
    of an effect, with the event that owed it - its idempotency key, and what it did to the row.
    Write KEY as text where keys are text, otherwise as JSON: 17, or ["ann", 3] for a tuple.
    TABLE may be a field of the state that is no table; then there is no KEY.

    \b
    Exit status:
      0  done
      1  no event ever touched it; or the configuration is not fit
      2  not done: the journal is damaged
      3  not done: there is no journal
      4  not done: the code does not know an event, or something could not be read
    """  # noqa: D301 - click's mark
    app = application(name, config, data)
    place = _place(app, table, key)
    with statuses(app.path), progress("replaying") as tell:
        story = _story(app, place, limit, tell)
    if not story.count and story.begin is None:
        raise Unwell(f"{name}: none of {counted(story.events, 'event')} ever touched {place}",
                     Status.NOT_DONE)  # fmt: skip
    if as_json:
        write_json(*_plain(story))
        return
    for line in _beginning(story, place):
        click.echo(safe(line))
    left = story.count - len(story.shown)
    if left:
        click.echo(f"{counted(left, 'earlier event')} left out")
    for touched in story.shown:
        for line in touched.lines():
            click.echo(safe(line))
    click.echo(safe(f"{story.count:,} of {counted(story.events, 'event')} touched {place}"))


@attrs.frozen
class _Place:
    field: str
    key: Any

    def __str__(self) -> str:
        from happy.cli.rows import place_of  # noqa: PLC0415 - with the applications' world

        return place_of(self.field, None if self.key is FIELD else Packer().packed(self.key))


@attrs.frozen
class _Cause:
    """The event that owed what has come to its end."""

    seq: int
    type: str
    source: str


@attrs.frozen
class _Touched:
    """An event that changed the row."""

    entry: Entry
    change: Change
    cause: _Cause | None
    carried: Any
    """The event that a timer brought."""

    def plain(self) -> dict[str, Any]:
        from happy.cli.rows import change_plain  # noqa: PLC0415 - as above

        entry, carried = self.entry, self.carried
        return {
            "seq": entry.seq,
            "time": rfc3339(entry.time_ns),
            "type": name_of(entry.event),
            "source": entry.source,
            "key": entry.key,
            "body": plain(unpacked(Packer().packed(entry.event))),
            "owed_by": None if self.cause is None else attrs.asdict(self.cause),
            "brought": None
            if carried is None
            else {
                "type": name_of(carried),
                "body": plain(unpacked(Packer().packed(carried))),
            },
            "did": change_plain(self.change),
        }

    def lines(self) -> Iterator[str]:
        from happy.cli.rows import change_lines, json_text  # noqa: PLC0415 - as above

        entry, cause = self.entry, self.cause
        source = entry.source or "-"
        if cause is not None:
            source += f", owed by seq {cause.seq} ({cause.type} from {cause.source or '-'})"
        key = "" if entry.key is None else f", key {safe(entry.key).splitlines()[0]}"
        kind = name_of(entry.event)
        yield f"seq {entry.seq}, {rfc3339(entry.time_ns)}: {kind} from {source}{key}"
        yield f"  event: {json_text(unpacked(Packer().packed(entry.event)))}"
        if self.carried is not None:
            body = json_text(unpacked(Packer().packed(self.carried)))
            yield f"  brought {name_of(self.carried)} {body}"
        yield from (f"  {line}" for line in change_lines(self.change))


@attrs.define
class _Story:
    """What happened to a row: how many events touched it, of how many, and the last of them."""

    shown: deque[_Touched]
    count: int = 0
    events: int = 0
    begin_seq: int = 0
    """What was before this seq is not kept, but for what it came to."""
    begin: Change | None = None
    """The row as it was then, as if it was added."""


def _plain(story: _Story) -> Iterator[dict[str, Any]]:
    from happy.cli.rows import change_plain  # noqa: PLC0415 - as above

    if story.begin_seq:
        did = None if story.begin is None else change_plain(story.begin)
        yield {"seq": story.begin_seq, "type": None, "did": did}
    yield from (touched.plain() for touched in story.shown)


def _beginning(story: _Story, place: _Place) -> Iterator[str]:
    """Yield what to say of a history that is not kept from its first event on."""
    from happy.cli.rows import json_text  # noqa: PLC0415 - as above

    if not story.begin_seq:
        return
    was = "was not there" if story.begin is None else f"was {json_text(story.begin.values()[1])}"
    yield f"up to seq {story.begin_seq} only what it came to is kept: {place} {was}"


def _place(app: Application, name: str, key: str | None) -> _Place:
    """Return a row of a table, or a field; a ``UsageError`` says what there is."""
    state = app.config.definition.state
    fields, tables = fields_of(state)
    if name in tables:
        if key is None:
            raise click.UsageError(f"{name} is a table: say which row, by its KEY")
        return _Place(name, _key_of(name, key, get_args(hints_of(state)[name])[0]))
    if name not in fields:
        known = ", ".join((*tables, *fields))
        raise click.UsageError(f"{app.config.name} has no table or field {name!r}: it has {known}")
    if key is not None:
        raise click.UsageError(f"{name} is a field, not a table: it has no rows, leave {key} away")
    return _Place(name, FIELD)


def _key_of(table: str, text: str, kind: Any) -> Any:
    """Return a key of a table's type: text as it stands, anything else as JSON."""
    if kind is not str:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError:
            pass
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.MsgspecError as error:
        said = getattr(kind, "__name__", kind) if isinstance(kind, type) else kind
        raise click.UsageError(f"the keys of {table} are {said}, not {text!r}: {error}") from None


def _story(app: Application, place: _Place, limit: int, tell: Any) -> _Story:
    from happy.cli.replaying import Replay  # noqa: PLC0415 - the applications' world

    watch = Watch(app.config.definition)
    replaying = Replay(app.path, watch.definition, None, tell)
    story = _Story(deque(maxlen=limit), begin_seq=replaying.begin_seq)
    if replaying.begin_seq:
        state = replaying.machine.state
        story.begin = Packer().change(state, Touch(place.field, place.key, ABSENT))
    for touched in _touching(replaying, watch, place):
        story.count += 1
        story.shown.append(touched)
    story.events = replaying.machine.seq - replaying.begin_seq
    return story


def _touching(replaying: Replay, watch: Watch, place: _Place) -> Iterator[_Touched]:
    """Replay, and yield the events that changed a row or field."""
    machine, packer = replaying.machine, Packer()
    causes: dict[EffectId, _Cause] = {}  # of what is owed now, so no more than the outbox holds
    for batch in replaying.batches():
        for entry in batch:
            event: Any = entry.event
            ended = (event.event_seq, event.n) if isinstance(event, SETTLING) else None
            owed = None if ended is None else machine.outbox.get(ended)
            (outcome,) = machine.apply([entry])
            touches, debts = watch.take()
            if isinstance(outcome, Reply):
                for touch in touches:
                    if touch.field == place.field and touch.key == place.key:
                        change = packer.change(machine.state, touch)
                        if change is not None:
                            timer = None if owed is None else owed.effect
                            carried = timer.event if isinstance(timer, Timer) else None
                            cause = None if ended is None else causes.get(ended)
                            yield _Touched(entry, change, cause, carried)
                for debt in debts:
                    name = name_of(event)
                    causes[debt.id] = _Cause(entry.seq, name, entry.source)
            if ended is not None and ended not in machine.outbox:
                causes.pop(ended, None)
