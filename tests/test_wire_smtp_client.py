"""The conversation with the smarthost: what is said, what is believed, and when it is over."""

from __future__ import annotations

import io
import re

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from happy.effects import SendMail
from happy.event import Blob
from happy.limits import Limits
from happy.wire.smtp_client import Permanent, Sent, SmtpClient, Transient
from happy.wire.smtp_data import BLOCK_BYTES

HEADER = b"Subject: hello\r\nMessage-ID: <1@app.example>\r\n\r\n"
MAIL = SendMail("bob@x.example", "ann@y.example", HEADER, b"Hello.\r\n", tag="t")


class Talk:
    """A client on a transport in memory, with the server's words said by the test."""

    def __init__(self, limits=None, open_blob=None, greeting=True):
        self.clock = Clock()
        self.client = SmtpClient(
            identity="happy.example",
            clock=self.clock,
            limits=limits or Limits(),
            open_blob=open_blob,
        )
        self.transport = StringTransport()
        self.client.makeConnection(self.transport)
        self.results = []
        self.extensions = ["SIZE 1000000", "8BITMIME"]
        if greeting:
            assert self.says("220 mx.example ESMTP") == b"EHLO happy.example\r\n"

    def deliver(self, mail=MAIL):
        self.transport.clear()
        self.client.deliver(mail).addCallback(self.results.append)
        return self.transport.value()

    def says(self, *lines):
        self.transport.clear()
        self.client.dataReceived(b"".join(line.encode() + b"\r\n" for line in lines))
        while self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        return self.transport.value()

    def offers(self, *extensions):
        return self.says(*(f"250-{e}" for e in ("mx.example", *extensions)), "250 HELP")

    def up_to_dot(self, mail=MAIL):
        self.deliver(mail)
        self.offers()
        self.says("250 ok")
        self.says("250 ok")
        return self.says("354 go on")

    def drops(self):
        self.client.connectionLost(Failure(ConnectionDone()))

    @property
    def result(self):
        (only,) = self.results
        return only


def test_a_message_is_sent():
    """Greeting, envelope, exactly the message's bytes, and the server's word as the result."""
    talk = Talk()
    assert talk.deliver() == b""
    assert talk.offers("SIZE 1000", "8BITMIME") == b"MAIL FROM:<ann@y.example> SIZE=55\r\n"
    assert talk.says("250 2.1.0 ok") == b"RCPT TO:<bob@x.example>\r\n"
    assert talk.says("250 2.1.5 ok") == b"DATA\r\n"
    assert talk.says("354 go on") == HEADER + b"Hello.\r\n.\r\n"
    assert talk.results == []
    assert talk.says("250-2.0.0 ok", "250 queued as 7") == b""
    assert talk.result == Sent("250 2.0.0 ok queued as 7")
    assert talk.clock.getDelayedCalls() == []


def test_a_connection_is_used_again():
    """The next message goes over the same connection, after RSET; at last comes QUIT."""
    talk = Talk()
    talk.up_to_dot()
    talk.says("250 ok")
    assert talk.deliver(evolve(MAIL, recipient="eve@x.example")) == b"RSET\r\n"
    assert talk.says("250 ok") == b"MAIL FROM:<ann@y.example>\r\n"
    assert talk.says("250 ok") == b"RCPT TO:<eve@x.example>\r\n"
    assert talk.says("550 5.1.1 who?") == b""
    assert talk.results == [Sent("250 ok"), Permanent("550 5.1.1 who?")]
    talk.client.quit()
    assert talk.transport.value() == b"QUIT\r\n"
    talk.says("221 bye")
    assert talk.transport.disconnecting
    closed = []
    talk.client.closed.addCallback(closed.append)
    talk.drops()
    assert closed == [None]
    assert talk.clock.getDelayedCalls() == []


def test_bytes_above_127_are_declared_when_there_are_any():
    """BODY=8BITMIME is said where it is offered and needed; a blob is not read to find out."""
    for mail, parameter in [
        (evolve(MAIL, content="gr\u00fc\u00df\r\n".encode()), b" BODY=8BITMIME"),
        (evolve(MAIL, content=Blob("00", 9)), b" BODY=8BITMIME"),
        (MAIL, b""),
    ]:
        talk = Talk()
        talk.deliver(mail)
        assert talk.offers("8bitmime") == b"MAIL FROM:<ann@y.example>%s\r\n" % parameter
        talk = Talk()
        talk.deliver(mail)
        assert talk.offers() == b"MAIL FROM:<ann@y.example>\r\n"


def test_a_server_without_ehlo_is_greeted_with_helo():
    """An old server that refuses EHLO gets HELO, and the message without parameters."""
    talk = Talk()
    talk.deliver()
    assert talk.says("502 what?") == b"HELO happy.example\r\n"
    assert talk.says("250 mx") == b"MAIL FROM:<ann@y.example>\r\n"


