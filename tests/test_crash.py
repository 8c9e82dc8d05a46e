"""Killing the process at any moment loses and doubles nothing that was answered."""

from __future__ import annotations

import http.client
import random
import threading
import time

CLIENTS = 16
CYCLES = 200
LOAD_S_MAX = 0.15


class Witness:
    """Stands outside the process and remembers every answer: key by key, number by number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.unanswered: set[str] = set()
        self._lock = threading.Lock()
        self._keys = 0

    def new_key(self) -> str:
        with self._lock:
            self._keys += 1
            key = f"key-{self._keys}"
            self.unanswered.add(key)
            return key

    def saw(self, key: str, number: int) -> None:
        with self._lock:
            self.unanswered.discard(key)
            known = self.numbers.setdefault(key, number)
        assert known == number, f"{key} was answered {known} and then {number}"


def take_number(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("POST", "/next", headers={"Idempotency-Key": key})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (answer.status, body)
    return int(body)


def client(port: int, witness: Witness, stop: threading.Event) -> None:
    """Take numbers until the process is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        while not stop.is_set():
            key = witness.new_key()
            witness.saw(key, take_number(connection, key))
    except (OSError, http.client.HTTPException):
        return  # killed: this key stays unanswered
    finally:
        connection.close()


def test_kill_9_under_load_loses_and_doubles_no_answered_number(container):
    """Promises 1, 2 and 5: over 200 kills under 16 clients, every answered number holds."""
    house = container()
    witness = Witness()
    moments = random.Random(20061122)
    for _ in range(CYCLES):
        house.start()
        port = house.port("numbers", "http")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        retried = [
            *witness.unanswered,
            *moments.sample(sorted(witness.numbers), k=min(8, len(witness.numbers))),
        ]
        for key in retried:
            witness.saw(key, take_number(connection, key))
        connection.close()
        stop = threading.Event()
        clients = [
            threading.Thread(target=client, args=(port, witness, stop)) for _ in range(CLIENTS)
        ]
        for thread in clients:
            thread.start()
        time.sleep(moments.uniform(0.01, LOAD_S_MAX))
        house.kill()
        stop.set()
        for thread in clients:
            thread.join()
    house.start()
    port = house.port("numbers", "http")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for key in list(witness.unanswered):
        witness.saw(key, take_number(connection, key))
    numbers = sorted(witness.numbers.values())
    print(f"{CYCLES} kills, {len(numbers)} numbers answered")
    assert numbers == list(range(1, len(numbers) + 1))
    connection.close()
