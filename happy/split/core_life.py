"""One life of a core: its process, and the pipe to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from happy.app import App
from happy.split.pipe import Pipe, socket_pair

_END_GRACE_S: Final = 5
_COMMAND: Final = "from happy.cli import main; main(prog_name='happy')"

Received = Callable[[bytes], None]
Lost = Callable[[], None]


class Life(Protocol):
    """A core that was started."""

    @property
    def pid(self) -> int:
        """Its process."""

    def send(self, data: bytes) -> None:
        """Send it bytes."""

    def receive(self) -> bool:
        """Wait, blocking, for what it says; return False when it has ended."""

    def serve(self) -> None:
        """Send and receive by the reactor from now on."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """Let go of it, so that it ends."""

    def reap(self) -> str:
        """Wait, blocking, until it is dead, and see to that; return how it ended."""

    def wait(self) -> None:
        """Wait, blocking, until it has ended by itself, for a while."""


Launch = Callable[[bool, Received, Lost], Life]
"""Starts a core: whether a divergence is accepted, and who is told; ``OSError`` if it cannot be."""


@attrs.frozen
class Command:
    """What a core is to be."""

    app: type[App]
    base: Path
    """The directory that is first on the path of modules."""
    journal: Path
    handler_timeout_s: int

    def words(self, *, accept_divergence: bool) -> list[str]:
        """Return the command that is such a core."""
        return [
            *(sys.executable, "-P", "-c", _COMMAND),
            *("core", f"{self.app.__module__}:{self.app.__qualname__}"),
            *("--journal", str(self.journal.absolute())),
            *("--handler-timeout-s", str(self.handler_timeout_s)),
            *(["--accept-divergence"] if accept_divergence else []),
        ]


class ProcessLife:
    """A ``Life`` that is a process of this machine."""

    def __init__(
        self,
        command: Command,
        reactor: Any,
        accept_divergence: bool,
        received: Received,
        lost: Lost,
    ) -> None:
        """Start it; ``OSError`` when there can be none."""
        ours, theirs = socket_pair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    command.words(accept_divergence=accept_divergence),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    cwd=command.base,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            except OSError:
                ours.close()
                raise
        self._pipe = Pipe(ours, reactor, received, lost)
        self.send = self._pipe.write
        self.receive = self._pipe.receive
        self.serve = self._pipe.start
        self.close = self._pipe.close
        self.kill = self._process.kill

    @property
    def pid(self) -> int:
        """See ``Life``."""
        return self._process.pid

    def reap(self) -> str:
        """See ``Life``."""
        self._process.kill()
        status = self._process.wait()
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"(process {self.pid}) {how}"

    def wait(self) -> None:
        """See ``Life``."""
        try:
            self._process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            self.reap()
