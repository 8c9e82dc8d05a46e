import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.logger import globalLogPublisher
from twisted.mail.smtp import ESMTP

from happy.app import exchange
from happy.errors import Busy, Halted, NoRoom, NotOpen, Refused
from happy.event import Blob
from happy.wire.smtp_reply import BARE_LINE_END
from smtp_kit import Door


@pytest.fixture
def logged():
    """Return the list of what is logged during the test."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def test_a_message_becomes_one_event_with_its_exact_bytes():
    """The reply names the event; envelope, peer and bytes are the event's, with nothing added."""
    door = Door()
    peer = door.connect()
    assert peer.replies == "220 mx.lists.example ESMTP\r\n"
    peer.say(b"EHLO client.example")
    peer.say(b"MAIL FROM:<A@s.example> SIZE=30 BODY=8bitmime")
    peer.say(b"RCPT TO:<@relay.example:Dev@LISTS.example>")
    peer.say(b"DATA")
    reply = peer.say(b"Subject: \xff", b"", b"..dot", b".")
    assert reply == "250 2.0.0 Ok lists/1\r\n"
    (mail,) = door.mails
    assert mail.reverse_path == "A@s.example"
    assert mail.recipients == ("Dev@lists.example",)
    assert mail.header == b"Subject: \xff\r\n\r\n"
    assert mail.content == b"Subject: \xff\r\n\r\n.dot\r\n"
    assert (mail.peer, mail.helo, mail.protocol) == ("192.0.2.7", "client.example", "ESMTP")
    assert mail.options == ("SIZE=30", "BODY=8bitmime")
    assert not mail.tls
    assert door.stream.exchanges[0].source == "smtp 192.0.2.7"
    assert exchange.get() is None


def test_the_session_is_twisted_mails():
    """The door stands on twisted.mail's ESMTP, and its dispatch finds the verbs."""
    session = Door().connect().session
    assert isinstance(session, ESMTP)
    assert session.lookupMethod(b"noop") == session.do_NOOP


def test_ehlo_lists_the_extensions_and_helo_none():
    """EHLO is one well-formed reply of several lines; HELO has one line; neither has a status."""
    peer = Door(smtp_message_bytes_max=1234).connect()
    assert peer.say(b"EHLO c.example").split("\r\n") == [
        "250-mx.lists.example",
        "250-PIPELINING",
        "250-SIZE 1234",
        "250-8BITMIME",
        "250-ENHANCEDSTATUSCODES",
        "250-CHUNKING",
        "250-SMTPUTF8",
        "250-DSN",
        "250 LIMITS MAILMAX=1000 RCPTMAX=1000",
        "",
    ]
    assert peer.say(b"helo c.example") == "250 mx.lists.example\r\n"


def test_a_helo_session_speaks_smtp_and_ipv4_in_ipv6_is_ipv4():
    """The event tells the protocol by its registered name, and the peer by its plain address."""
    door = Door()
    peer = door.connect("::ffff:192.0.2.9")
    peer.say(b"HELO c.example")
    peer.mail()
    assert door.mails[0].protocol == "SMTP"
    assert door.mails[0].peer == "192.0.2.9"


