"""What a hostile peer may send to a container, and what it costs: little memory, and nobody else.

In the middle of each attack, when one half of it is sent, somebody else delivers a message. A
peer that is sent away is not read for long, so the gigabytes cost seconds at most; how many there
are, ``HAPPY_HOSTILE_MIB`` says.
"""

from __future__ import annotations

import contextlib
import os
import smtplib
import socket
import threading
from pathlib import Path
from typing import Final

import pytest

from conftest import Container
from edge_kit import wait_until
from test_end_to_end import memory_kib, peak_kib

MIB: Final = 1024 * 1024
SIZE_MIB: Final = int(os.environ.get("HAPPY_HOSTILE_MIB", "160"))
GROWTH_MIB_MAX: Final = 40
WAIT_S: Final = 60
PARTS: Final = 100_000
BEGINNING: Final = b"EHLO c\r\nMAIL FROM:<a@s.example>\r\nRCPT TO:<box@box.example>\r\nDATA\r\n"

APP = '''
from happy import App, MailRoutes, event, state
from happy.mime import read_message


@state
class Read:
    parts: int = 0
    defects: int = 0


class Box(App):
    """Takes mail apart, and fails where that comes to too much."""

    state = Read
    mail = MailRoutes()

    @mail.to("box@")
    def take(state, mail, context):
        message = read_message(mail.content)
        if mail.size > 10_000 and not message.defects or len(message.parts) > 1_000:
            raise RuntimeError("too many parts, and nobody is told")
        state.parts += len(message.parts)
        state.defects += len(message.defects)
'''
CONFIG = """
data = "data"
[limits]
mail_inline_bytes_max = 4_194_304
[apps.box]
app = "box_app:Box"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["box.example"]
[apps.drip]
app = "box_app:Box"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["drip.example"]
[apps.drip.limits]
smtp_session_timeout_s = 3
[log]
access = "off"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One container for all attacks: it has to live through them."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "box_app.py").write_text(APP)
    one = Container(folder, CONFIG)
    try:
        yield one.start()
    finally:
        one.kill()


def deliver(house, content: str = "Subject: x\r\n\r\nhello\r\n") -> None:
    """Deliver a message as anybody does; raises when it is not taken."""
    port = house.port("box", "smtp")
    with smtplib.SMTP("127.0.0.1", port, "c.example", timeout=WAIT_S) as client:
        client.sendmail("a@s.example", ["box@box.example"], content)


class Attack:
    """A connection that sends without asking what is said to it."""

    def __init__(self, house, app: str = "box") -> None:
        deliver(house)  # what is made once is there
        self._house = house
        self._before_kib = memory_kib(house.process.pid)
        Path(f"/proc/{house.process.pid}/clear_refs").write_text("5")  # forgets the peak
        self._peer = socket.create_connection(("127.0.0.1", house.port(app, "smtp")), WAIT_S)
        self.heard = b""
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._hear(b"220 ")

    def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):  # sent away, with unread bytes of its own
            while data := self._peer.recv(100_000):
                self.heard += data

    def _hear(self, words: bytes) -> None:
        wait_until(lambda: words in self.heard, f"{words!r} is said", wait_s_max=WAIT_S)

    def open_message(self) -> None:
        """Begin a message."""
        self.send(BEGINNING)
        self._hear(b"354 ")

    def send(self, data: bytes, times: int = 1) -> int:
        """Send some bytes again and again; return how often, until the other end would not."""
        for sent in range(times):
            try:
                self._peer.sendall(data)
            except ConnectionError:
                return sent
        return times

    def drip(self) -> bool:
        """Send a byte and wait a moment; return whether there is an answer to it, and the end."""
        self.send(b"x")
        self._listening.join(0.2)
        return not self._listening.is_alive()

    def others_are_served(self) -> None:
        """See that somebody else can deliver a message now."""
        deliver(self._house)

    def end(self) -> list[int]:
        """Hear what was said to the end; return the codes, and see what it took."""
        self._listening.join(WAIT_S)
        assert not self._listening.is_alive()
        self._peer.close()
        deliver(self._house)
        grown_kib = peak_kib(self._house.process.pid) - self._before_kib
        assert grown_kib < GROWTH_MIB_MAX * 1024
        return [int(line[:3]) for line in self.heard.splitlines() if line[3:4] == b" "]


def test_a_command_line_of_a_gigabyte(house):
    """The line is given up after 64 kB: 421, and what still comes is thrown away."""
    attack = Attack(house)
    block = b"x" * MIB
    attack.send(block, SIZE_MIB // 2)
    attack.others_are_served()
    attack.send(block, SIZE_MIB // 2)
    assert attack.end() == [220, 421]


@pytest.mark.parametrize("block", [b"x" * MIB, b"words and words\r\n" * (MIB // 17)])
def test_a_message_of_a_gigabyte(house, block):
    """In one line or in many: beyond its limit and what is borne with besides, 552 and the end."""
    attack = Attack(house)
    attack.open_message()
    attack.send(block, 40)
    attack.others_are_served()
    attack.send(block, SIZE_MIB - 40)
    assert attack.end()[-2:] == [354, 552]


def test_twenty_thousand_recipients(house):
    """A thousand are taken, a thousand more wait for the next message; then it is the end."""
    attack = Attack(house)
    attack.send(b"EHLO c\r\nMAIL FROM:<>\r\n")
    recipients = b"RCPT TO:<box@box.example>\r\n" * 500
    attack.send(recipients)
    attack.others_are_served()
    attack.send(recipients, 39)
    codes = attack.end()[3:]
    assert codes[:1000] == [250] * 1000
    assert set(codes[1000:-1]) <= {452}
    assert codes[-1] in (421, 452)  # 421, unless a reset has overtaken it


def test_a_million_junk_commands(house):
    """The twentieth is the last."""
    attack = Attack(house)
    attack.send(b"JUNK\r\n" * 10)
    attack.others_are_served()
    attack.send(b"JUNK\r\n" * 10_000, 100)
    assert attack.end() == [220, *[500] * 19, 421]


def test_one_byte_now_and_then(house):
    """Each is in time, and the whole is not: 421 when the time of a message is over."""
    attack = Attack(house, "drip")
    attack.send(BEGINNING.replace(b"@box.", b"@drip."))
    drips = 0
    while not attack.drip():
        drips += 1
        if drips == 2:
            attack.others_are_served()
        assert drips < 5 * WAIT_S
    assert attack.end()[-1] == 421


def nested(levels: int) -> str:
    """Return multiparts in multiparts."""
    return "".join(
        f'Content-Type: multipart/mixed; boundary="b{n}"\r\n\r\n--b{n}\r\n' for n in range(levels)
    ) + "\r\nx\r\n"  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        nested(600),
        "Content-Type: multipart/mixed; boundary=b\r\n" + "\r\n--b\r\n\r\nx" * PARTS + "\r\n",
    ],
    ids=["600 deep", f"{PARTS} parts"],
)
def test_a_message_that_cannot_be_taken_apart(house, content):
    """It is taken, its handler reads it and does not fail, and the next one comes in turn."""
    attack = Attack(house)
    deliver(house, content)
    attack.others_are_served()
    attack.send(b"QUIT\r\n")
    assert attack.end() == [220, 221]
    (box,) = [app for app in house.status()["apps"] if app["name"] == "box"]
    assert box["failed"] == 0
