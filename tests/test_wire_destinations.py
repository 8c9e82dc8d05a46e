"""Queues for destinations: none waits for another's sake, and none gets more than its share."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from happy.limits import Limits
from happy.wire.destinations import Destinations


class Post:
    """Lanes that send a message when the test says so; a message is just a number."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.sending = {}
        self.sent = []
        self.most = {}
        self.reached = True
        self.queues = Destinations(self.lane, Limits(**limits), self.clock)

    async def lane(self, queue):
        taken = 0
        while (number := await queue.take(taken)) is not None:
            taken += 1
            self.sending[queue.name, number] = done = Deferred()
            on_their_way = sum(name == queue.name for name, _ in self.sending)
            self.most[queue.name] = max(self.most.get(queue.name, 0), on_their_way)
            await done
            self.sent.append((queue.name, number, self.clock.seconds()))
            queue.worked(self.reached)

    def add(self, name, *numbers):
        for number in numbers:
            self.queues.add(name, number)

    def finish(self, *names):
        """End what is on its way to some destinations, until nothing more is."""
        while mine := [key for key in self.sending if key[0] in names]:
            for key in mine:
                self.sending.pop(key).callback(None)

    def order(self, name):
        return [number for sent_to, number, _ in self.sent if sent_to == name]


def test_a_stuck_destination_delays_no_other():
    """Ten lanes wait for one that never answers; the mail of the others goes on."""
    post = Post(outbox_deliveries_max=10)
    post.add("stuck", *range(1_000))
    post.add("a", *range(50))
    post.add("b", *range(50))
    post.finish("a", "b")
    assert post.order("a") == post.order("b") == list(range(50))
    assert len(post.sending) == post.most["stuck"] == 10


def test_destinations_share_the_lanes_in_turn():
    """With fewer lanes than destinations each gets its turn, however long the first queue is."""
    post = Post(mail_out_connections_max=1, outbox_deliveries_max=10)
    post.add("long", *range(500))
    post.add("short", 0)
    while not post.order("short"):
        post.sending.popitem()[1].callback(None)
    assert len(post.order("long")) <= 20
    post.finish("long")
    assert post.order("long") == list(range(500))


def test_who_is_not_reached_is_asked_by_one_lane_only():
    """The others would wait for the same; when it works again, they are back one by one."""
    post = Post(outbox_deliveries_max=5)
    post.add("x", *range(5))
    post.reached = False
    post.finish("x")
    post.most.clear()
    post.add("x", *range(100, 200))
    assert len(post.sending) == 1
    post.reached = True
    post.finish("x")
    assert post.most["x"] == 5
    assert post.order("x")[5:] == list(range(100, 200))


def test_a_destination_gets_no_more_than_its_rate():
    """A second's worth at once, then evenly; a pause does not save more up than that."""
    post = Post(mail_out_rate_per_minute_max=120, outbox_deliveries_max=1)

    def pass_s(seconds):
        for _ in range(seconds * 10):
            post.clock.advance(0.1)
            post.finish("x")

    post.add("x", *range(200))
    post.finish("x")
    pass_s(60)
    assert 120 <= len(post.sent) <= 123
    post.queues.add("y", 0)
    assert ("y", 0) in post.sending


def test_nothing_is_lost_where_lanes_end_at_once():
    """However many destinations and messages: each is sent once, in its destination's order."""
    post = Post(mail_out_connections_max=3, outbox_deliveries_max=2)

    async def lane(queue):
        taken = 0
        while (number := await queue.take(taken)) is not None:
            taken += 1
            post.sent.append((queue.name, number, 0))

    post.queues = Destinations(lane, Limits(mail_out_connections_max=3), post.clock)
    names = [f"d{n}" for n in range(2_000)]
    for number in range(3):
        for name in names:
            post.add(name, number)
    assert all(post.order(name) == [0, 1, 2] for name in names[:20])
    assert len(post.sent) == 6_000


def test_destinations_that_are_done_are_forgotten():
    """Whoever was ever written to would stay in the memory; who waits or has a rate does not go."""
    post = Post(mail_out_connections_max=10**6, mail_out_rate_per_minute_max=1)
    for n in range(4_000):
        post.add(f"d{n}", n)
        post.clock.advance(61)
        if n % 10:
            post.finish(f"d{n}")
    assert len(post.queues._queues) < 2_000
    assert {f"d{n}" for n in range(0, 4_000, 10)} <= post.queues._queues.keys()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_each_message_is_sent_once_whatever_comes_when(steps, lanes_max, each_max):
    """Adds and ends in any order: all is sent, bounds are kept, and the stop fires."""
    post = Post(mail_out_connections_max=lanes_max, outbox_deliveries_max=each_max)
    for number, (name, ends, reached) in enumerate(steps):
        post.add(name, number)
        post.reached = reached
        if ends and post.sending:
            post.sending.pop(next(iter(post.sending))).callback(None)
        assert len(post.sending) <= lanes_max
    post.finish(*range(5))
    assert sorted(number for _, number, _ in post.sent) == list(range(len(steps)))
    assert all(most <= each_max for most in post.most.values())
    assert post.queues.stop(10, lambda: None).called


@pytest.mark.parametrize("paused", [False, True])
def test_a_stop_lets_go_of_what_waits(paused):
    """What is on its way may end, what waits for its turn or its rate stays owed."""
    post = Post(mail_out_rate_per_minute_max=1 if paused else 600, outbox_deliveries_max=1)
    cuts = []
    post.add("x", 1, 2, 3)
    if paused:
        post.finish("x")
        assert post.clock.getDelayedCalls() != []
    stopped = post.queues.stop(10, lambda: cuts.append(True))
    assert stopped.called is paused
    post.add("x", 4)
    post.clock.advance(10)
    assert cuts == ([] if paused else [True])
    post.finish("x")
    assert stopped.called
    assert post.order("x") == [1]
    assert post.clock.getDelayedCalls() == []
