"""Logging in at a submission door (RFC 4954, RFC 4616, RFC 6409), without sockets."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from certificate_kit import make_certificate
from happy.wire.certificate import Certificate
from smtp_kit import USERS, Door
from test_wire_smtp_pipelining import cut


def b64(text):
    return base64.b64encode(text.encode())


RIGHT = b64("\0ann\0sésame")
WRONG = b64("\0ann\0secret")
LOGGED_IN = "235 2.7.0 Welcome\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("auth") / "mx.pem"
    make_certificate(path)
    return Certificate(path)


@pytest.fixture
def door(certificate):
    return Door(certificate=certificate, level="submission")


def encrypted(door):
    """Return a peer under TLS that has said hello."""
    peer = door.connect().greet()
    assert peer.say(b"STARTTLS").startswith("220 ")
    return peer.greet()


def answer(peer, *lines, wait_s=3):
    """Say lines; return the replies, those to wrong passwords included."""
    before = len(peer.wire.value())
    peer.say(*lines)
    peer.door.clock.advance(wait_s)
    peer.push()
    return peer.wire.value()[before:].decode()


def test_auth_is_offered_under_tls_alone(door):
    """Not before STARTTLS, where it is 538; then with the mechanisms there are."""
    peer = door.connect()
    assert "AUTH" not in peer.say(b"EHLO c.example")
    assert peer.say(b"AUTH PLAIN " + RIGHT) == "538 5.7.11 Send STARTTLS first\r\n"
    peer.say(b"STARTTLS")
    assert peer.say(b"AUTH PLAIN " + RIGHT).startswith("503 5.5.1 Say hello first")
    assert " AUTH PLAIN LOGIN\r\n" in peer.say(b"EHLO c.example")


@pytest.mark.parametrize("level", ["untrusted", "relay"])
def test_no_other_door_has_logins(certificate, level):
    """There it is neither offered nor known."""
    peer = encrypted(Door(certificate=certificate, level=level, relays=["192.0.2.7"]))
    assert "AUTH" not in peer.say(b"EHLO c.example")
    assert peer.say(b"AUTH PLAIN " + RIGHT).startswith("502 5.5.1 ")
    assert peer.say(b"MAIL FROM:<a@s.example>").startswith("250 ")


def test_mail_is_taken_from_users_alone_and_their_name_is_in_the_event(door):
    """530 before, in the clear and under TLS; RSET and a hello do not log anybody out."""
    peer = door.connect().greet()
    assert peer.say(b"MAIL FROM:<a@s.example>") == "530 5.7.0 Send STARTTLS first\r\n"
    peer.say(b"STARTTLS")
    peer.greet()
    assert peer.say(b"MAIL FROM:<a@s.example>") == "530 5.7.0 Log in first\r\n"
    assert peer.say(b"AUTH PLAIN " + RIGHT) == LOGGED_IN
    peer.mail()
    peer.say(b"RSET")
    peer.greet()
    peer.mail()
    assert [(mail.login, mail.protocol, mail.peer) for mail in door.mails] == [
        ("ann", "ESMTPSA", "192.0.2.7")
    ] * 2
    # What came is kept as it came: no field is added, so the digest is of the sender's bytes.
    assert door.mails[0].content == b"Subject: x\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        [b"AUTH PLAIN " + RIGHT],
        [b"auth plain", RIGHT],
        [b"AUTH PLAIN", b64("ann\0ann\0se\u0301same")],
        [b"AUTH LOGIN", b64("ann"), b64("sésame")],
        [b"AUTH LOGIN " + b64("ann"), b64("sésame")],
        [b"AUTH LOGIN", b64("bob"), b64("b")],
    ],
)
def test_both_mechanisms_with_and_without_an_initial_response(door, lines):
    """All at once, or line by line: who knows the password is in."""
    together = answer(encrypted(door), *lines)
    assert together.endswith(LOGGED_IN)
    peer = encrypted(door)
    assert "".join(answer(peer, line) for line in lines) == together


def test_what_is_asked_for(door):
    """PLAIN's challenge is empty, LOGIN's are the two words everybody expects."""
    peer = encrypted(door)
    assert peer.say(b"AUTH PLAIN") == "334 \r\n"
    assert peer.say(b"*") == "501 5.7.0 Cancelled\r\n"
    assert peer.say(b"AUTH LOGIN") == "334 VXNlcm5hbWU6\r\n"
    assert peer.say(b64("ann")) == "334 UGFzc3dvcmQ6\r\n"
    assert peer.say(b"*") == "501 5.7.0 Cancelled\r\n"
    assert peer.say(b"NOOP").startswith("250 ")


@pytest.mark.parametrize(
    "line",
    [
        b"AUTH PLAIN ====",
        b"AUTH PLAIN =",
        b"AUTH PLAIN " + RIGHT + b"\x00",
        b"AUTH PLAIN %%%%",
        b"AUTH PLAIN " + RIGHT[:-1],
        b"AUTH PLAIN " + b64("ann"),
        b"AUTH PLAIN " + b64("\0ann\0"),
        b"AUTH PLAIN " + b64("\0\0x"),
        b"AUTH PLAIN " + b64("a\0b\0c\0d"),
        b"AUTH PLAIN " + base64.b64encode(b"\0ann\0\xff"),
        b"AUTH LOGIN !",
        b"AUTH LOGIN " + base64.b64encode(b"\xff"),
    ],
)
def test_what_is_not_base64_or_not_the_mechanism_is_501(door, line):
    """The session lives, and nothing was tried."""
    peer = encrypted(door)
    assert peer.say(line).startswith(("501 5.5.2 ", "500 5.5.2 "))
    assert peer.say(b"AUTH PLAIN " + RIGHT) == LOGGED_IN


def test_the_order_of_commands(door):
    """No mechanism 501, an unknown one 504, within a transaction 503, twice 503."""
    peer = encrypted(door)
    assert peer.say(b"AUTH").startswith("501 5.5.4 ")
    assert peer.say(b"AUTH CRAM-MD5").startswith("504 5.5.4 ")
    assert peer.say(b"AUTH PLAIN " + RIGHT) == LOGGED_IN
    assert peer.say(b"AUTH PLAIN " + RIGHT).startswith("503 5.5.1 You are logged in")
    peer.session.login = ""
    peer.session._envelope = object()
    assert peer.say(b"AUTH PLAIN " + RIGHT).startswith("503 5.5.1 There is a sender")


@pytest.mark.parametrize(
    "proof",
    ["\0ann\0secret", "\0nobody\0sésame", "bob\0ann\0sésame", "\0Ann\0sésame", "\0ann\0sésame "],
)
def test_a_wrong_proof_is_535_after_a_while(door, proof):
    """A wrong password, an unknown name, and acting for another: one answer for all, late."""
    peer = encrypted(door)
    assert peer.say(b"AUTH PLAIN " + b64(proof), b"NOOP") == ""
    door.clock.advance(2.9)
    assert peer.wire.producerState == "paused"
    assert peer.codes[-1] == 250
    assert answer(peer, wait_s=0.2) == "535 5.7.8 Name or password is wrong\r\n250 2.0.0 Ok\r\n"


def test_three_wrong_ones_are_enough(door):
    """Then it is 421 and the end, whatever is waiting to be read."""
    peer = encrypted(door)
    assert answer(peer, b"AUTH PLAIN " + WRONG).startswith("535 ")
    assert answer(peer, b"AUTH LOGIN", b64("ann"), b64("x")).endswith("is wrong\r\n")
    assert answer(peer, b"AUTH PLAIN " + WRONG, b"AUTH PLAIN " + RIGHT).startswith("421 4.7.0 ")
    assert not peer.wire.open


def test_a_long_line_is_taken_and_an_endless_one_is_not(door):
    """12288 octets and CRLF belong to the conversation (RFC 4954 section 4); one more is 500."""
    peer = encrypted(door)
    long = b64("\0ann\0" + "x" * (12_288 // 4 * 3 - 5))
    assert len(long) == 12_288
    assert answer(peer, b"AUTH PLAIN", long).endswith("535 5.7.8 Name or password is wrong\r\n")
    assert answer(peer, b"AUTH PLAIN", long + b"A").endswith("500 5.5.6 Line too long\r\n")
    assert answer(peer, b"NOOP " + b"x" * 3_000).startswith("500 5.5.2 Command line too long")
    assert answer(peer, b"AUTH PLAIN", RIGHT).endswith(LOGGED_IN)


def test_auth_of_mail_is_for_those_who_have_logged_in(door, certificate):
    """RFC 4954 section 5: kept with the envelope, as it was said; from others it is 555."""
    peer = encrypted(door)
    answer(peer, b"AUTH PLAIN " + RIGHT)
    assert peer.say(b"MAIL FROM:<a@s.example> AUTH=a+2Bb").startswith("250 ")
    peer.say(b"RSET")
    assert peer.say(b"MAIL FROM:<a@s.example> AUTH=<>").startswith("250 ")
    peer.say(b"RSET")
    assert peer.say(b"MAIL FROM:<a@s.example> AUTH=a+b").startswith("501 5.5.4 ")
    other = Door().connect().greet()
    assert other.say(b"MAIL FROM:<a@s.example> AUTH=<>").startswith("555 ")


def test_nothing_of_a_conversation_is_logged(door):
    """Neither the password nor what stands where a name should; the name of a user is."""
    lines = []

    def observe(event):
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        peer = encrypted(door)
        answer(peer, b"AUTH PLAIN " + WRONG)
        answer(peer, b"AUTH PLAIN " + b64("\0hunter2\0hunter3"))
        answer(peer, b"AUTH PLAIN " + RIGHT)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert lines == [
        "192.0.2.7 could not log in as ann",
        "192.0.2.7 could not log in as somebody unknown",
        "192.0.2.7 logged in as ann",
    ]


def test_wrong_passwords_are_counted_over_all_connections_of_an_address(certificate):
    """Then 421 to whoever comes from there, the right password or not; time lets the next in."""
    door = Door(certificate=certificate, level="submission", smtp_auth_peer_failures_max=4)
    for replies in (["535", "535", "421"], ["421"]):
        peer = encrypted(door)
        assert [answer(peer, b"AUTH PLAIN " + WRONG)[:3] for _ in replies] == replies
    peer = encrypted(door)
    assert answer(peer, b"AUTH PLAIN " + RIGHT).startswith("421 4.7.0 ")
    assert not peer.wire.open
    elsewhere = door.connect("192.0.2.8").greet()
    elsewhere.say(b"STARTTLS")
    elsewhere.greet()
    assert answer(elsewhere, b"AUTH PLAIN " + RIGHT) == LOGGED_IN
    door.clock.advance(60)
    assert answer(encrypted(door), b"AUTH PLAIN " + RIGHT) == LOGGED_IN


def test_many_connections_at_once_get_no_more_passwords_looked_at(certificate):
    """What waits for its turn is refused when that comes: a crowd is no way around the bound."""
    threads = Threads()
    door = Door(
        certificate=certificate,
        level="submission",
        run_aside=threads,
        smtp_auth_peer_failures_max=4,
    )
    peers = [encrypted(door) for _ in range(20)]
    for peer in peers:
        peer.say(b"AUTH PLAIN " + WRONG)
    checked = 0
    while threads.running:
        threads.end_one()
        checked += 1
    door.clock.advance(3)
    assert checked <= 4 + 1  # two are looked at together
    assert [peer.codes[-1] for peer in peers[5:]] == [421] * 15


def test_users_are_those_of_the_moment(certificate):
    """Who was taken out of the list is not let in any more, and who was put in is."""
    users = {"now": USERS}
    door = Door(certificate=certificate, level="submission", users_now=lambda: users["now"])
    assert answer(encrypted(door), b"AUTH PLAIN " + RIGHT) == LOGGED_IN
    users["now"] = {"eve": USERS["ann"]}
    assert answer(encrypted(door), b"AUTH PLAIN " + RIGHT).startswith("535 ")
    assert answer(encrypted(door), b"AUTH PLAIN " + b64("\0eve\0sésame")) == LOGGED_IN


class Threads:
    """Checks that end when the test says so."""

    def __init__(self):
        self.running = []

    def __call__(self, function, *arguments):
        done = Deferred()
        self.running.append((done, function, arguments))
        return done

    def end_one(self):
        done, function, arguments = self.running.pop(0)
        done.callback(function(*arguments))


def test_a_check_runs_aside_and_time_stands_still_meanwhile(certificate):
    """At most two at once in all; no deadline passes for one who waits; one who left is nobody."""
    threads = Threads()
    door = Door(certificate=certificate, level="submission", run_aside=threads)
    peers = [encrypted(door) for _ in range(3)]
    for peer in peers:
        peer.say(b"AUTH PLAIN " + RIGHT)
    assert len(threads.running) == 2
    door.clock.advance(4_000)
    assert all(peer.wire.open for peer in peers)
    peers[0].leave()
    threads.end_one()
    assert len(threads.running) == 2
    threads.end_one()
    threads.end_one()
    assert [peer.codes[-1] for peer in peers[1:]] == [235, 235]


SESSIONS = [
    b"AUTH PLAIN " + RIGHT + b"\r\n",
    b"AUTH PLAIN\r\n" + RIGHT + b"\r\n",
    b"AUTH LOGIN\r\n" + b64("ann") + b"\r\n" + b64("sésame") + b"\r\n",
    b"AUTH LOGIN\r\n" + b64("ann") + b"\r\n" + b64("wrong") + b"\r\n",
    b"AUTH PLAIN " + WRONG + b"\r\n",
    b"AUTH LOGIN\r\n*\r\n",
    b"AUTH PLAIN\r\n%\r\n",
    b"AUTH PLAIN\r\n" + b"x" * 13_000 + b"\r\n",
    b"AUTH X\r\n",
    b"MAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\nDATA\r\nx\r\n.\r\n",
    b"NOOP\r\n",
    b"RSET\r\n",
    b"EHLO d.example\r\n",
]


def run(certificate, pieces, when):
    """Run a session under TLS; a check ends wherever ``when`` says so. Return what came of it."""
    threads = Threads()
    door = Door(certificate=certificate, level="submission", run_aside=threads)
    peer = encrypted(door)
    before = len(peer.wire.value())
    for number, piece in enumerate(pieces):
        peer.push(piece)
        if when[number % len(when)]:
            end(door, threads)
            peer.push()
    while end(door, threads):
        peer.push()
    replies = peer.wire.value()[before:].decode()
    return replies, [(mail.login, mail.content) for mail in door.mails], peer.wire.open


def end(door, threads):
    """Let one check end, or the pause after one; return whether there was any."""
    if threads.running:
        threads.end_one()
        return True
    late_s = door.clock.seconds() + 1  # the calls before that are not of a session
    pausing = [call for call in door.clock.getDelayedCalls() if call.getTime() > late_s]
    if pausing:
        door.clock.advance(3)
    return bool(pausing)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(SESSIONS), max_size=7),
    st.lists(st.integers(1, 60), max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=9),
)
def test_any_split_gives_the_same_replies_in_the_same_order(certificate, parts, sizes, when):
    """However a session is cut, and whenever a check ends: one conversation (RFC 2920)."""
    # Only an accepted DATA is followed by a message.
    logged_in, legal = False, []
    for part in parts:
        logged_in = logged_in or RIGHT in part or b64("s\u00e9same") in part
        if not part.startswith(b"MAIL") or logged_in:
            legal.append(part)
    session = b"".join([*legal, b"QUIT\r\n"])
    plain = run(certificate, [*legal, b"QUIT\r\n"], [True])
    assert run(certificate, [session], [False]) == plain
    assert run(certificate, cut(session, sizes), when) == plain
