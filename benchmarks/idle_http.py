# ruff: noqa: PLC0415 - only the serving child imports what is measured
"""What an idle keep-alive connection costs: bytes of resident memory, over real sockets.

    python benchmarks/idle_http.py [CONNECTIONS]

A child process serves an application; this one opens the connections, has one request answered
on each, and compares the child's resident memory before and after.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REQUEST = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nUser-Agent: idle\r\n\r\n"
WARM_UP = 200  # so that what is loaded and cached at first use is not counted
GOAL_BYTES = 4_096


def serve() -> None:
    """Serve an application on a free port, and print the port."""
    from klein import Klein
    from twisted.internet import reactor

    from happy.app import App
    from happy.limits import Limits
    from happy.state import state
    from happy.wire.http import site_for

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
    print(port.getHost().port, flush=True)
    loop.run()


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def connect(port: int) -> socket.socket:
    """Open a connection and have one request answered on it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"hello\n"):
        piece = connection.recv(4_096)
        if not piece:
            raise SystemExit(f"the server closed the connection after {answer!r}")
        answer += piece
    return connection


def main() -> None:
    """Measure and print the bytes of one connection; status 1 when it costs too much."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    wanted = count + WARM_UP + 100
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"needs {wanted} open files, the limit is {hard}: ulimit -n {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        kept = [connect(port) for _ in range(WARM_UP)]
        before = resident_bytes(server.pid)
        kept += [connect(port) for _ in range(count)]
        time.sleep(2.5)  # two sweeps
        cost = (resident_bytes(server.pid) - before) / count
        print(f"{count} idle connections: {cost:,.0f} bytes each")
        for connection in kept:
            connection.close()
    finally:
        server.terminate()
        server.wait()
    raise SystemExit(cost > GOAL_BYTES)


if __name__ == "__main__":
    serve() if "--serve" in sys.argv else main()
