"""What memory the machine has left, and what this process takes, as the kernel counts it.

``/proc/meminfo`` says what can be given without swapping (MemAvailable, proc(5)). A control group
may allow less: its limit, and those of the groups above it, count too (cgroup v2, memory.max);
there, file pages that nobody has used lately can be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

_GROUPS: Final = "/sys/fs/cgroup"
_FREE: Final = re.compile(r"^MemAvailable: +(\d+) kB$", re.MULTILINE)
_RESIDENT: Final = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)
_GROUP: Final = re.compile(r"^0::(/.*)$", re.MULTILINE)
_RECLAIMABLE: Final = re.compile(r"^inactive_file (\d+)$", re.MULTILINE)

Read = Callable[[str], str]


@frozen
class Footprint:
    """One look at the machine's memory; None is what the system does not tell."""

    resident_bytes: int | None
    """What this process has in memory: all its applications together."""
    free_bytes: int | None
    """What could still be taken before the machine swaps, or the control group is full."""


def read_footprint(read: Read | None = None) -> Footprint:
    """Look at the machine now; ``read`` returns the text of a file, empty when there is none."""
    read = read or _read
    free = [_kib(_FREE, read("/proc/meminfo")), *_left_in_groups(read)]
    known = [amount for amount in free if amount is not None]
    return Footprint(_kib(_RESIDENT, read("/proc/self/status")), min(known, default=None))


def resident_bytes_of(pid: int) -> int | None:
    """Return what another process has in memory; None when that is not known."""
    return _kib(_RESIDENT, _read(f"/proc/{pid}/status"))


def _left_in_groups(read: Read) -> Iterator[int]:
    """Yield what is left in the process's control group and in those above it."""
    found = _GROUP.search(read("/proc/self/cgroup"))
    path = found[1].rstrip("/") if found else ""
    while True:
        group = f"{_GROUPS}{path}"
        most, now = read(f"{group}/memory.max").strip(), read(f"{group}/memory.current").strip()
        if most.isdecimal() and now.isdecimal():
            reclaimable = _RECLAIMABLE.search(read(f"{group}/memory.stat"))
            yield max(0, int(most) - int(now) + (int(reclaimable[1]) if reclaimable else 0))
        if not path:
            return
        path = path.rpartition("/")[0]


def _kib(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(found[1]) * 1024 if found else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except OSError:
        return ""
