"""Putting what has come due in the order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from happy.errors import Busy, NoRoom
from happy.firing import Firing, FiringQueue


class Order:
    """Takes events, but for as many as it is told to refuse."""

    def __init__(self):
        self.clock = Clock()
        self.refusals = []
        self.taken = []
        self.gone = set()
        self.queue = FiringQueue(self.clock, self.submit)

    def submit(self, event, source):
        if self.refusals:
            return fail(self.refusals.pop(0))
        self.taken.append(event)
        return succeed(None)

    def add(self, event, due_ns, rank):
        self.queue.add(Firing(due_ns, rank, event, "timer", lambda: event not in self.gone))


TIMERS = st.tuples(st.just(0), st.integers(1, 3), st.integers(0, 3))
SCHEDULES = st.tuples(st.just(1), st.sampled_from("abc"), st.just(0))


@given(
    st.lists(st.tuples(st.integers(0, 3), TIMERS | SCHEDULES), unique=True, max_size=12),
    st.integers(0, 5),
)
def test_the_order_is_defined_and_kept(due, refusals):
    """By moment, then timers by seq and number, then schedules by name; also when refused."""
    order = Order()
    order.refusals = [Busy("full")] * refusals
    for firing in due:
        order.add(firing, *firing)
    order.queue.fire()
    for _ in range(refusals):
        order.clock.advance(1)
    assert order.taken == sorted(due)
    assert order.clock.getDelayedCalls() == []


def test_what_is_refused_later_keeps_its_place():
    """A batch that found no room comes again as it was, before what fell due meanwhile."""
    order = Order()
    answers = []
    order.queue._submit = lambda event, source: answers.append(Deferred()) or answers[-1]
    for n in range(3):
        order.add(n, n, (0, 1, n))
    order.queue.fire()
    for answer in answers:
        answer.errback(NoRoom("full"))
    order.queue._submit = order.submit
    order.add(9, 9, (0, 1, 9))
    order.queue.fire()
    assert order.taken == []
    order.clock.advance(1)
    assert order.taken == [0, 1, 2, 9]


def test_what_is_owed_no_more_is_not_fired():
    """What was cancelled, or came by another way, is passed over."""
    order = Order()
    order.refusals = [Busy("full")]
    order.add("a", 1, (0, 1, 0))
    order.add("b", 2, (0, 2, 0))
    order.queue.fire()
    order.gone.add("a")
    order.clock.advance(1)
    assert order.taken == ["b"]


def test_what_comes_due_while_firing_waits_its_turn():
    """An event that brings another at once does not overtake what is due already."""
    order = Order()

    def submit(event, source):
        order.taken.append(event)
        if event == "a":
            order.add("c", 3, (0, 3, 0))
            order.queue.fire()
        return succeed(None)

    order.queue._submit = submit
    order.add("a", 1, (0, 1, 0))
    order.add("b", 2, (0, 2, 0))
    order.queue.fire()
    assert order.taken == ["a", "b", "c"]


@pytest.mark.parametrize("refused", [False, True])
def test_nothing_is_fired_after_the_stop(refused):
    """Stopped means stopped, while it waits for room too."""
    order = Order()
    order.refusals = [Busy("full")] * refused
    order.add("a", 1, (0, 1, 0))
    if refused:
        order.queue.fire()
    order.queue.stop()
    order.queue.fire()
    order.clock.advance(10)
    assert order.taken == []
    assert order.clock.getDelayedCalls() == []
