"""Letting a crowd gather until the end of the reactor's turn."""

import pytest
from twisted.internet.task import Clock

from happy.end_of_turn import EndOfTurn


class Turn:
    """Something that is done, for one or for many, and how often it was."""

    def __init__(self):
        self.clock = Clock()
        self.done = 0
        self.end = EndOfTurn(self.clock, self._do)

    def _do(self):
        self.done += 1


@pytest.fixture
def turn():
    return Turn()


def test_who_is_alone_is_served_at_once(turn):
    """While nobody says that it is crowded, each who asks is served within his asking."""
    for number in range(1, 4):
        turn.end.ask()
        assert turn.done == number
    assert turn.clock.getDelayedCalls() == []


def test_all_of_a_crowd_are_served_by_one_call(turn):
    """Ten ask in one turn: it is done once, at its end; asked again, once more."""
    turn.end.crowded = True
    for times in (1, 2):
        for _ in range(10):
            turn.end.ask()
        assert turn.done == times - 1
        turn.clock.advance(0)
        assert turn.done == times
    turn.clock.advance(0)
    assert turn.done == 2


def test_what_is_stopped_is_not_done(turn):
    """After a stop nothing is left with the clock; who asks then is alone."""
    turn.end.stop()
    turn.end.crowded = True
    turn.end.ask()
    turn.end.stop()
    assert turn.clock.getDelayedCalls() == []
    assert turn.done == 0
    turn.end.ask()
    assert turn.done == 1


def test_who_asks_while_it_is_done_is_served_after_it():
    """To ask from within makes another call: it is not lost, and it is not done within itself."""
    clock = Clock()
    told = []

    def act():
        told.append("begin")
        if len(told) < 5:
            end.ask()
        told.append("end")

    end = EndOfTurn(clock, act)
    end.crowded = True
    end.ask()
    clock.pump([0, 0, 0])
    assert told == ["begin", "end"] * 3
