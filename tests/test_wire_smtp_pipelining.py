import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from smtp_kit import Door

DATA = b"Subject: x\r\n\r\nMAIL FROM:<b@s.example>\r\n..\r\n"
SESSION = (
    b"EHLO c.example\r\nMAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\n"
    b"RCPT TO:<nobody@lists.example>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\n"
    + DATA
    + b".\r\nRSET\r\nFOO\r\nMAIL FROM:<>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\n.\r\nQUIT\r\n"
)
REPLIES = [220, 250, 250, 250, 550, 250, 354, 250, 250, 500, 250, 250, 354, 250, 221]

commands = st.lists(
    st.sampled_from(
        [
            b"MAIL FROM:<a@s.example>\r\n",
            b"RCPT TO:<dev@lists.example>\r\n",
            b"RCPT TO:<info@lists.example>\r\n",
            b"RCPT TO:<nobody@lists.example>\r\n",
            b"RCPT TO:<x@elsewhere.example>\r\n",
            b"DATA\r\nSubject: y\r\n\r\nRSET\r\n.\r\n",
            b"DATA\r\nbare\nline\r\n.\r\n",
            b"RSET\r\n",
            b"EHLO d.example\r\n",
            b"NOOP\r\n",
            b"X\r\n",
            b"A\nB\r\n",
            b"NOOP " + b"x" * 3000 + b"\r\n",
        ]
    ),
    max_size=14,
)
cuts = st.lists(st.integers(1, 60), max_size=40)


def cut(data, sizes):
    """Cut data into pieces of the given sizes, the last one taking what is left."""
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


class Later:
    """Answers of the application that come when the test wants them."""

    def __init__(self, door):
        self.door = door
        self.asked = []
        door.app.answer = self.ask

    def ask(self, local):
        self.asked.append((Deferred(), local in self.door.app.known))
        return self.asked[-1][0]

    def answer_one(self):
        """Give one answer that is waited for; return whether there was one."""
        if self.asked:
            answer, known = self.asked.pop(0)
            answer.callback(known)
        elif self.door.stream.waiting:
            self.door.stream.commit()
        else:
            return False
        return True


def run(pieces, when=None):
    """Run a session; answers come at once, or one after a piece wherever ``when`` says so."""
    door = Door(held=when is not None)
    later = Later(door) if when is not None else None
    peer = door.connect()
    for number, piece in enumerate(pieces):
        peer.push(piece)
        if later is not None and when[number % len(when)]:
            later.answer_one()
            peer.push()
    while later is not None and later.answer_one():
        peer.push()
    return peer.replies, door.mails


def test_a_whole_session_in_one_piece():
    """All replies come, in order, and both messages are events."""
    replies, mails = run([SESSION])
    assert [int(line[:3]) for line in replies.splitlines() if line[3] == " "] == REPLIES
    assert [mail.recipients for mail in mails] == [
        ("dev@lists.example", "info@lists.example"),
        ("info@lists.example",),
    ]
    assert [mail.content for mail in mails] == [DATA.replace(b"..", b"."), b""]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("when", [None, [True], [False], [False, False, True]])
def test_a_session_in_small_pieces_is_the_same(size, when):
    """Byte by byte, and with answers that come late: the same replies and the same events."""
    pieces = [SESSION[i : i + size] for i in range(0, len(SESSION), size)]
    assert run(pieces, when) == run([SESSION])


@given(cuts, st.lists(st.booleans(), min_size=1, max_size=9))
def test_every_split_and_every_moment_of_an_answer_gives_the_same(sizes, when):
    """How the input is cut, and when the application answers, changes nothing."""
    assert run(cut(SESSION, sizes), when) == run([SESSION])


