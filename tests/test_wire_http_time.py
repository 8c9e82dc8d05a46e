"""The HTTP connection over time: timeouts, streams, slow readers, and stopping."""

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from http_kit import Peer

# --- time ------------------------------------------------------------------------------------


def test_slow_header_is_ended_with_408():
    """A header must be whole in its time, however steadily it drips."""
    peer = Peer(http_header_timeout_s=10)
    peer.send(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(10):
        assert peer.raw() == b""
        peer.send(b"x")
        peer.advance(1)
    peer.advance(2)
    assert peer.answer()[0] == 408
    assert peer.transport.half_closed


def test_slow_body_is_ended_with_408():
    """A body must be whole in its time."""
    peer = Peer(http_body_timeout_s=10).get(b"/", b"POST", b"Content-Length: 100\r\n", b"x")
    for _ in range(9):
        peer.send(b"x")
        peer.advance(1)
    assert peer.raw() == b""
    peer.advance(3)
    assert peer.answer(b"POST")[0] == 408


def test_idle_connection_is_closed_in_silence():
    """A connection without a request is closed when its time is up; each answer renews it."""
    peer = Peer(http_idle_timeout_s=10)
    peer.advance(9)
    peer.get()
    before = peer.raw()
    peer.advance(9)
    peer.send(b"\r\n")  # an empty line is no request
    assert not peer.closed
    peer.advance(3)
    assert peer.closed
    assert peer.raw() == before


def test_slow_handler_is_answered_503():
    """When the application does not answer the peer hears 503, and the connection goes on."""
    peer = Peer(http_handler_timeout_s=10).get(b"/hold")
    peer.advance(9)
    assert peer.raw() == b""
    peer.advance(3)
    status, headers, _ = peer.answer()
    assert (status, headers["retry-after"]) == (503, "1")
    peer.get(b"/next")
    assert [status for status, _, _ in peer.answers((b"GET", b"GET"))] == [503, 200]


def test_closed_peer_that_takes_nothing_is_cut():
    """A close that the peer does not complete is made complete, in good order if it can be."""
    peer = Peer(http_linger_s=5).send(b"GET / HTTP/1.0\r\n\r\n")
    assert peer.transport.half_closed
    assert not peer.transport.disconnecting
    peer.advance(6)
    assert peer.transport.disconnecting
    assert not peer.transport.aborted
    peer.advance(1)
    assert peer.transport.aborted


def test_what_comes_after_the_last_answer_is_dropped():
    """A close comes in stages: bytes behind the last answer must not reset it on its way."""
    peer = Peer().send(b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
    assert peer.transport.half_closed
    peer.send(b"\r\nGET / HTTP/1.0\r\n\r\n")
    assert len(peer.echo.seen) == 1
    assert not peer.transport.disconnecting
    peer.channel.readConnectionLost()
    assert peer.transport.disconnecting


def test_one_sweep_for_all_connections():
    """A hundred connections have one timer between them; none without connections."""
    peer = Peer()
    channels = [peer.channel]
    for _ in range(99):
        peer.connect()
        channels.append(peer.channel)
    assert len(peer.clock.getDelayedCalls()) == 1
    for channel in channels:
        channel.connectionLost(Failure(ConnectionDone()))
    peer.advance(1)
    assert peer.clock.getDelayedCalls() == []


# --- streams ---------------------------------------------------------------------------------


def test_stream_is_chunked_and_prompt():
    """A body that is not whole goes out in chunks; its first part at the next turn."""
    peer = Peer().get(b"/hold")
    request = peer.echo.held[0]
    request.write(b"one")
    assert peer.raw() == b""
    peer.clock.advance(0)
    assert peer.raw().endswith(b"\r\n\r\n3\r\none\r\n")
    request.write(b"two")
    assert peer.raw().endswith(b"3\r\ntwo\r\n")
    request.finish()
    _, headers, body = peer.answer()
    assert (headers["transfer-encoding"], body) == ("chunked", b"onetwo")
    assert "content-length" not in headers


def test_stream_has_no_handler_timeout():
    """An answer that has begun may take its time."""
    peer = Peer(http_handler_timeout_s=5).get(b"/hold")
    peer.echo.held[0].write(b"tick")
    peer.advance(100)
    peer.echo.held[0].finish()
    assert peer.answer()[2] == b"tick"


def test_stream_to_http_10_ends_with_the_connection():
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the body."""
    peer = Peer().send(b"GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    peer.echo.held[0].write(b"a")
    peer.echo.held[0].write(b"b")
    peer.echo.held[0].finish()
    assert peer.raw().endswith(b"\r\n\r\nab")
    assert b"keep-alive" not in peer.raw()
    assert peer.transport.half_closed


def test_stream_shorter_than_declared_is_cut():
    """A body that ends before its declared length is not passed off as whole."""
    peer = Peer().get(b"/hold")
    request = peer.echo.held[0]
    request.setHeader(b"content-length", b"10")
    request.write(b"abc")
    request.write(b"def")
    request.finish()
    assert peer.transport.aborted


def test_stream_longer_than_declared_is_cut_to_it():
    """Bytes beyond the declared length never reach the wire: they would be the next answer."""
    peer = Peer().get(b"/hold")
    request = peer.echo.held[0]
    request.setHeader(b"content-length", b"4")
    request.write(b"abc")
    request.write(b"def")
    request.finish()
    assert peer.answer()[2] == b"abcd"


def test_whole_body_has_its_true_length():
    """A wrong length on a body that is known whole is corrected."""
    peer = Peer().get(b"/hold")
    request = peer.echo.held[0]
    request.setHeader(b"content-length", b"400")
    request.write(b"abc")
    request.finish()
    assert peer.answer()[2] == b"abc"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body_have_none(status):
    """204 and 304 carry no body and no length, whatever was written."""
    peer = Peer().get(b"/hold")
    request = peer.echo.held[0]
    request.setResponseCode(status)
    request.write(b"never")
    request.finish()
    assert peer.raw().endswith(b"\r\n\r\n")
    assert b"ontent-" not in peer.raw().replace(b"X-Content-Type", b"")
    peer.get(b"/b")
    assert [body for _, _, body in peer.answers((b"GET", b"GET"))] == [b"", b"GET /b "]


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304)])
def test_stream_without_body_sends_its_head_only(method, status):
    """A stream in answer to HEAD, or with a status that has no body, is its head alone."""
    peer = Peer().get(b"/hold", method)
    request = peer.echo.held[0]
    request.setResponseCode(status)
    request.write(b"never")
    request.write(b"ever")
    request.finish()
    assert peer.answer(method)[0] == status
    assert peer.raw().endswith(b"\r\n\r\n")
    assert not peer.closed


class Producer:
    def __init__(self):
        self.told = []

    def pauseProducing(self):
        self.told.append("pause")

    def resumeProducing(self):
        self.told.append("resume")

    def stopProducing(self):
        self.told.append("stop")


def test_slow_reader_pauses_the_producer():
    """A push producer is paused and resumed with its peer, and so is reading of requests."""
    peer = Peer().get(b"/hold")
    producer = Producer()
    peer.echo.held[0].registerProducer(producer, True)
    peer.channel.pauseProducing()
    assert producer.told == ["pause"]
    assert peer.transport.producerState == "paused"
    peer.channel.resumeProducing()
    assert producer.told == ["pause", "resume"]
    assert peer.transport.producerState == "producing"


def test_producer_begins_paused_at_a_slow_reader():
    """A producer that comes while its peer does not read is paused at once."""
    peer = Peer().get(b"/hold")
    producer = Producer()
    peer.channel.pauseProducing()
    peer.echo.held[0].registerProducer(producer, True)
    assert producer.told == ["pause"]


def test_slow_reader_gets_no_more_answers():
    """While a peer does not read, its next requests wait."""
    peer = Peer().get(b"/hold").get(b"/b")
    peer.channel.pauseProducing()
    peer.echo.held[0].finish()
    assert len(peer.echo.seen) == 1
    peer.channel.resumeProducing()
    assert len(peer.echo.seen) == 2


def test_reader_that_stopped_between_answers_is_cut():
    """A peer that sends requests and reads nothing waits no longer than one that is read to."""
    peer = Peer(http_stall_timeout_s=10, http_idle_timeout_s=1_000).get(b"/hold").get(b"/b")
    peer.channel.pauseProducing()
    peer.echo.held[0].finish()
    peer.advance(12)
    assert peer.transport.aborted
    assert len(peer.echo.seen) == 1


def test_refusal_waits_for_a_slow_reader():
    """A refusal, too, is not written at a peer that does not read."""
    peer = Peer().get(b"/hold").send(b"NONSENSE\r\n\r\n")
    peer.channel.pauseProducing()
    peer.echo.held[0].finish()
    assert b" 400 " not in peer.raw()
    peer.channel.resumeProducing()
    assert [status for status, _, _ in peer.answers((b"GET", b"GET"))] == [200, 400]


def test_reader_that_stopped_is_cut():
    """A peer that takes nothing of an answer for too long is cut off."""
    peer = Peer(http_stall_timeout_s=10).get(b"/hold")
    peer.echo.held[0].write(b"x")
    peer.clock.advance(0)
    peer.channel.pauseProducing()
    peer.advance(9)
    assert not peer.transport.aborted
    peer.advance(3)
    assert peer.transport.aborted


def test_disconnect_tells_those_who_wait():
    """When the peer goes away, notifyFinish fails and the producer is stopped."""
    peer = Peer().get(b"/hold")
    failed = []
    peer.echo.held[0].notifyFinish().addErrback(failed.append)
    peer.lose()
    assert failed[0].check(ConnectionDone)
    assert peer.site.channels == set()


def test_finish_is_notified():
    """When the answer is written, notifyFinish fires."""
    peer = Peer().get(b"/hold")
    fired = []
    peer.echo.held[0].notifyFinish().addCallback(fired.append)
    peer.echo.held[0].finish()
    assert fired == [None]


# --- stopping --------------------------------------------------------------------------------


def test_drain_lets_running_answers_end():
    """Draining closes what is idle, lets answers end with ``close``, and says when it is done."""
    peer = Peer().get(b"/hold")
    busy, transport = peer.channel, peer.transport
    peer.connect()
    fired = []
    peer.site.drain().addCallback(fired.append)
    assert peer.transport.disconnecting
    assert not transport.disconnecting
    peer.lose()
    peer.echo.held[0].finish()
    assert b"Connection: close" in transport.value()
    assert transport.disconnecting
    assert fired == []
    busy.connectionLost(Failure(ConnectionDone()))
    assert fired == [None]


def test_drain_ends_a_stream_with_its_connection():
    """A stream that began before the draining ends whole, and its connection with it."""
    peer = Peer().get(b"/hold")
    peer.echo.held[0].write(b"a")
    peer.clock.advance(0)
    peer.site.drain()
    assert not peer.transport.disconnecting
    peer.echo.held[0].finish()
    assert peer.transport.disconnecting
    assert peer.answer()[2] == b"a"


def test_cut_ends_everything():
    """When the time to drain is over, every connection is cut."""
    peer = Peer().get(b"/hold")
    peer.site.cut()
    assert peer.transport.aborted
