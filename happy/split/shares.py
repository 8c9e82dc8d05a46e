"""Who of several processes takes the next connection: one that has not too many more than others.

All fronts accept from one socket, and a connection goes to whoever is awake first. In a burst that
may be one of them, and the others have nothing to do for as long as these connections live. So
each writes how many it has into memory that they share, and leaves what waits to the others while
it has more than its part.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

_AWAY: Final = (1 << 63) - 1
_BYTES: Final = 8
_AHEAD_MIN: Final = 2  # who is ahead by that is not behind when some of them end
_AHEAD_PART: Final = 8  # of many, who has an eighth more has not too many: a burst is taken at once


class Shares:
    """How many connections each front has, in memory that a descriptor stands for.

    Each number is one store and one load, so that nobody reads half of one.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._counts = memoryview(self._memory).cast("q")

    @classmethod
    def create(cls, fronts: int) -> Shares:
        """Return the shares of so many fronts, of which none is there yet."""
        descriptor = os.memfd_create("happy-fronts")
        os.write(descriptor, _AWAY.to_bytes(_BYTES, "little") * fronts)
        return cls(descriptor)

    def put(self, number: int, count: int) -> None:
        """Say how many connections a front has; fronts are numbered from 1."""
        self._counts[number - 1] = count

    def leave(self, number: int) -> None:
        """Say that a front is not there: no connection is left to it."""
        self.put(number, _AWAY)

    def room(self, number: int) -> int:
        """Return how many connections a front may take before it leaves the next to others."""
        mine = self._counts[number - 1]
        others = [count for place, count in enumerate(self._counts, 1) if place != number]
        least = min(others, default=_AWAY)
        return least + max(_AHEAD_MIN, least // _AHEAD_PART) - mine

    def close(self) -> None:
        """Let no more processes inherit it; may be called again."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
