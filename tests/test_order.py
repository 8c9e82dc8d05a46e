"""Admission, twins, batches and places."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from happy.errors import Busy, KeyReused, TooLarge
from happy.event import Entry
from happy.limits import Limits
from happy.order import Order, check_fingerprint

EVENTS_MAX, BYTES_MAX, FRAME_EVENTS_MAX, FRAME_BYTES_MAX, EVENT_BYTES_MAX = 8, 60, 3, 30, 20
LIMITS = Limits(
    queue_events_max=EVENTS_MAX,
    queue_bytes_max=BYTES_MAX,
    frame_events_max=FRAME_EVENTS_MAX,
    frame_bytes_max=FRAME_BYTES_MAX,
    event_bytes_max=EVENT_BYTES_MAX,
)


def entry(key=None, fingerprint=None):
    return Entry(0, 0, None, "test", key, fingerprint)


class Ordering(RuleBasedStateMachine):
    """One batch in flight, like a stream: admitted, placed or refused, settled."""

    def __init__(self):
        super().__init__()
        self.order = Order(1, LIMITS)
        self.waiting = []
        self.batch = None
        self.in_flight = []
        self.time_ns = 0
        self.placed = []
        self.number = 0

    @property
    def held(self):
        return self.in_flight + self.waiting

    @rule(sizes=st.lists(st.integers(0, EVENT_BYTES_MAX + 1), min_size=1, max_size=EVENTS_MAX))
    def admit_all(self, sizes):
        """All come in, in order, or none: none that would not have come in one by one."""
        records = [bytes(size) for size in sizes]
        numbers = [self.number + place for place in range(1, len(sizes) + 1)]
        self.number += len(sizes)
        held = sum(len(record) for record, _, _ in self.held)
        fits = (
            len(self.held) + len(sizes) <= EVENTS_MAX
            and held + sum(sizes) <= BYTES_MAX
            and max(sizes) <= EVENT_BYTES_MAX
        )
        assert self.order.admit_all(records, [entry()] * len(sizes), numbers) == fits
        if fits:
            self.waiting += [(records[place], None, numbers[place]) for place in range(len(sizes))]

    @rule(size=st.integers(0, EVENT_BYTES_MAX + 3), key=st.none() | st.sampled_from("abc"))
    def admit(self, size, key):
        self.number += 1
        record = bytes(size)
        twin = key is not None and any(k == key for _, k, _ in self.held)
        if key is not None:
            assert self.order.join_twin(key, None, f"twin {self.number}") == twin
        if twin:
            return
        full = (
            len(self.held) >= EVENTS_MAX or sum(len(r) for r, _, _ in self.held) + size > BYTES_MAX
        )
        if size > EVENT_BYTES_MAX:
            with pytest.raises(TooLarge):
                self.order.admit(record, entry(key), self.number)
        elif full:
            with pytest.raises(Busy):
                self.order.admit(record, entry(key), self.number)
        else:
            self.order.admit(record, entry(key), self.number)
            self.waiting.append((record, key, self.number))

    @precondition(lambda self: self.waiting and self.batch is None)
    @rule()
    def take(self):
        self.batch = self.order.take()
        count = len(self.batch.admitted)
        assert 1 <= count <= FRAME_EVENTS_MAX
        assert self.batch.bytes_count == sum(len(r) + 4 for r in self.batch.records)
        assert self.batch.bytes_count <= FRAME_BYTES_MAX
        self.in_flight, self.waiting = self.waiting[:count], self.waiting[count:]
        assert self.batch.records == [record for record, _, _ in self.in_flight]
        assert [a.waiters[0] for a in self.batch.admitted] == [n for _, _, n in self.in_flight]
        if self.waiting and count < FRAME_EVENTS_MAX:
            assert self.batch.bytes_count + len(self.waiting[0][0]) + 4 > FRAME_BYTES_MAX

    @precondition(lambda self: self.batch is not None)
    @rule(durable=st.booleans())
    def finish(self, durable):
        if durable:
            self.time_ns += 1
            entries = self.order.place(self.batch, self.time_ns)
            assert {e.time_ns for e in entries} == {self.time_ns}
            self.placed += [e.seq for e in entries]
        self.order.settle(self.batch)
        self.batch, self.in_flight = None, []

    @invariant()
    def counted(self):
        assert len(self.order) == len(self.held)
        assert self.order.waiting == bool(self.waiting)

    @invariant()
    def without_holes(self):
        assert self.placed == list(range(1, len(self.placed) + 1))
        assert self.order.next_seq == len(self.placed) + 1


TestOrdering = Ordering.TestCase
TestOrdering.__doc__ = "Promises 2 and 8: first come, first placed; no holes, nothing unbounded."
TestOrdering.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_full_queue_has_room_again_when_a_batch_is_settled():
    """Promise 8: room is counted until the outcome is known, and then given back in full."""
    order = Order(1, LIMITS)
    for _ in range(EVENTS_MAX):
        order.admit(b"", entry(), None)
    with pytest.raises(Busy, match="try again"):
        order.admit(b"", entry(), None)
    batch = order.take()
    with pytest.raises(Busy):
        order.admit(b"", entry(), None)
    order.settle(batch)
    for _ in batch.admitted:
        order.admit(b"", entry(), None)
    with pytest.raises(Busy):
        order.admit(b"", entry(), None)


def test_a_refused_event_leaves_nothing():
    """An event that was not admitted takes no room and keeps no key."""
    order = Order(1, LIMITS)
    with pytest.raises(TooLarge, match=r"over the limit of 20 \(event_bytes_max\)"):
        order.admit(bytes(EVENT_BYTES_MAX + 1), entry("k"), None)
    assert len(order) == 0
    assert not order.join_twin("k", None, None)


def test_a_twin_joins_while_the_first_is_in_flight():
    """Promise 5: waiting or being written, the first is joined; settled, it is not."""
    order = Order(1, LIMITS)
    order.admit(b"x", entry("k", b"f"), "first")
    assert order.join_twin("k", b"f", "second")
    batch = order.take()
    assert order.join_twin("k", b"f", "third")
    assert [a.waiters for a in batch.admitted] == [["first", "second", "third"]]
    assert len(order) == 1
    order.settle(batch)
    assert not order.join_twin("k", b"f", "fourth")


def test_a_twin_needs_no_room():
    """A full queue does not keep a twin from hearing the outcome."""
    order = Order(1, LIMITS)
    order.admit(b"x", entry("k"), "first")
    for _ in range(EVENTS_MAX - 1):
        order.admit(b"", entry(), None)
    assert order.join_twin("k", None, "second")


@pytest.mark.parametrize(("known", "given"), [(b"f", b"g"), (b"f", None), (None, b"g")])
def test_a_key_for_another_request_is_refused(known, given):
    """Promise 5: a key used again for a different request is an error, not an old answer."""
    order = Order(1, LIMITS)
    order.admit(b"x", entry("k", known), "first")
    with pytest.raises(KeyReused, match="different request"):
        order.join_twin("k", given, "second")
    assert [a.waiters for a in order.take().admitted] == [["first"]]
    with pytest.raises(KeyReused):
        check_fingerprint(known, given)


def test_places_go_on_where_the_journal_ended():
    """Promise 2: after a restart the next seq is the one after the last."""
    order = Order(41, LIMITS)
    order.admit(b"x", entry(), None)
    assert [e.seq for e in order.place(order.take(), 5)] == [41]
    assert order.next_seq == 42
