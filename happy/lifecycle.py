"""The moods of an application, as a table: what may follow what."""

from __future__ import annotations

from enum import Enum

from happy.errors import Halted, HappyError, NotOpen


class Mood(Enum):
    """Where an application stands; only ``OPEN`` admits events."""

    REPLAYING = "replaying"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"
    HALTED = "halted"


FOLLOWS: dict[Mood, frozenset[Mood]] = {
    Mood.REPLAYING: frozenset({Mood.OPEN, Mood.CLOSED, Mood.HALTED}),
    Mood.OPEN: frozenset({Mood.DRAINING, Mood.HALTED}),
    Mood.DRAINING: frozenset({Mood.CLOSED, Mood.HALTED}),
    Mood.CLOSED: frozenset(),
    Mood.HALTED: frozenset(),
}


def step(now: Mood, then: Mood) -> Mood:
    """Return ``then``, or raise ``ValueError`` when it may not follow ``now``."""
    if then not in FOLLOWS[now]:
        raise ValueError(f"an application cannot go from {now.value} to {then.value}")
    return then


def not_open(now: Mood) -> HappyError:
    """Return what a peer is told while an application admits nothing."""
    if now is Mood.HALTED:
        return Halted("the application has stopped after a failure of the disk or the machine")
    if now is Mood.REPLAYING:
        return NotOpen("the application is reading its journal; try again in a moment")
    return NotOpen("the application is closing")
