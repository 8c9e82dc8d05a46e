"""The shipped lines for Postfix, in a real Postfix around a real container."""

from __future__ import annotations

import re

import pytest

from edge_kit import free_port, open_folder, wait_until, written
from happy.limits import Limits
from mail_kit import ELSEWHERE, LETTER, LISTS, TWO, entries, first_mail, swaks
from postfix_kit import postfix


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def relay(port, sink):
    """A Postfix before it, with the shipped lines."""
    with postfix(happy=port, smarthost=sink.port) as one:
        yield one


@pytest.fixture
def house(container, relay, port):
    """A container with the mailing lists."""
    return container(LISTS.format(port=port, smarthost=relay.port)).start()


def test_postfix_takes_the_lines_without_a_warning(relay):
    """``postfix check`` has nothing to say, and every parameter is one that Postfix knows."""
    assert relay.command("postfix", "check") == ""
    assert "warning" not in relay.command("postconf", "-n")


def test_postfix_takes_no_message_that_happy_would_not(relay):
    """The largest message of Postfix is one that happy takes, with Postfix's own line added."""
    _, _, bytes_max = relay.command("postconf", "message_size_limit").partition(" = ")
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_postfix_relays_mail_for_the_lists(relay, house):
    """A mail for lists.example is in the journal, its bytes behind Postfix's own line."""
    swaks(relay.port, *LETTER, "--header", "Subject: let me in", stranger=True)
    mail = first_mail(house)
    assert mail["reverse_path"] == "ann@example.org"
    assert mail["recipients"] == ["dev-subscribe@lists.example"]
    content = mail["content"]["$utf8"]
    assert content.startswith("Received: from client.example (unknown [127.0.0.2])\r\n")
    assert "\r\nSubject: let me in\r\n" in content
    wait_until(lambda: relay.queued() == [], "the queue is empty")


def test_an_unknown_recipient_is_refused_while_the_sender_waits(relay, house):
    """Postfix asks happy who exists, so a made-up address is refused at RCPT, not bounced."""
    for _ in range(2):
        said = swaks(relay.port, "--to", "nobody@lists.example", "--from", "x@example.org",
                           stranger=True, ok=False)  # fmt: skip
        assert re.search(r"RCPT TO:<nobody@lists\.example>\n<\*\* 550 5\.1\.1", said)
    assert relay.queued() == []
    assert entries(house, "happy.Mail") == []


def test_postfix_is_no_open_relay(relay, sink):
    """A stranger's mail for elsewhere is refused; from this machine it goes out."""
    said = swaks(relay.port, *ELSEWHERE, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* [45]54 ", said)
    swaks(relay.port, *ELSEWHERE)
    sink.wait_for(1)
    assert sink.messages[0][:2] == ("x@example.net", ("bob@example.org",))


def test_mail_waits_in_postfix_while_happy_is_away(relay, house):
    """While the container is away its mail is kept; after the restart it arrives, once."""
    swaks(relay.port, *LETTER, "--header", "Subject: one", stranger=True)
    assert first_mail(house)
    house.kill()
    swaks(relay.port, *LETTER, "--header", "Subject: two", stranger=True)
    wait_until(lambda: "status=deferred" in relay.log, "the second mail is deferred")
    assert relay.queued() == ["dev-subscribe@lists.example"]
    house.start()
    relay.flush()
    wait_until(lambda: relay.queued() == [], "the queue is empty")
    relay.flush()
    assert len(entries(house, "happy.Mail")) == 2


def test_two_applications_one_of_them_by_lmtp(container, sink):
    """What `happy edge postfix` writes for both is taken, and brings each its mail."""
    with open_folder() as folder:
        second = f'lmtp = "unix:{folder}/post.sock:mode=666"'
        text = TWO.format(port=free_port(), smarthost=sink.port, second=second)
        house = container(text).start()
        lines = written("postfix", house.config)
        with postfix(happy=0, smarthost=sink.port, lines=lines) as relay:
            assert relay.command("postfix", "check") == ""
            assert "250-SIZE 90000000" in swaks(relay.port, "--quit-after", "EHLO")
            for domain in ("lists.example", "post.example"):
                to = f"dev-subscribe@{domain}"
                swaks(relay.port, "--to", to, "--from", "ann@example.org", stranger=True)
            wait_until(lambda: relay.queued() == [], "the queue is empty")
            for app in ("lists", "post"):
                (mail,) = entries(house, "happy.Mail", app)
                assert mail["recipients"] == [f"dev-subscribe@{app}.example"]
