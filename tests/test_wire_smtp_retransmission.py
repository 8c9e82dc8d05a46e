"""How a door knows that its 250 was read."""

import pytest

from happy.unacknowledged import copy_of
from smtp_kit import Door

TO = (b"dev@lists.example", b"info@lists.example")
MESSAGE = b"MAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\nDATA\r\nx\r\n.\r\n"


def acknowledged(door):
    return [seq for pairs in door.stream.acknowledged for seq, _ in pairs]


@pytest.mark.parametrize("command", [b"QUIT", b"NOOP", b"MAIL FROM:<>", b"JUNK"])
def test_a_peer_that_goes_on_has_read_the_250(command):
    """Any command that came after the answer acknowledges the message, for each recipient."""
    door = Door()
    peer = door.connect().greet()
    peer.mail(to=TO)
    assert door.stream.acknowledged == []
    peer.say(command)
    mail = door.mails[0]
    assert door.stream.acknowledged == [tuple((1, copy_of(mail, name)) for name in mail.recipients)]
    peer.say(b"NOOP")
    assert len(door.stream.acknowledged) == 1


def test_a_peer_that_is_gone_may_not_have_read_it():
    """A connection that ends after the dot proves nothing, in whatever order it ends."""
    door = Door()
    peer = door.connect().greet()
    peer.mail()
    peer.leave()
    half_closed = door.connect().greet()
    half_closed.mail()
    half_closed.session.readConnectionLost()
    assert door.stream.acknowledged == []


def test_what_was_sent_before_the_250_does_not_tell_that_it_was_read():
    """A pipelined QUIT was there already when the answer was written."""
    door = Door()
    peer = door.connect().greet()
    peer.push(MESSAGE + b"QUIT\r\n")
    assert peer.codes[-2:] == [250, 221]
    assert door.stream.acknowledged == []


def test_what_comes_while_the_disk_is_busy_does_not_tell_it_either(monkeypatch):
    """The input waits in the kernel meanwhile, and is looked for there."""
    waiting = [0]
    monkeypatch.setattr("happy.wire.smtp_connection.unread_bytes", lambda _: waiting[0])
    door = Door(held=True)
    peer = door.connect().greet()
    peer.push(MESSAGE)
    peer.push(b"QUIT\r\n")
    waiting[0] = 6
    door.stream.commit()
    peer.push()
    assert peer.codes[-2:] == [250, 221]
    assert door.stream.acknowledged == []


def test_a_refused_message_acknowledges_nothing():
    """What was not taken has no place."""
    door = Door()
    peer = door.connect().greet()
    peer.mail(b"bare\nline\r\n")
    peer.say(b"NOOP")
    assert door.stream.acknowledged == []


def test_each_message_of_a_session_is_acknowledged_by_the_next_command():
    """One after the other, as the peer goes on."""
    door = Door()
    peer = door.connect().greet()
    for _ in range(3):
        peer.mail()
    assert acknowledged(door) == [1, 2]
    peer.say(b"QUIT")
    assert acknowledged(door) == [1, 2, 3]


def test_lmtp_names_the_place_of_each_recipients_message():
    """A copy that was taken in part: each recipient hears where its message stands."""
    door = Door(lmtp=True)
    door.stream.places = {"dev@lists.example": 3, "info@lists.example": 9}
    peer = door.connect()
    peer.say(b"LHLO mta.example")
    replies = peer.mail(to=(*TO, TO[0]))
    assert replies == "".join(f"250 2.0.0 Ok lists/{seq}\r\n" for seq in (3, 9, 3))
    peer.say(b"QUIT")
    assert acknowledged(door) == [3, 9]
