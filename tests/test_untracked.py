"""Rows are no garbage: the collector does not go through them, and they go all the same."""

from __future__ import annotations

import ctypes
import enum
import gc
import random
import uuid
import weakref
from typing import Any

import attrs
import pytest

from happy.app import App, definition_of, handles
from happy.apply import Machine
from happy.effects import Outbox, Owed, Timer
from happy.event import Entry, Reply, event
from happy.keys import Remembered
from happy.state import state, table
from happy.table import Table
from happy.untracked import _found, untrack


class Color(enum.Enum):
    RED = "red"


@attrs.frozen
class Line:
    text: str
    color: Color = Color.RED


@attrs.frozen
class Letter:
    id: uuid.UUID
    lines: tuple[Line, ...]
    answers: Letter | None = None


@attrs.define
class Changing:
    held: Any = None


@event
class Put:
    key: int
    text: str = ""


@state
class Lines:
    rows: Table[int, Line] = table(index=("text",))


class Keeper(App):
    state = Lines

    @handles(Put)
    def put(state, event, _context):
        state.rows[event.key] = Line(event.text)


def keeper():
    return Machine(definition_of(Keeper), bytes(16), random.Random)


def test_a_frozen_value_goes_out_of_sight_with_all_that_it_holds():
    """A row is not looked at any more, nor the rows, tuples and ids that it is made of."""
    letter = Letter(uuid.uuid4(), (Line("a"), Line("b")), Letter(uuid.uuid4(), (Line("c"),)))
    parts = [letter, letter.id, *letter.lines, letter.answers, letter.answers.id]
    assert all(map(gc.is_tracked, parts))
    untrack([letter])
    assert not any(map(gc.is_tracked, [*parts, letter.lines, *letter.answers.lines]))


def test_what_may_be_in_a_circle_stays_in_sight():
    """What can change, classes and the members of enums are left to the collector."""
    stays = [[], {}, Changing(), Color.RED, Line, lambda: None]
    for one in stays:
        gc.is_tracked(one) or one.update(one=[])
    untrack([*stays, None, 1, "text", 1.5, b"", (1, stays[0])])
    assert all(map(gc.is_tracked, stays))
    untrack([Line("text")])
    assert gc.is_tracked(Color.RED)
    assert gc.is_tracked(Line)


def test_a_value_out_of_sight_goes_when_nobody_holds_it():
    """Rows are let go by being counted: at once, and what they hold with them."""
    letter = Letter(uuid.uuid4(), (Line("a"),))
    gone = [weakref.ref(letter), weakref.ref(letter.lines[0])]
    untrack([letter])
    untrack([letter])  # twice does no harm
    del letter
    assert [one() for one in gone] == [None, None]


def test_where_python_has_no_such_function_nothing_is_done(monkeypatch):
    """Another Python than CPython runs as well."""
    monkeypatch.delattr(ctypes, "pythonapi")
    line = Line("a")
    assert _found()(line) is None
    assert gc.is_tracked(line)


def test_rows_that_come_while_an_application_serves_are_no_work_for_the_collector():
    """However many rows came and changed, the collector goes through the last ones at most."""
    machine = keeper()
    for seq in range(1, 6001):
        machine.apply([Entry(seq, seq, Put(seq % 4000, str(seq)))])
    tracked = sum(map(gc.is_tracked, machine.state.rows.values()))
    assert tracked < 1500
    machine.digest()
    assert not any(map(gc.is_tracked, machine.state.rows.values()))


@pytest.mark.parametrize("count", [1, 6000])
def test_a_replay_leaves_that_to_its_end(count):
    """Who replays holds the collector back, and has what came of it frozen at once."""
    machine = keeper()
    machine.replay(1, [Entry(key + 1, 1, Put(key, "a")) for key in range(count)])
    machine.digest()
    assert all(map(gc.is_tracked, machine.state.rows.values()))


def test_keys_and_debts_are_no_work_for_the_collector_either():
    """A hundred thousand of them may be remembered, and owed."""
    assert not gc.is_tracked(Remembered(b"f", 1, Reply("text")))
    outbox = Outbox()
    owed = Owed((1, 0), Timer(Put(1)), 0, 5)
    outbox.owe(owed)
    assert not any(map(gc.is_tracked, (owed, owed.effect, owed.effect.event)))
