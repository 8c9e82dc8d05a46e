"""The idempotency keys that are remembered, and what became of them: a part of history."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec

from happy.digest import Sum
from happy.event import FailedOutcome, Outcome


class Remembered(msgspec.Struct, frozen=True, gc=False):
    """What became of an idempotency key."""

    fingerprint: bytes | None
    seq: int
    outcome: Outcome


class Keys:
    """The keys of the latest events that had one, and their outcomes; part of the state."""

    def __init__(self, remembered_max: int) -> None:
        self.remembered_max = remembered_max
        self._known: OrderedDict[str, Remembered] = OrderedDict()
        self._sum = Sum()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[str, Remembered]]:
        return iter(self._known.items())

    def get(self, key: str) -> Remembered | None:
        """Return what became of a key, or None when it is new or forgotten."""
        return self._known.get(key)

    def clear(self) -> None:
        """Forget all, to begin with another image."""
        self._known.clear()
        self._sum = Sum()

    def put_back(self, key: str, remembered: Remembered) -> None:
        """Remember as an image says it: too many, where fewer are to be kept since the last."""
        self._known[key] = remembered
        self._sum.add(key, *_told(remembered))

    def add(self, key: str, remembered: Remembered) -> None:
        """Remember an outcome, forgetting the oldest when there are too many."""
        self.put_back(key, remembered)
        while len(self._known) > self.remembered_max:
            key, remembered = self._known.popitem(last=False)
            self._sum.remove(key, *_told(remembered))

    def digest(self) -> str:
        """Return the digest of all keys and their outcomes: 32 hexadecimal digits."""
        return self._sum.value()


def _told(remembered: Remembered) -> tuple[Any, ...]:
    outcome = remembered.outcome
    told = ("failed", outcome.seq) if isinstance(outcome, FailedOutcome) else outcome
    return (remembered.fingerprint, remembered.seq, told)
