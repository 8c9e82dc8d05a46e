"""Which schedules have come due: with an application in memory, and a clock that can be set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from happy.agenda import LATE_NS
from happy.app import App, handles
from happy.event import event
from happy.limits import Limits
from happy.schedule import every
from happy.state import Table, state, table
from happy.testing import running

HOUR = 3600
DAY = 24 * HOUR
YEAR = 365 * DAY
# A test begins on Sunday, 2001-09-09 at 01:46:40 UTC.


@event
class Tick:
    kind: str = "tick"


@event
class Set:
    seconds: int


@state
class Seen:
    ticks: Table[int, str] = table()


def note(state, event, context):
    late = round((context.time - context.due).total_seconds())
    state.ticks[context.seq] = f"{event.kind} {context.due:%d %H:%M:%S}" + (
        f" +{late}" if late else ""
    )


def clockwork(*declared):
    """Return an application with these schedules, as arguments of ``every``."""

    @handles(Tick)
    def tick(state, event, context):
        note(state, event, context)

    for given, options in declared:
        tick = every(*given, **options)(tick)

    @handles(Set)
    def set_timer(state, event, context):
        context.after(timedelta(seconds=event.seconds), Tick("timer"))

    return type("Clockwork", (App,), {"state": Seen, "tick": tick, "set_timer": set_timer})


def calendar(text, kind="tick", **options):
    return ((text, Tick(kind)), {"name": kind, **options})


DAILY = clockwork(calendar("0 6 * * *"))


def ticks(app):
    return list(app.state.ticks.values())


def test_a_calendar_fires_day_by_day():
    """Each moment brings its event once, at its time."""
    with running(DAILY) as app:
        app.advance(4 * HOUR)
        assert ticks(app) == []
        for _ in range(3):
            app.advance(DAY)
        assert ticks(app) == ["tick 09 06:00:00", "tick 10 06:00:00", "tick 11 06:00:00"]


def test_a_time_zone_is_minded():
    """Six in the morning in Berlin, in summer, is four in UTC."""
    with running(clockwork(calendar("0 6 * * *", tz="Europe/Berlin"))) as app:
        app.advance(DAY)
        assert ticks(app) == ["tick 09 04:00:00"]


def test_an_interval_fires_from_when_it_was_declared():
    """Every ten minutes, for the first time ten minutes after the first start."""
    with running(clockwork(((timedelta(minutes=10),), {}))) as app:
        app.advance(30 * 60)
        app.crash()
        app.advance(10 * 60)
        assert ticks(app) == [f"tick 09 {t}:40" for t in ("01:56", "02:06", "02:16", "02:26")]


@pytest.mark.parametrize(
    ("missed", "found"),
    [
        ("last", ["tick 12 06:00:00 +71200"]),
        ("all", ["tick 11 06:00:00 +157600", "tick 12 06:00:00 +71200"]),
        ("skip", []),
    ],
)
def test_what_was_missed_while_nobody_was_there(missed, found):
    """Once for the last, or each up to the bound, or not at all; then it goes on as before."""
    app_class = clockwork(calendar("0 6 * * *", missed=missed))
    with running(app_class, limits=Limits(segment_bytes_max=2**20, schedule_missed_max=2)) as app:
        app.close()
        app.clock.advance(4 * DAY)
        app.open()
        assert ticks(app) == found
        app.crash()
        app.advance(DAY)
        assert ticks(app) == [*found, "tick 13 06:00:00"]


def test_what_is_a_little_late_was_not_missed():
    """A restart that takes a minute skips nothing."""
    with running(clockwork(calendar("0 6 * * *", missed="skip"))) as app:
        app.advance(4 * HOUR + 780)
        app.close()
        app.clock.advance(LATE_NS / 10**9)
        app.open()
        assert ticks(app) == ["tick 09 06:00:00 +100"]


def test_what_fell_due_while_down_comes_in_order_and_once():
    """Timers and schedules together, by their moments; and not again after the next start."""
    app_class = clockwork(
        calendar("0 6 * * *", "early"), calendar("0 4 * * *", "earlier"), calendar("0 6 * * *", "b")
    )
    with running(app_class) as app:
        app.submit(Set(15_200))  # 06:00 as well
        app.submit(Set(3 * HOUR))  # 04:46:40
        app.close()
        app.clock.advance(5 * HOUR)
        app.open()
        came = [tick.partition(" +")[0] for tick in ticks(app)]
        assert came == [
            "earlier 09 04:00:00", "timer 09 04:46:40", "timer 09 06:00:00", "b 09 06:00:00",
            "early 09 06:00:00",
        ]  # fmt: skip
        app.crash()
        app.advance(60)
        assert len(ticks(app)) == 5


def test_a_handler_that_fails_has_had_its_turn():
    """The firing is a fact: the schedule goes on with the next moment."""

    class Broken(App):
        state = Seen

        @every("0 6 * * *")
        @handles(Tick)
        def tick(state, event, context):
            state.ticks[context.seq] = "never"
            raise ZeroDivisionError

    with running(Broken) as app:
        app.advance(5 * HOUR)
        app.crash()
        app.advance(DAY)
        assert (app.stream.status()["failed"], ticks(app)) == (2, [])


# --- changed code --------------------------------------------------------------------------------


def test_a_schedule_that_is_gone_fires_no_more_and_is_replayed():
    """What it brought stays in the history, though nothing in the code tells of it."""
    with running(DAILY) as app:
        app.advance(DAY)
        app.restart(clockwork())
        app.advance(DAY)
        assert ticks(app) == ["tick 09 06:00:00"]
        app.restart(DAILY)
        app.advance(DAY)
        # What was due while it was not declared was not missed.
        assert ticks(app) == ["tick 09 06:00:00", "tick 11 06:00:00"]


def test_a_schedule_that_is_changed_begins_anew():
    """Another calendar counts from the start that brought it; the same one keeps its place."""
    with running(clockwork(calendar("0 6 * * *"), calendar("0 7 * * *", "other"))) as app:
        app.close()
        app.clock.advance(DAY)
        app.open(clockwork(calendar("0 6 * * *"), calendar("0 8 * * *", "other")))
        assert [tick[:16] for tick in ticks(app)] == ["tick 09 06:00:00"]
        app.advance(DAY)
        assert ticks(app)[1:] == ["other 10 08:00:00", "tick 10 06:00:00"][::-1]


def test_a_start_that_changes_no_schedule_journals_nothing():
    """Only news goes into the journal."""
    with running(DAILY) as app:
        seq = app.stream.status()["seq"]
        for _ in range(3):
            app.restart()
        assert app.stream.status()["seq"] == seq


# --- clocks that are set -------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [5 * HOUR, 30 * DAY, YEAR])
def test_a_clock_set_ahead_misses_like_a_night_without_power(jump_s):
    """Within a minute the last missed moment comes; a suspend looks the same."""
    with running(DAILY) as app:
        app.set_wall(jump_s)
        app.advance(60)
        assert len(ticks(app)) == 1


@pytest.mark.parametrize("jump_s", [2, 60, HOUR, 2 * HOUR])
def test_a_clock_set_back_a_little_fires_nothing_twice(jump_s):
    """Up to three hours, what has fired for a moment does not fire for it again."""
    with running(DAILY) as app:
        app.advance(4 * HOUR + 900)
        assert ticks(app) == ["tick 09 06:00:00"]
        app.set_wall(-jump_s)
        app.advance(6 * HOUR)
        assert ticks(app) == ["tick 09 06:00:00"]
        app.advance(DAY)
        assert [tick[:16] for tick in ticks(app)] == ["tick 09 06:00:00", "tick 10 06:00:00"]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_year_ahead_and_back_silences_nothing(restarts):
    """A clock that was wrong by a year for an hour, and is right again: the calendar goes on."""
    with running(clockwork(calendar("0 6 * * *"), calendar("* * * * *", "minute"))) as app:
        app.set_wall(YEAR)
        app.advance(HOUR)
        app.set_wall(-YEAR)
        if restarts:
            app.restart()
        before = len(ticks(app))
        app.advance(5 * HOUR)
        came = [tick.split(" +")[0] for tick in ticks(app)[before:]]
        assert "tick 09 06:00:00" in came
        assert len(came) >= 299  # a minute may go by before it is noticed


@pytest.mark.parametrize("jump_s", [5, HOUR, YEAR])
def test_timers_and_intervals_go_on_when_the_clock_is_set_back(jump_s):
    """By the time of the stream: late by a ninth at the most, however far it was set back."""
    with running(clockwork(((timedelta(minutes=10),), {}))) as app:
        app.set_wall(jump_s)
        app.submit(Set(1800))
        app.set_wall(-jump_s)
        before = len(ticks(app))
        app.advance(2060)
        came = [tick.split()[0] for tick in ticks(app)[before:]]
        assert came.count("timer") == 1
        assert came.count("tick") >= 3
