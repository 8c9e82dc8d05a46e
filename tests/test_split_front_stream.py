"""The stream as a front sees it, against a real stream at the other end of a link."""

import pytest
from twisted.internet.defer import Deferred

from happy.app import query
from happy.errors import (
    Busy,
    DefinitionError,
    HandlerFailed,
    KeyReused,
    NoRoom,
    NotOpen,
    Refused,
    TooLarge,
)
from happy.event import Exchange
from happy.limits import KIB, Limits
from happy.split.messages import Kind
from link_kit import Joined
from test_stream import Add, Answer, Counter, House, Stranger, fill_up


class Waiter:
    def __init__(self):
        self.told = []

    def replied(self, seq, value):
        self.told.append((seq, value))

    def failed(self, seq, error):
        self.told.append((seq, error))


class Fronted(House):
    """A house whose door is a front."""

    def open(self, configured=None):
        super().open(configured)
        self.joined = Joined(self.app, self.stream, self.disk, self.limits)
        self.front = self.joined.front
        return self

    def rest(self):
        self.joined.turn()
        self.clock.advance(0)
        self.run_all()
        self.joined.turn()

    def submit(self, event, key=None, fingerprint=None):
        return Answer(self.front, event, Exchange("test", key, fingerprint))

    def say(self, event, key=None, fingerprint=None):
        answer = self.submit(event, key, fingerprint)
        self.rest()
        return answer


@pytest.fixture
def house():
    return Fronted().open()


def test_a_reply_comes_when_the_event_is_durable_and_not_before(house):
    """Promise 1: over the link too, only the news of the sync brings the answer."""
    answer = house.submit(Add(2))
    house.joined.turn()
    assert answer.came == []
    house.turn()
    house.joined.turn()
    assert answer.value == 2
    assert answer.exchange.seqs == [1]


def test_all_that_came_in_one_turn_goes_in_one_message_each_way(house):
    """Promise 2: 20 events are one batch, one message to and one from the container."""
    answers = [house.submit(Add()) for _ in range(20)]
    house.rest()
    assert house.joined.sent == [Kind.EVENTS, Kind.OUTCOMES]
    assert [answer.value for answer in answers] == list(range(1, 21))
    assert [answer.exchange.seqs for answer in answers] == [[n] for n in range(1, 21)]


def test_prepared_events_tell_their_waiters(house):
    """``prepare`` once, ``put`` as often as one likes."""
    prepared = house.front.prepare(Add(5), "http POST /add")
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        house.front.put(prepared, waiter)
    house.rest()
    assert [waiter.told for waiter in waiters] == [[(1, 5)], [(2, 10)]]


def test_refused_and_failed_come_as_they_would_here(house):
    """Promise 3: the handler's reason and codes; of a failure where to look, and no more."""
    refused = house.say(Add(end="refuse"))
    assert isinstance(refused.error, Refused)
    assert (refused.error.http_status, refused.error.smtp_code) == (410, 550)
    failed = house.say(Add(end="raise"))
    assert isinstance(failed.error, HandlerFailed)
    assert failed.error.reference == "counter/2"
    assert str(failed.error) == "the application failed on this event (reference counter/2)"
    assert failed.exchange.seqs == [2]


def test_the_same_key_gets_the_same_outcome(house):
    """Promise 5: twins, repetitions, and another front after a restart."""
    first, twin = house.submit(Add(), "k", b"1"), house.submit(Add(), "k", b"1")
    house.rest()
    assert (first.value, twin.value) == (1, 1)
    assert isinstance(house.say(Add(), "k", b"2").error, KeyReused)
    house.restart()
    again = house.say(Add(), "k", b"1")
    assert (again.value, again.exchange.seqs) == (1, [1])


