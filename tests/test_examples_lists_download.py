"""Sending a message as fast as the peer reads it."""

import io

from twisted.internet.defer import CancelledError, Deferred

from happy.examples.lists.download import send
from happy.mime import BLOCK_BYTES


class SlowPeer:
    """A request whose transport has enough after every block, until it is read."""

    def __init__(self):
        self.written = []
        self.producer = None

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)
        self.producer.pauseProducing()


def test_sending_waits_for_the_peer():
    """One block is written for each time the peer has read; then the source is closed."""
    source, peer = io.BytesIO(b"x" * (3 * BLOCK_BYTES)), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source))
    for blocks in (1, 2, 3):
        assert len(peer.written) == blocks
        assert not sent.called
        peer.producer.resumeProducing()
    assert (sent.result, peer.producer, source.closed) == (b"", None, True)


def test_sending_ends_when_the_peer_goes_away():
    """A peer that leaves in the middle leaves no open file behind."""
    source, peer = io.BytesIO(b"x" * (3 * BLOCK_BYTES)), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source))
    sent.addErrback(lambda failure: failure.trap(CancelledError))
    peer.producer.stopProducing()
    sent.cancel()
    assert source.closed
    assert len(peer.written) == 1


def test_a_disk_that_fails_ends_the_answer():
    """An error while reading is the route's error, not an answer that looks whole."""

    def blocks():
        yield b"first"
        raise OSError("the disk is gone")

    source, peer = io.BytesIO(), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source, blocks()))
    failures = []
    sent.addErrback(lambda failure: failures.append(failure.trap(OSError)))
    peer.producer.resumeProducing()
    assert failures == [OSError]
    assert source.closed
