"""A day's mail once more from the journal, and mail for an application that takes its time."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import subprocess
import threading

from edge_kit import wait_until
from mail_kit import HAPPY, LISTS, entries

PEOPLE = 12
WAIT_S = 60


def replayed(house) -> dict:
    """Replay the journal of the lists; return what it came to."""
    command = [HAPPY, "replay", "lists", "--config", house.config, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
    return json.loads(done.stdout)


def owed(house) -> int:
    """Return how much mail the lists still owe."""
    (lists,) = house.status()["apps"]
    return lists["owed"] - lists["timers"]


def subscribe(house, name: str) -> bytes:
    """Ask to be on the list, as anybody does; return the answer to the message."""
    port = house.port("lists", "smtp")
    with smtplib.SMTP("127.0.0.1", port, "c.example", timeout=WAIT_S) as client:
        client.ehlo()
        client.mail(f"{name}@example.org")
        client.rcpt("dev-subscribe@lists.example")
        code, text = client.data(b"Subject: let me in\r\n\r\nhello\r\n")
    assert code == 250
    return text


def test_a_days_mail_comes_to_the_same_state_again_and_nothing_is_sent_again(container, sink):
    """By `happy replay` after a kill, and by a start: one letter for each who was answered."""
    house = container(LISTS.format(port=0, smarthost=sink.port)).start()
    for number in range(PEOPLE):
        subscribe(house, f"p{number}")
    sink.wait_for(PEOPLE)
    wait_until(lambda: owed(house) == 0, "all are known as sent", wait_s_max=WAIT_S)
    house.kill()
    first = replayed(house)
    assert (first["types"]["happy.Mail"], first["failed"]) == (PEOPLE, 0)
    house.start()
    house.stop()
    again = replayed(house)
    assert again["digest"] == first["digest"]
    assert again["seq"] == first["seq"]
    assert len(sink.messages) == PEOPLE
    assert sorted(to for _, (to,), _ in sink.messages) == sorted(
        f"p{number}@example.org" for number in range(PEOPLE)
    )


def test_mail_waits_for_an_application_that_takes_its_time(container, sink):
    """While the core stands still sessions begin and wait; then each has its 250."""
    config = LISTS.format(port=0, smarthost=sink.port)
    house = container(config.replace("[apps.lists]", '[apps.lists]\ncore = "process"')).start()
    subscribe(house, "before")
    (lists,) = house.status()["apps"]
    core = lists["core"]["pid"]
    os.kill(core, signal.SIGSTOP)
    try:
        answers: list[bytes] = []

        def come(number: int) -> None:
            answers.append(subscribe(house, f"p{number}"))

        peers = [threading.Thread(target=come, args=(n,), daemon=True) for n in range(PEOPLE)]
        for peer in peers:
            peer.start()
        with smtplib.SMTP("127.0.0.1", house.port("lists", "smtp"), timeout=WAIT_S) as client:
            assert client.ehlo("c.example")[0] == 250
            assert client.mail("ann@example.org")[0] == 250
    finally:
        os.kill(core, signal.SIGCONT)
    for peer in peers:
        peer.join(WAIT_S)
    assert len(answers) == PEOPLE
    assert len({int(text.rpartition(b"/")[2]) for text in answers}) == PEOPLE
    assert len(entries(house, "happy.Mail")) == PEOPLE + 1
