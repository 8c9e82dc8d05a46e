"""The load for ``web.py``: wrk as fast as it goes, and our own client with a constant rate.

wrk has no rate, and looks at no number; ``happy.bench.load`` does both, and is slower.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

SCRIPT: Final = Path(__file__).with_name("load.lua")


def run_wrk(
    core: int | str, clients: int, seconds: float, url: str, *request: str
) -> dict[str, float]:
    """Load a server as fast as it goes; return what wrk counted.

    ``request`` is a method, and ``browser`` for one as browsers send it. On a core that it shares
    it does not push aside who has just answered it: no client on another machine could.
    """
    argv = [
        "taskset", "-c", str(core), "chrt", "--batch", "0",
        "wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--timeout", "10s",
        "-s", str(SCRIPT), url, "--", *request,
    ]  # fmt: skip
    said = subprocess.run(
        argv, capture_output=True, text=True, check=True, timeout=seconds + 60
    ).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def run_paced(  # noqa: PLR0913 - what is asked of whom, and how
    core: int, port: int, row: Sequence[str], clients: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Load a server at a constant rate from a process of its own; return what it found."""
    argv = [
        "taskset", "-c", str(core), sys.executable, "-m", "happy.bench.load", str(port), *row,
        str(clients), str(rate), str(seconds),
    ]  # fmt: skip
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 60)
    found: dict[str, Any] = json.loads(said.stdout)
    return found
