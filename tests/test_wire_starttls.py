"""Mail out over TLS where the server offers it, and in the clear where that does not work."""

from __future__ import annotations

import pytest
from twisted.internet import reactor, ssl
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from edge_kit import make_certificate
from happy.effects import SendMail
from happy.event import MailSent
from happy.limits import Limits
from happy.wire.next_hop import Hop, Smarthost
from happy.wire.smtp_client import Sent, SmtpClient, Transient
from happy.wire.starttls import Opportunistic
from outbound_kit import Post

MAIL = SendMail("bob@x.example", "ann@y.example", b"Subject: hello\r\n\r\n")


class Secretive(StringTransport):
    """A transport in memory that notes when it is made secret."""

    secret = 0

    def startTLS(self, creator):
        assert isinstance(creator, Opportunistic)
        self.secret += 1


class Talk:
    def __init__(self, *, required=False):
        self.client = SmtpClient(
            identity="happy.example",
            clock=Clock(),
            limits=Limits(),
            open_blob=None,
            tls=Opportunistic("mx.example"),
            tls_required=required,
        )
        self.transport = Secretive()
        self.client.makeConnection(self.transport)
        self.results = []
        self.client.deliver(MAIL).addCallback(self.results.append)

    def says(self, *lines):
        self.transport.clear()
        self.client.dataReceived(b"".join(line.encode() + b"\r\n" for line in lines))
        while self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        return self.transport.value()


def test_a_server_is_greeted_anew_behind_starttls():
    """RFC 3207 section 4.2: what was offered before is forgotten; TLS is not asked for twice."""
    talk = Talk()
    assert talk.says("220 mx") == b"EHLO happy.example\r\n"
    assert talk.says("250-mx", "250-SIZE 10", "250 STARTTLS") == b"STARTTLS\r\n"
    assert talk.says("220 go on") == b"EHLO happy.example\r\n"
    assert talk.transport.secret == 1
    assert talk.says("250-mx", "250 STARTTLS") == b"MAIL FROM:<ann@y.example>\r\n"
    for word in ("250 ok", "250 ok", "354 go on", "250 taken"):
        talk.says(word)
    assert talk.results == [Sent("250 taken")]


def test_what_was_said_before_the_connection_was_secret_is_not_believed():
    """RFC 3207 section 6: a reply in the same segment as the 220 ends the connection."""
    talk = Talk()
    talk.says("220 mx")
    talk.says("250-mx", "250 STARTTLS")
    assert talk.says("220 go on", "250-mx", "250 SIZE 10") == b""
    assert talk.transport.secret == 0
    (result,) = talk.results
    assert isinstance(result, Transient)
    assert not result.begun


@pytest.mark.parametrize(("word", "goes_on"), [("454 later", True), ("421 bye", False)])
def test_a_server_that_will_not_start_tls_is_spoken_to_in_the_clear(word, goes_on):
    """Opportunistic: a refusal of STARTTLS alone is no reason not to send."""
    talk = Talk()
    talk.says("220 mx")
    talk.says("250-mx", "250 STARTTLS")
    assert talk.says(word).startswith(b"MAIL FROM" if goes_on else b"QUIT")


@pytest.mark.parametrize(
    "words",
    [["502 what?"], ["250 mx"], ["250-mx\r\n250 STARTTLS", "454 later"]],
    ids=["no EHLO", "no STARTTLS", "refused"],
)
def test_where_tls_is_demanded_nothing_is_sent_in_the_clear(words):
    """Not after HELO either; the connection ends, and the message stays for later."""
    talk = Talk(required=True)
    talk.says("220 mx")
    for word in words:
        said = talk.says(word)
    assert said == b"QUIT\r\n"
    (result,) = talk.results
    assert isinstance(result, Transient)
    assert not result.begun


def test_a_handshake_that_fails_is_told_from_other_ends():
    """So that the runner knows to try without."""
    talk = Talk()
    talk.says("220 mx")
    talk.says("250-mx", "250 STARTTLS")
    assert not talk.client.tls_failed
    talk.says("220 go on")
    talk.client.connectionLost(Failure(ConnectionDone()))
    assert talk.client.tls_failed


class Server(LineReceiver):
    """A mail server with STARTTLS, which may not work."""

    secret = in_data = False

    def connectionMade(self):
        self.sendLine(b"220 mx")

    def rawDataReceived(self, data):
        self.transport.write(b"this is no TLS at all\r\n" * 10)

    def lineReceived(self, line):
        if self.in_data:
            if line == b".":
                self.in_data = False
                self.factory.taken.append(self.secret)
                self.sendLine(b"250 taken")
        elif line.startswith(b"EHLO"):
            self.sendLine(b"250-mx")
            self.sendLine(b"250 8BITMIME" if self.secret else b"250 STARTTLS")
        elif line == b"STARTTLS":
            self.sendLine(b"220 go on")
            self.secret = True
            if self.factory.context is None:
                self.setRawMode()
            else:
                self.transport.startTLS(self.factory.context)
        elif line == b"DATA":
            self.in_data = True
            self.sendLine(b"354 go on")
        elif line == b"QUIT":
            self.transport.loseConnection()
        else:
            self.sendLine(b"250 ok")


@pytest.mark.parametrize("works", [True, False], ids=["works", "fails"])
def test_a_certificate_of_nobody_is_good_enough_and_no_tls_better_than_no_mail(tmp_path, works):
    """Over real sockets: self-signed TLS is used; where the handshake fails, it goes without."""
    key, certificate = make_certificate(tmp_path)
    factory = Factory.forProtocol(Server)
    factory.taken = []
    factory.context = (
        ssl.DefaultOpenSSLContextFactory(str(key), str(certificate)) if works else None
    )
    ports = []
    TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory).addCallback(ports.append)
    (port,) = ports
    way = Smarthost(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))
    way._hop = Hop(way._hop.endpoint, "mx.example")
    post = Post(way)
    post.owe("bob@x.example")
    (sent,) = post.wait_for_ends(1)
    post.close()
    port.stopListening()
    assert isinstance(sent, MailSent)
    assert factory.taken == [works]
