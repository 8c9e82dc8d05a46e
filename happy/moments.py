"""Moments as the journal has them, and as people do: nanoseconds since 1970, and datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def moment(time_ns: int) -> datetime:
    """Return nanoseconds since 1970 as an aware datetime, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def nanoseconds(when: datetime) -> int:
    """Return an aware datetime as nanoseconds since 1970; ``ValueError`` when it is naive."""
    if when.tzinfo is None:
        raise ValueError("a time without a timezone: write datetime(..., tzinfo=UTC)")
    return (when - _EPOCH) // timedelta(microseconds=1) * 1000
