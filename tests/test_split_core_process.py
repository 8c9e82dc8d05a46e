"""A stream whose machine is in another process: all that holds inline, and what is lost with it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from core_kit import Lives, elsewhere_here
from happy.errors import CoreLost, Corrupt, DefinitionError, NotOpen
from happy.event import Configured
from happy.journal.frame import Kind
from happy.lifecycle import Mood
from happy.limits import KIB, Limits
from test_stream import *  # noqa: F403 - the same tests
from test_stream import Add, Counter, House, Living

CONFIGURED = Configured(b'{"step": 1}')


def elsewhere(self, definition, world):
    """Put the machine of a house elsewhere; it answers by itself unless that is ``held``."""
    self.lives = getattr(self, "lives", [])
    self.held = getattr(self, "held", False)

    def soon(turn):
        if not self.held:
            turn()

    return elsewhere_here("counter", definition, self.disk, world, self.limits, self.lives, soon)


class CoredHouse(Lives, House):
    """A house whose machine is elsewhere, and is moved by hand while it is held."""

    elsewhere = elsewhere

    def come_back(self):
        """Let a core that has ended be started again."""
        self.advance(31)


@pytest.fixture(autouse=True)
def _cored(monkeypatch):
    """Every house of this file has its machine elsewhere."""
    monkeypatch.setattr(House, "elsewhere", elsewhere)
    monkeypatch.setattr(House, "machine", CoredHouse.machine)


@pytest.fixture
def cored():
    return CoredHouse().open(CONFIGURED)


# --- what ends a process and not the container ----------------------------------------------------


@pytest.mark.parametrize("end", ["memory", "interrupt"])
def test_what_might_not_repeat_itself_halts(cored, end):
    """Promise 4: want of memory is no outcome; it ends the core, and the container goes on."""
    batch = [cored.submit(Add()), cored.submit(Add(1, end)), cored.submit(Add())]
    cored.run_all()
    assert batch[0].value == 1
    assert [type(answer.error) for answer in batch[1:]] == [CoreLost] * 2
    assert "is kept, but its outcome is not known" in str(batch[1].error)
    assert batch[1].exchange.seqs == [3]
    assert cored.halted == []


def test_events_in_flight_when_the_machine_stops_are_not_answered_with_success(cored):
    """A batch that becomes durable after the core has ended is not applied there."""
    cored.held = True
    deadly = cored.submit(Add(1, "memory"))
    cored.turn()
    behind = cored.submit(Add())
    cored.life.turn()
    cored.run_all()
    assert [type(answer.error) for answer in (deadly, behind)] == [CoreLost] * 2
    assert cored.stream.mood is Mood.OPEN


# --- a core that has ended ------------------------------------------------------------------------


def test_nothing_is_taken_until_another_core_has_read_the_journal(cored):
    """Promise 7: events and queries hear at once that it is for a moment; then all goes on."""
    assert cored.say(Add(), "a").value == 1
    cored.life.die()
    asked = []
    cored.stream.ask(Counter.total).addErrback(lambda failure: asked.append(failure.type))
    assert type(cored.say(Add()).error) is NotOpen
    assert asked == [CoreLost]
    assert cored.say(Add(), "a").value == 1
    cored.come_back()
    assert len(cored.lives) == 2
    cored.stream.ask(Counter.total).addCallback(asked.append)
    assert asked[1:] == [1]
    assert cored.say(Add()).value == 2


def test_who_waits_for_a_core_that_ends_is_told_the_truth(cored):
    """Promises 1 and 5: the event is kept, and its key finds the outcome when there is a core."""
    cored.held = True
    first = cored.submit(Add(), "a")
    cored.turn()
    second = cored.submit(Add(), "b")
    cored.turn()
    third = cored.submit(Add(), "c")
    asked = []
    cored.stream.ask(Counter.total).addErrback(lambda failure: asked.append(failure.type))
    assert not cored.jobs, "two batches are on their way, and no third is written"
    cored.life.die()
    cored.run_all()
    assert [type(answer.error) for answer in (first, second, third)] == [
        CoreLost,
        CoreLost,
        NotOpen,
    ]
    assert first.exchange.seqs + second.exchange.seqs == [2, 3]
    assert third.exchange.seqs == []
    assert asked == [CoreLost]
    cored.held = False
    cored.come_back()
    assert [cored.say(Add(), key).value for key in "bac"] == [2, 1, 3]
    assert cored.durable_events() == [1, 2, 3, 4]


def test_no_mark_stands_behind_what_may_not_have_been_applied(cored):
    """Neither a pause nor a stop is marked meanwhile, so that the event can be quarantined."""
    cored.held = True
    cored.submit(Add())
    cored.turn()
    cored.life.die()
    cored.advance(0)
    cored.clock.advance(0.05)
    cored.run_all()
    assert cored.close() == [None]
    assert cored.kinds()[-1] is Kind.EVENTS
    cored.held = False
    cored.open(CONFIGURED)
    assert cored.state.total == 1


def test_a_core_in_time_marks_its_own_digest():
    """A mark that is due waits for the core, and the next batch for the mark."""
    house = CoredHouse(Limits(segment_bytes_max=256 * KIB, digest_events_max=2)).open()
    house.held = True
    batch = [house.submit(Add()), house.submit(Add())]
    house.turn()
    house.life.step()  # the first alone
    behind = house.submit(Add())
    assert batch[0].value == 1
    house.turn()
    assert not house.jobs
    house.life.turn()
    assert batch[1].value == 2
    house.run_all()
    assert behind.came == []
    house.life.turn()
    assert behind.value == 3
    kinds = [kind for kind in house.kinds() if kind in (Kind.EVENTS, Kind.DIGEST_MARK)]
    assert kinds == [Kind.EVENTS, Kind.EVENTS, Kind.DIGEST_MARK, Kind.EVENTS]


def test_only_queries_of_the_application_are_asked(cored):
    """What has no name cannot be asked elsewhere; its owner hears so."""
    asked = []
    cored.stream.ask(lambda state: 1).addErrback(lambda failure: asked.append(failure.type))
    assert asked == [DefinitionError]


def test_a_core_that_is_not_to_be_believed_is_started_again(cored):
    """Outcomes that nobody asked for end it, and what it was to answer is not answered wrongly."""
    cored.held = True
    answer = cored.submit(Add())
    cored.turn()
    life = cored.life
    said = [*life.core.feed(b"".join(life.sent))]
    life.sent.clear()
    life._received(said[-1])
    with pytest.raises(Corrupt, match="outcomes that"):
        life._received(said[-1])
    assert answer.value == 1


# --- all of it together ---------------------------------------------------------------------------


class LivingApart(Living):
    """The same life, with a core that answers late, or is killed, at any moment."""

    def new_house(self, limits):
        house = CoredHouse(limits)
        house.held = True
        return house

    def _settle(self):
        house = self.house
        while house.jobs or (house.life.alive and house.life.sent):
            house.run_all()
            house.life.turn()

    @rule()
    def answer(self):
        self.house.life.turn()

    @precondition(lambda self: self.house.life.sent)
    @rule()
    def answer_one(self):
        if self.house.life.alive:
            self.house.life.step()

    @rule(back=st.booleans())
    def kill(self, back):
        self.house.life.die()
        if back:
            self.house.come_back()
            self._settle()

    def restart_both(self):
        self.house.stream._pump()
        closing = self.house.stream.close()
        self._settle()
        assert closing.called

    @rule()
    def restart(self):
        self.house.disk.room = None
        self.restart_both()
        self.house.open(Configured(b'{"step": 1}'))
        self._settle()
        self.witness()
        assert self.answers == []


TestLivingApart = LivingApart.TestCase
TestLivingApart.__doc__ = "Promises 1, 2, 4, 5: the same, though the core is killed at any moment."
TestLivingApart.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
del TestLiving  # noqa: F821 - another is in its place
# It reads a journal at each of its bytes, and no core has a part in that.
del test_damage_to_what_was_answered_last_is_told_after_a_pause  # noqa: F821 - by import *
