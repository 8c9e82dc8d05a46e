"""Noting what is being applied, so that the next process knows what ended this one."""

from __future__ import annotations

import random
from functools import partial

import pytest

from happy import App, Refused, event, handles, state
from happy.app import definition_of
from happy.apply import Machine
from happy.applying import NOTE_BYTES, PART_EVENTS, Applying, Note, Suspect
from happy.errors import UnknownEvent
from happy.event import Entry, FailedOutcome, RefusedOutcome, Reply

JOURNAL = b"j" * 16
OTHER = b"o" * 16


@event
class Step:
    """Do something, or end."""

    how: str = ""


@state
class Steps:
    count: int = 0


class Stepper(App):
    state = Steps

    @handles(Step)
    def step(state, event, context):
        state.count += 1
        match event.how:
            case "look":
                Stepper.look()
            case "refuse":
                raise Refused("no")
            case "fail":
                raise ValueError(event.how)
            case "memory":
                raise MemoryError
            case "exit":
                raise SystemExit(3)
            case "unknown":
                raise LookupError
        return state.count


class House:
    """A machine, what it notes, and what its alarm was told."""

    def __init__(self, memory=None, suspect=None):
        self.memory = memory or bytearray(NOTE_BYTES)
        self.note = Note(memoryview(self.memory))
        self.found = self.note.suspect_of(JOURNAL)
        self.machine = Machine(definition_of(Stepper), JOURNAL, random.Random)
        self.alarms = []
        self.applying = Applying(self.machine, self.note, self.alarms.append, 7)
        self.applying.suspect = suspect or self.found

    def apply(self, *hows):
        first = self.machine.seq + 1
        return self.applying.apply([Entry(first + n, 5, Step(how)) for n, how in enumerate(hows)])

    def died(self):
        """Return who is suspect for the next process, if this one ends here and now."""
        return Note(memoryview(bytearray(self.memory))).suspect_of(JOURNAL)

    def looks(self, monkeypatch):
        """Return a list of who would be suspect, whenever a handler looks."""
        seen = []
        monkeypatch.setattr(Stepper, "look", lambda: seen.append(self.died()), raising=False)
        return seen


def test_the_outcomes_are_those_of_the_machine():
    """Noting changes nothing, whatever comes out of a handler."""
    assert House().apply("", "refuse", "fail", "") == [
        Reply(1),
        RefusedOutcome("no", 409, 554, "5.7.1"),
        FailedOutcome(3),
        Reply(2),
    ]
    assert House().apply() == []


def test_who_ends_while_nothing_is_applied_leaves_no_suspect():
    """Before and after, there is no note."""
    house = House()
    assert house.died() is None
    house.apply("", "refuse", "fail")
    assert house.died() is None


def test_all_of_a_small_batch_are_suspect(monkeypatch):
    """Where a process ends in a batch, one of its events did it."""
    house = House()
    seen = house.looks(monkeypatch)
    house.apply("", "look", "")
    house.apply("look")
    assert seen == [Suspect(1, 3, 1), Suspect(4, 1, 1)]


def test_a_large_batch_is_noted_in_parts(monkeypatch):
    """Of a large batch only a part is suspect, and each part has its time."""
    house = House()
    seen = house.looks(monkeypatch)
    size = 2 * PART_EVENTS + 10
    outcomes = house.apply(*[""] * (size - 1), "look")
    assert outcomes == [Reply(n) for n in range(1, size + 1)]
    assert seen == [Suspect(2 * PART_EVENTS + 1, 10, 1)]
    assert house.alarms == [7, 0] * 3


def test_suspects_are_noted_one_by_one(monkeypatch):
    """The second death of one event among several says which one it is."""
    house = House(suspect=Suspect(4, 3, 1))
    seen = house.looks(monkeypatch)
    house.apply(*["look"] * 8)
    alone = [Suspect(n, 1, 1) for n in (4, 5, 6)]
    assert seen == [*[Suspect(1, 3, 1)] * 3, *alone, *[Suspect(7, 2, 1)] * 2]


def test_deaths_of_one_event_are_counted(monkeypatch):
    """The first death names a batch, the next ones the event, and each counts."""
    memory, found = bytearray(NOTE_BYTES), []
    for _ in range(4):
        house = House(memory)
        found.append(house.found)
        end = partial(lambda memory: found.append(bytes(memory)), house.memory)
        monkeypatch.setattr(Stepper, "look", end, raising=False)
        house.apply("", "", "look", "", "")
        memory = bytearray(found.pop())
    assert found == [None, Suspect(1, 5, 1), Suspect(3, 1, 2), Suspect(3, 1, 3)]
    assert [f.is_poison(3) for f in found[1:]] == [False, False, True]
    assert not Suspect(1, 5, 9).is_poison(3)


def test_a_death_elsewhere_begins_anew():
    """Who was killed by other hands, once here and once there, is not counted together."""
    house = House()
    house.note.applying(5, 1)
    assert house.note.suspect_of(JOURNAL) == Suspect(5, 1, 1)
    house.note.applying(6, 1)
    assert house.note.suspect_of(JOURNAL) == Suspect(6, 1, 1)
    assert house.note.suspect_of(JOURNAL) == Suspect(6, 1, 1)


def test_who_is_cleared_is_suspect_no_more():
    """A start that got through forgets what it suspected."""
    house = House()
    house.note.applying(5, 1)
    assert house.note.suspect_of(JOURNAL) is not None
    house.note.clear()
    assert house.note.suspect_of(JOURNAL) is None


def test_the_note_of_another_journal_is_worth_nothing():
    """When files of another journal were put in this one's place, nobody is suspect."""
    house = House()
    house.note.applying(5, 1)
    assert house.note.suspect_of(OTHER) is None
    assert house.note.suspect_of(JOURNAL) is None


@pytest.mark.parametrize(("how", "error"), [("memory", MemoryError), ("exit", SystemExit)])
def test_what_a_handler_raises_to_end_the_program_is_a_death_of_its_own(how, error):
    """Then it is known at once which event it was, and the alarm is off."""
    house = House()
    with pytest.raises(error):
        house.apply("", "", how, "")
    assert house.died() == Suspect(3, 1, 1)
    assert house.alarms == [7, 0]


def test_a_program_that_does_not_fit_is_no_death(monkeypatch):
    """What the house itself refuses, it refuses again until somebody mends it: nobody died."""
    house = House()

    def refuse(_entries):
        raise UnknownEvent("seq 1: nobody handles it")

    monkeypatch.setattr(house.machine, "apply", refuse)
    with pytest.raises(UnknownEvent):
        house.apply("")
    assert house.died() is None


@pytest.mark.parametrize("deaths", [1, 255, 300])
def test_a_note_is_one_store(deaths):
    """The largest seq and the most deaths that are counted fit a word."""
    house = House()
    for _ in range(deaths):
        house.note.applying(2**47, 128)
        found = house.note.suspect_of(JOURNAL)
    assert found == Suspect(2**47, 128, min(deaths, 255))