@given(commands, cuts, st.lists(st.booleans(), min_size=1, max_size=9))
def test_any_session_is_the_same_for_every_split(lines, sizes, when):
    """Any commands in any order: as one piece, cut at will, and asked late."""
    lines = [b"EHLO c.example\r\n", *lines, b"QUIT\r\n"]
    # DATA is the last of its group (RFC 2920), and only an accepted one is followed by data.
    lines, ready = [*lines], set()
    legal = []
    for line in lines:
        if line.startswith(b"MAIL"):
            ready.add("sender")
        elif line.startswith((b"RCPT TO:<dev", b"RCPT TO:<info")) and "sender" in ready:
            ready.add("recipient")
        elif line.startswith((b"RSET", b"EHLO")):
            ready.clear()
        elif line.startswith(b"DATA"):
            if "recipient" not in ready:
                continue
            ready.clear()
        legal.append(line)
    session = b"".join(legal)
    plain = run(legal)
    assert run([session]) == plain
    assert run(cut(session, sizes)) == plain
    assert run(cut(session, sizes), when) == plain
    assert plain[0].endswith("221 2.0.0 Bye\r\n")


def test_a_late_answer_stays_in_its_transaction():
    """A recipient that is looked up while RSET and a new message wait is not in that message."""
    door = Door()
    later = Later(door)
    peer = door.connect().greet()
    peer.push(b"MAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\nRSET\r\n")
    peer.push(b"MAIL FROM:<b@s.example>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\nx\r\n.\r\n")
    assert peer.codes == [220, 250, 250]
    while later.answer_one():
        peer.push()
    assert peer.codes == [220, 250, 250, 250, 250, 250, 250, 354, 250]
    (mail,) = door.mails
    assert (mail.reverse_path, mail.recipients) == ("b@s.example", ("info@lists.example",))


def test_nothing_is_read_while_an_answer_is_awaited():
    """The transport is paused during a look-up, and what was read already waits, bounded."""
    door = Door()
    later = Later(door)
    peer = door.connect().greet()
    peer.push(b"MAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\nNOOP\r\nNOOP\r\n", b"NOOP\r\n")
    assert peer.wire.producerState == "paused"
    assert len(peer.queue) == 1
    assert peer.codes[-1] == 250
    assert len(peer.codes) == 3
    later.answer_one()
    peer.push()
    assert len(peer.codes) == 7


def test_a_peer_that_does_not_read_its_replies_is_not_read_either():
    """When the replies pile up the session stops reading, and goes on when they are taken."""
    peer = Door().connect().greet()
    peer.wire.producer.pauseProducing()
    peer.session.dataReceived(b"NOOP\r\n" * 3)
    assert peer.codes == [220, 250]
    assert peer.wire.producerState == "paused"
    peer.wire.producer.resumeProducing()
    assert peer.codes == [220, 250, 250, 250, 250]
    assert peer.wire.producerState == "producing"


@pytest.mark.parametrize(
    "ending",
    [
        *(b"\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n"),
        *(b"\r\n.\r", b"\r\n.\r\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_nothing_is_carried_out_of_a_message(ending, size):
    """What looks like an end of data to others does not end it here: one refusal, no event."""
    inner = b"MAIL FROM:<b@s.example>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\ny\r\n.\r\n"
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    data = b"x" + ending + inner + b"NOOP\r\n"
    peer.push(*(data[i : i + size] for i in range(0, len(data), size)))
    assert peer.codes[-3:] == [354, 550, 250]
    assert "550 5.5.2 " in peer.replies
    assert door.mails == []


@pytest.mark.parametrize("ending", [b"\r\n\0.\r\n", b"\r\n.\0\r\n"])
def test_a_nul_beside_the_dot_is_in_the_message(ending):
    """It ends nothing: what follows is the same message, and is kept as it was sent."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>", b"RCPT TO:<dev@lists.example>", b"DATA")
    data = b"x" + ending + b"MAIL FROM:<b@s.example>\r\n"
    peer.push(data.replace(b"\r\n.", b"\r\n.."), b".\r\n")
    assert peer.codes[-1] == 250
    (mail,) = door.mails
    assert mail.content == data


def test_two_messages_at_once_are_two():
    """What comes before its 354 is a message as any other; nothing is read as something else."""
    door = Door()
    peer = door.connect().greet()
    one = b"MAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\nDATA\r\none\r\n.\r\n"
    peer.push(one + one.replace(b"one", b"two"))
    assert peer.codes[-8:] == [250, 250, 354, 250] * 2
    assert [mail.content for mail in door.mails] == [b"one\r\n", b"two\r\n"]
