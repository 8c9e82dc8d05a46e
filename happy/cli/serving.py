"""`happy core --journal`: the core of an application that a container keeps.

Signals are the container's: it is told to stop, and its cores end when it lets go of them. What an
application prints must not get between the outcomes, so it goes where errors go.
"""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from happy.cli.output import Unwell
from happy.collecting import collecting_seldom
from happy.errors import HappyError, StartError
from happy.journal.disk import FileDisk

if TYPE_CHECKING:
    from happy.app import Definition

_INPUT: Final = 0
_OUTPUT: Final = 1
_ERRORS: Final = 2
_PIECE_BYTES: Final = 256 * 1024
_HEEDED_BY_THE_CONTAINER: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(
    definition_of: Callable[[], Definition],
    journal: Path,
    handler_timeout_s: int,
    *,
    accept_divergence: bool,
) -> None:
    """Serve a container on standard input and output until it lets go.

    What keeps the core from going on is said there, too.
    """
    from happy.split.aside import Aside, Say  # noqa: PLC0415 - not for the other commands
    from happy.split.pickled import pack_error  # noqa: PLC0415 - as above
    from happy.split.serving import Orphan, ServingCore, Surroundings  # noqa: PLC0415 - as above
    from happy.world import set_alarm, show_stacks_at_the_end  # noqa: PLC0415 - as above

    for number in _HEEDED_BY_THE_CONTAINER:
        signal.signal(number, signal.SIG_IGN)
    show_stacks_at_the_end()
    out = os.dup(_OUTPUT)
    os.dup2(_ERRORS, _OUTPUT)
    container = os.getppid()
    around = Surroundings(
        FileDisk(journal), random.Random, set_alarm, lambda: os.getppid() != container, _settle
    )
    try:
        core = ServingCore(
            definition_of(),
            around,
            handler_timeout_s=handler_timeout_s,
            accept_divergence=accept_divergence,
        )
        with collecting_seldom():
            while data := os.read(_INPUT, _PIECE_BYTES):
                for said in core.feed(data):
                    _write(out, said)
    except (Orphan, BrokenPipeError, ConnectionResetError):
        raise SystemExit(1) from None
    except (HappyError, Unwell) as error:
        told = StartError(str(error)) if isinstance(error, Unwell) else error
        _write(out, Aside(Say.ENDED, pack_error(told)).encode())
        raise SystemExit(1) from None


def _settle() -> None:
    """Keep the collector from going through what stays again and again."""
    gc.collect()
    gc.freeze()


def _write(out: int, said: bytes) -> None:
    rest = memoryview(said)
    while rest:
        rest = rest[os.write(out, rest) :]
