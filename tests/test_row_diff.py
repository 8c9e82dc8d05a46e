"""Differences of states: exact, small, and enough to make the one state of the other."""

import random
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy import App, Table, event, handles, state, table
from happy.app import definition_of
from happy.apply import Machine
from happy.event import Entry
from happy.row_diff import Change, Packer, Shape, common, differences, shape_of, unpacked
from happy.touched import ABSENT, FIELD, Touch, Watch


@attrs.frozen
class Inner:
    """A value within a row."""

    at: datetime | None = None


@attrs.frozen
class Row:
    """A row."""

    size: int = 0
    inner: Inner = Inner()


@event
class Write:
    """Put rows, remove rows, and set a field."""

    put: tuple[tuple[int, int], ...]
    remove: tuple[int, ...]
    total: int


@state
class Rows:
    """A field and a table."""

    total: int = 0
    rows: Table[int, Row] = table(index=("size",))


class Writer(App):
    """Writes."""

    state = Rows

    @handles(Write)
    def write(state, event, context):
        for key in event.remove:
            state.rows.pop(key, None)
        for key, size in event.put:
            state.rows[key] = Row(size)
        state.total = event.total


KEYS = st.integers(0, 5)
WRITES = st.builds(
    Write,
    st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=4).map(tuple),
    st.lists(KEYS, max_size=3).map(tuple),
    st.integers(0, 2),
)


def packed_state(state):
    """Return a state as plain values: rows by packed key."""
    packed = Packer().packed
    rows = {packed(key): packed(row) for key, row in state.rows.items()}
    return {"total": packed(state.total), "rows": rows}


@given(st.lists(WRITES, max_size=5), st.lists(WRITES, max_size=5))
def test_a_diff_makes_the_later_state_of_the_earlier(before, between):
    """The first touch of each row, compared at the end, is all that is needed."""
    watch = Watch(definition_of(Writer))
    machine = Machine(watch.definition, b"j" * 16, random.Random)
    machine.apply([Entry(seq, 1, e) for seq, e in enumerate(before, 1)])
    shown = packed_state(machine.state)
    first = {}
    for seq, written in enumerate(between, len(before) + 1):
        machine.apply([Entry(seq, 1, written)])
        for touch in watch.take()[0]:
            first.setdefault((touch.field, touch.key), touch)
    for change in Packer().changes(machine.state, first.values()):
        assert change.old != change.new
        where, key = (shown, change.field) if change.key is None else (shown["rows"], change.key)
        assert where.get(key) == change.old
        if change.new is None:
            del where[key]
        else:
            where[key] = change.new
    assert shown == packed_state(machine.state)


def test_a_change_knows_its_fields():
    """Of a row that changed, the fields that did; a value without fields is a whole."""
    packed = Packer().packed
    when = datetime(2026, 1, 1, tzinfo=UTC)
    change = Change("rows", packed(1), packed(Row(1)), packed(Row(2, Inner(when))))
    assert change.kind == "changed"
    assert change.fields() == {"size": (1, 2), "inner": ({"at": None}, {"at": when})}
    assert Change("rows", packed(1), None, packed(Row())).kind == "added"
    assert Change("rows", packed(1), packed(Row()), None).fields() is None
    assert Change("total", None, packed(1), packed(2)).fields() is None
    wider = msgspec.msgpack.encode({"size": 1, "inner": {"at": None}, "color": "red"})
    assert Change("rows", packed(1), packed(Row(1)), wider).fields() == {"color": (ABSENT, "red")}


@pytest.mark.parametrize(
    ("number", "one", "other"),
    [(1, 1, True), (2, Decimal("1.0"), Decimal("1.00")), (3, 1, 1.0), (4, 2**70, 2**70 + 1)],
)
def test_values_that_only_seem_equal_are_different(number, one, other):
    """Python calls some values equal that are not the same in a journal or an answer."""
    assert Packer().packed(one) != Packer().packed(other)


def test_a_text_that_is_no_utf8_is_packed():
    """A lone surrogate is text for Python."""
    assert unpacked(Packer().packed(("\ud800", 1))) == [b"\xed\xa0\x80", 1]


def test_two_codes_are_compared_after_an_event():
    """What only one of them touched is in the other as it was; equal ends are no difference."""
    packed = Packer().packed
    one, two, three = packed(1), packed(2), packed(3)
    assert differences([Change("t", one, one, two)], [Change("t", one, one, three)]) == [
        Change("t", one, two, three)
    ]
    assert differences([Change("t", one, one, two)], []) == [Change("t", one, two, one)]
    assert differences([], [Change("t", one, None, two)]) == [Change("t", one, None, two)]
    assert differences([Change("f", None, one, two)], [Change("f", None, one, two)]) == []


def test_what_only_one_of_two_classes_has_is_left_out():
    """Fields of states, rows and values in them, by name; a packer can leave them out."""
    ours = shape_of(Rows)
    assert ours == Shape(("total", "rows"), {"Row": ("size", "inner"), "Inner": ("at",)})
    theirs = Shape(("rows", "log"), {"Row": ("size", "inner", "color"), "Inner": ()})
    both = common(ours, theirs)
    assert both.fields == ("rows",)
    assert both.left_out == {"Row": ("color",), "Inner": ("at",)}
    assert both.added == ("Row.color", "state.log")
    assert both.removed == ("Inner.at", "state.total")
    packer = Packer({"Inner": ("at",)})
    assert unpacked(packer.packed((Row(1),))) == [{"size": 1, "inner": {}}]


def test_changes_stand_in_an_order_of_their_own():
    """The order of the touches is of no matter, but for rows that were added."""
    rows = Rows()
    rows.rows[2], rows.rows[1] = Row(2), Row(1)
    rows.total = 5
    touches = [Touch("rows", 2, ABSENT), Touch("total", FIELD, 0), Touch("rows", 1, ABSENT)]
    changes = Packer().changes(rows, touches)
    keys = [(change.field, change.key and unpacked(change.key)) for change in changes]
    assert keys == [("total", None), ("rows", 2), ("rows", 1)]
