"""Clients that take numbers, and a witness outside the process who remembers every answer."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

HAPPY = Path(sys.executable).with_name("happy")
CLIENTS = 16
TIMEOUT_S = 60


class Witness:
    """Knows what was answered: key by key, number by number, each in its place of the order."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.unanswered: set[str] = set()
        self.refused: dict[str, tuple[int, str | None]] = {}
        """The keys that got another answer than a number: its status and its Retry-After."""
        self.last_seq = 0
        self._lock = threading.Lock()
        self._keys = 0

    def new_key(self) -> str:
        """Return a key for a new request."""
        with self._lock:
            self._keys += 1
            key = f"key-{self._keys}"
            self.unanswered.add(key)
            return key

    def saw(self, key: str, number: int, seq: int) -> None:
        """Remember an answer; it must be the one that was given before."""
        with self._lock:
            self.unanswered.discard(key)
            self.last_seq = max(self.last_seq, seq)
            known = self.numbers.setdefault(key, number)
        assert known == number, f"{key} was answered {known} and then {number}"

    def known(self) -> dict[str, int]:
        """Return what was answered so far, while more is answered."""
        with self._lock:
            return dict(self.numbers)

    def was_refused(self, key: str, status: int, retry_after: str | None) -> None:
        """Remember that there was no number for a key."""
        with self._lock:
            self.unanswered.discard(key)
            self.refused[key] = (status, retry_after)


def take_number(connection: http.client.HTTPConnection, key: str, witness: Witness) -> bool:
    """Ask for a number and tell the witness; return whether there was one."""
    connection.request("POST", "/next", headers={"Idempotency-Key": key})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status == 200:
        witness.saw(key, int(body), int(answer.getheader("Happy-Seq")))
        return True
    assert answer.status == 503, (answer.status, body)
    witness.was_refused(key, answer.status, answer.getheader("Retry-After"))
    return False


def ask_again(port: int, witness: Witness, keys: list[str]) -> None:
    """Ask once more for what was answered, or may have been: all of it must be answered now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    for key in keys:
        assert take_number(connection, key, witness), witness.refused[key]
    connection.close()


class Load:
    """Clients that take numbers at once, in threads, until they are stopped or cut off."""

    def __init__(self, port: int, witness: Witness) -> None:
        self._port = port
        self._witness = witness
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            while not self._stop.is_set():
                take_number(connection, self._witness.new_key(), self._witness)
        except (OSError, http.client.HTTPException):
            return  # cut off: this key stays unanswered
        finally:
            connection.close()


def numbers_in(journal: Path) -> dict[str, int]:
    """Read a journal in a fresh process; return the number that each key was given."""
    numbers: dict[str, int] = {}
    for entry in map(json.loads, _happy("show", journal).stdout.splitlines()):
        if entry["key"] is not None:
            assert entry["key"] not in numbers, f"{entry['key']} is there twice"
            numbers[entry["key"]] = len(numbers) + 1
    return numbers


def verified(journal: Path) -> str:
    """Return what ``happy journal verify`` says about a journal."""
    return json.loads(_happy("verify", journal).stdout)["health"]


def _happy(command: str, journal: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [HAPPY, "journal", command, "--json", journal],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    return done
