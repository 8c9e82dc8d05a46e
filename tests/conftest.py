"""What several test files share: real programs, and a real container."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

CI = bool(os.environ.get("CI"))
START_S_MAX = 60
STOP_S_MAX = 30
TWISTD = Path(sys.executable).with_name("twistd")


def need(program: str) -> str:
    """Return the path of a program; without it the test is skipped, and under CI it fails."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        (pytest.fail if CI else pytest.skip)(f"{program} is not installed")
    return found


class Container:
    """A real ``twistd happy`` in a process of its own; ``config`` says ``data = "data"``."""

    def __init__(self, folder: Path, config: str, wrapper: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "happy.toml"
        self.config.write_text(config)
        self.data = folder / "data"
        self.wrapper = wrapper
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._serving = threading.Event()

    def launch(self) -> subprocess.Popen[str]:
        """Start the process; do not wait for it to serve."""
        self._serving = threading.Event()
        command = [TWISTD, "-n", "--pidfile=", "happy", "--config", self.config]
        self.process = subprocess.Popen(
            [*self.wrapper, *map(str, command)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self.process, self._serving), daemon=True).start()
        return self.process

    def start(self) -> Container:
        """Start it and wait until it serves."""
        self.launch()
        if not self._serving.wait(START_S_MAX) or self.process.poll() is not None:
            self.kill()
            raise AssertionError("it does not serve:\n" + "\n".join(self.lines[-40:]))
        return self

    def _read(self, process: subprocess.Popen[str], serving: threading.Event) -> None:
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line.rstrip())
                if "happy is serving" in line:
                    serving.set()
        serving.set()

    def status(self) -> dict:
        """Ask the control socket."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(START_S_MAX)
            asking.connect(str(self.data / "control.sock"))
            asking.sendall(b"status\n")
            return json.loads(asking.makefile().readline())

    def port(self, app: str, kind: str) -> int:
        """Return the port on which an application's door listens."""
        (status,) = [a for a in self.status()["apps"] if a["name"] == app]
        (door,) = [d for d in status["doors"] if d["kind"] == kind]
        return int(door["where"].rpartition(":")[2])

    def kill(self) -> None:
        """``kill -9``; a wrapper goes with it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self._wait()

    def stop(self) -> int:
        """Stop it in good order; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def _wait(self) -> int:
        if self.process is None:
            return 0
        try:
            return self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


NUMBERS = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
[log]
access = "off"
"""


@pytest.fixture
def container(tmp_path):
    """Return a function that makes containers, all of which are gone after the test."""
    made: list[Container] = []

    def make(config: str = NUMBERS, wrapper: tuple[str, ...] = (), name: str = "house"):
        made.append(Container(tmp_path / name, config, wrapper))
        return made[-1]

    yield make
    for one in made:
        one.kill()