def test_over_a_unix_socket_there_is_no_peer():
    """A session over a unix socket works, and its events say so."""
    door = Door()
    assert door.connect(address=UNIXAddress("/x")).greet().mail().startswith("250 2.0.0")
    assert door.mails[0].peer == ""
    assert door.stream.exchanges[0].source == "smtp unix"


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        ([b"MAIL FROM:<a@s.example>"], [503]),
        ([b"EHLO c", b"RCPT TO:<dev@lists.example>"], [250, 503]),
        ([b"EHLO c", b"DATA"], [250, 503]),
        ([b"EHLO c", b"MAIL FROM:<a@s.example>", b"DATA"], [250, 250, 503]),
        ([b"EHLO c", b"MAIL FROM:<>", b"MAIL FROM:<>"], [250, 250, 503]),
        ([b"EHLO c", b"MAIL FROM:<>", b"EHLO c", b"MAIL FROM:<>"], [250] * 4),
        (
            [b"EHLO c", b"MAIL FROM:<>", b"HELO c", b"RCPT TO:<dev@lists.example>"],
            [250] * 3 + [503],
        ),
        ([b"EHLO c", b"MAIL FROM:<>", b"RSET", b"MAIL FROM:<>"], [250] * 4),
        ([b"EHLO", b"HELO", b"EHLO a b", b"EHLO \xff"], [501] * 4),
        ([b"RSET x", b"DATA x", b"QUIT x", b"VRFY"], [501] * 4),
        ([b"RSET", b"NOOP", b"NOOP x y", b"rset "], [250] * 4),
        ([b"VRFY dev", b"HELP", b"HELP MAIL", b"EXPN dev"], [252, 214, 214, 502]),
        ([b"AUTH PLAIN", b"AUTH", b"STARTTLS", b"LHLO c"], [502, 502, 502, 500]),
        ([b"", b" NOOP", b"FOO", b"NOOP\t", b"\xff\xfe", b"MA\xc3L", b"__init__"], [500] * 7),
        ([b"UNKNOWN x", b"QUIT"], [500, 221]),
    ],
)
def test_the_order_of_commands(lines, codes):
    """Each verb in and out of its place has the code that RFC 5321 gives it."""
    peer = Door().connect()
    for line in lines:
        peer.say(line)
    assert peer.codes == [220, *codes]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"MAIL", "501 5.1.7"),
        (b"MAIL FROM:", "501 5.1.7"),
        (b"MAIL FROM:a@s.example", "501 5.1.7"),
        (b"MAIL TO:<a@s.example>", "501 5.1.7"),
        (b"MAIL FROM:<postmaster>", "501 5.1.7"),
        (b"MAIL FROM:<a@s.example>SIZE=1", "501 5.5.4"),
        (b"MAIL FROM:<\xc3\xa9@s.example>", "553 5.6.7"),
        (b"MAIL FROM:<\xe9@s.example>", "501 5.1.7"),
        (b"MAIL FROM:<a@s.example> SIZE=", "501 5.5.4"),
        (b"MAIL FROM:<a@s.example> SIZE=x", "501 5.5.4"),
        (b"MAIL FROM:<a@s.example> SIZE", "501 5.5.4"),
        (b"MAIL FROM:<a@s.example> SIZE=" + b"9" * 21, "501 5.5.4"),
        (b"MAIL FROM:<a@s.example> SIZE=1001", "552 5.3.4"),
        (b"MAIL FROM:<a@s.example> SIZE=1000", "250 2.1.0"),
        (b"MAIL FROM:<a@s.example> BODY=BINARYMIME", "501 5.5.4"),
        (b"MAIL FROM:<a@s.example> BODY=7bit", "250 2.1.0"),
        (b"MAIL FROM:<a@s.example> SMTPUTF8", "250 2.1.0"),
        (b"MAIL FROM:<a@s.example> RET=FULL", "250 2.1.0"),
        (b"mail from: <a@s.example> ", "250 2.1.0"),
        (b'MAIL FROM:<"a b"@[192.0.2.1]>', "250 2.1.0"),
        (b"MAIL FROM:<>", "250 2.1.0"),
    ],
)
def test_mail(line, reply):
    """MAIL takes a path and the parameters it knows, and says what is wrong with others."""
    peer = Door(smtp_message_bytes_max=1000).connect().greet()
    assert peer.say(line).startswith(reply + " ")


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (b"<dev@lists.example>", "250 2.1.5"),
        (b"<info@LISTS.Example>", "250 2.1.5"),
        (b'<"two words"@lists.example>', "250 2.1.5"),
        (b'<"dev"@lists.example>', "250 2.1.5"),
        (b"<dev@xn--bcher-kva.example>", "250 2.1.5"),
        (b"<postmaster>", "250 2.1.5"),
        (b"<nobody@lists.example>", "550 5.1.1"),
        (b"<dev@elsewhere.example>", "550 5.7.1"),
        (b"<dev@sub.lists.example>", "550 5.7.1"),
        (b"<dev@[127.0.0.1]>", "550 5.7.1"),
        (b"<dev%elsewhere.example@lists.example>", "550 5.1.1"),
        (b"<@lists.example:dev@elsewhere.example>", "550 5.7.1"),
        (b'<"dev@elsewhere.example"@lists.example>', "550 5.1.1"),
        (b"<>", "501 5.1.3"),
        (b"<dev>", "501 5.1.3"),
        (b"dev@lists.example", "501 5.1.3"),
        (b"<dev@lists.example.>", "501 5.1.3"),
        (b"<dev\x7f@lists.example>", "501 5.1.3"),
        (b"<dev@lists.example> NOTIFY=NEVER", "250 2.1.5"),
    ],
)
def test_rcpt(path, reply):
    """Only known recipients of configured domains are taken; there is no way to relay."""
    peer = Door(domains=("lists.example", "Bücher.example")).connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>")
    assert peer.say(b"RCPT TO:" + path).startswith(reply + " ")


