"""The shipped configurations of mail servers, in the real ones, around a real container."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_kit import free_port, wait_until
from postfix_kit import HOSTNAME, postfix
from smtp_sink import Sink

HAPPY = Path(sys.executable).with_name("happy")
LISTS = """
data = "data"
[apps.lists]
app = "happy.examples.lists:MailingLists"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:{port}:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{ lists = ["dev"] }}
[mail]
hostname = "{hostname}"
[log]
access = "off"
"""


@pytest.fixture
def sink():
    """All the rest of the world."""
    made = Sink()
    yield made
    made.close()


@pytest.fixture
def house(container):
    """A container with the mailing lists, whose host name is that of the mail server."""
    return container(LISTS.format(port=free_port(), hostname=HOSTNAME)).start()


@pytest.fixture
def relay(house, sink):
    """A Postfix before it, with the shipped lines."""
    with postfix(happy=house.port("lists", "smtp"), smarthost=sink.port) as one:
        yield one


def mail_events(house) -> list[dict]:
    """Return the mails in the journal, as `happy journal show` shows them."""
    shown = subprocess.run(
        [HAPPY, "journal", "show", house.data / "lists"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    entries = map(json.loads, shown.splitlines())
    return [entry for entry in entries if entry["type"] == "happy.Mail"]


def test_postfix_takes_the_lines_without_a_warning(relay):
    """``postfix check`` has nothing to say, and every parameter is one that Postfix knows."""
    assert relay.command("postfix", "check") == ""
    assert relay.command("postconf", "-n") != ""


def test_postfix_relays_mail_for_the_lists(relay, house):
    """A mail for lists.example is in the journal, its bytes behind Postfix's own line."""
    to = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    relay.swaks(*to, "--header", "Subject: let me in", stranger=True)
    wait_until(lambda: mail_events(house), "the mail is in the journal")
    (mail,) = (entry["body"] for entry in mail_events(house))
    assert mail["reverse_path"] == "ann@example.org"
    assert mail["recipients"] == ["dev-subscribe@lists.example"]
    content = mail["content"]["$utf8"]
    assert content.startswith("Received: from client.example (unknown [127.0.0.2])\r\n")
    assert "\r\nSubject: let me in\r\n" in content
    wait_until(lambda: relay.queued() == [], "the queue is empty")


def test_an_unknown_recipient_is_refused_while_the_sender_waits(relay, house):
    """Postfix asks happy who exists, so a made-up address is refused at RCPT, not bounced."""
    for _ in range(2):
        said = relay.swaks("--to", "nobody@lists.example", "--from", "x@example.org",
                           stranger=True, ok=False)  # fmt: skip
        assert re.search(r"RCPT TO:<nobody@lists\.example>\n<\*\* 550 5\.1\.1", said)
    assert relay.queued() == []
    assert mail_events(house) == []


def test_postfix_is_no_open_relay(relay, sink):
    """A stranger's mail for elsewhere is refused; happy's own, from this machine, goes out."""
    elsewhere = ("--to", "bob@example.org", "--from", "x@example.net")
    said = relay.swaks(*elsewhere, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* [45]54 ", said)
    relay.swaks(*elsewhere)
    sink.wait_for(1)
    assert sink.messages[0][:2] == ("x@example.net", ("bob@example.org",))


def test_mail_waits_in_postfix_while_happy_is_away(relay, house):
    """While the container is away its mail is kept; after the restart it arrives, once."""
    mail = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")
    relay.swaks(*mail, "--header", "Subject: one", stranger=True)
    wait_until(lambda: mail_events(house), "the first mail is in the journal")
    house.kill()
    relay.swaks(*mail, "--header", "Subject: two", stranger=True)
    wait_until(lambda: "status=deferred" in relay.log, "the second mail is deferred")
    assert relay.queued() == ["dev-subscribe@lists.example"]
    house.start()
    relay.flush()
    wait_until(lambda: relay.queued() == [], "the queue is empty")
    relay.flush()
    assert len(mail_events(house)) == 2
