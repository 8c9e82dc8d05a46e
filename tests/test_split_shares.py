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
        assert not shares.is_ahead(1)


def test_who_is_ahead_leaves_the_next_to_those_who_have_fewer(shares):
    """A few more are no reason; and it ends when the others have caught up."""
    shares.put(1, 0)
    shares.put(2, 0)
    taken = 0
    while not shares.is_ahead(1):
        taken += 1
        shares.put(1, taken)
    assert 1 < taken < 5
    assert not shares.is_ahead(2)
    shares.put(2, taken)
    assert not shares.is_ahead(1)


def test_nothing_is_left_to_a_front_that_has_ended(shares):
    """Who has gone does not count, however few it had."""
    shares.put(1, 10)
    shares.put(3, 0)
    assert shares.is_ahead(1)
    shares.leave(3)
    assert not shares.is_ahead(1)


def test_all_processes_see_the_same(shares):
    """The memory is that of the descriptor: what one writes there the others read."""
    shares.put(1, 10)
    other = os.dup(shares.descriptor)
    seen = Shares(other)
    seen.put(2, 1)
    assert shares.is_ahead(1)
    shares.put(1, 2)
    assert not seen.is_ahead(1)
    seen.close()
    shares.close()
    shares.close()
