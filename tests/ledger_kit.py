"""An application that writes down each message that it takes, and clients that bring them.

What a client hears is kept by a ``Witness``: for each message the place that its 250 named.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import subprocess
from collections.abc import Callable
from urllib.request import urlopen

from conftest import need
from edge_kit import free_port, wait_until
from mail_kit import shown

FROM, TO = "ann@example.org", "post@lists.example"
TAKEN = re.compile(r"250 2\.0\.0 Ok ledger/(\d+)")
REFUSED = re.compile(r"(?m)^(?:<\*\* |<-- )?5\d\d ")
CLIENT_S_MAX = 180
ANSWER_S_MAX = 180

APP = '''
from happy import App, HttpRoutes, MailRoutes, Table, query, state, table
from happy.message import parse_header


@state
class Book:
    lines: Table[int, str] = table()
    count: int = 0


class Ledger(App):
    """Writes down what it takes, in the order in which it does."""

    state = Book
    routes = HttpRoutes()
    mail = MailRoutes()

    @mail.to("post@")
    def post(state, mail, context):
        state.count += 1
        state.lines[state.count] = f"{context.seq} {parse_header(mail.header).get('Subject')}"

    @routes.get("/lines")
    @query
    def lines(state):
        return [state.lines[number] for number in range(1, state.count + 1)]
'''
CONFIG = """
data = "data"
[apps.ledger]
app = "ledger_app:Ledger"
http = "tcp:0:interface=127.0.0.1"
smtp = [
  "tcp:{port}:interface=127.0.0.1",
  {{ listen = "tcp:{relay_port}:interface=127.0.0.1", trust = "relay" }},
]
domains = ["lists.example"]
[mail]
hostname = "mx.lists.example"
relays = ["127.0.0.1"]
[log]
access = "off"
"""


class Ledger:
    """A container with the ledger; ``port`` faces anybody, ``relay_port`` mail servers."""

    def __init__(self, container) -> None:
        self.port = free_port()
        self.relay_port = free_port()
        self.house = container(CONFIG.format(port=self.port, relay_port=self.relay_port))
        (self.house.folder / "ledger_app.py").write_text(APP)

    @property
    def last_seq(self) -> int:
        """The place of the latest event."""
        (status,) = self.house.status()["apps"]
        return status["seq"]

    def lines(self) -> list[tuple[int, str]]:
        """Return what the application wrote down: places and names, in its order."""
        port = self.house.port("ledger", "http")
        with urlopen(f"http://127.0.0.1:{port}/lines", timeout=CLIENT_S_MAX) as answer:
            found = re.findall(r'"(\d+) ([^"]+)"', answer.read().decode())
        return [(int(seq), name) for seq, name in found]

    def messages(self) -> list[tuple[int, str]]:
        """Return the messages in the journal: places and names, in its order."""
        mails = [e for e in shown(self.house.data / "ledger") if e["type"] == "happy.Mail"]
        headers = [(mail["seq"], mail["body"]["header"]["$utf8"]) for mail in mails]
        return [(seq, re.search(r"(?m)^Subject: (\S+)", header)[1]) for seq, header in headers]


def content_of(name: str) -> bytes:
    """Return a message; how large it is depends on its number: 100 bytes to 200 kB.

    It has all that a client would add, so that it is the same whenever it is brought.
    """
    number = int(name.rpartition("-")[2])
    size = number * 7919 % 70_000 if number % 5 else 200_000 - number
    fields = (
        f"Subject: {name}",
        f"From: {FROM}",
        "Date: Mon, 30 Nov 2026 06:00:00 +0000",
        f"Message-ID: <{name}@example.org>",
    )
    head = "\n".join((*fields, "", ""))
    return head.encode() + b"".join(b"%067d\n.\n" % line for line in range(size // 70))


def by_smtplib(port: int, content: bytes) -> str:
    """Hand in a message with Python's own client; return what it heard in the end."""
    client = smtplib.SMTP(timeout=CLIENT_S_MAX)
    try:
        client.connect("127.0.0.1", port)
        client.ehlo("client.example")
        client.mail(FROM)
        client.rcpt(TO)
        code, text = client.data(content.replace(b"\n", b"\r\n"))
    except (OSError, smtplib.SMTPException) as error:
        return str(error)
    else:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            client.quit()
        return f"{code} {text.decode()}"
    finally:
        client.close()


def by_swaks(port: int, content: bytes) -> str:
    """Hand in a message with swaks; return the conversation."""
    command = [need("swaks"), "--server", f"127.0.0.1:{port}", "--helo", "client.example"]
    return _talk([*command, "--from", FROM, "--to", TO, "--suppress-data", "--data", "-"], content)


def by_msmtp(port: int, content: bytes) -> str:
    """Hand in a message with msmtp; return the conversation."""
    command = [need("msmtp"), "--host=127.0.0.1", f"--port={port}", "--domain=client.example"]
    return _talk([*command, "--tls=off", "--auth=off", "--debug", f"--from={FROM}", TO], content)


def _talk(command: list[str], content: bytes) -> str:
    done = subprocess.run(
        command, input=content, capture_output=True, timeout=CLIENT_S_MAX, check=False
    )
    return done.stdout.decode(errors="replace")


DIRECT: dict[str, Callable[[int, bytes], str]] = {
    "smtplib": by_smtplib,
    "swaks": by_swaks,
    "msmtp": by_msmtp,
}


def bring(client: str, port: int, name: str) -> int:
    """Hand in a message, again and again until its 250 is heard; return the place it names."""
    heard = []

    def taken() -> re.Match[str] | None:
        heard.append(DIRECT[client](port, content_of(name)))
        assert not REFUSED.search(heard[-1]), heard[-1]
        return TAKEN.search(heard[-1])

    wait_until(taken, f"{name} is taken", wait_s_max=ANSWER_S_MAX)
    return int(TAKEN.search(heard[-1])[1])
