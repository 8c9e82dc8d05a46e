"""Snapshots of an older state: rows, fields and tables that upcasters bring up."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, Table, event, handles, row, state, table, upcast
from happy.app import definition_of
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.errors import CannotUpcast, HappyError, UnfitSnapshot
from happy.event import Entry
from happy.image import Image
from happy.older_image import is_older
from happy.recall import Recall
from happy.state import digest

JOURNAL = b"j" * 16


@event
class Put:
    key: str
    number: int
    when: datetime | None = None


@attrs.frozen
class Spot:
    town: str


@attrs.frozen
class FirstLine:
    number: int
    when: datetime | None = None
    spot: Spot = Spot("Ulm")


@state
class FirstRoot:
    total: int = 0
    last: str = ""
    gone: tuple[int, ...] = ()
    lines: Table[str, FirstLine] = table(index=("number",))
    kept: Table[str, FirstLine] = table()
    dropped: Table[str, int] = table()


class First(App):
    state = FirstRoot

    @handles(Put)
    def put(state, event, context):
        state.total += event.number
        state.last = event.key
        state.gone += (event.number,)
        for rows in (state.lines, state.kept):
            rows[event.key] = FirstLine(event.number, event.when)
        if event.number % 3 == 0 and len(state.lines) > 1:
            del state.lines[next(iter(state.lines))]
        state.dropped[event.key] = event.number


@row(version=3)
class Line:
    text: str
    when: datetime | None
    towns: tuple[str, ...]


@upcast(Line, 1)
def _(old):
    return {"text": str(old["number"]), "when": old["when"], "spot": old["spot"]}


@upcast(Line, 2)
def _(old):
    return {"text": old["text"], "when": old["when"], "towns": [old["spot"]["town"]]}


@state(version=2)
class Root:
    sum: int = 0
    last: str = ""
    seen: tuple[Spot, ...] = ()
    rows: Table[str, Line] = table(index=("text",))
    kept: Table[str, Line] = table()
    fresh: Table[str, int] = table()


@upcast(Root, 1)
def _(old):
    return {
        "sum": old["total"],
        "last": old["last"],
        "seen": [{"town": str(number)} for number in old["gone"]],
        "rows": old["lines"],
        "kept": old["kept"],
    }


class Second(App):
    state = Root

    @handles(Put)
    def put(state, event, context):
        state.sum += event.number
        state.last = event.key
        state.seen += (Spot(str(event.number)),)
        for rows in (state.rows, state.kept):
            rows[event.key] = Line(str(event.number), event.when, ("Ulm",))
        if event.number % 3 == 0 and len(state.rows) > 1:
            del state.rows[next(iter(state.rows))]


def machine_of(app, events=()):
    machine = Machine(definition_of(app), JOURNAL, random.Random)
    machine.apply([Entry(seq, seq, made) for seq, made in enumerate(events, 1)])
    return machine


def image_of(app, events):
    image, machine = Image(definition_of(app)), machine_of(app, events)
    return image.describe(machine, {}), list(image.take(machine, {}))


def put_in(app, description, blocks):
    definition = definition_of(app)
    machine = Machine(definition, JOURNAL, random.Random)
    decoder = EventDecoder(definition.events)
    Image(definition).put(machine, decoder, description, blocks)
    return machine


MOMENTS = st.none() | st.datetimes(timezones=st.just(timezone(timedelta(hours=2)))) | st.datetimes()
PUTS = st.lists(st.builds(Put, st.sampled_from("abcdefg"), st.integers(0, 9), MOMENTS), max_size=15)


@settings(deadline=None)
@given(PUTS)
def test_an_older_image_is_what_a_replay_by_the_new_code_is(events):
    """Promise 4: rows, order, indexes, fields, moved, dropped and new tables: the same digest."""
    described = image_of(First, events)
    assert Image(definition_of(Second)).is_older(described[0])
    again, replayed = put_in(Second, *described), machine_of(Second, events)
    assert list(again.state.rows.items()) == list(replayed.state.rows.items())
    assert (again.state.sum, again.state.seen) == (replayed.state.sum, replayed.state.seen)
    assert len(again.state.fresh) == 0
    for number in range(10):
        same = replayed.state.rows.where(text=str(number))
        assert set(again.state.rows.where(text=str(number))) == set(same)
    if all(made.when is None or made.when.tzinfo is None for made in events):
        assert digest(again.state) == digest(replayed.state)


def test_a_snapshot_of_an_older_state_is_recalled():
    """Its digest is that of another state; what it has is checked by its blocks alone."""
    description, blocks = image_of(First, [Put("a", 1), Put("b", 2)])
    header = SimpleNamespace(description=description, journal_id=JOURNAL, seq=2, time_ns=2)
    snapshot = SimpleNamespace(header=header, name="x.snapshot", blocks=lambda: iter(blocks))
    definition = definition_of(Second)
    recall = Recall(definition, EventDecoder(definition.events), random.Random)
    recalled = recall.load(snapshot)
    assert recalled.machine.seq == 2
    assert recalled.machine.state.sum == 3
    assert recalled.machine.digest() == machine_of(Second, [Put("a", 1), Put("b", 2)]).digest()


def test_an_image_of_the_present_version_is_not_older():
    """Nothing is brought up that needs it not."""
    description, blocks = image_of(Second, [Put("a", 1)])
    assert not Image(definition_of(Second)).is_older(description)
    again = put_in(Second, description, blocks)
    again.seq = again.time_ns = 1
    assert again.digest() == description.digest


def with_row(cls):
    """Return an application that differs from the first in the class of two tables' rows."""
    fields = {
        "__annotations__": {
            "total": int, "last": str, "gone": tuple[int, ...],
            "lines": Table[str, cls], "kept": Table[str, cls], "dropped": Table[str, int],
        },
        "total": 0, "last": "", "gone": (),
        "lines": table(index=("number",)), "kept": table(), "dropped": table(),
    }  # fmt: skip
    return type("Made", (App,), {"state": state(type("Made", (), fields))})


