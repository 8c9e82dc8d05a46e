"""Events that another process has encoded come into the order (``happy.handing``)."""

import pytest

from happy.codec import encode
from happy.errors import Busy, DefinitionError, KeyReused, NotOpen, TooLarge
from happy.limits import KIB, Limits
from test_stream import Add, House, Stranger


class Waiter:
    def __init__(self):
        self.seq = self.value = self.error = None

    def replied(self, seq, value):
        self.seq, self.value = seq, value

    def failed(self, seq, error):
        self.seq, self.error = seq, error


@pytest.fixture
def house():
    return House().open()


def hand_over(house, *records, keys=None):
    waiters = [Waiter() for _ in records]
    house.stream.hand_over(records, keys or {}, waiters)
    return waiters


def test_what_came_together_is_one_batch(house):
    """Promises 1 and 2: one sync for all of it, in order; nobody hears before that."""
    waiters = hand_over(house, *[encode(Add(n), "front") for n in (1, 2, 3)])
    assert len(house.jobs) == 1
    assert [waiter.value for waiter in waiters] == [None] * 3
    house.turn()
    assert [(waiter.seq, waiter.value) for waiter in waiters] == [(1, 1), (2, 3), (3, 6)]


def test_one_that_cannot_be_admitted_harms_no_other(house):
    """A record that nobody handles, or that is none, gets an error; the others their places."""
    limits = Limits(segment_bytes_max=256 * KIB, event_bytes_max=400)
    house = House(limits).open()
    records = [encode(Add()), encode(Stranger()), encode(Add(pad=bytes(500))), encode(Add())]
    waiters = hand_over(house, *records)
    house.run_all()
    assert [waiter.seq for waiter in waiters] == [1, 0, 0, 2]
    assert isinstance(waiters[1].error, DefinitionError)
    assert isinstance(waiters[2].error, TooLarge)


def test_the_same_key_gets_the_same_outcome(house):
    """Promise 5: a twin in the batch, one in flight, and one that was answered long ago."""
    record = encode(Add(), "front", "key", b"print")
    keys = {0: ("key", b"print"), 1: ("key", b"print")}
    first, twin = hand_over(house, record, record, keys=keys)
    joined = house.submit(Add(), "key", b"print")
    house.run_all()
    (late,) = hand_over(house, record, keys={0: ("key", b"print")})
    (other,) = hand_over(house, record, keys={0: ("key", b"else")})
    assert [(w.seq, w.value) for w in (first, twin, late)] == [(1, 1)] * 3
    assert joined.value == 1
    assert isinstance(other.error, KeyReused)
    assert house.say(Add()).value == 2


def test_a_full_queue_is_an_answer():
    """Promise 8: what does not fit hears *busy*, and the rest of the batch is served."""
    house = House(Limits(segment_bytes_max=256 * KIB, queue_events_max=2)).open()
    waiters = hand_over(house, *[encode(Add())] * 3)
    house.run_all()
    assert [waiter.value for waiter in waiters] == [1, 2, None]
    assert isinstance(waiters[2].error, Busy)


def test_nothing_is_taken_while_an_application_is_not_open(house):
    """Whoever hands over to a stream that closes hears of it."""
    assert house.close() == [None]
    with pytest.raises(NotOpen):
        hand_over(house, encode(Add()))
