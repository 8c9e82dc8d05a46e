"""How fronts share connections: who has more than its part leaves the next to the others."""

import os

import pytest

from happy.split.shares import Shares


@pytest.fixture
def shares():
    made = Shares.create(3)
    yield made
    made.close()


def test_who_is_alone_takes_all(shares):
    """While no other front is there, nothing is left to it."""
    for count in (0, 1, 1_000):
        shares.put(1, count)
        assert shares.room(1) > 1_000


def test_who_is_ahead_leaves_the_next_to_those_who_have_fewer(shares):
    """A few more are no reason; and it ends when the others have caught up."""
    shares.put(1, 0)
    shares.put(2, 0)
    taken = shares.room(1)
    assert 1 < taken < 5
    shares.put(1, taken)
    assert shares.room(1) < 1
    assert shares.room(2) > taken
    shares.put(2, taken)
    assert shares.room(1) > 0


def test_a_burst_is_taken_in_few_turns_and_by_halves(shares):
    """Of a thousand connections nobody waits for hundreds of turns, and no front has most."""
    counts = {1: 0, 2: 0}
    turns = 0
    while sum(counts.values()) < 1_000:
        for number, count in counts.items():
            shares.put(number, count)
        for number, count in tuple(counts.items()):
            counts[number] = count + max(0, shares.room(number))
            shares.put(number, counts[number])
        turns += 1
    assert turns < 50
    assert max(counts.values()) <= 1.2 * min(counts.values())


def test_nothing_is_left_to_a_front_that_has_ended(shares):
    """Who has gone does not count, however few it had."""
    shares.put(1, 10)
    shares.put(3, 0)
    assert shares.room(1) < 1
    shares.leave(3)
    assert shares.room(1) > 0


def test_all_processes_see_the_same(shares):
    """The memory is that of the descriptor: what one writes there the others read."""
    shares.put(1, 10)
    other = os.dup(shares.descriptor)
    seen = Shares(other)
    seen.put(2, 1)
    assert shares.room(1) < 1
    shares.put(1, 2)
    assert seen.room(1) > 0
    seen.close()
    shares.close()
    shares.close()
