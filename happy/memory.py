"""The memory budget of an application: new events are refused before the machine swaps.

Two things are measured, at most twice a second and only while events come. What the state
takes is an estimate: of each table the first and the last rows are measured, with what they
hold, and taken for the mean of all. What the machine has left is the kernel's own figure
(``happy.footprint``). Whichever is nearer to its bound decides: from four fifths on there is a
warning in the log, at the bound a peer's events are refused. Queries go on, and so do timers,
the ends of effects and events declared with ``frees_memory=True``: that is how an application
becomes smaller.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from happy.effects import Outbox
from happy.errors import NoMemory
from happy.event import Mail, event_meta
from happy.footprint import Footprint
from happy.limits import Limits
from happy.system_events import SYSTEM_EVENTS
from happy.undo import TABLE

log = Logger()

_LOOK_S: Final = 0.5
_SAMPLE_ROWS: Final = 16
"""From each end of a table: together they take less than a millisecond for some ten tables."""
_ENTRY_BYTES: Final = 140
"""What a table takes for a row beside key and row; measured with 100,000 rows."""
_INDEXED_BYTES: Final = 40
"""What each index takes for a row; measured likewise."""
_OURS: Final = frozenset(SYSTEM_EVENTS) - {Mail}


class Level(Enum):
    """How near an application is to its bounds."""

    ROOMY = "roomy"
    HIGH = "high"
    FULL = "full"


class MemoryWatch:
    """Looks at the memory of one application now and then; ``full`` says whether to refuse.

    ``measure`` returns about how many bytes the state takes.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[], int],
        limits: Limits,
        clock: IReactorTime,
        footprint: Callable[[], Footprint],
    ) -> None:
        self.full = False
        self._name = name
        self._measure = measure
        self._limits = limits
        self._clock = clock
        self._footprint = footprint
        self._level = Level.ROOMY
        self._state_bytes = 0
        self._seen = Footprint(None, None)
        self._next_s = -1.0
        self._why = ""

    def touch(self) -> None:
        """Say that events were applied; looks when the last look is old."""
        now_s = self._clock.seconds()
        if not 0 <= self._next_s - now_s <= _LOOK_S:
            self._next_s = now_s + _LOOK_S
            self._look()

    def check(self, event: object) -> None:
        """Raise ``NoMemory`` for an event that has to wait until there is room."""
        if not self.full:
            return
        cls = type(event)
        if cls not in _OURS and not event_meta(cls).frees_memory:
            trouble = self.trouble()
            if trouble is not None:
                raise trouble

    def trouble(self) -> NoMemory | None:
        """Return why an event that is none of happy's own, and frees nothing, has to wait."""
        if self.full:
            self.touch()
        if not self.full:
            return None
        return NoMemory(f"{self._why}; new events are refused until there is room")

    def status(self) -> dict[str, Any]:
        """Return what was measured, now."""
        self._look()
        return {
            "level": self._level.value,
            "state_bytes": self._state_bytes,
            "state_bytes_max": self._limits.memory_bytes_max,
            "process_bytes": self._seen.resident_bytes,
            "free_bytes": self._seen.free_bytes,
            "free_bytes_min": self._limits.memory_free_bytes_min,
        }

    def _look(self) -> None:
        limits = self._limits
        self._state_bytes = self._measure()
        self._seen = self._footprint()
        free = self._seen.free_bytes
        over_state = _level(self._state_bytes, limits.memory_bytes_max)
        over_machine = (
            Level.ROOMY if free is None else _level(limits.memory_free_bytes_min, max(free, 1))
        )
        level: Level = over_state if over_state is not Level.ROOMY else over_machine
        if over_machine is Level.FULL and over_state is not Level.FULL:
            level = over_machine
            self._why = "the machine has no memory left (memory_free_bytes_min)"
        else:
            self._why = "the application has as much in memory as it may (memory_bytes_max)"
        before = self._level
        self._level = level
        self.full = level is Level.FULL
        if level is not before:
            self._tell(before)

    def _tell(self, before: Level) -> None:
        if self._level is Level.FULL:
            say, what = log.error, "no memory, new events are refused"
        elif self._level is Level.HIGH and before is Level.ROOMY:
            say, what = log.warn, "memory is running short"
        elif before is Level.FULL:
            say, what = log.info, "there is memory again"
        else:
            return
        say(
            "{name}: {what}: the state takes about {state} bytes of {most} (memory_bytes_max), the "
            "machine has {free} left, of which {least} are kept free (memory_free_bytes_min)",
            name=self._name,
            what=what,
            state=self._state_bytes,
            most=self._limits.memory_bytes_max,
            free="?" if self._seen.free_bytes is None else self._seen.free_bytes,
            least=self._limits.memory_free_bytes_min,
        )


def _level(taken: int, most: int) -> Level:
    if taken >= most:
        return Level.FULL
    return Level.HIGH if taken * 5 >= most * 4 else Level.ROOMY


def state_bytes(state: Any, outbox: Outbox) -> int:
    """Return about how many bytes a state and its outbox take."""
    total = _mean_bytes(islice(outbox, _SAMPLE_ROWS)) * len(outbox)
    for field in attrs.fields(type(state)):
        value = getattr(state, field.name)
        names = field.metadata.get(TABLE)
        if names is None:
            total += _deep_bytes(value)
        elif value:
            keys = [*islice(value, _SAMPLE_ROWS), *islice(reversed(value), _SAMPLE_ROWS)]
            entry = _ENTRY_BYTES + _INDEXED_BYTES * len(names)
            each = entry + _mean_bytes((key, value[key]) for key in keys)
            total += each * len(value)
    return total


def _mean_bytes(values: Iterable[Any]) -> int:
    sizes = [_deep_bytes(value) for value in values]
    return sum(sizes) // len(sizes) if sizes else 0


def _deep_bytes(value: Any) -> int:
    """Return the bytes of a value with all it holds; what is shared is counted each time."""
    if value is None or isinstance(value, bool | Enum):
        return 0
    size = sys.getsizeof(value)
    if isinstance(value, tuple):
        return size + sum(map(_deep_bytes, value))
    if attrs.has(type(value)):
        return size + sum(_deep_bytes(getattr(value, f.name)) for f in attrs.fields(type(value)))
    return size
