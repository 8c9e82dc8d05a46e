"""A restart while mail comes in: on a socket that systemd keeps nobody is refused, nothing lost."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading

from edge_kit import wait_until
from ledger_kit import TAKEN, Ledger, by_smtplib

CLIENTS = 4
EACH = 3  # messages of each client before the restart, and behind it
TURNED_AWAY = re.compile(r"refused|timed out|\((?!421)[45]\d\d,")
# What systemd does before it starts a service that has a socket: sd_listen_fds(3).
HANDS_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="smtp")
os.execv(sys.argv[2], sys.argv[2:])
"""


def on_a_kept_socket(ledger: Ledger, listening: socket.socket) -> None:
    """Have a container take mail on a socket that stays open while it is away."""
    house, number = ledger.house, listening.fileno()
    text = house.config.read_text()
    door = f'"tcp:{ledger.port}:interface=127.0.0.1"'
    assert door in text
    house.config.write_text(text.replace(door, '"systemd:domain=INET:name=smtp"'))
    house.wrapper = (sys.executable, "-c", HANDS_OVER, str(number))
    house.spawn = lambda command, folder: subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=(number,),
    )


class Client(threading.Thread):
    """Brings one message after the other, each until its 250 is heard, until it is told to end."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(name=name, daemon=True)
        self.places: dict[str, int] = {}
        self.answers: list[str] = []
        self.over = False
        self._port = port

    def run(self) -> None:
        """Bring them."""
        while not self.over:
            name = f"{self.name}-{len(self.places)}"
            content = f"Subject: {name}\nMessage-ID: <{name}@example.org>\n\nhello\n".encode()
            while not (taken := TAKEN.search(self._bring(content))):
                pass
            self.places[name] = int(taken[1])

    def _bring(self, content: bytes) -> str:
        self.answers.append(by_smtplib(self._port, content))
        return self.answers[-1]


def wait_for_more(clients: list[Client]) -> None:
    """Wait until each client has brought some more messages."""
    goals = [(client, len(client.places) + EACH) for client in clients]
    for client, goal in goals:
        wait_until(lambda one=client, count=goal: len(one.places) >= count, client.name)


def test_a_restart_under_load_refuses_nobody_and_loses_nothing(container):
    """Who connects meanwhile waits, who is told 421 comes again.

    Each message that was answered 250 is there once, in the place that its 250 named.
    """
    ledger = Ledger(container)
    with socket.create_server(("127.0.0.1", ledger.port), backlog=128) as listening:
        on_a_kept_socket(ledger, listening)
        ledger.house.start()
        clients = [Client(f"client{number}", ledger.port) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_for_more(clients)
        ledger.house.stop()
        ledger.house.start()
        wait_for_more(clients)
        for client in clients:
            client.over = True
        for client in clients:
            client.join(60)
            assert not client.is_alive()
        ledger.house.stop()
    answers = [answer for client in clients for answer in client.answers]
    unheard = [answer for answer in answers if not TAKEN.search(answer)]
    assert [one for one in unheard if TURNED_AWAY.search(one)] == []
    places = {name: place for client in clients for name, place in client.places.items()}
    assert {name: place for place, name in ledger.messages()} == places
    assert len(ledger.messages()) == len(places)