def newer(function=None):
    """Return a row class of version 2 with this upcaster, or none."""
    made = row(version=2)(
        attrs.make_class("Made", {"number": attrs.field(type=int), "more": attrs.field(type=int)})
    )
    if function is not None:
        upcast(made, 1)(function)
    return made


def test_rows_alone_may_be_older():
    """The state's own fields are read as they are."""
    described = image_of(First, [Put("a", 1), Put("b", 2)])
    made = put_in(
        with_row(newer(lambda old: {"number": old["number"], "more": 7})), *described
    ).state
    assert [(r.number, r.more) for r in made.lines.values()] == [(1, 7), (2, 7)]
    assert (made.total, made.gone, dict(made.dropped)) == (3, (1, 2), {"a": 1, "b": 2})


def raising(old):
    raise KeyError("number")


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (None, UnfitSnapshot, "is of version 1, the application has 2, and no upcasters lead"),
        (raising, CannotUpcast, "version 1 at .* raised KeyError: 'number'"),
        (lambda old: {"number": 1}, UnfitSnapshot, "does not fit: .*`more`"),
        (lambda old: {"number": 1, "more": 1, "x": 1}, UnfitSnapshot, "does not fit: .*`x`"),
        (lambda old: {"number": 1, "more": complex(1)}, UnfitSnapshot, "does not fit"),
    ],
)
def test_what_cannot_be_brought_up_is_told(function, error, words):
    """An upcaster that is missing, fails, loses a field or makes what does not fit."""
    with pytest.raises(error, match=words):
        put_in(with_row(newer(function)), *image_of(First, [Put("a", 1)]))


def state_with(function):
    """Return an application whose state of version 2 has only a number, with this upcaster."""
    fields = {"__annotations__": {"total": int}, "total": 0}
    root = state(version=2)(type("Root", (), fields))
    upcast(root, 1)(function)
    return type("Made", (App,), {"state": root})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda old: old, "made '(last|gone)', which it has not"),
        (lambda old: {"total": "many"}, "made of total does not fit: Expected `int`"),
        (lambda old: {"total": old["lines"]}, "made of total does not fit"),
        (lambda old: {"total": complex(1)}, "made of total does not fit"),
    ],
)
def test_what_a_state_cannot_take_is_told(function, words):
    """By the name of the field."""
    with pytest.raises(HappyError, match=words):
        put_in(state_with(function), *image_of(First, [Put("a", 1)]))


def test_fields_that_an_upcaster_leaves_out_have_their_default():
    """And tables that it leaves out are gone."""
    made = put_in(state_with(lambda old: {}), *image_of(First, [Put("a", 1)]))
    assert made.state.total == 0


def test_a_table_whose_rows_changed_without_a_version_is_not_guessed_at():
    """Moved or not."""
    fields = {"__annotations__": {"lines": Table[str, Spot]}, "lines": table()}
    root = state(version=2)(type("Root", (), fields))
    upcast(root, 1)(lambda old: {"lines": old["lines"]})
    app = type("Made", (App,), {"state": root})
    with pytest.raises(UnfitSnapshot, match="table lines has other fields"):
        put_in(app, *image_of(First, [Put("a", 1)]))


def test_a_newer_image_is_refused():
    """Promise 4: older code does not read what newer code wrote."""
    description, blocks = image_of(Second, [Put("a", 1)])
    with pytest.raises(UnfitSnapshot, match="is of version 2, the application has 1"):
        put_in(First, description, blocks)
    assert not is_older(description.sections[0], None)
