"""Clients that end their own side of a connection, and clients that read slowly."""

import pytest

from http_kit import HOST, Peer

BEGUN = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc"


def ended(peer):
    """The peer's side of the connection is shut, as the kernel tells it."""
    peer.channel.readConnectionLost()
    return peer


def test_a_client_that_shut_its_side_gets_its_answer():
    """After the end of what it sends, a client still hears the answer; then comes our end."""
    peer = ended(Peer().get(b"/hold"))
    assert not peer.closed
    peer.echo.held[0].write(b"late")
    peer.echo.held[0].finish()
    assert peer.answer()[2] == b"late"
    assert peer.transport.disconnecting


def test_a_client_that_shut_its_side_gets_all_its_answers():
    """What came whole is answered in order; what did not is dropped."""
    peer = ended(Peer().get(b"/hold").get(b"/b").get(b"/c").send(BEGUN))
    peer.echo.held[0].finish()
    answers = peer.answers((b"GET",) * 3)
    assert [body for _, _, body in answers] == [b"", b"GET /b ", b"GET /c "]
    assert peer.transport.disconnecting
    assert peer.transport.producerState == "producing"  # there is nothing to be read


@pytest.mark.parametrize("wire", [b"", b"GET / HT", BEGUN, b"\r\n"])
def test_a_client_that_shut_its_side_and_owes_the_rest_is_closed(wire):
    """Without a whole request there is nothing to answer."""
    peer = ended(Peer().send(wire) if wire else Peer())
    assert peer.transport.disconnecting
    assert peer.raw() == b""


def test_a_client_that_shut_its_side_is_refused_in_turn():
    """A refusal that is owed is given, and needs no lingering: nothing more can come."""
    peer = ended(Peer().get(b"/hold").send(b"NONSENSE\r\n\r\n"))
    peer.echo.held[0].finish()
    assert [status for status, _, _ in peer.answers((b"GET", b"GET"))] == [200, 400]
    assert peer.transport.disconnecting
    assert not peer.transport.half_closed


def test_a_refused_client_that_shuts_its_side_is_closed():
    """Who was refused and says that it is done is not lingered for."""
    peer = Peer().send(b"NONSENSE\r\n\r\n")
    assert not peer.transport.disconnecting
    assert ended(peer).transport.disconnecting


def test_a_stream_goes_on_for_a_client_that_shut_its_side():
    """A stream goes on while something is written; in silence nobody can tell who is there."""
    peer = Peer(http_stall_timeout_s=10, http_handler_timeout_s=5).get(b"/hold")
    peer.echo.held[0].write(b"a")
    peer.clock.advance(0)
    ended(peer)
    for _ in range(5):
        peer.advance(8)
        peer.echo.held[0].write(b"b")
    assert not peer.transport.aborted
    peer.advance(12)
    assert peer.transport.aborted


def test_a_slow_handler_of_a_client_that_shut_its_side_is_given_up():
    """Also then the application has only its time."""
    peer = ended(Peer(http_handler_timeout_s=5).get(b"/hold"))
    peer.advance(7)
    assert peer.answer()[0] == 503
    assert peer.transport.disconnecting


def slow(peer, unsent_bytes):
    """The kernel took all but so much of what was written."""
    peer.transport.dataBuffer, peer.transport.offset = b"x" * unsent_bytes, 0
    peer.transport._tempDataLen = 0


def test_a_slow_reader_is_not_cut():
    """As long as a peer takes some of an answer in its time, it may take the rest."""
    peer = Peer(http_stall_timeout_s=10).get(b"/hold")
    slow(peer, 1_000)
    peer.channel.pauseProducing()
    peer.echo.held[0].finish()
    for unsent_bytes in (900, 500, 499):
        slow(peer, unsent_bytes)
        peer.advance(11)
        assert not peer.transport.aborted
    peer.advance(11)
    assert peer.transport.aborted


def test_a_slow_reader_of_the_last_answer_is_not_cut():
    """An answer that ends its connection has the time of any other to be read."""
    peer = Peer(http_stall_timeout_s=10, http_linger_s=2).get(
        b"/hold", fields=b"Connection: close\r\n"
    )
    slow(peer, 1_000)
    peer.echo.held[0].finish()
    assert peer.closed
    peer.advance(3)
    for unsent_bytes in (900, 500):
        peer.advance(9)
        slow(peer, unsent_bytes)
        peer.advance(2)
        assert not peer.transport.aborted
    peer.advance(11)
    assert peer.transport.aborted