def test_postmaster_without_a_route_or_a_domain_is_unknown():
    """``<postmaster>`` is taken only when the application takes it."""
    door = Door()
    door.app.known = ("dev",)
    peer = door.connect().greet()
    assert peer.say(b"MAIL FROM:<>", b"RCPT TO:<postmaster>").endswith(" here\r\n")
    peer = Door(domains=()).connect().greet()
    assert "550 5.7.1" in peer.say(b"MAIL FROM:<>", b"RCPT TO:<postmaster>")


def test_a_recipient_named_twice_is_one_recipient():
    """The event has each recipient once, as it was first written, in order."""
    door = Door()
    peer = door.connect().greet()
    peer.mail(to=(b"info@lists.example", b"Dev@lists.example", b"dev@LISTS.example"))
    assert door.mails[0].recipients == ("info@lists.example", "Dev@lists.example")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Busy("full"), "452 4.3.1"),
        (Halted("stopped"), "451 4.3.0"),
        (Refused("not a query's business"), "451 4.3.0"),
        (ZeroDivisionError("secret"), "451 4.3.0"),
    ],
)
def test_a_recipient_that_cannot_be_looked_up_is_never_refused_for_good(error, code):
    """When the application cannot say, the peer is asked to come again; the session lives."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    door.app.answer = lambda local: fail(error)
    reply = peer.say(b"RCPT TO:<dev@lists.example>")
    assert reply.startswith(code + " ")
    assert "secret" not in reply
    assert peer.say(b"NOOP").startswith("250 ")


def test_a_replaying_application_sends_recipients_away_with_421():
    """421 ends the session, as it says."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    door.app.answer = lambda local: fail(NotOpen("replaying"))
    assert peer.say(b"RCPT TO:<dev@lists.example>") == "421 4.3.2 replaying\r\n"
    assert not peer.wire.open


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (Refused("Not for you\r\n250 Ok \x1b\xe9"), "554 5.7.1 Not for you?250 Ok ?\r\n"),
        (Refused("quota", smtp=(452, "4.2.2")), "452 4.2.2 quota\r\n"),
        (Refused("odd", smtp=(250, "2.0.0")), "554 5.7.1 odd\r\n"),
        (Refused("x" * 2000), "554 5.7.1 " + "x" * 400 + "\r\n"),
        (Busy("full"), "452 4.3.1 full\r\n"),
        (NoRoom("no room"), "452 4.3.1 no room\r\n"),
        (Halted("stopped"), "451 4.3.0 stopped\r\n"),
        (NotOpen("closing"), "421 4.3.2 closing\r\n"),
    ],
)
def test_how_the_end_of_a_commit_is_said(error, reply):
    """Each error has its own code."""
    door = Door()
    door.stream.error = error
    peer = door.connect().greet()
    assert peer.mail() == reply
    assert peer.wire.open == (not reply.startswith("421"))


