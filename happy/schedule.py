"""Schedules: events that come again and again, declared by an application.

What the application declares is journaled when it changes (``happy.Scheduled``), and every
firing is an event that holds its moment and the event it stands for (``happy.ScheduleFired``).
So a replay sees what fired then, whatever is declared today and whatever the calendar says now.
This fold keeps the place of each schedule: the moment it fired for last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final, Literal, ParamSpec, TypeVar, get_args

import attrs

from happy.cron import When, when_of
from happy.errors import DefinitionError
from happy.event import Scheduled, ScheduledWhen, ScheduleFired, event_meta
from happy.routes import check_handler

P = ParamSpec("P")
R = TypeVar("R")

Missed = Literal["last", "all", "skip"]
_DECLARED: Final = "__happy_every__"


@attrs.frozen
class Schedule:
    """A schedule as it is declared today."""

    name: str
    when: When
    event: Any
    missed: Missed

    @property
    def row(self) -> ScheduledWhen:
        """What the journal is told of it."""
        return ScheduledWhen(self.name, self.when.text, self.when.zone)


@attrs.frozen
class _Declared:
    when: When
    event: Any
    missed: Missed
    name: str


class every:  # noqa: N801 - a decorator
    """Declare when an event comes by itself, above the handler that takes it.

    ``when`` is a calendar of five fields (``happy.cron``), read in the time zone ``tz``, or a
    ``timedelta``: then it comes as often, for the first time so long after it was declared.
    ``event`` is what comes; without it, the event of the handler, made without arguments.
    ``missed`` says what happens when moments passed while nobody was there: ``"last"`` (once,
    for the last of them), ``"all"`` (each in its order, ``schedule_missed_max`` at the most) or
    ``"skip"``. The handler finds the moment it comes for in ``context.due``.

    The journal knows the schedule by ``name``, the handler's name unless given. Raises
    ``DefinitionError`` for what could never come.
    """

    def __init__(
        self,
        when: str | timedelta,
        event: object = None,
        *,
        tz: str = "UTC",
        missed: Missed = "last",
        name: str = "",
    ) -> None:
        if missed not in get_args(Missed):
            raise DefinitionError(
                f"every {when!r}: missed is {missed!r}; it must be last, all or skip"
            )
        if event is not None:
            event_meta(type(event))
        self._declared = _Declared(when_of(when, tz), event, missed, name)

    def __call__(self, function: Callable[P, R] | staticmethod[P, R]) -> staticmethod[P, R]:
        plain: Any = function.__func__ if isinstance(function, staticmethod) else function
        check_handler(plain, "state", "event", "context")
        setattr(plain, _DECLARED, (self._declared, *getattr(plain, _DECLARED, ())))
        return staticmethod(plain)


def schedules_of(app: type, handled: Iterable[type]) -> tuple[Schedule, ...]:
    """Return the schedules an application class declares, by name."""
    found: dict[str, Schedule] = {}
    events = frozenset(handled)
    for attribute in dir(app):
        function = getattr(app, attribute, None)
        for declared in getattr(function, _DECLARED, ()):
            where = f"{app.__qualname__}.{attribute}: every {declared.when.text!r}"
            name = declared.name or attribute
            if name in found:
                raise DefinitionError(f"{where}: there is a schedule {name!r}; say name=...")
            event = declared.event if declared.event is not None else _only_event(function, where)
            if type(event) not in events:
                raise DefinitionError(
                    f"{where}: nobody handles {type(event).__qualname__}: use @handles"
                )
            found[name] = Schedule(name, declared.when, event, declared.missed)
    return tuple(found[name] for name in sorted(found))


def _only_event(function: Any, where: str) -> Any:
    handled: tuple[type, ...] = getattr(function, "__happy_handles__", ())
    if len(handled) != 1:
        raise DefinitionError(
            f"{where}: say which event comes, as in every(..., {_example(handled)}(...))"
        )
    try:
        return handled[0]()
    except TypeError:
        raise DefinitionError(
            f"{where}: {handled[0].__qualname__} needs arguments; say which, as in "
            f"every(..., {handled[0].__qualname__}(...))"
        ) from None


def _example(handled: tuple[type, ...]) -> str:
    return handled[0].__qualname__ if handled else "Morning"


@attrs.frozen
class Place:
    """A schedule that the journal knows, and the moment it fired for last.

    Before its first firing, that is the moment it was declared.
    """

    row: ScheduledWhen
    last_ns: int


class Schedules:
    """The schedules that the journal knows, by name; part of the state.

    Whatever changes puts another mapping in the place of the old one, so that taking back is
    one assignment.
    """

    __slots__ = ("places",)

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places.values())

    def __len__(self) -> int:
        return len(self.places)

    @property
    def declared(self) -> Scheduled:
        """The event that would change nothing."""
        return Scheduled(tuple(place.row for place in self))

    def declare(self, scheduled: Scheduled, time_ns: int) -> None:
        """Take in what is declared from now on; what is the same as before keeps its place."""
        places: dict[str, Place] = {}
        for row in scheduled.schedules:
            known = self.places.get(row.name)
            same = known is not None and known.row == row
            places[row.name] = known if same and known is not None else Place(row, time_ns)
        self.places = places

    def fire(self, fired: ScheduleFired) -> bool:
        """Move a schedule to the moment it fired for; False when that is no news."""
        place = self.places.get(fired.name)
        if place is None or place.last_ns == fired.due_ns:
            return False
        self.places = {**self.places, fired.name: Place(place.row, fired.due_ns)}
        return True

    def put_back(self, place: Place) -> None:
        """Take over a place from an image."""
        self.places = {**self.places, place.row.name: place}
