"""A way between two mail servers that loses answers: every so many times, a 250 after the dot."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import socketserver
import threading
from collections.abc import Callable

_TAKEN = re.compile(rb"250 2\.0\.0 Ok [a-z]+/\d+\r\n")


class _Way(socketserver.BaseRequestHandler):
    server: LossyProxy

    def handle(self) -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(
                ("127.0.0.1", self.server.port_behind()), timeout=60
            ) as behind,
        ):
            self.request.settimeout(60)
            forward = threading.Thread(target=_copy, args=(self.request, behind), daemon=True)
            forward.start()
            while data := behind.recv(65_536):
                if _TAKEN.search(data) and next(self.server.answers) % self.server.every == 0:
                    self.server.swallowed += 1
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(data)
            self.request.shutdown(socket.SHUT_RDWR)


def _copy(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


class LossyProxy(socketserver.ThreadingTCPServer):
    """Listens on ``port`` of 127.0.0.1; every so manieth taken message has its 250 swallowed."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port_behind: Callable[[], int], every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Way)
        self.port_behind = port_behind
        self.every = every
        self.answers = itertools.count(1)
        self.swallowed = 0
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()
