"""What an idle SMTP session costs in memory: ``python benchmarks/idle_smtp.py [SESSIONS]``.

The door runs in a process of its own, without a journal, so that only sessions are counted. Real
connections say EHLO, one half of them delivers a message first, and then all of them rest; the
growth of the process's resident set is divided by their number. Exits with 1 above the bound.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from happy.app import App
from happy.event import Exchange
from happy.limits import Limits
from happy.return_paths import ReturnPaths
from happy.wire.smtp import MailFactory

SESSION_BYTES_MAX = 12_000
WARM_UP = 50
MESSAGE = b"Subject: x\r\n\r\n" + b"a line of text\r\n" * 4_000 + b".\r\n"  # not a blob yet
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CommitAtOnce:
    """A stream that has no journal: every event has its place at once."""

    seq = 0
    return_paths = ReturnPaths()

    def submit(self, event: object, _exchange: Exchange) -> Deferred[tuple[int, ...]]:
        """Give each recipient's message the next place."""
        self.seq += 1
        return succeed((self.seq,) * len(getattr(event, "recipients", ())))

    def trouble(self, _size: int) -> None:
        """Have room for any."""


class Anyone(App):
    """Takes mail for anyone."""

    def knows_recipient(self, _local: str, _domain: str = "") -> Deferred[bool]:
        """Know them."""
        return succeed(True)


def serve() -> None:
    """Run the door on a free port, and print the port."""
    factory = MailFactory(
        Anyone("anyone", CommitAtOnce(), domains=("x.example",)),
        limits=Limits(smtp_connections_max=100_000, smtp_connections_per_peer_max=100_000),
        clock=reactor,
        hostname="mx.example",
    )
    port = reactor.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def converse(port: int, *, with_message: bool) -> socket.socket:
    """Return a connection that has said hello, and delivered a message if it should."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)

    def say(words: bytes, code: bytes) -> None:
        if words:
            peer.sendall(words)
        reply = b""
        while not (reply.endswith(b"\r\n") and reply.splitlines()[-1].startswith(code + b" ")):
            said = peer.recv(4096)
            if not said:
                raise ConnectionError(f"the door hung up behind {words!r} and {reply!r}")
            reply += said

    say(b"", b"220")
    say(b"EHLO c.example\r\n", b"250")
    if with_message:
        say(b"MAIL FROM:<a@s.example>\r\n", b"250")
        say(b"RCPT TO:<b@x.example>\r\n", b"250")
        say(b"DATA\r\n", b"354")
        say(MESSAGE, b"250")
    return peer


def resident_bytes(pid: int) -> int:
    """Return the resident set of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def main(sessions: int) -> int:
    """Measure, print, and return the exit status."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, sessions + 200), hard))
    command = [sys.executable, __file__, "serve"]
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(door.terminate)
        assert door.stdout is not None
        port = int(door.stdout.readline())
        for n in range(WARM_UP):
            converse(port, with_message=n % 2 == 0).close()
        time.sleep(0.5)
        before = resident_bytes(door.pid)
        for n in range(sessions):
            stack.callback(converse(port, with_message=n % 2 == 0).close)
        time.sleep(2)  # the sweep has been by
        each = (resident_bytes(door.pid) - before) / sessions
    print(f"{sessions} idle sessions: {each:.0f} bytes each (bound {SESSION_BYTES_MAX})")
    return int(each > SESSION_BYTES_MAX)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
