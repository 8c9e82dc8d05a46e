"""Wrong passwords, counted by where they come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from happy.limits import Limits
from happy.wire.failed_logins import FailedLogins

LIMITS = Limits(smtp_auth_peer_failures_max=3, smtp_auth_peer_failure_s=10, smtp_auth_peers_max=2)


def failed(*peers, clock=None):
    """Return the count after a wrong password of each."""
    count = FailedLogins(clock or Clock(), LIMITS)
    for peer in peers:
        count.add(peer)
    return count


def test_an_address_is_full_after_so_many():
    """Others are not."""
    count = failed("192.0.2.1", "192.0.2.1")
    assert not count.is_full("192.0.2.1")
    count.add("192.0.2.1")
    assert count.is_full("192.0.2.1")
    assert not count.is_full("192.0.2.2")


@given(st.lists(st.integers(0, 25), max_size=30))
def test_no_more_are_looked_at_than_time_allows(pauses_s):
    """However they are spread: so many at once, and one more whenever one is forgotten."""
    clock = Clock()
    count, looked_at = failed(clock=clock), 0
    for pause_s in pauses_s:
        clock.advance(pause_s)
        if not count.is_full("192.0.2.1"):
            count.add("192.0.2.1")
            looked_at += 1
    assert looked_at <= 3 + clock.seconds() / 10


def test_each_is_forgotten_in_its_time():
    """A device with an old password, that asks as often as one is forgotten, shuts nobody out."""
    clock = Clock()
    count = failed(*["192.0.2.1"] * 3, clock=clock)
    clock.advance(9)
    assert count.is_full("192.0.2.1")
    for _ in range(100):
        clock.advance(10)
        assert not count.is_full("192.0.2.1")
        count.add("192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_what_one_customer_has_is_counted_together(one, other, same):
    """A network of 64 bits of IPv6 has more addresses than anybody could count."""
    assert failed(one, one, one).is_full(other) is same


def test_no_more_addresses_are_remembered_than_so_many():
    """The one that was quiet for longest goes."""
    count = failed(*["192.0.2.1"] * 3, *["192.0.2.2"] * 3)
    count.add("192.0.2.1")
    count.add("192.0.2.3")
    assert count.is_full("192.0.2.1")
    assert not count.is_full("192.0.2.2")
