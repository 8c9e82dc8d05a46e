"""A core in the same process: whatever it is asked, it has done when it returns."""

import random

import pytest

from happy import App, event, handles, query, state
from happy.app import definition_of
from happy.apply import Machine
from happy.applying import NOTE_BYTES, Applying, Note
from happy.event import Entry, Reply
from happy.inline_core import InlineCore
from happy.marks import mark_of
from happy.memory import state_bytes


@event
class Add:
    number: int


@state
class Sum:
    total: int = 0


class Adder(App):
    state = Sum

    @handles(Add)
    def add(state, event, context):
        state.total += event.number
        return state.total

    @query
    def over(state, least):
        if least < 0:
            raise ValueError("below zero")
        return state.total > least


def new_core():
    machine = Machine(definition_of(Adder), b"j" * 16, random.Random)
    note = Note(memoryview(bytearray(NOTE_BYTES)))
    return InlineCore(machine, Applying(machine, note, lambda _: None, 7))


class Heard:
    def __init__(self):
        self.said = []

    def replied(self, seq, value):
        self.said.append((seq, value))


@pytest.mark.parametrize("marking", [False, True])
def test_a_mark_is_of_all_there_is(marking):
    """The next batch is written meanwhile, unless a mark is to stand before it."""
    core, seqs = new_core(), []
    outcomes = core.apply(
        [Entry(1, 5, Add(2)), Entry(2, 5, Add(3))], lambda: seqs.append(core.seq), marking=marking
    )
    assert outcomes == [Reply(2), Reply(5)]
    assert seqs == [2 if marking else 0]
    assert core.mark() == mark_of(core.machine)


def test_queries_are_asked_with_the_world_closed():
    """Either way a query sees what was applied, and what it raises is heard."""
    core, heard = new_core(), Heard()
    core.apply([Entry(1, 5, Add(2))], lambda: None, marking=False)
    told = []
    core.ask(Adder.over, 1).addCallback(told.append)
    core.look(Adder.over, {"least": 2}, heard)
    assert (told, heard.said) == ([True], [(0, False)])
    core.ask(Adder.over, -1).addErrback(lambda failure: told.append(failure.type))
    assert told[-1] is ValueError
    with pytest.raises(ValueError, match="below zero"):
        core.look(Adder.over, {"least": -1}, heard)


def test_it_is_never_away_and_always_done():
    """Nothing waits for it, and it says nothing of its own in the status."""
    core = new_core()
    assert (core.has_room, core.at_rest, core.away, core.status()) == (True, True, None, {})
    assert core.make_mark().called
    assert core.stop().called
    assert core.state_bytes() == state_bytes(core.machine.state, core.outbox)
