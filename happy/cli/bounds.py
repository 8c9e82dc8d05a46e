"""Which part of a journal is asked for: from a place or a moment, to a place or a moment."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import attrs
import click

from happy.event import Entry
from happy.journal.frame import Frame, SegmentHeader
from happy.journal.recovery import Start
from happy.moments import nanoseconds

_MICROSECOND_NS: Final = 1_000


@attrs.frozen
class Wanted:
    """A part of a journal; both ends belong to it."""

    first: int = 1
    last: int | None = None
    since_ns: int = 0
    until_ns: int | None = None

    def begins_after(self, frame: Frame) -> bool:
        """Say whether a frame is before all that is wanted."""
        # A mark stands for the seq that comes next.
        behind = frame.first_seq + max(frame.count, 1)
        return behind <= self.first or frame.time_ns < self.since_ns

    def ends_before(self, frame: Frame) -> bool:
        """Say whether a frame is behind all that is wanted; so are all frames after it."""
        return (self.last is not None and frame.first_seq > self.last) or (
            self.until_ns is not None and frame.time_ns > self.until_ns
        )

    def begins_in_or_after(self, header: SegmentHeader) -> bool:
        """Say whether nothing is wanted of what is before a segment."""
        return header.first_seq <= self.first or header.created_ns < self.since_ns

    def has(self, seq: int) -> bool:
        """Say whether a seq of a frame that is wanted is wanted itself."""
        return self.first <= seq and (self.last is None or seq <= self.last)

    def covers(self, entry: Entry | Start) -> bool:
        """Say whether an entry, or what a snapshot holds, is not behind all that is wanted."""
        if self.last is not None and entry.seq > self.last:
            return False
        return self.until_ns is None or entry.time_ns <= self.until_ns


class SeqOrTime(click.ParamType):  # type: ignore[type-arg] # not in every click
    """A seq, or a moment as RFC 3339 has it; without an offset, local time."""

    name = "seq or time"

    def __init__(self, seq_min: int = 1) -> None:
        self._seq_min = seq_min

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | datetime:
        """Return a seq or an aware ``datetime``."""
        if isinstance(value, int | datetime):
            return value
        if value.isdecimal() and int(value) >= self._seq_min:
            return int(value)
        try:
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a seq ({self._seq_min}, {self._seq_min + 1} ...) nor a "
                "moment such as 2026-11-23T06:15:00Z",
                param,
                ctx,
            )


def wanted(begin: int | datetime, end: int | datetime | None) -> Wanted:
    """Return what is from ``begin`` to ``end``.

    A moment is a microsecond, as ``happy journal show`` prints it: all of it belongs to both.
    """
    first, since_ns = (begin, 0) if isinstance(begin, int) else (1, nanoseconds(begin))
    if end is None:
        return Wanted(first, None, since_ns)
    if isinstance(end, int):
        return Wanted(first, end, since_ns)
    return Wanted(first, None, since_ns, nanoseconds(end) + _MICROSECOND_NS - 1)
