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
from hypothesis import HealthCheck, settings

from fork_kit import Forker
from nursery_kit import Nursery
from smtp_sink import Sink

# What runs in the background of a shell ignores an interrupt, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# That a machine has other work as well is no fault of what is tested.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

CI = bool(os.environ.get("CI"))
START_S_MAX = 60
STOP_S_MAX = 60
TWISTD = Path(sys.executable).with_name("twistd")


def need(program: str) -> str:
    """Return the path of a program; without it the test is skipped, and under CI it fails."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        (pytest.fail if CI else pytest.skip)(f"{program} is not installed")
    return found


def spawn(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a program in a folder, in a process group of its own."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


class Container:
    """A real ``twistd happy`` in a process of its own; ``config`` says ``data = "data"``."""

    spawn = staticmethod(spawn)

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
        self._served = False
        self._reader: threading.Thread

    def launch(self) -> subprocess.Popen[str]:
        """Start the process; do not wait for it to serve."""
        self._serving = threading.Event()
        self._served = False
        command = [TWISTD, "-n", "--pidfile=", "happy", "--config", self.config]
        self.process = self.spawn([*self.wrapper, *map(str, command)], self.folder)
        reading = (self.process, self._serving)
        self._reader = threading.Thread(target=self._read, args=reading, daemon=True)
        self._reader.start()
        return self.process

    def start(self) -> Container:
        """Start it and wait until it serves."""
        self.launch()
        return self.await_serving()

    def await_serving(self) -> Container:
        """Wait until it serves."""
        if not self._serving.wait(START_S_MAX) or not self._served:
            self.kill()
            raise AssertionError("it does not serve:\n" + "\n".join(self.lines[-40:]))
        return self

    def _read(self, process: subprocess.Popen[str], serving: threading.Event) -> None:
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line.rstrip())
                if "happy is serving" in line:
                    self._served = True
                    serving.set()
        serving.set()

    def fail_to_start(self) -> str:
        """Start it when it must not come up; return the one sentence it ends with."""
        self.lines.clear()
        assert self.launch().wait(STOP_S_MAX) == 1
        said = "\n".join(self.read_all())
        assert "Traceback" not in said
        told = [line for line in self.lines if "#info]" not in line and "[-]" not in line]
        assert len(told) == 1, said
        return told[0].rpartition("#critical] ")[2]

    def read_all(self) -> list[str]:
        """Wait until a process that has ended has no more to say; return all lines."""
        self._reader.join(STOP_S_MAX)
        return self.lines

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
def container(tmp_path, forkers):
    """Return a function that makes containers, all of which are gone after the test."""
    made: list[Container] = []

    def make(config: str = NUMBERS, wrapper: tuple[str, ...] = (), name: str = "house"):
        made.append(Container(tmp_path / name, config, wrapper))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def forkers():
    """Return a function that makes processes that fork containers; see ``fork_kit``."""
    made: list[Forker] = []

    def make(nursery: str = "") -> Forker:
        made.append(Forker(nursery))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def nursery():
    """A process that forks the fronts and cores of containers; see ``nursery_kit``."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def sink():
    """A smarthost that keeps what it is given."""
    made = Sink()
    yield made
    made.close()
