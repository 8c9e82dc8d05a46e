"""The mail door over real sockets, with clients that others wrote."""

import hashlib
import re
import signal
import smtplib
import socket
import subprocess
import sys
import threading

import pytest

from conftest import need

# The door runs in a process of its own; what it was given it prints, one line for each message.
SERVER = """
import hashlib, sys
from twisted.internet import reactor
from twisted.internet.defer import succeed
from happy.app import App
from happy.event import MailAcknowledged
from happy.limits import Limits
from happy.return_paths import ReturnPaths
from happy.wire.lmtp import LmtpFactory
from happy.wire.smtp import MailFactory

class Printed:
    seq = 0
    return_paths = ReturnPaths()
    def submit(self, event, exchange):
        if isinstance(event, MailAcknowledged):
            return succeed(None)
        self.seq += 1
        digest = hashlib.sha256(event.content).digest()
        assert event.sha256 == digest
        print(digest.hex(), *event.recipients, flush=True)
        return succeed((self.seq,) * len(event.recipients))
    def trouble(self, size):
        return None

class Lists(App):
    def knows_recipient(self, local, domain):
        return succeed(local == "dev")

app = Lists("lists", Printed(), domains=("lists.example",))
limits = Limits(mail_inline_bytes_max=10_000_000)
for make in (MailFactory, LmtpFactory):
    factory = make(app, limits=limits, clock=reactor, hostname="mx.x")
    print(reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port, flush=True)
reactor.run()
"""


class Server:
    """A running door: ``smtp`` and ``lmtp`` are its ports."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
        )
        self.smtp = int(self.process.stdout.readline())
        self.lmtp = int(self.process.stdout.readline())

    def messages(self):
        """End the door; return what it was given."""
        self.process.terminate()
        self.process.wait(60)
        return self.process.stdout.read().splitlines()


@pytest.fixture
def server():
    """Return a running door."""
    running = Server()
    yield running
    running.process.kill()
    running.process.wait(60)
    running.process.stdout.close()


def swaks(port, data, *options):
    """Send a message with swaks; return its exit status and its transcript."""
    always = f"--server 127.0.0.1:{port} --from a@s.example --timeout 20 --no-data-fixup --data -"
    done = subprocess.run(
        [need("swaks"), *always.split(), *options],
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode("latin-1")


@pytest.mark.parametrize("pipeline", [[], ["--pipeline"]])
def test_swaks_delivers_a_message_byte_for_byte(server, pipeline):
    """A message with dots, long lines and 8-bit text arrives as it was sent, and is named."""
    content = b"Subject: \xff\r\n\r\n.\r\n..x\r\n" + b"y" * 5000 + b"\r\n" + b"line\r\n" * 20_000
    wire = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    status, transcript = swaks(server.smtp, wire, "--to", "dev@lists.example", *pipeline)
    assert status == 0, transcript
    assert "250 2.0.0 Ok lists/1" in transcript
    assert server.messages() == [hashlib.sha256(content).hexdigest() + " dev@lists.example"]


def test_swaks_cannot_relay(server):
    """Recipients elsewhere, and unknown ones, are refused at RCPT."""
    for recipient, words in [
        ("dev@elsewhere.example", "550 5.7.1 Relay access denied"),
        ("nobody@lists.example", "550 5.1.1 No such recipient here"),
    ]:
        status, transcript = swaks(server.smtp, b"x\r\n.\r\n", "--to", recipient)
        assert status == 24  # swaks: no recipient was accepted
        assert words in transcript
    assert server.messages() == []


def test_swaks_over_lmtp(server):
    """An LMTP client gets a reply for each recipient."""
    to = ["--protocol", "LMTP", "--to", "dev@lists.example,dev@lists.example"]
    status, transcript = swaks(server.lmtp, b"\r\nx\r\n.\r\n", *to)
    assert status == 0, transcript
    assert transcript.count("250 2.0.0 Ok lists/1") == 2
    assert len(server.messages()) == 1


def test_smtplib_sends_several_messages_in_one_session(server):
    """The client of the standard library is served too."""
    with smtplib.SMTP("127.0.0.1", server.smtp, "c.example", timeout=60) as client:
        for _ in range(3):
            client.sendmail("a@s.example", ["dev@lists.example"], b"Subject: x\r\n\r\n.dot\r\n")
        assert client.has_extn("pipelining")
        assert client.verify("dev")[0] == 252
    digest = hashlib.sha256(b"Subject: x\r\n\r\n.dot\r\n").hexdigest()
    assert server.messages() == [f"{digest} dev@lists.example"] * 3


def test_the_last_words_reach_a_peer_that_is_still_sending(server):
    """A hundred unknown verbs in a row: the 421 is read, then the connection ends."""
    with socket.create_connection(("127.0.0.1", server.smtp), timeout=60) as peer:
        assert peer.recv(1000).startswith(b"220 ")
        writer = threading.Thread(target=peer.sendall, args=(b"JUNK\r\n" * 100_000,))
        writer.start()
        heard = b""
        while data := peer.recv(10_000):
            heard += data
        replies = heard.decode().splitlines()
        peer.shutdown(socket.SHUT_RDWR)
        writer.join(60)
    assert [reply[:3] for reply in replies] == ["500"] * 19 + ["421"]


def test_a_peer_that_has_said_all_at_once_hears_all(server):
    """A whole session in one segment, its sending side closed behind it: every reply comes."""
    session = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n"
    with socket.create_connection(("127.0.0.1", server.smtp), timeout=60) as peer:
        assert peer.recv(1000).startswith(b"220 ")
        peer.sendall(session)
        peer.shutdown(socket.SHUT_WR)
        heard = b""
        while data := peer.recv(10_000):
            heard += data
    assert heard.endswith(
        b"354 End data with <CR><LF>.<CR><LF>\r\n250 2.0.0 Ok lists/1\r\n250 2.0.0 Ok\r\n"
    )


def test_a_peer_that_does_not_wait_for_the_greeting_is_sent_away(server):
    """Input that is there before the greeting gets 554 in its place."""
    server.process.send_signal(signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", server.smtp), timeout=60) as peer:
        peer.sendall(b"EHLO c.example\r\n")
        server.process.send_signal(signal.SIGCONT)
        heard = b""
        while data := peer.recv(10_000):
            heard += data
    assert re.fullmatch(rb"554 5\.5\.0 .*\r\n", heard)
