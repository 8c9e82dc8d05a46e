"""The keys that are remembered: bounded, the oldest go first, and their digest keeps up."""

from happy.event import FailedOutcome, Reply
from happy.keys import Keys, Remembered


def test_keys_are_bounded_and_the_oldest_go_first():
    """Promise 8: no more keys are remembered than was said; the newest stay."""
    keys = Keys(3)
    for n in range(10):
        keys.add(f"k{n}", Remembered(None, n, Reply(n)))
        assert len(keys) <= 3
    assert [keys.get(f"k{n}") is not None for n in range(10)] == [False] * 7 + [True] * 3


def test_an_image_may_hold_more_than_are_kept():
    """Fewer may be kept since the last: what an image holds stays until the next key comes."""
    keys = Keys(2)
    for n in range(5):
        keys.put_back(f"k{n}", Remembered(None, n, Reply(n)))
    assert len(keys) == 5
    keys.add("new", Remembered(None, 5, FailedOutcome(5)))
    assert [key for key, _ in keys] == ["k4", "new"]


def test_the_digest_is_that_of_what_is_remembered():
    """Keys that came and went leave no trace; another outcome is another digest."""
    keys, others = Keys(2), Keys(2)
    for n in range(5):
        keys.add(f"k{n}", Remembered(b"f", n, Reply(n)))
    for n in (3, 4):
        others.put_back(f"k{n}", Remembered(b"f", n, Reply(n)))
    assert keys.digest() == others.digest() != Keys(2).digest()
    others.add("k4", Remembered(b"f", 4, Reply(5)))
    assert keys.digest() != others.digest()
