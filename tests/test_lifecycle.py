"""The moods of an application, as a table."""

from __future__ import annotations

import itertools

import pytest

from happy.lifecycle import FOLLOWS, Mood, step


def test_the_table_has_a_row_for_each_mood():
    """No mood is left out."""
    assert set(FOLLOWS) == set(Mood)


@pytest.mark.parametrize("pair", list(itertools.product(Mood, Mood)), ids=str)
def test_a_step_is_in_the_table_or_an_error(pair):
    """Every pair of moods is either a step or refused by name."""
    now, then = pair
    if then in FOLLOWS[now]:
        assert step(now, then) is then
    else:
        with pytest.raises(ValueError, match=f"from {now.value} to {then.value}"):
            step(now, then)


def test_the_ends_are_ends():
    """Promise 7: nothing follows closed, and nothing follows halted."""
    assert FOLLOWS[Mood.CLOSED] == FOLLOWS[Mood.HALTED] == frozenset()


def test_every_mood_can_be_reached_and_left_for_an_end():
    """From replaying all moods can be reached, and from each of them an end."""
    reached = {Mood.REPLAYING}
    while more := set().union(*(FOLLOWS[mood] for mood in reached)) - reached:
        reached |= more
    assert reached == set(Mood)
    for mood in Mood:
        assert not FOLLOWS[mood] or Mood.HALTED in FOLLOWS[mood]
