"""The load for ``web.py``: wrk as fast as it goes, and a client with a constant rate.

    python benchmarks/web_load.py PORT METHOD PATH CLIENTS RATE SECONDS

asks RATE times a second, each request at its own moment over whichever of CLIENTS connections
is free; RATE 0 asks again as soon as there is an answer. (wrk has no rate.) A latency counts from
the moment the request was due, so that a server that stops for a while is charged for all that
it kept waiting. The numbers in the answers are kept and looked at: each once, without a gap, and
on a connection each greater than the one before.
"""

from __future__ import annotations

import gc
import json
import math
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs

SCRIPT: Final = Path(__file__).with_name("load.lua")
REQUESTS_MAX: Final = 2_000_000
GRACE_S: Final = 5.0
_LENGTH: Final = b"content-length: "


def run_wrk(core: int, clients: int, seconds: float, method: str, url: str) -> dict[str, float]:
    """Load a server as fast as it goes; return what wrk counted."""
    argv = [
        "taskset", "-c", str(core), "wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s",
        "--timeout", "10s", "-s", str(SCRIPT), url, "--", method,
    ]  # fmt: skip
    said = subprocess.run(
        argv, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def run_paced(  # noqa: PLR0913 - what is asked of whom, and how
    core: int, port: int, row: Sequence[str], clients: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Load a server at a constant rate from a process of its own; return what it found."""
    argv = [
        "taskset", "-c", str(core), sys.executable, __file__, str(port), *row, str(clients),
        str(rate), str(seconds),
    ]  # fmt: skip
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 60)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that ``percent`` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def faults_in(numbers: Sequence[Sequence[int]]) -> list[str]:
    """Return what is wrong with the numbers that connections got, each in its order."""
    faults = []
    everything = [number for each in numbers for number in each]
    if len(set(everything)) < len(everything):
        faults.append("a number was given out twice")
    if everything and max(everything) - min(everything) + 1 != len(set(everything)):
        faults.append("there is a gap")
    if any(list(each) != sorted(each) for each in numbers):
        faults.append("on a connection, a number is less than the one before")
    return faults


def whole_answer(data: bytes) -> tuple[int, bytes] | None:
    """Return status and body of an answer when it is whole, None before."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = data.lower().find(_LENGTH, 0, end)
    size = int(data[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    body = data[end + 4 :]
    return (int(data[9:12]), body) if len(body) >= size else None


@attrs.define(eq=False)
class Connection:
    """One connection and what came over it."""

    socket: socket.socket
    due_s: float = 0.0
    data: bytes = b""
    numbers: list[int] = attrs.Factory(list)


class Paced:
    """A client with a constant rate; see the head of this module."""

    def __init__(self, port: int, request: bytes, clients: int) -> None:
        self._request = request
        self._poll = select.epoll()
        self._by_file: dict[int, Connection] = {}
        for _ in range(clients):
            made = socket.create_connection(("127.0.0.1", port), GRACE_S)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._by_file[made.fileno()] = Connection(made)
            self._poll.register(made.fileno(), select.EPOLLIN)
        self._free = deque(self._by_file.values())
        self.latencies_s: list[float] = []
        self.refused = 0

    def run(self, rate: float, seconds: float) -> None:
        """Ask for some seconds, then wait for the answers that are owed."""
        start_s = time.perf_counter()
        end_s = start_s + seconds
        asked = 0
        while (now_s := time.perf_counter()) < end_s and asked < REQUESTS_MAX:
            while self._free and (not rate or start_s + asked / rate <= now_s):
                self._ask(start_s + asked / rate if rate else time.perf_counter())
                asked += 1
            due_s = start_s + asked / rate if rate and self._free else end_s
            self._take(max(0.0, due_s - time.perf_counter()))
        late_s = time.perf_counter() + GRACE_S
        while len(self._free) < len(self._by_file) and time.perf_counter() < late_s:
            self._take(GRACE_S)
        self.unanswered = len(self._by_file) - len(self._free)

    def _ask(self, due_s: float) -> None:
        one = self._free.popleft()
        one.due_s = due_s
        one.socket.send(self._request)

    def _take(self, timeout_s: float) -> None:
        # epoll counts in whole milliseconds; select does not, and can wait for an epoll.
        select.select((self._poll,), (), (), timeout_s)
        for file, _ in self._poll.poll(0):
            one = self._by_file[file]
            data = one.socket.recv(65_536)
            if not data:
                raise ConnectionError("the server closed a connection")
            one.data += data
            answer = whole_answer(one.data)
            if answer is None:
                continue
            self.latencies_s.append(time.perf_counter() - one.due_s)
            one.data = b""
            self._free.append(one)
            if answer[0] == 200:
                if answer[1].strip().isdigit():
                    one.numbers.append(int(answer[1]))
            else:
                self.refused += 1

    def found(self, *, numbers: bool) -> dict[str, Any]:
        """Return what came of it."""
        got = [one.numbers for one in self._by_file.values()]
        return {
            "answers": len(self.latencies_s),
            "refused": self.refused,
            "unanswered": self.unanswered,
            "p50_us": percentile(self.latencies_s, 50) * 1e6,
            "p99_us": percentile(self.latencies_s, 99) * 1e6,
            "faults": faults_in(got) if numbers else [],
        }


def main(  # noqa: PLR0913 - the command line
    port: str, method: str, path: str, clients: str, rate: str, seconds: str
) -> None:
    """Load a server; print what came of it."""
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    request = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode()
    paced = Paced(int(port), request, int(clients))
    gc.disable()  # its pauses would be taken for the server's
    paced.run(float(rate), float(seconds))
    print(json.dumps(paced.found(numbers=method == "POST")))


if __name__ == "__main__":
    main(*sys.argv[1:])