@pytest.mark.parametrize(
    ("steps", "code", "kind"),
    [
        (0, 450, Transient),
        (0, 421, Transient),
        (0, 550, Permanent),
        (0, 530, Transient),
        (1, 450, Transient),
        (1, 550, Permanent),
        (1, 354, Transient),
        (2, 451, Transient),
        (2, 554, Permanent),
        (2, 250, Transient),
        (3, 452, Transient),
        (3, 552, Permanent),
        (3, 421, Transient),
    ],
)
def test_a_refusal_is_told_by_its_first_digit(steps, code, kind):
    """4xx may be tried again, 5xx not, at MAIL, RCPT, DATA and the dot; 530 is about us."""
    talk = Talk()
    talk.deliver()
    talk.offers()
    for word in ["250 ok", "250 ok", "354 go on"][:steps]:
        talk.says(word)
    talk.says(f"{code} 9.9.9 because")
    assert type(talk.result) is kind
    assert talk.result.reply == f"{code} 9.9.9 because"


@pytest.mark.parametrize(
    "words", [["554 no"], ["220 hi", "421 busy"], ["220 hi", "500 -", "550 -"]]
)
def test_a_server_that_does_not_greet_is_no_fault_of_the_message(words):
    """A refused greeting, EHLO or HELO is transient, whatever its code; the message never began."""
    talk = Talk(greeting=False)
    talk.deliver()
    for word in words:
        said = talk.says(word)
    assert said == b"QUIT\r\n"
    assert talk.result == Transient(words[-1], begun=False)
    assert talk.deliver() == b""
    assert talk.results[1] == Transient(words[-1], begun=False)


def test_a_connection_lost_before_the_dot_is_transient():
    """A connection that ends in mid-message means: try again."""
    talk = Talk()
    talk.deliver()
    talk.offers()
    talk.says("250 ok")
    talk.drops()
    assert talk.result == Transient("the connection was lost")


def test_a_connection_lost_after_the_dot_may_mean_twice():
    """Without the reply to the dot nobody knows; the result says so (RFC 1047)."""
    talk = Talk()
    talk.up_to_dot()
    talk.drops()
    assert isinstance(talk.result, Transient)
    assert "it may be delivered twice" in talk.result.reply


def test_every_reply_has_its_time():
    """Each reply has its timeout, not prolonged by single lines; the dot's is longer."""
    limits = Limits(mail_out_timeout_s=10, mail_out_final_timeout_s=60)
    talk = Talk(limits)
    talk.deliver()
    talk.clock.advance(9)
    talk.says("250-mx")
    assert talk.results == []
    talk.clock.advance(1)
    assert talk.result == Transient("no answer in time", begun=False)
    assert talk.transport.disconnected
    talk = Talk(limits)
    talk.up_to_dot()
    talk.clock.advance(59)
    assert talk.results == []
    talk.clock.advance(1)
    assert "it may be delivered twice" in talk.result.reply


def test_a_server_that_does_not_read_times_out():
    """A message that does not get on for the time of one block is cut off."""
    talk = Talk(Limits(mail_out_timeout_s=10))
    talk.deliver(evolve(MAIL, content=b"x" * 10 * BLOCK_BYTES))
    talk.offers()
    talk.says("250 ok")
    talk.says("250 ok")
    talk.client.dataReceived(b"354 go on\r\n")
    for _ in range(3):
        talk.transport.producer.resumeProducing()
        talk.clock.advance(9)
    assert talk.results == []
    talk.clock.advance(1)
    assert talk.result == Transient("no answer in time")
    assert talk.transport.producer is None


def test_a_large_body_waits_for_the_transport():
    """A blob is read a block at a time, as fast as the transport asks, and closed at the end."""
    content = b".\r\n" * 1_000_000
    reader = io.BytesIO(content)
    talk = Talk(open_blob=lambda blob: reader)
    talk.deliver(evolve(MAIL, content=Blob("00", len(content))))
    talk.offers()
    talk.says("250 ok")
    talk.says("250 ok")
    talk.transport.clear()
    talk.client.dataReceived(b"354 go on\r\n")
    assert talk.transport.value() == b""
    received = bytearray()
    while talk.transport.producer is not None:
        assert reader.closed or reader.tell() <= len(received) + BLOCK_BYTES
        talk.transport.producer.resumeProducing()
        assert len(talk.transport.value()) <= 2 * BLOCK_BYTES
        received += talk.transport.value()
        talk.transport.clear()
    assert received == HEADER + content.replace(b".", b"..") + b".\r\n"
    assert reader.closed


@pytest.mark.parametrize("stored", [b"too short", None])
def test_a_body_that_cannot_be_read_never_gets_its_dot(stored):
    """A missing or truncated body ends the connection, so that no half message is taken."""

    def open_blob(blob):
        if stored is None:
            raise FileNotFoundError("no such blob")
        return io.BytesIO(stored)

    talk = Talk(open_blob=open_blob)
    talk.deliver(evolve(MAIL, content=Blob("00", 100)))
    talk.offers()
    talk.says("250 ok")
    talk.says("250 ok")
    assert not talk.says("354 go on").endswith(b"\r\n.\r\n")
    assert talk.transport.disconnected
    assert isinstance(talk.result, Transient)
    assert talk.result.reply.startswith("the message cannot be read: ")


