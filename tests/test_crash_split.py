"""Killing the processes of a split application, each in turn: no answered number is touched."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import threading
import time
from functools import partial

from witness_kit import Witness, numbers_in, verified

# Each kill costs some starts of Python: here are few, and HAPPY_KILLS=200 makes them many.
KILLS = int(os.environ.get("HAPPY_KILLS", "12"))
CLIENTS = 8
WAIT_S_MAX = 240
LOAD_S_MAX = 0.1
RETRY_S = 0.02

CONFIG = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
fronts = 2
core = "process"
[log]
access = "off"
[limits]
front_restart_ms = 1
front_restart_max_s = 1
core_restart_ms = 1
core_restart_max_s = 1
"""


def wait_for(condition):
    """Return what a condition gives as soon as it gives something."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(RETRY_S)
    return found


class Client(threading.Thread):
    """Asks for a number until it has one, wherever the house is now, and then for the next."""

    def __init__(self, house: House, witness: Witness) -> None:
        super().__init__()
        self.failed: BaseException | None = None
        self._house = house
        self._witness = witness
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Take numbers until the house is done; each is to be above the one before."""
        last = 0
        try:
            while not self._house.done:
                number = wait_for(partial(self._ask, self._witness.new_key()))
                assert number > last, f"{number} was answered after {last}"
                last = number
        except BaseException as error:  # noqa: BLE001 - the test is to hear of it, whatever it is
            self.failed = error
        finally:
            self._hang_up()

    def _ask(self, key: str) -> int | None:
        """Ask once; tell the witness of a number."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(
                    "127.0.0.1", self._house.port, timeout=WAIT_S_MAX
                )
            self._connection.request("POST", "/next", headers={"Idempotency-Key": key})
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._hang_up()  # the number may have been taken, or may not
            return None
        if answer.status == 503:
            return None
        assert answer.status == 200, (answer.status, body)
        number = int(body)
        self._witness.saw(key, number, int(answer.getheader("Happy-Seq")))
        return number

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class House:
    """A container whose processes are killed one by one, while clients take numbers."""

    def __init__(self, container, witness: Witness) -> None:
        self.done = False
        self._container = container
        self._witness = witness
        self._moments = random.Random(20061122)
        self.open()

    def open(self) -> None:
        """Start the container, on a port of the kernel's choice."""
        self._container.start()
        self.port = self._container.port("numbers", "http")

    def kill_front(self) -> None:
        """Kill one of the fronts that serve."""
        fronts = wait_for(lambda: [f for f in self._status()["fronts"] if f["state"] == "serving"])
        os.kill(self._moments.choice(fronts)["pid"], signal.SIGKILL)

    def kill_core(self) -> None:
        """Kill the core; another one applies what it had in hand."""
        pid = wait_for(lambda: self._status()["core"]["pid"])
        os.kill(pid, signal.SIGKILL)

    def kill_container(self) -> None:
        """Kill the container and none of its children, which are to find out; start another."""
        self._container.process.kill()
        self._container.process.wait(WAIT_S_MAX)
        self.open()

    def _status(self):
        (status,) = self._container.status()["apps"]
        return status

    def live_on(self) -> None:
        """Let as many numbers be answered as there are clients, and some moments pass."""
        enough = len(self._witness.known()) + CLIENTS
        wait_for(lambda: len(self._witness.known()) >= enough)
        time.sleep(self._moments.uniform(0, LOAD_S_MAX))


def test_kill_9_of_each_process_in_turn_loses_and_doubles_no_answered_number(
    container, forkers, nursery
):
    """Promises 1, 2 and 5, and the order: whoever dies, every answered number holds."""
    real = container(CONFIG)
    real.spawn = forkers(nursery.name).fork
    witness = Witness()
    house = House(real, witness)
    clients = [Client(house, witness) for _ in range(CLIENTS)]
    victims = [house.kill_front, house.kill_core, house.kill_container]
    for client in clients:
        client.start()
    try:
        for _, kill in zip(range(KILLS), itertools.cycle(victims), strict=False):
            house.live_on()
            kill()
        house.live_on()
    finally:
        house.done = True
        for client in clients:
            client.join()
    assert [client.failed for client in clients if client.failed] == []
    assert real.stop() == -signal.SIGTERM
    numbers = sorted(witness.numbers.values())
    print(f"{KILLS} kills, {len(numbers)} numbers answered")
    assert numbers == list(range(1, len(numbers) + 1))
    assert witness.unanswered == set()
    told = "\n".join(real.read_all())
    assert told.count("was ended by signal 9") >= KILLS // 3  # some may be killed before they tell
    journal = real.data / "numbers"
    assert verified(journal) == "whole"
    assert numbers_in(journal) == witness.numbers
