"""What an event touches is noted, with what stood there before."""

import random

import attrs
import pytest

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.apply import Machine
from happy.event import Entry, Reply
from happy.touched import ABSENT, FIELD, Touch, Watch


@event
class Do:
    """Run some code over the state."""

    code: str


@attrs.frozen
class Row:
    """A row with an index over it."""

    owner: str
    size: int = 0


@state
class Things:
    """Two fields and two tables."""

    count: int = 0
    name: str = ""
    rows: Table[str, Row] = table(index=("owner",))
    others: Table[int, int] = table()


class Doer(App):
    """Does what it is told."""

    state = Things

    @handles(Do)
    def do(state, event, context):
        exec(event.code, {"state": state, "Row": Row, "Refused": Refused})


@pytest.fixture
def do():
    """Return a function that lets code run as an event, and returns what it touched."""
    watch = Watch(definition_of(Doer))
    machine = Machine(watch.definition, b"j" * 16, random.Random)

    def run(code, reply=True):
        entry = Entry(machine.seq + 1, machine.seq + 1, Do(code))
        (outcome,) = machine.apply([entry])
        assert isinstance(outcome, Reply) == reply, outcome
        return watch.take()[0]

    return run


def test_rows_and_fields_are_noted_once_each(do):
    """Each with what stood there before the event, however often it was written."""
    assert do("state.rows['a'] = Row('ann')") == [Touch("rows", "a", ABSENT)]
    touches = do("state.rows['a'] = Row('bob'); state.rows['a'] = Row('cat'); state.count += 1")
    assert touches == [Touch("count", FIELD, 0), Touch("rows", "a", Row("ann"))]
    assert do("del state.rows['a']; state.others[5] = 6") == [
        Touch("rows", "a", Row("cat")),
        Touch("others", 5, ABSENT),
    ]


def test_a_row_that_is_put_back_is_the_row_it_was(do):
    """Deleted and put back in one event: one touch, with the first row as what was before."""
    do("state.rows['a'] = Row('ann')")
    assert do("del state.rows['a']; state.rows['a'] = Row('bob')") == [
        Touch("rows", "a", Row("ann"))
    ]


def test_a_handler_that_raises_touches_nothing(do):
    """Refused or failed: nothing is noted, and nothing of it later."""
    assert do("state.count = 9; raise Refused('no')", reply=False) == []
    assert do("state.rows['b'] = Row('b'); 1 / 0", reply=False) == []
    assert do("") == []