@pytest.mark.parametrize(("code", "kind"), [(552, Permanent), (451, Transient), (250, Transient)])
def test_an_answer_in_the_middle_of_the_message_ends_it(code, kind):
    """A server that answers before the dot is believed, and not sent any more."""
    talk = Talk()
    talk.deliver()
    talk.offers()
    talk.says("250 ok")
    talk.says("250 ok")
    talk.client.dataReceived(b"354 go on\r\n")
    talk.client.dataReceived(b"%d enough\r\n" % code)
    assert talk.result == kind(f"{code} enough")
    assert talk.transport.disconnected


@pytest.mark.parametrize(
    "words",
    [b"hello\r\n", b"25 ok\r\n", b"250-a\r\n251 b\r\n", b"x" * 20_000, b"250-\r\n" * 5_000],
)
def test_words_that_are_no_reply_end_the_connection(words):
    """What is no SMTP reply, or an endless one, is trouble of the connection; memory is bounded."""
    talk = Talk()
    talk.deliver()
    talk.client.dataReceived(words)
    assert isinstance(talk.result, Transient)
    assert talk.transport.disconnected


def test_nothing_is_believed_after_nonsense():
    """What comes after words that are no reply is not read any more."""
    talk = Talk()
    talk.deliver()
    talk.offers()
    # A real transport does not say at once that it is being aborted.
    talk.transport.abortConnection = lambda: None
    assert talk.says("hello", "250 ok", "250 ok") == b""
    assert isinstance(talk.result, Transient)


@given(st.binary(max_size=200))
@example(b"long " * 40)
def test_a_reply_is_kept_short_and_printable(text):
    """Whatever a server says, what we keep of it is short printable ASCII."""
    talk = Talk(Limits(mail_out_reply_chars_max=50))
    talk.deliver()
    talk.offers()
    talk.client.dataReceived(b"450 " + re.sub(rb"[\r\n]", b"", text) + b"\r\n")
    assert talk.result.reply.startswith("450")
    assert len(talk.result.reply) <= 50
    assert talk.result.reply.isascii()
    assert talk.result.reply.isprintable()


ADDRESSES = st.one_of(
    st.text(max_size=20),
    st.text('ab@."\\ <>\r\n\0\t\u00e9\u2028', max_size=20),
    st.sampled_from(["a@b.example>\r\nRCPT TO:<c@d", "a@b> SIZE=1", '"a b"@c.example', "ann@x"]),
)


@given(ADDRESSES, ADDRESSES)
def test_nothing_but_an_address_gets_into_the_envelope(recipient, reverse_path):
    """Whatever is given as an address: every command stays one line of its own form."""
    talk = Talk()
    wire = talk.deliver(SendMail(recipient, reverse_path, HEADER))
    wire += talk.offers("SMTPUTF8", "SIZE 100000")
    wire += talk.says("250 ok")
    if talk.results:
        assert isinstance(talk.result, Permanent)
        assert wire == b""
        return
    mail, rcpt, rest = wire.split(b"\r\n")
    assert rest == b""
    assert re.fullmatch(rb"MAIL FROM:<[^\r\n\0]*> SIZE=\d+( SMTPUTF8)?", mail)
    assert mail.startswith(b"MAIL FROM:<%s> SIZE" % reverse_path.encode())
    assert rcpt == b"RCPT TO:<%s>" % recipient.encode()
    for address in (recipient, reverse_path):
        bare = re.sub(r'^"(?:[^"\\]|\\.)*"', "", address)
        assert not re.search(r"[\s<>]", bare)


@pytest.mark.parametrize("recipient", ["", "a b@x", "a@x>", "a@x\r\n", "a@b c", "\ud800@x"])
def test_a_bad_address_fails_at_once(recipient):
    """An address that is none is refused for good, without a word on the wire."""
    talk = Talk()
    assert talk.deliver(evolve(MAIL, recipient=recipient)) == b""
    assert isinstance(talk.result, Permanent)


def test_a_null_reverse_path_and_a_quoted_local_part_are_addresses():
    """Bounces have no return path; a quoted local part may hold anything printable."""
    talk = Talk()
    talk.deliver(evolve(MAIL, reverse_path="", recipient='"a <b>"@x.example'))
    assert talk.offers() == b"MAIL FROM:<>\r\n"
    assert talk.says("250 ok") == b'RCPT TO:<"a <b>"@x.example>\r\n'


def test_what_the_server_cannot_take_is_not_sent():
    """Over the server's SIZE, or beyond its alphabet, a message fails before MAIL."""
    talk = Talk()
    talk.deliver()
    assert talk.offers("SIZE 54") == b""
    assert talk.result == Permanent("552 5.3.4 55 bytes, the server takes 54")
    talk = Talk()
    talk.deliver(evolve(MAIL, recipient="j\u00f6rg@x.example"))
    assert talk.offers() == b""
    assert talk.result == Permanent("550 5.6.7 the server takes ASCII addresses only")
    talk = Talk()
    talk.deliver(evolve(MAIL, recipient="j\u00f6rg@x.example"))
    assert talk.offers("SMTPUTF8", "SIZE 0") == (b"MAIL FROM:<ann@y.example> SIZE=55 SMTPUTF8\r\n")
