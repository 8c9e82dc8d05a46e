"""Children of a container that start in a moment: forked from a process that has imported them.

A front or a core is a Python that imports everything first, which costs more than all that a
test wants of it. Run as a program, this file is a process that has done so, and forks what a
container asks it for; the container asks because ``adopt`` was called in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

from fork_kit import without_reactor

IMPORTED = ("happy.split.front", "happy.cli.filter", "happy.examples.numbers", "happy.cli")
STARTERS = ("happy.split.fronts", "happy.split.core_life")
MESSAGE_BYTES_MAX = 65_536
DESCRIPTORS_MAX = 16
HIGH = 500  # a descriptor beyond all that are asked for


class Nursery:
    """The process that forks children; ``name`` is where containers find it."""

    def __init__(self) -> None:
        self.name = f"happy-nursery-{os.getpid()}-{id(self)}"
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.name], stdout=subprocess.PIPE
        )
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End it, and with it what it forked."""
        self._process.kill()
        self._process.communicate()


# --- in the container -------------------------------------------------------------------------


def adopt(name: str) -> None:
    """Let the fronts and the core of this process come from a nursery."""

    class Child(_Child):
        nursery = name

    for module in STARTERS:
        names = {**vars(subprocess), "Popen": Child}
        import_module(module).subprocess = SimpleNamespace(**names)


class _Child:
    """A child as ``subprocess.Popen`` shows one, as far as it is looked at."""

    nursery: str

    _end: int | None = None

    def __init__(self, words, *, pass_fds=(), stdin=None, stdout=None, cwd=".", **_) -> None:
        placed = [(descriptor, descriptor) for descriptor in pass_fds]
        for standard, given in ((0, stdin), (1, stdout)):
            if given is not None and given >= 0:
                placed.append((given, standard))
        request = {
            "words": list(words),
            "places": [place for _, place in placed],
            "folder": os.path.realpath(cwd),
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
            asking.connect("\0" + self.nursery)
            given = [descriptor for descriptor, _ in placed]
            socket.send_fds(asking, [json.dumps(request).encode()], given)
            self.pid = int(asking.recv(MESSAGE_BYTES_MAX))
            self._end = os.pidfd_open(self.pid)
            asking.send(b"seen")

    def __del__(self) -> None:
        if self._end is not None:
            os.close(self._end)

    def kill(self) -> None:
        """``kill -9``; nothing when it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._end, signal.SIGKILL)

    def poll(self) -> int | None:
        """Return a status when it has ended: not its own, which its parent alone is told."""
        return -signal.SIGKILL if select.select([self._end], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended."""
        if not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a child", timeout)
        return -signal.SIGKILL


# --- in the nursery ---------------------------------------------------------------------------


def serve(name: str) -> list[str]:
    """Fork whatever is asked for; return in each child, with its words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind("\0" + name)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            asked, _ = listening.accept()
            with asked:
                message, descriptors, _, _ = socket.recv_fds(
                    asked, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX
                )
                if not message:
                    continue
                pid = os.fork()
                if pid == 0:
                    break
                for descriptor in descriptors:
                    os.close(descriptor)
                with contextlib.suppress(OSError):  # a container may be killed while it asks
                    asked.send(b"%d" % pid)
                    asked.recv(MESSAGE_BYTES_MAX)  # until then it is not reaped: its pid is its own
                reap()
    wanted = json.loads(message)
    place(descriptors, wanted["places"])
    os.chdir(wanted["folder"])
    return wanted["words"]


def reap() -> None:
    """Let go of children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def place(descriptors: list[int], places: list[int]) -> None:
    """Give each descriptor the number it is to have."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, wanted in zip(high, places, strict=True):
        os.dup2(descriptor, wanted)
        os.close(descriptor)


def main() -> None:
    """Be the process that forks, and each of its forks."""
    with without_reactor():
        for name in IMPORTED:
            import_module(name)
    gc.freeze()
    _, _, option, what, *arguments = serve(sys.argv[1])
    if option == "-m":
        link, _parent = arguments
        sys.argv = [what, link, str(os.getppid())]
        import_module(what).main()
    else:
        sys.argv = ["happy", *arguments]
        import_module("happy.cli").main(prog_name="happy")


if __name__ == "__main__":
    main()
