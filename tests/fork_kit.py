"""Real containers that start in a moment: forked from a process that has imported everything.

The imports are most of a start's cost. What is forked runs the entry of ``twistd`` itself, with
a process group, files and a reactor of its own, and can be killed like any other process. Run
as a program, this file is the process that forks: one container at a time.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TextIO

REACTOR = "twisted.internet.reactor"
IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.internet.epollreactor",
    "happy.container",
    "happy.tap",
    "happy.examples.numbers",
)
MESSAGE_BYTES_MAX = 65536


class Forked:
    """A forked container, as ``subprocess.Popen`` shows a process."""

    def __init__(self, told: socket.socket, stdout: TextIO) -> None:
        self.stdout = stdout
        self.returncode: int | None = None
        self._told = told
        self.pid = int(told.recv(MESSAGE_BYTES_MAX))

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """``kill -9``."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._status(0)

    def wait(self, timeout: float) -> int:
        """Return its exit status when it has ended."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("a forked container", timeout)
        return status

    def _status(self, timeout_s: float) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout_s)[0]:
            self.returncode = int(self._told.recv(MESSAGE_BYTES_MAX))
        return self.returncode


class Forker:
    """The process that forks; ``fork`` is called like ``subprocess.Popen``.

    The children of its containers come from a nursery, if there is one; see ``nursery_kit``.
    """

    def __init__(self, nursery: str = "") -> None:
        self._told, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(its_end.fileno()), nursery],
                pass_fds=[its_end.fileno()],
            )

    def fork(self, command: list[str], folder: Path) -> Forked:
        """Run ``twistd``; the container before must have ended."""
        read_end, write_end = os.pipe()
        request = json.dumps({"folder": str(folder), "command": command})
        socket.send_fds(self._told, [request.encode()], [write_end])
        os.close(write_end)
        return Forked(self._told, os.fdopen(read_end, errors="replace"))

    def close(self) -> None:
        """End the process; a container that runs is let be."""
        self._told.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def without_reactor() -> Iterator[None]:
    """Import in this block everything but the reactor, which must not be shared over a fork."""
    # Klein takes hold of a reactor that only its own ``run`` uses: here it is one without use.
    sys.modules[REACTOR] = ModuleType(REACTOR)
    yield
    del sys.modules[REACTOR]


def import_all() -> None:
    """Import everything that a container needs."""
    with without_reactor():
        for name in IMPORTED:
            import_module(name)
        from twisted.application.service import IServiceMaker  # noqa: PLC0415 - without a reactor
        from twisted.plugin import getPlugins  # noqa: PLC0415 - without a reactor

        assert [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "happy"]
    gc.freeze()


def serve(asked: socket.socket) -> None:
    """Fork what is asked for, tell its pid and its exit status; return in each fork."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, MESSAGE_BYTES_MAX, 1)
        if not request:
            sys.exit()
        wanted = json.loads(request)
        pid = os.fork()
        if pid == 0:
            asked.close()
            os.setpgid(0, 0)
            os.dup2(descriptors[0], 1)
            os.dup2(descriptors[0], 2)
            os.close(descriptors[0])
            os.chdir(wanted["folder"])
            sys.argv = wanted["command"]
            return
        os.setpgid(pid, pid)
        os.close(descriptors[0])
        asked.send(b"%d" % pid)
        _, status = os.waitpid(pid, 0)
        asked.send(b"%d" % os.waitstatus_to_exitcode(status))


def main() -> None:
    """Be the process that forks, and each of its forks."""
    import_all()
    nursery = sys.argv[2]
    serve(socket.socket(fileno=int(sys.argv[1])))
    if nursery:
        import_module("nursery_kit").adopt(nursery)
    from twisted.scripts.twistd import run  # noqa: PLC0415 - imported long before the fork

    run()


if __name__ == "__main__":
    main()
