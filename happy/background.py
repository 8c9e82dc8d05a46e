"""The program that makes snapshots beside a container: it stands behind all others, then begins.

It is run by its path and not as a module, which would import the package first: that alone takes
a second of a processor, and whoever is served just then is to go first already.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path


def stand_behind(niceness: int) -> None:
    """Let all others go first; what the system does not have is left out."""
    with suppress(OSError):
        os.nice(niceness)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    stand_behind(json.loads(sys.argv[1])["niceness"])

    from happy.side_process import main

    main()
