"""Two applications behind one mail port of a real container, and a real Postfix before them."""

from __future__ import annotations

import pytest

from edge_kit import free_port, wait_until
from mail_kit import HOSTNAME, entries, swaks
from postfix_kit import postfix

TWO = """
data = "data"
[apps.lists]
app = "happy.examples.lists:MailingLists"
smtp = "tcp:{port}:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{ lists = ["dev"] }}
[apps.clubs]
app = "happy.examples.lists:MailingLists"
smtp = "tcp:{port}:interface=127.0.0.1"
domains = ["clubs.example"]
settings = {{ lists = ["chess"] }}
[mail]
hostname = "{hostname}"
smarthost = "tcp:127.0.0.1:{smarthost}"
"""
DEV, CHESS = "dev-subscribe@lists.example", "chess-subscribe@clubs.example"


@pytest.fixture
def port():
    """Where both take mail."""
    return free_port()


@pytest.fixture
def house(container, sink, port):
    """A container with two sets of mailing lists."""
    text = TWO.format(port=port, smarthost=sink.port, hostname=HOSTNAME)
    return container(text).start()


def recipients(house, app):
    """Return the recipients of each mail in an application's journal."""
    return [mail["recipients"] for mail in entries(house, "happy.Mail", app)]


def test_one_port_and_the_domain_tells_whose_a_mail_is(house, port):
    """Each has its mail and its own places; a message for both is taken for the first."""
    doors = [app["doors"] for app in house.status()["apps"]]
    assert doors == [[{"kind": "smtp", "where": f"127.0.0.1:{port}"}]] * 2
    said = swaks(port, "--from", "ann@example.org", "--to", CHESS)
    assert "250 2.0.0 Ok clubs/" in said
    said = swaks(port, "--from", "ann@example.org", "--to", f"{DEV},{CHESS}")
    assert "452 4.5.3 " in said
    assert "250 2.0.0 Ok lists/" in said
    assert recipients(house, "lists") == [[DEV]]
    assert recipients(house, "clubs") == [[CHESS]]
    said = swaks(port, "--from", "ann@example.org", "--to", "chess@lists.example", ok=False)
    assert "550 5.1.1 " in said
    house.stop()
    assert not any("not everything was finished" in line for line in house.read_all())


def test_postfix_brings_a_mail_to_both(house, sink, port):
    """RFC 5321 section 4.5.3.1.10: what got 452 comes in the next transaction, each once."""
    domains = ("lists.example", "clubs.example")
    with postfix(happy=port, smarthost=sink.port, domains=domains) as relay:
        swaks(relay.port, "--from", "ann@example.org", "--to", f"{DEV},{CHESS}")

        def both_are_there():
            if relay.queued():
                relay.flush()
            return recipients(house, "lists") and recipients(house, "clubs")

        wait_until(both_are_there, "both have the mail", wait_s_max=60)
        wait_until(lambda: relay.queued() == [], "the queue is empty", wait_s_max=60)
        assert "452 4.5.3 " in relay.log
    assert recipients(house, "lists") == [[DEV]]
    assert recipients(house, "clubs") == [[CHESS]]
