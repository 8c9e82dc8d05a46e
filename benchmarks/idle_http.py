# ruff: noqa: PLC0415 - only the serving child imports what is measured
"""What an idle keep-alive connection costs, and whether many of them hold beside active ones.

    python benchmarks/idle_http.py [IDLE [ACTIVE]]

A child process serves an application; this one opens the idle connections, has one request
answered on each, and compares the child's resident memory before and after. Then it opens the
active ones, which ask for a while, all at once; and at the end each idle one is to be answered
again.
"""

from __future__ import annotations

import resource
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REQUEST = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nUser-Agent: idle\r\n\r\n"
WARM_UP = 200  # so that what is loaded and cached at first use is not counted
GOAL_BYTES = 3_000
IDLE, ACTIVE = 10_000, 1_000
ACTIVE_S = 5.0
TIMEOUT_S = 60
SPARE_FILES = 200


def serve() -> None:
    """Serve an application on a free port, and print the port."""
    from klein import Klein
    from twisted.internet import reactor

    from happy.app import App
    from happy.limits import Limits
    from happy.state import state
    from happy.wire.http import site_for
    from happy.wire.together import read_together

    @state
    class Nothing:
        pass

    class Hello(App):
        state = Nothing
        http = Klein()

        @http.route("/hello", methods=["GET"])
        def hello(self, _request: object) -> bytes:
            return b"hello\n"

    app = Hello("hello", None)  # type: ignore[arg-type] # no route of it submits
    loop: Any = reactor  # to type checkers it is a module
    site = site_for(app, limits=Limits(), reactor=loop)
    port = loop.listenTCP(0, site, backlog=1024, interface="127.0.0.1")
    read_together(port)
    print(port.getHost().port, flush=True)
    loop.run()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def ask(connection: socket.socket) -> None:
    """Have one request answered on a connection."""
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"hello\n"):
        piece = connection.recv(4_096)
        if not piece:
            raise SystemExit(f"the server closed a connection after {answer!r}")
        answer += piece


def connect(port: int) -> socket.socket:
    """Open a connection and have one request answered on it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    ask(connection)
    return connection


def keep_busy(connections: list[socket.socket]) -> int:
    """Ask on all connections at once, again and again for a while; return the answers."""
    answers, until_s = 0, time.monotonic() + ACTIVE_S
    with selectors.DefaultSelector() as ready:
        for connection in connections:
            ready.register(connection, selectors.EVENT_READ)
            connection.sendall(REQUEST)
        waiting = len(connections)
        while waiting:
            found = ready.select(TIMEOUT_S)
            if not found:
                raise SystemExit(f"{waiting} active connections got no answer in {TIMEOUT_S} s")
            for key, _ in found:
                connection = socket_of(key)
                if not connection.recv(4_096).endswith(b"hello\n"):
                    raise SystemExit("an active connection got half of an answer, or none")
                answers += 1
                if time.monotonic() < until_s:
                    connection.sendall(REQUEST)
                else:
                    waiting -= 1
    return answers


def socket_of(key: selectors.SelectorKey) -> socket.socket:
    """Return the connection that a selector tells of."""
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


def allow_files(wanted: int) -> None:
    """Raise the limit of open files, here and for the server; say so where it is not permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        raise SystemExit(
            f"this takes {wanted} open files in each of two processes, and the limit is {hard}: "
            f"have it raised (ulimit -Hn {wanted}, LimitNOFILE={wanted}), or ask for fewer: "
            f"{sys.argv[0]} {max(hard - SPARE_FILES - WARM_UP, 2) // 2} 100"
        ) from None


def main() -> None:
    """Measure and print; status 1 when an idle connection costs too much."""
    counts = [int(text) for text in sys.argv[1:]]
    idle, active = (*counts, *(IDLE, ACTIVE)[len(counts) :])
    allow_files(idle + active + WARM_UP + SPARE_FILES)
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        warm = [connect(port) for _ in range(WARM_UP)]
        before = resident_bytes(server.pid)
        kept = [connect(port) for _ in range(idle)]
        time.sleep(2.5)  # two sweeps
        cost = (resident_bytes(server.pid) - before) / idle
        print(f"{idle:,} idle connections: {cost:,.0f} bytes each", flush=True)
        busy = [connect(port) for _ in range(active)]
        answers = keep_busy(busy)
        for connection in kept:
            ask(connection)
        busy_for = f"{answers:,} answers in {ACTIVE_S:.0f} s"
        print(f"{active:,} active ones beside them: {busy_for}, then one on each idle connection")
        for connection in [*warm, *kept, *busy]:
            connection.close()
    finally:
        server.terminate()
        server.wait()
    raise SystemExit(cost > GOAL_BYTES)


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