def test_an_unforeseen_error_is_451_and_logged(logged):
    """The peer keeps the message and hears nothing of our insides."""
    door = Door()
    door.stream.error = ZeroDivisionError("secret")
    reply = door.connect().greet().mail()
    assert reply.startswith("451 4.3.0 ")
    assert "secret" not in reply
    failures = [event for event in logged if "log_failure" in event]
    assert [event["log_failure"].type for event in failures] == [ZeroDivisionError]


def test_one_log_line_for_each_message_without_its_body(logged):
    """What became of a message is logged: peer, size, recipients, code and place."""
    door = Door()
    peer = door.connect().greet()
    peer.mail(b"Subject: private\r\n\r\nword\r\n")
    peer.mail(b"bare\nline\r\n")
    lines = [event["log_format"].format(**event) for event in logged]
    assert lines == [
        "mail from 192.0.2.7: 26 bytes, 1 recipients: 250 2.0.0 Ok lists/1",
        f"mail from 192.0.2.7: 11 bytes, 1 recipients: {BARE_LINE_END.line}",
    ]


def test_250_comes_only_after_the_commit():
    """Until the event is durable not a byte is answered, and nothing more is read."""
    door = Door(held=True)
    peer = door.connect().greet()
    assert peer.mail() == ""
    assert peer.wire.producerState == "paused"
    before = peer.replies
    door.stream.commit()
    assert peer.replies[len(before) :] == "250 2.0.0 Ok lists/1\r\n"
    assert peer.wire.producerState == "producing"


def test_a_large_message_is_sealed_before_it_is_submitted():
    """A message over the inline size is a blob: sealed first, then named by the event."""
    door = Door(held=True, mail_inline_bytes_max=100)
    peer = door.connect().greet()
    peer.mail(b"Subject: x\r\n\r\n" + b"line\r\n" * 30)
    assert door.mails == []
    (blob,) = door.stream.blobs
    door.stream.sealing[0].callback(blob.blob)
    (mail,) = door.mails
    assert mail.content == Blob("ab" * 32, 194)
    assert mail.header == b"Subject: x\r\n\r\n"
    assert bytes(blob.data) == b"Subject: x\r\n\r\n" + b"line\r\n" * 30
    assert peer.codes[-1] == 354
    door.stream.commit()
    assert peer.replies.endswith("250 2.0.0 Ok lists/1\r\n")


def test_a_blob_that_cannot_be_sealed_is_abandoned():
    """A full disk at the end of a message is 452; there is no event, and the session lives."""
    door = Door(held=True, mail_inline_bytes_max=100)
    peer = door.connect().greet()
    peer.mail(b"\r\n" + b"line\r\n" * 30)
    door.stream.sealing[0].errback(NoRoom("the disk is full"))
    assert peer.replies.endswith("452 4.3.1 the disk is full\r\n")
    assert door.stream.blobs[0].abandoned
    assert door.mails == []
    assert peer.say(b"NOOP") == "250 2.0.0 Ok\r\n"


def test_a_connection_lost_before_the_dot_leaves_nothing():
    """Half a message is no event, and its blob is given up."""
    door = Door(mail_inline_bytes_max=100)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    peer.push(b"\r\n" + b"line\r\n" * 30)
    peer.leave()
    assert door.stream.blobs[0].abandoned
    assert door.mails == []


def test_a_connection_lost_during_the_commit_keeps_the_event(logged):
    """What is on its way to the journal stays; nobody is left to be told."""
    door = Door(held=True)
    peer = door.connect().greet()
    peer.mail()
    before = peer.replies
    peer.leave()
    door.stream.commit()
    assert len(door.mails) == 1
    assert peer.replies == before
    assert not [event for event in logged if "log_failure" in event]


