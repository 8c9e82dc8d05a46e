"""The time of a stream: the clock on the wall, but never going back.

When the wall's clock goes ahead, the stream follows at once. When it is set back, the stream
goes on, nine seconds in ten, until the wall has caught up: so an hour too many is gone after ten
hours, timers are late by a ninth at the most meanwhile, and a clock that was a year ahead for a
moment stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_NS: Final = 1_000_000_000
_SLOWED: Final = (9, 10)


class StreamClock:
    """Tells the time of one stream.

    ``wall_ns`` is the time of day in nanoseconds since 1970, which people and time servers may
    set; ``steady_s`` is seconds since whenever, which nobody sets.
    """

    def __init__(self, wall_ns: Callable[[], int], steady_s: Callable[[], float]) -> None:
        self.wall_ns = wall_ns
        self._steady_s = steady_s
        self._told_ns = 0
        self._told_at_s = 0.0

    def go_on_from(self, last_ns: int) -> None:
        """Tell nothing before ``last_ns``, the moment of the last event."""
        self._told_ns = last_ns
        self._told_at_s = self._steady_s()

    def now_ns(self) -> int:
        """Return the time of the stream, in nanoseconds since 1970."""
        at_s = self._steady_s()
        passed_ns = max(int((at_s - self._told_at_s) * _NS), 0)
        slowed_ns = passed_ns * _SLOWED[0] // _SLOWED[1]
        self._told_ns = max(self.wall_ns(), self._told_ns + slowed_ns)
        self._told_at_s = at_s
        return self._told_ns
