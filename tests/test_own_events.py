"""The events that nobody at a door has sent."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock

from happy.errors import Busy, Halted, HandlerFailed, Refused
from happy.event import Configured
from happy.own_events import OwnEvents

CONFIGURED = Configured(b"{}")


class House:
    """Takes events, or fails as it is told, once for each failure."""

    def __init__(self, *failures):
        self.clock = Clock()
        self.failures = list(failures)
        self.taken = []
        self.own = OwnEvents(self.submit, self.clock)

    def submit(self, event, exchange):
        if self.failures:
            return fail(self.failures.pop(0))
        self.taken.append((event, exchange.source))
        return succeed(None)

    def is_news(self):
        return (CONFIGURED, "configuration") not in self.taken


def test_the_configuration_is_told_once():
    """What the journal knows already is not news."""
    house = House()
    house.own.tell(CONFIGURED, "configuration", house.is_news)
    house.own.tell(CONFIGURED, "configuration", house.is_news)
    assert house.taken == [(CONFIGURED, "configuration")]


def test_the_configuration_is_told_again_until_there_is_room():
    """A full queue delays it; nothing loses it."""
    house = House(Busy("full"), Busy("full"))
    house.own.tell(CONFIGURED, "configuration", house.is_news)
    assert house.taken == []
    house.clock.pump([1.0, 1.0, 1.0])
    assert house.taken == [(CONFIGURED, "configuration")]
    assert house.clock.getDelayedCalls() == []


@pytest.mark.parametrize("outcome", [Refused("no"), HandlerFailed("numbers/1")])
def test_an_outcome_that_is_a_no_concerns_nobody(outcome):
    """It was admitted: what came of it is history, and nobody waits for it."""
    told = []
    House(outcome).own.submit(CONFIGURED).addBoth(told.append)
    assert told == [None]


def test_that_an_event_was_not_admitted_comes_back():
    """Whoever submitted it is to try again, or to know."""
    told = []
    House(Halted("gone")).own.submit(CONFIGURED).addErrback(told.append)
    assert told[0].check(Halted)


def test_nothing_is_told_after_the_stop():
    """Nor told again, when it had found no room before."""
    house = House(Busy("full"))
    house.own.tell(CONFIGURED, "configuration", house.is_news)
    house.own.stop()
    house.clock.pump([1.0, 1.0])
    assert house.taken == []
