"""What figures were taken on: they mean little without."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from happy.journal.mounts import file_system_type, is_network

MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs"})


def machine_of(directory: Path) -> dict[str, Any]:
    """Return what this machine is, how busy it is now, and what ``directory`` is on."""
    return {
        "cores": len(cores()),
        "processor": processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": file_system_of(directory),
        "load_before": round(os.getloadavg()[0], 2),
    }


def file_system_of(directory: Path) -> str:
    """Return the type of the file system that a directory is on."""
    mounts = ""
    with suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    return file_system_type(str(directory.resolve()), mounts) or "unknown"


def complaint_about(file_system: str) -> str | None:
    """Return why figures from a file system of this type mean little; None when they do."""
    if file_system in MEMORY_TYPES:
        return f"{file_system} is memory: a sync costs nothing there, and nothing is durable"
    if is_network(file_system):
        return f"{file_system} is served by another machine: no journal is opened there"
    return None


def processor() -> str:
    """Return the name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def cores() -> list[int]:
    """Return the processor cores that this process may use, in order."""
    return sorted(os.sched_getaffinity(0))


def cores_for(there: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the cores for a server and for who asks it: the first and the last, if there are two.

    So that neither takes the other's time, and the server's figure is that of one core.
    """
    return [there[0]], [there[-1]]
