"""The time of a stream, whatever happens to the clock on the wall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.stream_clock import StreamClock

SECOND_NS = 10**9
DAY_S = 86_400
YEAR_S = 365 * DAY_S
START_S = 1_000_000_000


class Wall:
    """A clock that can be set, a steady one, and the stream's."""

    def __init__(self):
        self.wall_s = START_S
        self.steady_s = 5.0
        self.clock = StreamClock(lambda: self.wall_s * SECOND_NS, lambda: self.steady_s)
        self.clock.go_on_from(START_S * SECOND_NS)

    def pass_by(self, seconds):
        self.wall_s += seconds
        self.steady_s += seconds

    def ahead_s(self):
        """Return how far the stream is ahead of the wall."""
        return self.clock.now_ns() / SECOND_NS - self.wall_s


@given(
    st.lists(st.tuples(st.integers(-2 * YEAR_S, 2 * YEAR_S), st.integers(0, DAY_S)), max_size=20)
)
def test_time_never_goes_back_and_never_stands_still(jumps):
    """After any jumps: time goes on with the wall, or nine seconds in ten."""
    wall = Wall()
    told = wall.clock.now_ns()
    for jump_s, passed_s in jumps:
        wall.wall_s = max(wall.wall_s + jump_s, 0)
        wall.pass_by(passed_s)
        before, told = told, wall.clock.now_ns()
        assert told - before >= passed_s * SECOND_NS * 9 // 10 - 1_000
        assert told >= wall.wall_s * SECOND_NS


@pytest.mark.parametrize("jump_s", [1, 3_600, YEAR_S])
def test_a_clock_that_goes_ahead_is_followed(jump_s):
    """Ahead by seconds, an hour, a year, or after a suspend: the stream is there at once."""
    wall = Wall()
    wall.wall_s += jump_s
    assert wall.ahead_s() == 0


@pytest.mark.parametrize("jump_s", [10, 3_600, YEAR_S])
def test_the_wall_catches_up(jump_s):
    """A clock that was set back has caught up after ten times as long, not sooner."""
    wall = Wall()
    wall.wall_s -= jump_s
    for tenths in range(1, 11):
        wall.pass_by(jump_s)
        assert wall.ahead_s() == pytest.approx(jump_s * (10 - tenths) / 10)
    wall.pass_by(100)
    assert wall.ahead_s() == 0


def test_a_year_ahead_and_back_freezes_nothing():
    """What is set meanwhile is due a ninth late, not a year."""
    wall = Wall()
    wall.wall_s += YEAR_S
    begun = wall.clock.now_ns()
    wall.wall_s -= YEAR_S
    wall.pass_by(100)
    assert wall.clock.now_ns() - begun == 90 * SECOND_NS


def test_a_start_goes_on_from_the_last_event():
    """A wall behind the journal's last event does not take time back."""
    wall = Wall()
    wall.clock.go_on_from((START_S + 60) * SECOND_NS)
    assert wall.ahead_s() == 60
    wall.pass_by(10)
    assert wall.ahead_s() == 59


def test_a_steady_clock_that_is_not_takes_nothing_back():
    """Even the steady clock going back only makes time stand still."""
    wall = Wall()
    wall.wall_s -= 100
    wall.steady_s -= 100
    assert wall.ahead_s() == 100
