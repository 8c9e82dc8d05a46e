"""Answers that are lost on the way, and a container that is killed: no message twice, none lost."""

from __future__ import annotations

import re
import smtplib
import time

import pytest

from edge_kit import free_port, wait_until
from lossy_proxy import LossyProxy
from mail_kit import LISTS, entries, shown, swaks

EVERY = 10
TO = "dev-subscribe@lists.example"
SEND_S_MAX = 60


@pytest.fixture
def port():
    """Where happy takes mail."""
    return free_port()


@pytest.fixture
def house(container, sink, port):
    """A container with the mailing lists."""
    return container(LISTS.format(port=port, smarthost=sink.port)).start()


@pytest.fixture
def lossy(port):
    """The way to it, on which every tenth 250 is lost."""
    proxy = LossyProxy(lambda: port, EVERY)
    yield proxy
    proxy.close()


def deliver(port: int, number: int) -> str:
    """Hand in one message, again and again until its 250 is heard; return what that says."""
    until = time.monotonic() + SEND_S_MAX
    content = b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * (number * 997 % 70_000))
    while True:
        assert time.monotonic() < until, f"message {number} is not taken"
        client = smtplib.SMTP(timeout=60)
        try:
            client.connect("127.0.0.1", port)
            client.ehlo("client.example")
            client.mail("ann@example.org")
            client.rcpt(TO)
            code, text = client.data(content)
            if code == 250:
                client.quit()
                return text.decode()
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)
        finally:
            client.close()


def subjects(house) -> list[int]:
    """Return the numbers of the messages in the journal, in its order."""
    mails = entries(house, "happy.Mail")
    headers = [mail["header"].get("$utf8", "") for mail in mails]
    return [int(number) for header in headers for number in re.findall(r"Subject: (\d+)", header)]


def test_no_message_twice_and_none_lost_though_answers_are_and_the_container_is_killed(
    house, lossy
):
    """Promise 5: every tenth 250 is swallowed, and ``kill -9`` comes in between."""
    told = []
    for number in range(1, 41):
        if number % 16 == 0:
            house.kill()
            house.start()
        told.append(deliver(lossy.port, number))
    assert lossy.swallowed >= 4
    assert subjects(house) == list(range(1, 41))
    assert len(set(told)) == 40


def test_the_same_bytes_on_purpose_are_two_messages(house, port):
    """A client that heard its 250 and sends the message again means it."""
    first, second = deliver(port, 7), deliver(port, 7)
    assert first != second
    assert subjects(house) == [7, 7]


def test_swaks_that_hangs_up_behind_the_dot_brings_it_again_as_the_same(house, port, tmp_path):
    """Swaks drops the connection after the dot; its second try hears where the first one is."""
    letter = tmp_path / "letter"
    letter.write_text("Subject: 7\nMessage-ID: <7@example.org>\n\nx\n")
    words = ("--from", "ann@example.org", "--to", TO, "--data", f"@{letter}")
    swaks(port, *words, "--drop-after-send", "DOT")
    wait_until(lambda: subjects(house) == [7], "the message is taken")
    (seq,) = [e["seq"] for e in shown(house.data / "lists") if e["type"] == "happy.Mail"]
    assert f"250 2.0.0 Ok lists/{seq}\n" in swaks(port, *words)
    assert subjects(house) == [7]
