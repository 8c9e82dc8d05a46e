"""Moments as the journal has them, and as people do."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.event import Entry
from happy.moments import moment, nanoseconds


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_exactly(when):
    """Times survive the journal to the microsecond, before 1970 and far ahead."""
    assert moment(nanoseconds(when)) == when


@given(st.integers(0, 2**62))
def test_nanoseconds_are_cut_to_microseconds(time_ns):
    """The moment of an entry is never later than the entry."""
    assert nanoseconds(moment(time_ns)) == time_ns - time_ns % 1000
    assert Entry(1, time_ns, None).time == moment(time_ns)


def test_zones_are_only_a_way_of_writing():
    """The same moment in another zone is the same number."""
    when = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert nanoseconds(when) == 10**18
    assert nanoseconds(when.astimezone(timezone(timedelta(hours=5)))) == 10**18


def test_a_naive_time_is_refused():
    """A time without a zone is an error with a remedy, not a guess."""
    with pytest.raises(ValueError, match="tzinfo=UTC"):
        nanoseconds(datetime(2001, 1, 1))  # noqa: DTZ001 - which is refused
