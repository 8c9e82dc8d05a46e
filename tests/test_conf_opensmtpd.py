"""The shipped configuration for OpenSMTPD, in a real OpenSMTPD around a real container."""

from __future__ import annotations

import re

import pytest

from edge_kit import free_port
from happy.limits import Limits
from mail_kit import ELSEWHERE, LISTS, relayed_both_ways, swaks
from opensmtpd_kit import SMTPD, opensmtpd


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def relay(port, sink):
    """An OpenSMTPD before it, with the shipped configuration."""
    with opensmtpd(happy=port, smarthost=sink.port) as one:
        yield one


@pytest.fixture
def house(container, relay, port):
    """A container with the mailing lists."""
    return container(LISTS.format(port=port, smarthost=relay.port)).start()


def test_opensmtpd_takes_the_lines(relay):
    """`smtpd -n` has nothing to say about them."""
    assert relay.jail.run(SMTPD, "-n") == "configuration OK\n"


def test_opensmtpd_takes_no_message_that_happy_would_not(relay):
    """The largest message of OpenSMTPD is one that happy takes, with its own line added."""
    said = swaks(relay.port, "--quit-after", "EHLO")
    (bytes_max,) = re.findall(r"250-SIZE (\d+)", said)
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_opensmtpd_relays_both_ways(relay, house, sink):
    """A stranger's mail for the list reaches happy, and happy's answer reaches the stranger."""
    content = relayed_both_ways(relay, house, sink)
    assert content.startswith("Received: from client.example (")


def test_opensmtpd_is_no_open_relay(relay):
    """A stranger's mail for elsewhere is refused."""
    said = swaks(relay.port, *ELSEWHERE, stranger=True, ok=False)
    assert re.search(r"(?i)RCPT TO:<bob@example\.org>\n<\*\* 550 ", said)
