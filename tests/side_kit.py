"""Sides of a comparison that start in a moment: forked from processes that have imported happy.

Run as a program, this file is a process that forks, one side at a time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys

from happy.cli import side

MESSAGE_BYTES_MAX = 65536


class ForkedSide:
    """A forked side, as ``subprocess.Popen`` shows a process."""

    def __init__(self, told: socket.socket, said) -> None:
        its_in, in_end = os.pipe()
        out_end, its_out = os.pipe()
        socket.send_fds(told, [b"fork"], [its_in, its_out, said.fileno()])
        os.close(its_in)
        os.close(its_out)
        self.stdin = os.fdopen(in_end, "wb")
        self.stdout = os.fdopen(out_end, "rb")
        self._told = told
        self._pid = int(told.recv(MESSAGE_BYTES_MAX))
        self._status: int | None = None

    def wait(self) -> int:
        """Return its exit status when it has ended."""
        if self._status is None:
            self._status = int(self._told.recv(MESSAGE_BYTES_MAX))
        return self._status

    def kill(self) -> None:
        """``kill -9``."""
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def communicate(self) -> None:
        """Wait for its end, and let go of the pipes."""
        self.stdin.close()
        self.stdout.close()
        self.wait()


class Sides:
    """The processes that fork; an instance is called like ``happy.cli.gate.spawn``."""

    def __init__(self) -> None:
        self._forkers = []
        for _ in range(2):
            told, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with its_end:
                command = [sys.executable, __file__, str(its_end.fileno())]
                process = subprocess.Popen(command, pass_fds=[its_end.fileno()])
            self._forkers.append((told, process))

    def __call__(self, code, said):
        """Start a side, in the one process or the other."""
        return ForkedSide(self._forkers[bool(code)][0], said)

    def close(self) -> None:
        """End the processes."""
        for told, process in self._forkers:
            told.close()
            process.kill()
            process.wait()


def serve(asked: socket.socket) -> None:
    """Fork when asked, tell the pid and the exit status; return in each fork."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, MESSAGE_BYTES_MAX, 3)
        if not request:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            asked.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(b"%d" % pid)
        _, status = os.waitpid(pid, 0)
        asked.send(b"%d" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    side.main()
