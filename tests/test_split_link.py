"""One end of the socket between a front and its container."""

import pytest
from twisted.internet.error import ConnectionDone

from happy.split.link import Link
from happy.split.messages import Kind
from happy.split.pipe import socket_pair
from pipe_kit import Reactor

LARGE = 8 * 1024 * 1024


class End:
    def __init__(self, end, reactor):
        self.received, self.lost = [], 0
        self.link = Link(end, reactor, self._take, self._lose)

    def _take(self, kind, body):
        if body == b"bad":
            raise ValueError(body)
        self.received.append((kind, body))

    def _lose(self):
        self.lost += 1


@pytest.fixture
def pair():
    reactor = Reactor()
    ends = [End(end, reactor) for end in socket_pair()]
    yield *ends, reactor
    for end in ends:
        end.link.close()


def test_messages_arrive_in_order_both_ways(pair):
    """What one sends the other receives, as it was."""
    here, there, reactor = pair
    here.link.start()
    there.link.start()
    for number in range(100):
        here.link.send(Kind.EVENTS, b"%d" % number)
        there.link.send(Kind.OUTCOMES, b"%d" % number)
    reactor.turn()
    assert there.received == [(Kind.EVENTS, b"%d" % n) for n in range(100)]
    assert here.received == [(Kind.OUTCOMES, b"%d" % n) for n in range(100)]


def test_what_the_socket_does_not_take_waits_and_is_counted(pair):
    """Promise 8: a reader that is slow shows in ``unsent_bytes``, and nothing is lost or mixed."""
    here, there, reactor = pair
    here.link.start()
    there.link.start()
    here.link.send(Kind.EVENTS, bytes(LARGE))
    here.link.send(Kind.ASK, b"after it")
    assert here.link.unsent_bytes > LARGE // 2
    for _ in range(10_000):
        reactor.turn()
        if len(there.received) == 2:
            break
    assert there.received == [(Kind.EVENTS, bytes(LARGE)), (Kind.ASK, b"after it")]
    assert here.link.unsent_bytes == 0
    assert here.link not in reactor.writers


def test_the_end_of_one_is_told_to_the_other_once(pair):
    """After what was sent before; and whoever closes is told nothing."""
    here, there, reactor = pair
    here.link.start()
    there.link.start()
    here.link.send(Kind.GO)
    here.link.close()
    reactor.turn()
    reactor.turn()
    assert there.received == [(Kind.GO, b"")]
    assert (here.lost, there.lost) == (0, 1)
    assert reactor.readers == set()
    there.link.send(Kind.GO)  # nobody is there, and nothing happens


def test_a_message_that_cannot_be_taken_harms_no_other(pair):
    """An error in what one message brings is logged, and the next is taken."""
    here, there, reactor = pair
    here.link.start()
    there.link.start()
    here.link.send(Kind.EVENTS, b"bad")
    here.link.send(Kind.EVENTS, b"good")
    reactor.turn()
    assert there.received == [(Kind.EVENTS, b"good")]
    assert there.lost == 0


def test_what_is_no_message_ends_the_link():
    """A process that says what nobody knows is not listened to any more."""
    reactor = Reactor()
    ours, theirs = socket_pair()
    end = End(ours, reactor)
    end.link.start()
    theirs.send(bytes((0, 0, 0, 0, 200)))
    reactor.turn()
    assert end.lost == 1
    theirs.close()


def test_before_the_reactor_runs_a_message_can_be_awaited(pair):
    """The one that is awaited, with what came before it; or the end; or a bound in time."""
    here, there, _ = pair
    here.link.send(Kind.LINES, b"first")
    here.link.send(Kind.READY, b"then")
    assert there.link.await_message(Kind.READY, 60)
    assert [kind for kind, _ in there.received] == [Kind.LINES, Kind.READY]
    with pytest.raises(TimeoutError):
        there.link.await_message(Kind.READY, 0.001)
    here.link.close()
    assert not there.link.await_message(Kind.READY, 60)


def test_a_link_ends_as_twisted_has_it():
    """The end of the other side is a clean end to the reactor."""
    ours, theirs = socket_pair()
    end = End(ours, Reactor())
    end.link.start()
    theirs.close()
    assert isinstance(end.link.doRead(), ConnectionDone)
    end.link.close()
