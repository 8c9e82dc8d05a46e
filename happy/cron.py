"""When a schedule falls due: calendars as cron writes them, and fixed intervals.

A calendar has five fields: minute (0-59), hour (0-23), day of the month (1-31), month (1-12 or
JAN-DEC) and day of the week (0-7 or SUN-SAT, both 0 and 7 being Sunday). A field is ``*``, a
number, a range ``a-b``, any of these with a step ``/n`` (``a/n`` runs to the end), or several
of them with commas; crontab(5). When neither day field begins with ``*``, a day that matches
one of the two is enough; otherwise it must match both.

Where clocks are changed: a moment that does not exist falls due at the end of the gap, and one
that occurs twice falls due once, the first time. But a calendar whose hour is ``*`` follows the
time that passes: it falls due in both passes of an hour that occurs twice, and not for an hour
that is left out. However many moments of a calendar fall together, they are one.

Nothing here is asked in a replay: time zones change their rules, and what fell due when is an
event with its moment in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from typing import Final, Protocol
from zoneinfo import ZoneInfo

import attrs

from happy.errors import DefinitionError
from happy.moments import moment, nanoseconds

_DAY: Final = timedelta(days=1)
_MONTHS: Final = (
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
)
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAYS_OF_MONTH: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_DATE: Final = date(9998, 12, 31)
_INTERVAL_MIN: Final = timedelta(seconds=1)

_STEPPED_BACK_NS: Final = 180 * 1_000_000_000
_SET_ANEW_NS: Final = 3 * 3600 * 1_000_000_000


class When(Protocol):
    """The moments at which a schedule falls due, in nanoseconds since 1970."""

    @property
    def text(self) -> str:
        """What was declared, in one form: equal means the same moments, but for the zone."""

    @property
    def zone(self) -> str:
        """The name of the time zone, empty when there is none."""

    @property
    def by_calendar(self) -> bool:
        """Whether the time of day decides, rather than the time that passes."""

    @property
    def correction_ns(self) -> int:
        """How far a clock must have gone back for the moments to begin anew from there."""

    def next_after(self, after_ns: int) -> int:
        """Return the first moment after another."""

    def latest(self, after_ns: int, until_ns: int, count: int) -> list[int]:
        """Return the last ``count`` moments in (after, until], in order."""


@attrs.frozen
class Interval:
    """Every so often, counted from the last time."""

    period_ns: int
    zone: str = attrs.field(default="", init=False)
    by_calendar: bool = attrs.field(default=False, init=False)
    correction_ns: int = attrs.field(default=_SET_ANEW_NS, init=False)

    @property
    def text(self) -> str:
        """See ``When.text``."""
        return f"{self.period_ns // 1000} us"

    def next_after(self, after_ns: int) -> int:
        """See ``When.next_after``."""
        return after_ns + self.period_ns

    def latest(self, after_ns: int, until_ns: int, count: int) -> list[int]:
        """See ``When.latest``."""
        times = max((until_ns - after_ns) // self.period_ns, 0)
        first = max(times - count, 0) + 1
        return [after_ns + n * self.period_ns for n in range(first, times + 1)]


@attrs.frozen
class Calendar:
    """The moments that match five fields, in a time zone; see the head of this module."""

    text: str
    zone: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    every_hour: bool
    _rules: tzinfo = attrs.field(eq=False)
    by_calendar: bool = attrs.field(default=True, init=False)

    @property
    def correction_ns(self) -> int:
        """See ``When.correction_ns``."""
        return _STEPPED_BACK_NS if self.every_hour else _SET_ANEW_NS

    def next_after(self, after_ns: int) -> int:
        """See ``When.next_after``."""
        return next(self._after(after_ns))

    def latest(self, after_ns: int, until_ns: int, count: int) -> list[int]:
        """See ``When.latest``."""
        return list(islice(self._until(until_ns, after_ns), count))[::-1]

    def _after(self, after_ns: int) -> Iterator[int]:
        # One day sooner: the end of a gap may belong to the day before.
        day = self._date(after_ns) - _DAY
        while day < _LAST_DATE:
            for due_ns in _moments(self, day):
                if due_ns > after_ns:
                    yield due_ns
                    after_ns = due_ns
            day += _DAY

    def _until(self, until_ns: int, after_ns: int) -> Iterator[int]:
        day, first = self._date(until_ns) + _DAY, self._date(after_ns) - _DAY
        while day >= first:
            for due_ns in reversed(_moments(self, day)):
                if after_ns < due_ns <= until_ns:
                    yield due_ns
                    until_ns = due_ns - 1
            day -= _DAY

    def _date(self, at_ns: int) -> date:
        return moment(at_ns).astimezone(self._rules).date()

    def on(self, day: date) -> bool:
        """Say whether a day matches."""
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    def moments_of(self, day: date) -> tuple[int, ...]:
        """Return the moments that belong to a day, in order."""
        found: set[int] = set()
        for hour in self.hours:
            for minute in self.minutes:
                found.update(self._moments_at(datetime.combine(day, time(hour, minute))))
        return tuple(sorted(found))

    def _moments_at(self, wall: datetime) -> Iterator[int]:
        first = wall.replace(tzinfo=self._rules)
        second = first.replace(fold=1)
        before, after = _offset(first), _offset(second)
        if before == after:
            yield _instant(wall, before)
        elif before > after:
            yield _instant(wall, before)
            if self.every_hour:
                yield _instant(wall, after)
        elif not self.every_hour:
            yield self._end_of_gap(_instant(wall, after), _instant(wall, before), before)

    def _end_of_gap(self, low_ns: int, high_ns: int, before: timedelta) -> int:
        """Return when the offset ``before``, which holds at ``low_ns``, holds no more."""
        low_s, high_s = low_ns // 1_000_000_000, high_ns // 1_000_000_000
        while high_s - low_s > 1:
            middle_s = (low_s + high_s) // 2
            there = datetime.fromtimestamp(middle_s, UTC).astimezone(self._rules)
            if _offset(there) == before:
                low_s = middle_s
            else:
                high_s = middle_s
        return high_s * 1_000_000_000


@lru_cache(maxsize=64)
def _moments(calendar: Calendar, day: date) -> tuple[int, ...]:
    return calendar.moments_of(day) if calendar.on(day) else ()


def _offset(when: datetime) -> timedelta:
    offset = when.utcoffset()
    assert offset is not None
    return offset


def _instant(wall: datetime, offset: timedelta) -> int:
    return nanoseconds(wall.replace(tzinfo=UTC) - offset)


def when_of(when: str | timedelta, zone: str) -> When:
    """Read a calendar or an interval; ``DefinitionError`` says what is wrong with it."""
    if isinstance(when, timedelta):
        if when < _INTERVAL_MIN:
            raise DefinitionError(f"every {when}: an interval is at least a second")
        return Interval(when // timedelta(microseconds=1) * 1000)
    if not isinstance(when, str):
        raise DefinitionError(
            f"every {when!r}: write five fields, as in '0 6 * * 1-5', or a timedelta"
        )
    return _calendar(when, zone)


def _calendar(text: str, zone: str) -> Calendar:
    words = text.upper().split()
    if len(words) != 5:
        raise DefinitionError(
            f"every {text!r}: a calendar has five fields (minute, hour, day of the month, month, "
            f"day of the week), not {len(words)}"
        )
    minute, hour, day, month, weekday = words
    days = _field(text, "day of the month", day, 1, 31)
    months = _field(text, "month", month, 1, 12, _MONTHS)
    weekdays = _field(text, "day of the week", weekday, 0, 7, _WEEKDAYS, first_name=0)
    either_day = day[0] != "*" and weekday[0] != "*"
    if not either_day and all(min(days) > _DAYS_OF_MONTH[number - 1] for number in months):
        raise DefinitionError(f"every {text!r}: there is no such day")
    return Calendar(
        " ".join(words),
        zone,
        _field(text, "minute", minute, 0, 59),
        _field(text, "hour", hour, 0, 23),
        days,
        months,
        frozenset(number % 7 for number in weekdays),
        either_day,
        hour == "*",
        _zone_of(text, zone),
    )


def _zone_of(text: str, zone: str) -> tzinfo:
    try:
        return ZoneInfo(zone)
    except (LookupError, ValueError, OSError, TypeError):
        raise DefinitionError(
            f"every {text!r}: no time zone {zone!r} is known here; write a name such as "
            "'Europe/Berlin' (the names come with the system, or with the package tzdata)"
        ) from None


def _field(  # noqa: PLR0913 - a field and what may stand in it
    text: str,
    what: str,
    field: str,
    low: int,
    high: int,
    names: tuple[str, ...] = (),
    first_name: int = 1,
) -> frozenset[int]:
    def number(word: str) -> int:
        if word in names:
            return names.index(word) + first_name
        if word.isascii() and word.isdigit() and low <= int(word[:4]) <= high:
            return int(word)
        also = f" or {names[0]}-{names[-1]}" if names else ""
        raise DefinitionError(
            f"every {text!r}: the {what} is {word!r}; it must be {low}-{high}{also}"
        )

    found: set[int] = set()
    for part in field.split(","):
        term, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 0 < int(step[:4]) <= high):
            raise DefinitionError(f"every {text!r}: a step of the {what} is 1-{high}, not {step!r}")
        begin, dash, end = term.partition("-")
        if term == "*":
            first, last = low, high
        else:
            first = number(begin)
            last = number(end) if dash else high if slash else first
        if last < first:
            raise DefinitionError(f"every {text!r}: the {what} {term} ends before it begins")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)
