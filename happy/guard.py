"""Files, sockets, processes and threads are closed while handlers and queries run.

What ``happy.purity`` reads in the code is refused before the first event. What it cannot see,
because a library does it or a name is made up on the way, is stopped here: the interpreter
tells an audit hook (PEP 578) before it opens, connects or starts anything, and within
``closed`` the hook raises. So the event's outcome is *failed*, in the first run and in every
replay. It concerns the thread that runs handlers and no other: the journal's thread goes on
writing. Outside of ``closed`` the hook costs one look; within, an event that opens nothing
costs nothing.

Not all is told to an audit hook: a library that reads the clock, draws from chance or looks at
the environment passes. ``watcher`` is for tests: it is the profile function of the thread while
handlers run, and sees every call (``happy.testing.watching``).

Left alone is what Python does for itself: importing a module, which may happen late, as for a
codec; logging; and reading source lines for a traceback or a warning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any, Final

from happy.purity import FILES, NETWORK, THREADS, complaint

Watch = Callable[[FrameType, str, Any], object]

_EVENTS: Final = {
    "open": FILES,
    "os": FILES,
    "shutil": FILES,
    "tempfile": FILES,
    "glob": FILES,
    "pathlib": FILES,
    "mmap": FILES,
    "fcntl": FILES,
    "sqlite3": FILES,
    "socket": NETWORK,
    "subprocess": NETWORK,
    "pty": NETWORK,
    "http": NETWORK,
    "urllib": NETWORK,
    "ftplib": NETWORK,
    "smtplib": NETWORK,
    "imaplib": NETWORK,
    "poplib": NETWORK,
    "_thread": THREADS,
    "time": THREADS,
}
"""What audit events are about, by the first word of their names."""
_OPEN_EVENTS: Final = frozenset({"os.kill", "os.killpg"})
_BY_ITSELF: Final = frozenset(
    {
        "_frozen_importlib", "_frozen_importlib_external", "importlib._bootstrap",
        "importlib._bootstrap_external", "zipimport", "linecache", "warnings", "logging",
        "logging.handlers", "pdb",
    }
)  # fmt: skip
_CALLERS: Final = frozenset({"happy.apply", "happy.stream", "happy.upcast", "happy.cli.past"})
"""Who calls handlers, queries and upcasters: what is further out is none of theirs."""

_inside: Final[set[int]] = set()
watcher: Watch | None = None
"""Sees all that handlers call; for tests."""


class _Closed:
    """``with closed:`` - handlers or queries run in this thread."""

    __slots__ = ()

    def __enter__(self) -> None:
        _inside.add(get_ident())
        if watcher is not None:
            sys.setprofile(watcher)

    def __exit__(self, *_: object) -> None:
        _inside.discard(get_ident())
        if watcher is not None:
            sys.setprofile(None)


closed: Final = _Closed()


def _hear(event: str, _arguments: tuple[Any, ...]) -> None:
    if _inside and get_ident() in _inside:
        reason = _EVENTS.get(event.partition(".")[0])
        if reason is not None and event not in _OPEN_EVENTS:
            _refuse(event, reason)


def _refuse(event: str, reason: str) -> None:
    frame = sys._getframe(2)  # noqa: SLF001 - the only way to know who asked
    if not by_itself(frame):
        raise complaint_in(frame, event, reason)


def by_itself(frame: FrameType | None) -> bool:
    """Say whether Python does for itself what is done in a frame."""
    while frame is not None and (name := frame.f_globals.get("__name__")) not in _CALLERS:
        if name in _BY_ITSELF:
            return True
        frame = frame.f_back
    return False


def complaint_in(frame: FrameType, name: str, reason: str) -> Exception:
    """Return the error for what is done in a frame, placed where an author's code asked for it."""
    own: FrameType | None = frame
    while own is not None and _is_python(own):
        own = own.f_back
    own = own or frame
    code = own.f_code
    return complaint(code.co_filename, own.f_lineno, code.co_qualname, name, reason)


def _is_python(frame: FrameType) -> bool:
    root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return root in sys.stdlib_module_names


sys.addaudithook(_hear)
