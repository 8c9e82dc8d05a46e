import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred

from happy.wire.smtp_connection import LINGER_S
from happy.wire.smtp_reader import OVERRUN_BYTES
from smtp_kit import Door


def test_too_many_errors_end_the_session():
    """A hundred unknown verbs: the twentieth is answered with 421, and there is no more."""
    peer = Door().connect().greet()
    for _ in range(100):
        peer.say(b"JUNK")
    assert peer.codes == [220, 250, *[500] * 19, 421]
    assert peer.replies.splitlines()[-1].startswith("421 4.7.0 ")
    assert not peer.wire.open


def test_a_message_that_was_taken_forgives_earlier_errors():
    """A busy relay that names some unknown recipients in each message is not cut off."""
    peer = Door(smtp_errors_max=3).connect().greet()
    for _ in range(4):
        peer.say(b"JUNK", b"JUNK")
        assert peer.mail().startswith("250 ")


def test_refused_recipients_count_as_errors():
    """Who tries addresses one after the other is cut off."""
    peer = Door(smtp_errors_max=3).connect().greet()
    peer.say(b"MAIL FROM:<>", *[b"RCPT TO:<x%d@lists.example>" % n for n in range(9)])
    assert peer.codes[-3:] == [550, 550, 421]


def test_too_many_recipients_wait_for_the_next_message():
    """Beyond the limit a recipient is put off with 452 4.5.3; the others get the message."""
    door = Door(smtp_recipients_max=2, smtp_commands_max=6)
    peer = door.connect().greet()
    to = [b"dev@lists.example", b"dev@lists.example", b"info@lists.example"]
    assert peer.mail(to=to) == "250 2.0.0 Ok lists/1\r\n"
    assert "452 4.5.3 " in peer.replies
    assert door.mails[0].recipients == ("dev@lists.example",)


def test_a_thousand_recipients_are_not_too_many_commands():
    """Recipients have a bound of their own, and do not use up the one for commands."""
    door = Door(smtp_commands_max=4)
    peer = door.connect().greet()
    assert peer.mail(to=[b"dev@lists.example"] * 1000).startswith("250 ")


def test_commands_without_a_message_come_to_an_end():
    """So many commands without a message in between, then 421; a message starts anew."""
    peer = Door(smtp_commands_max=10).connect().greet()
    peer.say(*[b"NOOP"] * 6)
    assert peer.mail().startswith("250 ")
    assert peer.say(*[b"NOOP"] * 11).splitlines()[-1].startswith("421 4.7.0 ")
    assert len(peer.codes) == 1 + 1 + 6 + 4 + 11
    assert not peer.wire.open


def test_messages_in_one_session_come_to_an_end():
    """After so many messages MAIL is answered with 421, and the peer may come again."""
    peer = Door(smtp_messages_max=2).connect().greet()
    peer.mail()
    peer.mail(b"bare\n\r\n")
    assert peer.say(b"MAIL FROM:<>").startswith("421 4.7.0 ")
    assert not peer.wire.open


@pytest.mark.parametrize("size", [100_000, 1000])
def test_a_long_command_line_is_refused_and_the_session_lives(size):
    """A line over the limit is 500 5.5.2, once, however it comes; nothing of it is carried out."""
    peer = Door().connect().greet()
    line = b"NOOP " + b"x" * 50_000 + b"\r\n"
    peer.push(*(line[i : i + size] for i in range(0, len(line), size)))
    assert peer.codes == [220, 250, 500]
    assert peer.replies.splitlines()[-1].startswith("500 5.5.2 ")
    assert peer.say(b"NOOP").startswith("250 ")


