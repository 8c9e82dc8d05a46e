"""The shipped configuration for Exim, in a real Exim around a real container."""

from __future__ import annotations

import re

import pytest

from edge_kit import free_port
from exim_kit import exim
from happy.limits import Limits
from mail_kit import LISTS, entries, swaks

LETTER = ("--to", "dev-subscribe@lists.example", "--from", "ann@example.org")


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def relay(port, sink):
    """An Exim before it, with the shipped configuration."""
    with exim(happy=port, smarthost=sink.port) as one:
        yield one


@pytest.fixture
def house(container, relay, port):
    """A container with the mailing lists."""
    return container(LISTS.format(port=port, smarthost=relay.port)).start()


def test_exim_knows_where_the_lists_are(relay):
    """In address test mode lists.example is happy's, and nothing else is."""
    assert "router = happy, transport = happy" in relay.run("-bt", "dev@lists.example")
    assert "router = elsewhere" in relay.run("-bt", "bob@example.org")


def test_exim_takes_no_message_that_happy_would_not(relay):
    """The largest message of Exim is one that happy takes, with Exim's own line added."""
    _, _, bytes_max = relay.run("-bP", "message_size_limit").partition(" = ")
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_exim_relays_both_ways(relay, house, sink):
    """A stranger's mail for the list reaches happy, and happy's answer reaches the stranger."""
    swaks(relay.port, *LETTER, "--header", "Subject: let me in", stranger=True)
    sink.wait_for(1)
    (mail,) = entries(house, "happy.Mail")
    assert mail["reverse_path"] == "ann@example.org"
    assert mail["recipients"] == ["dev-subscribe@lists.example"]
    assert mail["content"]["$utf8"].startswith("Received: from [127.0.0.2] (helo=client.example)")
    assert "\r\nSubject: let me in\r\n" in mail["content"]["$utf8"]
    _, recipients, letter = sink.messages[0]
    assert recipients == ("ann@example.org",)
    assert b"dev-confirm-" in letter


def test_an_unknown_recipient_is_refused_while_the_sender_waits(relay, house):
    """Exim asks happy who exists, so a made-up address is refused at RCPT, not bounced."""
    for _ in range(2):
        said = swaks(relay.port, "--to", "nobody@lists.example", "--from", "x@example.org",
                           stranger=True, ok=False)  # fmt: skip
        assert re.search(r"RCPT TO:<nobody@lists\.example>\n<\*\* 550", said)
    assert relay.queued() == []
    assert entries(house, "happy.Mail") == []


def test_exim_is_no_open_relay(relay):
    """A stranger's mail for elsewhere is refused."""
    elsewhere = ("--to", "bob@example.org", "--from", "x@example.net")
    said = swaks(relay.port, *elsewhere, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* 550 relay not permitted", said)
