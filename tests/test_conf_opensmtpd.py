"""The shipped configuration for OpenSMTPD, in a real OpenSMTPD around a real container."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from edge_kit import free_port, open_folder
from happy.limits import Limits
from jail_kit import unpacked
from mail_kit import ELSEWHERE, LISTS, relayed_both_ways, swaks, two_written
from opensmtpd_kit import SMTPD, make, opensmtpd


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


@pytest.mark.parametrize("second", ['smtp = "tcp:2526"', 'smtp = "tcp6:2526"'])
def test_opensmtpd_takes_what_is_written_for_two_applications(second, tmp_path):
    """Each on a port of its own, and one of them with larger messages."""
    text = two_written("opensmtpd", tmp_path, second)
    root = unpacked("OPENSMTPD_ROOT")
    assert 'smtp max-message-size "90000000"' in text
    with open_folder() as folder, closing(make(folder, root)) as jail:
        jail.write("/etc/smtpd.conf", text)
        assert jail.run(SMTPD, "-n") == "configuration OK\n"