def test_a_command_line_without_an_end_is_not_kept_and_closes():
    """The input held for a line stays small, and an endless one ends the session with 421."""
    peer = Door().connect().greet()
    for _ in range(100):
        peer.push(b"x" * 1000)
        assert len(peer.session._input._buffer) <= 2048
    assert peer.codes == [220, 250, 421]
    assert not peer.wire.open


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_message_over_the_limit_is_read_to_its_end(pieces):
    """552 5.3.4 comes after the dot, the body is never read as commands, the session lives."""
    door = Door(smtp_message_bytes_max=10_000, mail_inline_bytes_max=100)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(b"\r\n", *[b"MAIL FROM:<b@s.example>\r\nQUIT\r\n" * (2000 // pieces)] * pieces)
    assert peer.codes[-1] == 354
    assert peer.say(b".").startswith("552 5.3.4 ")
    assert door.stream.blobs == [] or door.stream.blobs[0].abandoned
    assert door.mails == []
    assert peer.mail().startswith("250 ")


def test_a_long_text_line_is_refused_after_the_dot():
    """The text after a line that is too long is not read as commands."""
    door = Door(smtp_line_bytes_max=17_000)
    peer = door.connect().greet()
    inner = b"MAIL FROM:<b@s.example>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\nx\r\n"
    assert peer.mail(b"\r\n" + b"A" * 17_000 + b"\r\n" + inner).startswith("552 5.5.2 ")
    assert door.mails == []
    assert peer.mail(b"\r\n" + b"A" * 16_998 + b"\r\n" + inner).startswith("250 ")


def test_a_message_without_an_end_is_hung_up_on():
    """Far beyond the limit there is no use in waiting for the dot: 552, and the end."""
    door = Door(smtp_message_bytes_max=1000)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    block = b"x" * (1 << 20)
    for _ in range(OVERRUN_BYTES // len(block)):
        peer.push(block)
    assert peer.codes[-1] == 354
    peer.push(block)
    assert peer.codes[-1] == 552
    assert not peer.wire.open


def test_a_looping_message_is_refused():
    """More Received fields than hops are allowed: 554 5.4.6."""
    peer = Door(mail_hops_max=3).connect().greet()
    assert peer.mail(b"Received: x\r\n" * 3 + b"\r\n").startswith("250 ")
    assert peer.mail(b"Received: x\r\n" * 4 + b"\r\n").startswith("554 5.4.6 ")
    door = Door()
    assert door.connect().greet().mail(b"Received: x\r\n" * 101).startswith("554 5.4.6 ")
    assert door.mails == []


# --- connections -----------------------------------------------------------------------------


def test_connections_are_bounded_in_all_and_for_each_peer():
    """One connection too many is told 421 4.7.0; when another has gone there is room again."""
    door = Door(smtp_connections_max=3, smtp_connections_per_peer_max=2)
    peers = [door.connect("192.0.2.1"), door.connect("192.0.2.1")]
    full = door.connect("192.0.2.1")
    assert full.replies.startswith("421 4.7.0 ")
    assert not full.wire.open
    full.leave()
    peers.append(door.connect("192.0.2.2"))
    over = door.connect("192.0.2.3")
    assert over.codes == [421]
    over.leave()
    peers.pop(0).leave()
    assert door.connect("192.0.2.1").codes == [220]


def test_peers_on_a_unix_socket_are_not_told_apart():
    """A relay on the same machine is not bounded as one peer."""
    door = Door(smtp_connections_per_peer_max=1)
    peers = [door.connect(address=UNIXAddress("/x")) for _ in range(3)]
    assert [peer.codes for peer in peers] == [[220]] * 3


def test_nothing_is_kept_of_connections_that_have_gone():
    """After the last connection no call is pending and no peer is counted."""
    door = Door()
    for peer in [door.connect(f"192.0.2.{n}") for n in range(5)]:
        peer.leave()
    assert door.clock.getDelayedCalls() == []
    assert not door.factory._of_peer


# --- time ------------------------------------------------------------------------------------


def test_one_timed_call_watches_all_sessions():
    """A thousand idle sessions do not fill the reactor's clock."""
    door = Door(smtp_connections_per_peer_max=1000)
    peers = [door.connect() for _ in range(1000)]
    assert len(door.clock.getDelayedCalls()) == 1
    assert len(peers) == 1000


def wait(door, seconds):
    """Let time pass second by second."""
    door.clock.pump([1] * seconds)


def test_a_silent_peer_is_closed():
    """No whole command for the time of one: 421 4.4.2; half a command is no command."""
    door = Door(smtp_command_timeout_s=300)
    peer = door.connect().greet()
    wait(door, 200)
    peer.say(b"NOOP")
    wait(door, 200)
    peer.push(b"NO")
    wait(door, 99)
    assert peer.wire.open
    wait(door, 2)
    assert peer.replies.splitlines()[-1].startswith("421 4.4.2 ")
    assert not peer.wire.open


def test_a_message_that_stops_coming_is_closed_and_forgotten():
    """Each block of data has its own time; when it is over the message is given up."""
    door = Door(smtp_data_timeout_s=180, mail_inline_bytes_max=10)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    for _ in range(4):
        peer.push(b"\r\nsome text\r\n")
        wait(door, 170)
    assert peer.wire.open
    wait(door, 11)
    assert peer.replies.splitlines()[-1].startswith("421 4.4.2 ")
    assert door.stream.blobs[0].abandoned


def test_a_dripping_peer_is_closed_in_the_end():
    """A byte now and then does not keep a transaction open beyond its deadline."""
    door = Door(smtp_session_timeout_s=1000)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    for _ in range(99):
        peer.push(b"x")
        wait(door, 10)
    assert peer.wire.open
    peer.push(b"x")
    wait(door, 11)
    assert peer.codes[-1] == 421
    assert door.mails == []


def test_time_stands_still_while_a_commit_is_pending():
    """A slow disk costs the peer none of its time: no 421 can come before the 250."""
    door = Door(held=True, smtp_session_timeout_s=1000)
    peer = door.connect().greet()
    wait(door, 250)
    peer.mail()
    wait(door, 5000)
    assert peer.wire.open
    door.stream.commit()
    assert peer.codes[-1] == 250
    wait(door, 299)
    assert peer.wire.open
    wait(door, 2)
    assert peer.codes[-1] == 421


def test_time_stands_still_while_a_recipient_is_looked_up():
    """The application's time is not the peer's, nor is it added to the peer's deadline."""
    door = Door(smtp_session_timeout_s=1000)
    late = Deferred()
    door.app.answer = lambda local: late
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    wait(door, 250)
    peer.say(b"RCPT TO:<dev@lists.example>")
    wait(door, 5000)
    assert peer.wire.open
    late.callback(True)
    assert peer.codes[-1] == 250
    peer.say(b"DATA")
    for _ in range(74):
        peer.push(b"x")
        wait(door, 10)
    assert peer.wire.open
    peer.push(b"x")
    wait(door, 11)
    assert peer.codes[-1] == 421


def test_a_peer_that_does_not_take_its_last_reply_is_cut():
    """A connection that is done is cut when the peer neither reads nor closes."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"QUIT")
    wait(door, LINGER_S - 1)
    assert not peer.wire.aborted
    wait(door, 2)
    assert peer.wire.aborted
    assert door.clock.getDelayedCalls() == []


# --- shutting down ---------------------------------------------------------------------------


def test_draining_closes_idle_sessions_and_lets_messages_end():
    """Idle sessions get 421 4.3.2 now, running ones after their message; then drain is done."""
    door = Door(held=True)
    idle, sending, committing = (door.connect().greet() for _ in range(3))
    sending.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    committing.mail()
    done = []
    door.factory.drain().addCallback(done.append)
    assert idle.replies.splitlines()[-1].startswith("421 4.3.2 ")
    assert not idle.wire.open
    assert sending.wire.open
    assert committing.wire.open
    assert door.connect().replies.startswith("421 4.3.2 ")

    door.stream.commit()
    assert committing.codes[-2:] == [250, 421]
    sending.push(b"Subject: x\r\n\r\n.\r\nNOOP\r\n")
    assert sending.codes[-1] == 354
    door.stream.commit()
    assert sending.codes[-2:] == [250, 421]
    assert len(door.mails) == 2
    assert done == []
    for session in tuple(door.factory._sessions):
        session.transport.abortConnection()
    assert done == [None]


def test_draining_answers_a_look_up_and_then_closes():
    """A recipient that is looked up gets its answer, then the session ends."""
    door = Door()
    late = Deferred()
    door.app.answer = lambda local: late
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    door.factory.drain()
    assert peer.wire.open
    late.callback(True)
    assert peer.codes[-2:] == [250, 421]


def test_draining_a_refused_message_closes_too():
    """A message that is refused at its end ends the session as well when draining."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    door.factory.drain()
    peer.push(b"bare\n\r\n.\r\nNOOP\r\n")
    assert peer.codes[-2:] == [550, 421]


def test_draining_an_empty_door_is_done_at_once_and_cut_ends_the_rest():
    """With nobody there drain fires at once; ``cut`` ends whoever will not go."""
    done = []
    Door().factory.drain().addCallback(done.append)
    assert done == [None]
    door = Door(held=True)
    peer = door.connect().greet()
    peer.mail()
    door.factory.drain().addCallback(done.append)
    assert done == [None]
    door.factory.cut()
    assert peer.wire.aborted
    assert done == [None, None]
