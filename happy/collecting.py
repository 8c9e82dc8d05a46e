"""The garbage collector, held back while a history is replayed.

A replay makes a state: objects that stay, in their hundred thousands. The collector takes each
growth for a reason to go through all of them again, and finds nothing. So it looks at young
objects only, and at many of them at a time; what goes in circles - a failed handler's traceback -
is young when it is dropped. A whole pass is for whoever opens the application, once at the end.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG_MAX: Final = 50_000
_NEVER: Final = 1_000_000


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Hold the collector back within; then it goes on as before."""
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG_MAX, before[1], _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
