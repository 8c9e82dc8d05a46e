"""The shipped lines for Sendmail, in a real Sendmail around a real container."""

from __future__ import annotations

import re

import pytest

from edge_kit import free_port, open_folder, wait_until
from happy.limits import Limits
from jail_kit import unpacked
from mail_kit import ELSEWHERE, LETTER, LISTS, entries, relayed_both_ways, swaks, two_written
from sendmail_kit import Sendmail, build, sendmail


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def relay(sink, port):
    """A Sendmail before it, with the shipped lines."""
    with sendmail(happy=port, smarthost=sink.port) as one:
        yield one


@pytest.fixture
def house(container, relay, port):
    """A container with the mailing lists, behind it and before it."""
    return container(LISTS.format(port=port, smarthost=relay.port)).start()


def test_sendmail_knows_where_the_lists_are(relay):
    """In address test mode lists.example is happy's, and nothing else is."""
    assert relay.resolve("dev@lists.example") == "happy_lists $@ [ 127 . 0 . 0 . 1 ]"
    assert relay.resolve("dev-bounces+0a@lists.example") == "happy_lists $@ [ 127 . 0 . 0 . 1 ]"
    assert relay.resolve("bob@example.org").startswith("relay ")


def test_sendmail_takes_no_message_that_happy_would_not(relay):
    """The largest message of Sendmail is one that happy takes, with Sendmail's own line added."""
    (bytes_max,) = re.findall(
        r"(?m)^O MaxMessageSize=(\d+)", (relay.folder / "happy.cf").read_text()
    )
    assert 0 < int(bytes_max) <= Limits().smtp_message_bytes_max - 4096


def test_sendmail_relays_both_ways(relay, house, sink):
    """A stranger's mail for the list reaches happy, and happy's answer reaches the stranger."""
    assert relayed_both_ways(relay, house, sink)


def test_sendmail_is_no_open_relay(relay):
    """A stranger's mail for elsewhere is refused."""
    said = swaks(relay.port, *ELSEWHERE, stranger=True, ok=False)
    assert re.search(r"RCPT TO:<bob@example\.org>\n<\*\* 550 5\.7\.1", said)


def test_mail_waits_in_sendmail_while_happy_is_away(relay, house):
    """Mail that comes while the container is away arrives when it is back, once."""
    house.kill()
    swaks(relay.port, *LETTER, stranger=True)
    wait_until(relay.queued, "the mail is queued")
    house.start()
    wait_until(lambda: entries(house, "happy.Mail"), "the mail is in the journal")
    wait_until(lambda: not relay.queued(), "the queue is empty")
    assert len(entries(house, "happy.Mail")) == 1


def test_sendmail_takes_what_is_written_for_two_applications(tmp_path):
    """One of them takes its mail by LMTP, and has larger messages; each is found."""
    text = two_written("sendmail", tmp_path, 'lmtp = "tcp6:2424"')
    with open_folder() as folder:
        one = Sendmail(folder, 25, unpacked("SENDMAIL_ROOT"))
        build(one, 25, text)
        assert "O MaxMessageSize=90000000\n" in (folder / "happy.cf").read_text()
        assert one.resolve("dev@lists.example") == "happy_lists $@ [ 127 . 0 . 0 . 1 ]"
        assert one.resolve("dev@post.example") == "happy_post $@ [ IPv6 : : : 1 ]"