def test_what_cannot_be_an_event_never_leaves_the_front(house):
    """Promise 4: nothing is sent of an event nobody handles, or a value that does not hold."""
    for wrong in (Stranger(), Add("one")):
        assert isinstance(house.submit(wrong).error, DefinitionError)
        with pytest.raises(DefinitionError):
            house.front.prepare(wrong, "test")
    house.rest()
    assert house.joined.sent == []


def test_queries_are_answered_in_the_container(house):
    """By name, with arguments, and as they raise; a function of somebody else's is none."""
    house.say(Add(3))
    asked = [house.front.ask(Counter.total, plus=4), house.front.ask(Counter.broken)]
    came = []
    for one in asked:
        one.addBoth(came.append)
    waiter = Waiter()
    house.front.look(Counter.total, {"plus": 1}, waiter)
    house.rest()
    assert came[0] == 7
    assert came[1].check(KeyError)
    assert waiter.told == [(0, 4)]
    stranger = query(lambda state: 1).__func__
    house.front.ask(stranger).addErrback(lambda failure: failure.trap(DefinitionError))
    with pytest.raises(DefinitionError, match="no query of this application"):
        house.front.look(stranger, {}, waiter)


def test_the_queue_of_a_front_is_bounded():
    """Promise 8: in events, in bytes of its own and of the link, and in the size of one."""
    limits = Limits(
        segment_bytes_max=256 * KIB, queue_events_max=2, queue_bytes_max=500, event_bytes_max=400
    )
    house = Fronted(limits).open()
    assert isinstance(house.submit(Add(pad=bytes(401))).error, TooLarge)
    answers = [house.submit(Add()) for _ in range(3)]
    assert isinstance(answers[2].error, Busy)
    house.rest()
    assert [answer.value for answer in answers[:2]] == [1, 2]
    house.joined.unsent_bytes = 490
    assert isinstance(house.submit(Add()).error, Busy)
    house.joined.unsent_bytes = 0
    assert house.say(Add()).value == 3


def test_a_full_disk_is_heard_at_the_door():
    """Promise 7: refused politely, and served again when there is room."""
    house = Fronted(Limits(segment_bytes_max=8 * KIB)).open()
    count = fill_up(house)
    assert isinstance(house.say(Add(), "k", b"f").error, NoRoom)
    house.disk.room = None
    assert house.say(Add(), "k", b"f").exchange.seqs == [count + 1]


def test_a_stream_that_closes_says_so(house):
    """Whoever comes too late hears *not open*."""
    late = house.submit(Add())
    assert house.close() == [None]
    house.rest()
    assert isinstance(late.error, NotOpen)


def test_a_front_that_is_gone_keeps_no_event_from_its_place(house):
    """Promise 1: what was handed over is kept; nothing is sent to nobody."""
    house.submit(Add(), "k", b"1")
    house.joined.turn()
    house.counterpart = house.joined.counterpart
    house.joined.counterpart.lose()
    house.rest()
    assert house.joined.sent == [Kind.EVENTS]
    house.joined = Joined(house.app, house.stream, house.disk, house.limits)
    house.front = house.joined.front
    assert house.say(Add(), "k", b"1").value == 1
    assert house.durable_events() == [1]


def test_a_door_that_fails_to_answer_harms_no_other(house):
    """One waiter that raises is logged; the others of its message are told."""

    class Broken(Waiter):
        def replied(self, seq, value):
            raise ValueError

    prepared = house.front.prepare(Add(), "test")
    good = Waiter()
    house.front.put(prepared, Broken())
    house.front.put(prepared, good)
    house.rest()
    assert good.told == [(2, 2)]


def test_a_large_body_is_written_by_the_front(house):
    """The blob is on the disk before any event names it, and both sides can read it."""
    writer = house.front.blob_writer()
    writer.write(b"large ")
    writer.write(b"body")
    sealed = []
    done = writer.seal()
    assert isinstance(done, Deferred)
    done.addCallback(sealed.append)
    (blob,) = sealed
    assert house.front.open_blob(blob).read() == b"large body"
    assert house.stream.open_blob(blob).read() == b"large body"
