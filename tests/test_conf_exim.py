"""The shipped configuration for Exim, in a real Exim around a real container."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from edge_kit import free_port, open_folder
from exim_kit import EXIM, exim, make
from happy.limits import Limits
from jail_kit import unpacked
from mail_kit import ELSEWHERE, LISTS, entries, relayed_both_ways, swaks, two_written


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
    assert "router = happy_lists, transport = happy_lists" in relay.run("-bt", "dev@lists.example")
    assert "router = elsewhere" in relay.run("-bt", "bob@example.org")


def test_exim_takes_no_message_that_happy_would_not(relay):
    """The largest message of Exim is one that happy takes, with Exim's own line added."""
    _, _, bytes_max = relay.run("-bP", "message_size_limit").partition(" = ")
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_exim_relays_both_ways(relay, house, sink):
    """A stranger's mail for the list reaches happy, and happy's answer reaches the stranger."""
    content = relayed_both_ways(relay, house, sink)
    assert content.startswith("Received: from [127.0.0.2] (helo=client.example)")


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
    said = swaks(relay.port, *ELSEWHERE, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* 550 relay not permitted", said)


@pytest.mark.parametrize("second", ['lmtp = "unix:post.sock"', 'lmtp = "tcp6:2424"'])
def test_exim_takes_what_is_written_for_two_applications(second, tmp_path):
    """One of them takes its mail by LMTP, and has larger messages; each is found."""
    text = two_written("exim", tmp_path, second)
    root = unpacked("EXIM_ROOT")
    with open_folder() as folder, closing(make(folder, root)) as jail:
        jail.write("/etc/exim4/exim4.conf", text)
        assert "Configuration file is /etc/exim4/exim4.conf" in jail.run(EXIM, "-bV")
        assert jail.run(EXIM, "-bP", "message_size_limit") == "message_size_limit = 90000000\n"
        for app in ("lists", "post"):
            said = jail.run(EXIM, "-bt", f"dev@{app}.example")
            assert f"router = happy_{app}, transport = happy_{app}" in said
