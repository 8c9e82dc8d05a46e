"""One end of a socket between two processes of the house: bytes, both ways."""

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from happy.split.pipe import Pipe, socket_pair
from pipe_kit import Reactor

LARGE = 8 * 1024 * 1024


class End:
    def __init__(self, end, reactor):
        self.received, self.lost = b"", 0
        self.pipe = Pipe(end, reactor, self._take, self._lose)

    def _take(self, data):
        if data == b"bad":
            raise ValueError(data)
        self.received += data

    def _lose(self):
        self.lost += 1


@pytest.fixture
def pair():
    reactor = Reactor()
    ends = [End(end, reactor) for end in socket_pair()]
    yield *ends, reactor
    for end in ends:
        end.pipe.close()


def test_more_than_the_socket_takes_arrives_as_it_was(pair):
    """What does not go at once waits for the reactor, and is counted meanwhile."""
    here, there, reactor = pair
    here.pipe.start()
    there.pipe.start()
    sent = bytes(range(256)) * (LARGE // 256)
    here.pipe.write(sent)
    here.pipe.write(b"and more")
    assert here.pipe.unsent_bytes > 0
    while here.pipe.unsent_bytes:
        reactor.turn()
    while len(there.received) < LARGE + 8:
        reactor.turn()
    assert there.received == sent + b"and more"
    assert reactor.writers == set()


def test_what_cannot_be_taken_is_the_end(pair):
    """Whoever sent it is not to be trusted any more."""
    here, there, reactor = pair
    here.pipe.start()
    there.pipe.start()
    here.pipe.write(b"bad")
    reactor.turn()
    reactor.turn()
    assert (there.lost, here.lost) == (1, 1)
    here.pipe.write(b"to nobody")
    assert here.pipe.unsent_bytes == 0


def test_before_the_reactor_runs_it_can_be_waited_for(pair):
    """For what comes, within a bound in time, or for the end."""
    here, there, _ = pair
    here.pipe.write(b"first")
    assert there.pipe.receive(60)
    assert there.received == b"first"
    with pytest.raises(TimeoutError):
        there.pipe.receive(0.001)
    here.pipe.close()
    assert not there.pipe.receive()


def test_the_end_of_the_other_side_is_a_clean_one(pair):
    """To the reactor it ends as Twisted has it, and its owner is told once."""
    here, there, _ = pair
    there.pipe.start()
    here.pipe.close()
    reason = there.pipe.doRead()
    assert isinstance(reason, ConnectionDone)
    there.pipe.connectionLost(Failure(reason))
    there.pipe.connectionLost(Failure(reason))
    assert there.lost == 1
