"""An HTTP client that asks again and again, and looks at every answer.

    python -m happy.bench.load PORT METHOD PATH CLIENTS RATE SECONDS

asks RATE times a second, each request at its own moment over whichever of CLIENTS connections
is free; RATE 0 asks again as soon as there is an answer. Before that, each connection asks once:
a server that still accepts connections is not what is measured. A latency counts from the moment
the request was due, so that a server that stops for a while is charged for all that it kept
waiting. The numbers in the answers to POST are kept and looked at: each once, without a gap, and
on a connection each greater than the one before. One line of JSON at the end.

It needs some 10 to 15 us of its processor for a request: a server that needs less is not
measured by it, and ``cpu_s`` beside ``seconds`` says so. Where ``wrk`` is at hand, it needs half.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from typing import Any, Final

import attrs

from happy.bench.figures import faults_in, percentile

REQUESTS_MAX: Final = 2_000_000
GRACE_S: Final = 60.0
_PIECE_BYTES: Final = 65_536
_LENGTH: Final = b"content-length: "


def whole_answer(data: bytes) -> tuple[int, bytes] | None:
    """Return status and body of an answer when it is whole, None before."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = data.lower().find(_LENGTH, 0, end)
    size = int(data[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    body = data[end + 4 :]
    return (int(data[9:12]), body) if len(body) >= size else None


def request_of(method: str, path: str) -> bytes:
    """Return the bytes of a request without a body."""
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n".encode()


@attrs.define(eq=False)
class Connection:
    """One connection and what came over it."""

    socket: socket.socket
    due_s: float = 0.0
    data: bytes = b""
    numbers: list[int] = attrs.Factory(list)


class Load:
    """The client; see the head of this module."""

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
        self.unanswered = 0
        self.seconds = self.cpu_s = 0.0

    def run(self, rate: float, seconds: float) -> None:
        """Ask for some seconds, then wait for the answers that are owed."""
        while self._free:
            self._ask(0.0)
        self._wait_for_all()
        self.latencies_s.clear()
        self.refused = 0
        start_s, used_s = time.perf_counter(), time.process_time()
        end_s = start_s + seconds
        asked = 0
        while ((now_s := time.perf_counter()) < end_s and asked < REQUESTS_MAX) or not asked:
            while self._free and (not rate or start_s + asked / rate <= now_s):
                self._ask(start_s + asked / rate if rate else time.perf_counter())
                asked += 1
            due_s = start_s + asked / rate if rate and self._free else end_s
            self._take(max(0.0, due_s - time.perf_counter()))
        self._wait_for_all()
        self.unanswered = len(self._by_file) - len(self._free)
        self.seconds = time.perf_counter() - start_s
        self.cpu_s = time.process_time() - used_s

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for one in self._by_file.values():
            one.socket.close()

    def _wait_for_all(self) -> None:
        late_s = time.perf_counter() + GRACE_S
        while len(self._free) < len(self._by_file) and time.perf_counter() < late_s:
            self._take(GRACE_S)

    def _ask(self, due_s: float) -> None:
        one = self._free.popleft()
        one.due_s = due_s
        one.socket.send(self._request)

    def _take(self, timeout_s: float) -> None:
        ready = self._poll.poll(0)
        if not ready:
            # epoll counts in whole milliseconds; select does not, and can wait for an epoll.
            select.select((self._poll,), (), (), timeout_s)
            ready = self._poll.poll(0)
        for file, _ in ready:
            one = self._by_file[file]
            data = one.socket.recv(_PIECE_BYTES)
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
        """Return what came of it; ``numbers``, with what is wrong with those."""
        got = [one.numbers for one in self._by_file.values()]
        return {
            "answers": len(self.latencies_s),
            "refused": self.refused,
            "unanswered": self.unanswered,
            "p50_us": percentile(self.latencies_s, 50) * 1e6,
            "p99_us": percentile(self.latencies_s, 99) * 1e6,
            "seconds": self.seconds,
            "cpu_s": self.cpu_s,
            "faults": faults_in(got) if numbers else [],
        }


def main(  # noqa: PLR0913 - the command line
    port: str, method: str, path: str, clients: str, rate: str, seconds: str
) -> None:
    """Load a server; print what came of it."""
    load = Load(int(port), request_of(method, path), int(clients))
    gc.disable()  # its pauses would be taken for the server's
    load.run(float(rate), float(seconds))
    print(json.dumps(load.found(numbers=method == "POST")))


if __name__ == "__main__":
    main(*sys.argv[1:])
