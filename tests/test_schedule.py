"""Declaring schedules, and what the journal knows of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from happy.app import App, definition_of, handles
from happy.errors import DefinitionError
from happy.event import Scheduled, ScheduledWhen, ScheduleFired, event
from happy.schedule import Schedules, every
from happy.state import state

DAILY = ScheduledWhen("daily", "0 6 * * *", "UTC")
HOURLY = ScheduledWhen("hourly", "0 * * * *", "UTC")


@event
class Tick:
    kind: str = "tick"


@event
class Needy:
    kind: str


@state
class Nothing:
    pass


def app_of(**functions):
    return type("Clockwork", (App,), {"state": Nothing, **functions})


def handler(*types):
    @handles(*types)
    def tick(state, event, context):
        """Do nothing."""

    return tick


def schedules_of(**functions):
    return definition_of(app_of(**functions)).schedules


def test_a_schedule_brings_the_event_of_its_handler():
    """Above or below @handles; the name is the handler's, the event made without arguments."""

    @handles(Tick)
    @every("0  6 * * mon", tz="Europe/Berlin", missed="all")
    def below(state, event, context):
        """Do nothing."""

    (above,) = schedules_of(tick=every(timedelta(minutes=5))(handler(Tick)))
    (below,) = schedules_of(below=below)
    assert (above.name, above.event, above.missed) == ("tick", Tick(), "last")
    assert above.row == ScheduledWhen("tick", "300000000 us", "")
    assert (below.name, below.event, below.missed) == ("below", Tick(), "all")
    assert below.row == ScheduledWhen("below", "0 6 * * MON", "Europe/Berlin")


def test_one_handler_may_have_several_schedules():
    """Each has a name and an event of its own; they are known in the order of their names."""
    tick = every("0 6 * * *", Tick("a"), name="early")(handler(Tick, Needy))
    tick = every("0 22 * * *", Needy("b"), name="down")(tick)
    found = schedules_of(tick=tick)
    assert [(s.name, s.event) for s in found] == [("down", Needy("b")), ("early", Tick("a"))]


@pytest.mark.parametrize(
    ("declare", "complaint"),
    [
        (lambda: schedules_of(tick=every("0 6 * * *")(handler(Needy))), "needs arguments"),
        (lambda: schedules_of(tick=every("0 6 * * *")(handler(Tick, Needy))), "which event"),
        (lambda: schedules_of(tick=every("0 6 * * *")(lambda s, e, c: None)), "which event"),
        (
            lambda: schedules_of(tick=every("0 6 * * *", Needy("a"))(handler(Tick))),
            "nobody handles Needy",
        ),
        (
            lambda: schedules_of(tick=every("0 6 * * *")(every("0 7 * * *")(handler(Tick)))),
            "there is a schedule 'tick'",
        ),
        (lambda: every("0 6 * * *", object()), "not an event"),
        (lambda: every("0 6 * * *", missed="never"), "last, all or skip"),
        (lambda: every("6 o'clock"), "five fields"),
    ],
)
def test_what_could_never_come_is_an_error(declare, complaint):
    """A schedule that cannot work is a sentence when the class is read, or sooner."""
    with pytest.raises(DefinitionError, match=complaint):
        declare()


# --- what the journal knows --------------------------------------------------------------------


def places(schedules):
    return {place.row.name: place.last_ns for place in schedules}


def test_a_new_schedule_begins_when_it_is_declared():
    """What was due before it was there is not missed."""
    schedules = Schedules()
    assert schedules.declared == Scheduled()
    schedules.declare(Scheduled((DAILY,)), 100)
    assert places(schedules) == {"daily": 100}
    assert schedules.declared == Scheduled((DAILY,))


def test_what_stays_keeps_its_place():
    """Others that come and go do not move a schedule."""
    schedules = Schedules()
    schedules.declare(Scheduled((DAILY,)), 100)
    assert schedules.fire(ScheduleFired("daily", 150, b""))
    schedules.declare(Scheduled((DAILY, HOURLY)), 200)
    assert places(schedules) == {"daily": 150, "hourly": 200}
    schedules.declare(Scheduled((DAILY,)), 300)
    assert places(schedules) == {"daily": 150}
    schedules.declare(Scheduled((DAILY, HOURLY)), 400)
    assert places(schedules) == {"daily": 150, "hourly": 400}


@pytest.mark.parametrize(
    "changed",
    [ScheduledWhen("daily", "0 7 * * *", "UTC"), ScheduledWhen("daily", "0 6 * * *", "Asia/Tokyo")],
)
def test_what_changes_begins_anew(changed):
    """Another calendar or time zone is another schedule, though its name is the same."""
    schedules = Schedules()
    schedules.declare(Scheduled((DAILY,)), 100)
    schedules.declare(Scheduled((changed,)), 200)
    assert places(schedules) == {"daily": 200}


def test_a_firing_that_comes_twice_is_no_news():
    """Nor is one of a schedule that is gone."""
    schedules = Schedules()
    schedules.declare(Scheduled((DAILY,)), 100)
    fired = ScheduleFired("daily", 150, b"")
    assert schedules.fire(fired)
    assert not schedules.fire(fired)
    assert not schedules.fire(ScheduleFired("gone", 150, b""))
    assert places(schedules) == {"daily": 150}
