"""Calendars and intervals: when a schedule falls due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.cron import when_of
from happy.errors import DefinitionError
from happy.moments import moment, nanoseconds

MINUTE_NS = 60 * 10**9
# Half an hour of change, one at midnight, one that leaves out a day, and the usual kinds.
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo",
    "Pacific/Apia", "Asia/Kolkata", "Africa/Casablanca",
]  # fmt: skip
TURNS = [
    datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2017, 10, 15, tzinfo=UTC), datetime(2018, 2, 17, tzinfo=UTC),
    datetime(2011, 12, 30, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2026, 2, 14, tzinfo=UTC), datetime(2026, 3, 22, tzinfo=UTC),
]  # fmt: skip


def local(zone, *when):
    return nanoseconds(datetime(*when, tzinfo=ZoneInfo(zone)))


def dues(text, zone, start, count):
    """Return the first moments after a time of UTC, in words of UTC."""
    when = when_of(text, zone)
    found, after_ns = [], nanoseconds(datetime.fromisoformat(start).replace(tzinfo=UTC))
    for _ in range(count):
        after_ns = when.next_after(after_ns)
        found.append(f"{moment(after_ns):%m-%d %H:%M}")
    return found


# --- against a walk over every minute ------------------------------------------------------------


def walk(text, zone, start_ns, end_ns):
    """Return the moments in (start, end], by looking at every minute of the wall and of time."""
    minute, hour, day, month, weekday = (member(f, *r) for f, r in zip(
        text.split(), [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)], strict=True))  # fmt: skip
    fields = text.split()
    either = fields[2][0] != "*" and fields[4][0] != "*"
    tz = ZoneInfo(zone)

    def matches(wall):
        of_month = day(wall.day)
        of_week = weekday(wall.isoweekday()) or (wall.isoweekday() == 7 and weekday(0))
        days = of_month or of_week if either else of_month and of_week
        return minute(wall.minute) and hour(wall.hour) and month(wall.month) and days

    found = set()
    instants = [moment(ns) for ns in range(start_ns - 2880 * MINUTE_NS, end_ns + 1, MINUTE_NS)]
    walls = [instant.astimezone(tz).replace(tzinfo=None) for instant in instants]
    seen = set()
    for before, wall, instant in zip([None, *walls], walls, instants, strict=False):
        if fields[1] == "*":
            if matches(wall):
                found.add(nanoseconds(instant))
            continue
        left_out = before + timedelta(minutes=1) if before is not None else wall
        while left_out < wall:
            if matches(left_out):
                found.add(nanoseconds(instant))
            left_out += timedelta(minutes=1)
        if matches(wall) and wall not in seen:
            found.add(nanoseconds(instant))
        seen.add(wall)
    return sorted(ns for ns in found if start_ns < ns <= end_ns)


def member(field, low, high):
    """Return whether a number is in a field, as crontab(5) says it, naively."""

    def has(number):
        for part in field.split(","):
            term, _, step = part.partition("/")
            if term == "*":
                first, last = low, high
            else:
                begin, _, end = term.partition("-")
                first, last = int(begin), int(end or (high if step else begin))
            if first <= number <= last and (number - first) % int(step or 1) == 0:
                return True
        return False

    return has


def fields(low, high):
    number = st.integers(low, high)
    step = st.integers(1, high).map(lambda n: f"/{n}")
    span = st.tuples(number, number).map(lambda ab: f"{min(ab)}-{max(ab)}")
    part = st.one_of(
        st.just("*"), step.map(lambda s: f"*{s}"), number.map(str), span,
        st.builds(str.__add__, span, step), st.builds(lambda n, s: f"{n}{s}", number, step),
    )  # fmt: skip
    return st.lists(part, min_size=1, max_size=3).map(",".join) | st.just("*")


CALENDARS = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)).map(
    " ".join
) | st.tuples(fields(0, 59), fields(0, 5)).map(lambda mh: f"{mh[0]} {mh[1]} * * *")


@settings(max_examples=60, deadline=None)
@given(CALENDARS, st.sampled_from(ZONES), st.sampled_from(TURNS), st.integers(-600, 600))
def test_a_calendar_is_what_a_walk_over_every_minute_finds(text, zone, turn, minutes):
    """Whatever the fields, the zone and the change of clocks: the same moments, in order."""
    start_ns = nanoseconds(turn + timedelta(minutes=minutes))
    end_ns = start_ns + 2 * 1440 * MINUTE_NS
    expected = walk(text, zone, start_ns, end_ns)
    try:
        when = when_of(text, zone)
    except DefinitionError as error:
        assert "no such day" in str(error)  # noqa: PT017 - it may be raised, or not
        assert expected == []
        return
    assert when.latest(start_ns, end_ns, 5_000) == expected
    found, after_ns = [], start_ns
    for _ in range(min(len(expected), 50)):
        after_ns = when.next_after(after_ns)
        found.append(after_ns)
    assert found == expected[:50]
    assert when.next_after(end_ns) > end_ns
    assert when.latest(start_ns, end_ns, 3) == expected[-3:]


# --- where clocks are changed --------------------------------------------------------------------


def test_what_does_not_exist_falls_due_at_the_end_of_the_gap():
    """02:30 of the night that leaves out 2 to 3 is 03:00 of summer time; once, however many."""
    start = "2026-03-28T12:00"
    assert dues("30 2 * * *", "Europe/Berlin", start, 2) == ["03-29 01:00", "03-30 00:30"]
    assert dues("*/20 2,3 * * *", "Europe/Berlin", start, 4) == [
        "03-29 01:00", "03-29 01:20", "03-29 01:40", "03-30 00:00",
    ]  # fmt: skip


def test_what_occurs_twice_falls_due_once():
    """02:30 of the night that has 2 to 3 twice is the first one."""
    assert dues("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "10-25 00:30", "10-26 01:30",
    ]  # fmt: skip


def test_every_hour_follows_the_time_that_passes():
    """With ``*`` for the hour, both passes count, and nothing is made up for the gap."""
    assert dues("30 * * * *", "Europe/Berlin", "2026-10-24T23:45", 3) == [
        "10-25 00:30", "10-25 01:30", "10-25 02:30",
    ]  # fmt: skip
    assert dues("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", 3) == [
        "03-29 00:30", "03-29 01:30", "03-29 02:30",
    ]  # fmt: skip


def test_a_day_that_was_left_out_falls_due_at_its_end():
    """Samoa had no 30 December 2011: what was due then is due when the 31st begins."""
    end = local("Pacific/Apia", 2011, 12, 31)
    when = when_of("15 9 30 12 *", "Pacific/Apia")
    assert when.next_after(local("Pacific/Apia", 2011, 12, 29)) == end


# --- fields --------------------------------------------------------------------------------------


def test_one_of_two_days_is_enough_when_both_are_chosen():
    """crontab(5): the 13th or a Friday; with a star in one of them, both must match."""
    start = "2026-03-09T12:00"
    assert dues("0 0 13 * 5", "UTC", start, 3) == ["03-13 00:00", "03-20 00:00", "03-27 00:00"]
    assert dues("0 0 */2 * 5", "UTC", start, 2) == ["03-13 00:00", "03-27 00:00"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0 6 * * MON-FRI", "0 6 * * 1-5"),
        ("0 6 * jan,Dec sun", "0 6 * 1,12 0"),
        ("0 6 * * 7", "0 6 * * 0"),
        ("  0   6 * *  5-7 ", "0 6 * * 0,5,6"),
        ("10/20 * * * *", "10,30,50 * * * *"),
    ],
)
def test_names_and_sundays(text, same):
    """Names of months and days in any case, Sunday as 0 and 7, steps to the end."""
    start = nanoseconds(datetime(2026, 1, 1, tzinfo=UTC))
    end = start + 365 * 1440 * MINUTE_NS
    assert when_of(text, "UTC").latest(start, end, 300) == when_of(same, "UTC").latest(
        start, end, 300
    )


def test_a_leap_day_is_found():
    """29 February, over a century that has none."""
    when = when_of("0 0 29 2 *", "UTC")
    after = nanoseconds(datetime(2096, 3, 1, tzinfo=UTC))
    assert moment(when.next_after(after)) == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "zone", "complaint"),
    [
        ("0 6 * *", "UTC", "five fields.*not 4"),
        ("0 0 6 * * 1", "UTC", "five fields.*not 6"),
        ("60 6 * * *", "UTC", "minute is '60'; it must be 0-59"),
        ("0 x * * *", "UTC", "hour is 'X'"),
        ("0 -1 * * *", "UTC", "hour is ''"),
        ("0 6 0 * *", "UTC", "day of the month is '0'; it must be 1-31"),
        ("0 6 * FOO *", "UTC", "month is 'FOO'; it must be 1-12 or JAN-DEC"),
        ("0 6 * * 8", "UTC", "day of the week is '8'; it must be 0-7 or SUN-SAT"),
        ("0 6 * * 5-1", "UTC", "5-1 ends before it begins"),
        ("*/0 * * * *", "UTC", "step of the minute is 1-59, not '0'"),
        ("*/ * * * *", "UTC", "step of the minute is 1-59, not ''"),
        ("\N{SUPERSCRIPT TWO} * * * *", "UTC", "minute is"),
        ("9" * 5_000 + " * * * *", "UTC", "minute is"),
        ("0 0 30 2 *", "UTC", "no such day"),
        ("0 0 31 4,6,9,11 *", "UTC", "no such day"),
        ("0 6 * * *", "Europe/Bonn", "no time zone 'Europe/Bonn' is known here"),
        ("0 6 * * *", "../../etc/passwd", "no time zone"),
        ("0 6 * * *", None, "no time zone"),
        (timedelta(milliseconds=500), "UTC", "at least a second"),
        (300, "UTC", "write five fields"),
    ],
)
def test_what_cannot_be_is_said(when, zone, complaint):
    """A calendar that is wrong is a sentence when it is declared."""
    with pytest.raises(DefinitionError, match=complaint):
        when_of(when, zone)


# --- intervals -----------------------------------------------------------------------------------


@given(
    st.integers(10**9, 10**15).map(lambda ns: ns // 1000 * 1000),
    st.integers(0, 10**18),
    st.integers(-(10**12), 10**17),
    st.integers(1, 20),
)
def test_an_interval_counts_from_the_last_time(period_ns, last_ns, passed_ns, count):
    """The moments are whole intervals after the last one, the latest that have passed."""
    when = when_of(timedelta(microseconds=period_ns // 1000), "UTC")
    found = when.latest(last_ns, last_ns + passed_ns, count)
    assert when.next_after(last_ns) == last_ns + period_ns
    assert len(found) == min(max(passed_ns // period_ns, 0), count)
    assert all((ns - last_ns) % period_ns == 0 for ns in found)
    assert all(b - a == period_ns for a, b in pairwise(found))
    if found:
        assert 0 <= last_ns + passed_ns - found[-1] < period_ns
