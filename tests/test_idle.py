"""Noticing that nothing has happened for a while."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from happy.idle import IdleWatch


class Watch:
    """A watch with a pause of 2 seconds, and when it said that all was at rest."""

    def __init__(self):
        self.clock = Clock()
        self.told = []
        self.made = 0
        later = self.clock.callLater

        def counted(*args):
            self.made += 1
            return later(*args)

        self.clock.callLater = counted
        self.idle = IdleWatch(self.clock, 2.0, lambda: self.told.append(self.clock.seconds()))


@pytest.fixture
def watch():
    return Watch()


def test_rest_is_told_once_after_the_pause(watch):
    """After the last touch and the pause it is told, and not again until something happens."""
    watch.clock.advance(100)
    assert watch.told == []
    for begin in (100.0, 200.0):
        watch.idle.touch()
        watch.clock.advance(1.5)
        assert begin + 2 not in watch.told
        watch.clock.advance(98.5)
    assert len(watch.told) == 2
    assert watch.clock.getDelayedCalls() == []


@given(st.lists(st.floats(0, 1.9), max_size=30))
def test_rest_is_told_when_the_pause_is_over_and_never_before(gaps):
    """However touches fall, the one telling comes a whole pause after the last of them."""
    watch = Watch()
    watch.idle.touch()
    for gap in gaps:
        watch.clock.advance(gap)
        watch.idle.touch()
    last = watch.clock.seconds()
    assert watch.told == []
    for _ in range(100):
        watch.clock.advance(0.1)
        if watch.told:
            break
    assert watch.told[0] == pytest.approx(last + 2, abs=0.11)
    assert watch.told[0] >= last + 2 - 1e-6


def test_many_touches_cost_few_timers(watch):
    """A thousand touches within a pause make one delayed call, not one each."""
    for _ in range(1000):
        watch.idle.touch()
        watch.clock.advance(0.001)
    assert watch.made == 1
    assert len(watch.clock.getDelayedCalls()) == 1


def test_a_stopped_watch_tells_nothing(watch):
    """After a stop nothing is told and nothing is left with the clock; a touch begins anew."""
    watch.idle.stop()
    watch.idle.touch()
    watch.idle.stop()
    assert watch.clock.getDelayedCalls() == []
    watch.clock.advance(10)
    assert watch.told == []
    watch.idle.touch()
    watch.clock.advance(2)
    assert watch.told == [12.0]


def test_a_clock_that_was_set_back_delays_nothing_for_long(watch):
    """When the clock jumps, the pause may be short, but the telling comes."""
    watch.idle.touch()
    watch.clock.rightNow = -50.0
    watch.clock.calls[0].time = -49.0
    watch.clock.advance(2)
    assert len(watch.told) == 1
