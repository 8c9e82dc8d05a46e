"""Processes that measurements run in: each on its cores, none of them there afterwards.

    python -m happy.bench.children PARENT CORES PROGRAM [ARGUMENT ...]

runs a program on the cores (numbers with commas between them) and has the kernel end it when
the process PARENT, which started it, is gone, even by ``kill -9``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_STOP_S_MAX: Final = 30.0
_TICK_S: Final = 0.1
_SAID_CHARS_MAX: Final = 300
_PLAIN: Final = {"PYTHONUNBUFFERED": "1"}

Tick = Callable[[], object]
"""Is called again and again while something is waited for."""


class ChildFailed(Exception):
    """A process of a measurement ended, or did not end, as it should; the message says how."""


@contextmanager
def running(
    argv: Sequence[object], on: Sequence[int], folder: Path
) -> Iterator[subprocess.Popen[str]]:
    """Run a program on some cores, its output in a pipe; ended when the context is left."""
    process = subprocess.Popen(  # noqa: S603 - a program of ours
        [sys.executable, "-m", __name__, str(os.getpid()), ",".join(map(str, on)), *map(str, argv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
        env={**os.environ, **_PLAIN, "PYTHONPATH": _search_path()},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _search_path() -> str:
    """Return where modules are looked for, so that the child finds the same ones."""
    return os.pathsep.join(path or str(Path.cwd()) for path in sys.path)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S_MAX)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def result_of(
    module: Sequence[object], on: Sequence[int], folder: Path, *, within_s: float, tick: Tick
) -> dict[str, Any]:
    """Run a module, with its arguments, that prints one line of JSON at its end; return that.

    ``ChildFailed`` when it ends otherwise, or not ``within_s``.
    """
    argv = [sys.executable, "-m", *module]
    with running(argv, on, folder) as process:
        end_s = time.monotonic() + within_s
        while process.poll() is None:
            if time.monotonic() > end_s:
                raise ChildFailed(f"{module[0]} did not end within {within_s:.0f} s")
            tick()
            time.sleep(_TICK_S)
        assert process.stdout is not None
        said = process.stdout.read()
    try:
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        raise ChildFailed(
            f"{module[0]} ended with status {process.returncode}: {last_line(said)}"
        ) from None
    return found


def last_line(said: str) -> str:
    """Return the last line that a process said, as much of it as a sentence can hold."""
    lines = said.strip().splitlines()
    return lines[-1][:_SAID_CHARS_MAX] if lines else "it said nothing"


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process and all below it have used (proc(5))."""
    return sum(cpu_s_by_process(pid).values())


def cpu_s_by_process(root: int) -> dict[int, float]:
    """Return the processor seconds that a process, and each below it, has used."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The name of the program may hold anything; the fields stand behind it.
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                pid = int(entry.name)
                parents[pid] = int(fields[1])
                used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: used[pid] for pid in sorted(found & used.keys())}


def main(parent: str, on: str, *argv: str) -> None:
    """Become a program that stays on some cores and goes with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # gone before the kernel was told
        sys.exit(1)
    os.sched_setaffinity(0, {int(core) for core in on.split(",")})
    os.execv(argv[0], argv)  # noqa: S606 - as above


if __name__ == "__main__":
    main(*sys.argv[1:])