def test_a_peer_that_closes_its_side_still_gets_its_replies():
    """The end of the input ends the session: in good order, and half a message is dropped."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA", b"half a message")
    peer.session.readConnectionLost()
    assert peer.wire.disconnecting
    assert not peer.wire.aborted
    assert door.mails == []


def test_a_connection_lost_during_a_look_up_is_harmless(logged):
    """The late answer about a recipient is dropped."""
    door = Door()
    late = Deferred()
    door.app.answer = lambda local: late
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>", b"DATA")
    before = peer.replies
    peer.leave()
    late.callback(True)
    assert peer.replies == before
    assert not [event for event in logged if "log_failure" in event]


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
@pytest.mark.parametrize(
    "line",
    [
        b"MAIL FROM:<a@s.example>%bRCPT TO:<dev@lists.example>",
        b"EHLO c%bX-Injected: yes",
        b"NOOP%b",
        b"%bNOOP",
        b"NO%bOP",
    ],
)
def test_a_control_character_spoils_its_command(line, byte):
    """A CR, LF or NUL inside a command refuses it whole; no part of it is carried out."""
    door = Door()
    peer = door.connect().greet()
    assert re.fullmatch(r"500 5\.5\.2 .*\r\n", peer.say(line.replace(b"%b", byte)))
    assert peer.say(b"RCPT TO:<dev@lists.example>").startswith("503 5.5.1 ")
    peer.mail()
    assert door.mails[0].helo == "client.example"


def test_every_reply_after_ehlo_has_an_enhanced_status():
    """2xx, 4xx and 5xx carry a status of their own class (RFC 2034)."""
    peer = Door().connect().greet()
    lines = b"MAIL|MAIL FROM:<>|RCPT|RCPT TO:<x@y>|RCPT TO:<dev@lists.example>|VRFY x|EXPN|HELP"
    peer.say(*lines.split(b"|"), b"DATA x", b"?", b"", b"RSET", b"NOOP", b"QUIT")
    for line in peer.replies.splitlines():
        if not line.startswith(("220", "250-", "250 LIMITS")):
            assert re.match(r"([245])\d\d \1\.\d\.\d .", line), line


def test_refused_data_with_more_behind_it_ends_the_session():
    """DATA ends a group of commands; a message behind a refused DATA is not read as commands."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<x@elsewhere.example>", b"DATA", b"RSET", b"QUIT")
    assert peer.codes[-3:] == [250, 550, 554]
    assert not peer.wire.open


def test_one_who_speaks_before_the_greeting_is_sent_away():
    """Input before the greeting is answered with 554 5.5.0 in its place, and is not read."""
    door = Door()
    peer = door.connect(greeted=False)
    peer.say(b"EHLO c.example")
    assert re.fullmatch(r"554 5\.5\.0 .*\r\n", peer.replies)
    assert not peer.wire.open
    door.clock.advance(1)
    assert len(peer.codes) == 1


def test_nothing_is_read_after_quit():
    """QUIT ends the session, whatever comes behind it."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"QUIT", b"MAIL FROM:<>", b"NOOP")
    assert peer.codes[-1] == 221
    peer.session.dataReceived(b"NOOP\r\n")
    assert peer.codes[-1] == 221
    assert not peer.wire.open


@given(st.binary(max_size=200))
def test_garbage_gets_replies_and_no_traceback(data):
    """Whatever comes, every line of the answer is a reply, and nothing is raised or logged."""
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        peer = Door().connect().greet()
        peer.push(data + b"\r\n", data.replace(b"\n", b"\r\n") + b"\r\n")
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert not [event for event in events if "log_failure" in event]
    assert re.fullmatch(r"(\d\d\d[ -][ -~]*\r\n)+", peer.replies)
