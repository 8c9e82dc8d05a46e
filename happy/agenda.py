"""Looking at the calendar: which schedules have come due, here and now.

Only an open stream has one of these, so a replay never asks a calendar or a time zone.
Calendars go by the clock on the wall, intervals by the time of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from happy.codec import encode
from happy.event import Scheduled, ScheduleFired
from happy.firing import Firing
from happy.limits import Limits
from happy.schedule import Place, Schedule, Schedules
from happy.stream_clock import StreamClock

LATE_NS: Final = 120 * 1_000_000_000
"""What is later than this was missed: twice as long as the longest wait for a look."""


class Agenda:
    """The schedules that are declared and known to the journal, and when each is due next.

    A moment is handed out once; again only after a restart, when it has not become an event.
    """

    def __init__(
        self,
        declared: Iterable[Schedule],
        known: Schedules,
        clock: StreamClock,
        limits: Limits,
    ) -> None:
        self._declared = {schedule.name: schedule for schedule in declared}
        self.declared = Scheduled(tuple(schedule.row for schedule in self._declared.values()))
        """What the journal is to know."""
        self._known = known
        self._clock = clock
        self._missed_max = limits.schedule_missed_max
        self._seen: dict[str, Place] | None = None
        self._last_ns: dict[str, int] = {}
        self._next_ns: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many schedules there are."""
        return len(self._declared)

    @property
    def is_stale(self) -> bool:
        """Whether the journal has more to say since the last look."""
        return bool(self._declared) and self._known.places is not self._seen

    @property
    def is_news(self) -> bool:
        """Whether the journal knows other schedules than are declared."""
        return self.declared != self._known.declared

    def next_in_ns(self) -> int | None:
        """Return how long it is until the next schedule is due; None when there is none."""
        self._look()
        waits = [due_ns - self._now_ns(name) for name, due_ns in self._next_ns.items()]
        return min(waits, default=None)

    def due(self) -> Iterator[Firing]:
        """Hand out what has come due, or was missed and is made up for."""
        if not self._declared:
            return
        self._look()
        for name, next_ns in self._next_ns.items():
            now_ns = self._now_ns(name)
            if next_ns <= now_ns:
                yield from self._hand_out(self._declared[name], now_ns)

    def _hand_out(self, schedule: Schedule, now_ns: int) -> list[Firing]:
        name, when = schedule.name, schedule.when
        count = self._missed_max if schedule.missed == "all" else 1
        moments = when.latest(self._last_ns[name], now_ns, count)
        self._go_on_from(schedule, moments[-1])
        if schedule.missed == "skip" and now_ns - moments[-1] > LATE_NS:
            return []
        record = encode(schedule.event)
        return [
            Firing(
                due_ns,
                (1, name, 0),
                ScheduleFired(name, due_ns, record),
                f"schedule {name}",
                partial(self._is_owed, name, due_ns),
            )
            for due_ns in moments
        ]

    def _is_owed(self, name: str, due_ns: int) -> bool:
        place = self._known.places.get(name)
        return place is not None and place.last_ns != due_ns

    def _look(self) -> None:
        """Take in what the journal knows by now, and a clock that was set back."""
        if self._known.places is not self._seen:
            self._take_in()
        for name, last_ns in self._last_ns.items():
            schedule, now_ns = self._declared[name], self._now_ns(name)
            if last_ns - now_ns > schedule.when.correction_ns:
                self._go_on_from(schedule, now_ns)

    def _take_in(self) -> None:
        seen, self._seen = self._seen or {}, self._known.places
        for name in [name for name in self._last_ns if name not in self._seen]:
            del self._last_ns[name], self._next_ns[name]
        for name, place in self._seen.items():
            schedule = self._declared.get(name)
            # A place of our own making is behind what we have handed out, or is the same.
            anew = name not in seen or seen[name].row != place.row
            if anew and schedule is not None and schedule.row == place.row:
                self._go_on_from(schedule, place.last_ns)

    def _go_on_from(self, schedule: Schedule, last_ns: int) -> None:
        self._last_ns[schedule.name] = last_ns
        self._next_ns[schedule.name] = schedule.when.next_after(last_ns)

    def _now_ns(self, name: str) -> int:
        by_calendar = self._declared[name].when.by_calendar
        return self._clock.wall_ns() if by_calendar else self._clock.now_ns()
