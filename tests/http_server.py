"""A server in a process of its own, whose memory can be looked at: ``python http_server.py``.

It serves ``/hello``, ``/big`` (one answer of a megabyte) and ``/file`` (64 megabytes, sent as
a file is), and prints its port.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.web.resource import Resource
from twisted.web.static import Data, File

BIG = 1 << 20
FILE = 64 << 20
FILES_MAX = 4_096
S_MAX = 60


class Big(Resource):
    """An answer that is made anew for each request."""

    isLeaf = True

    def render(self, request):
        return os.urandom(1) * BIG


def serve() -> None:
    """Serve until the end of standard input."""
    from twisted.internet import reactor, stdio  # noqa: PLC0415 - in the child alone
    from twisted.internet.protocol import Protocol  # noqa: PLC0415 - in the child alone

    from happy.limits import Limits  # noqa: PLC0415 - in the child alone
    from happy.wire.http_site import HappySite  # noqa: PLC0415 - in the child alone
    from happy.wire.together import read_together  # noqa: PLC0415 - in the child alone

    class Watching(Protocol):
        def connectionLost(self, reason):
            reactor.callFromThread(reactor.stop)

    root = Resource()
    root.putChild(b"hello", Data(b"hello", "text/plain"))
    root.putChild(b"big", Big())
    with tempfile.NamedTemporaryFile() as file:
        os.truncate(file.name, FILE)
        root.putChild(b"file", File(file.name))
        site = HappySite(root, limits=Limits(), reactor=reactor)
        port = reactor.listenTCP(0, site, backlog=1_024, interface="127.0.0.1")
        read_together(port)
        stdio.StandardIO(Watching())
        print(port.getHost().port, flush=True)
        reactor.run()


class Server:
    """The process, for the length of a block."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.port = int(self._process.stdout.readline())
        self._opened: list[socket.socket] = []
        return self

    def __exit__(self, *_):
        for client in self._opened:
            client.close()
        self._process.kill()
        self._process.communicate()

    def connect(self, receive_bytes: int | None = None) -> socket.socket:
        """Return a connected client, with a small receive buffer if one is asked for."""
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(S_MAX)
        client.connect(("127.0.0.1", self.port))
        self._opened.append(client)
        return client

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()


def allow_files(wanted: int = FILES_MAX) -> None:
    """Raise the limit of open files, for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


if __name__ == "__main__":
    serve()
