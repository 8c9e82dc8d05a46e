"""What a file holds, read again when the file was changed: nothing is to be restarted for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

log = Logger()

_Held = TypeVar("_Held")


class Reread(Generic[_Held]):
    """What ``read`` makes of a file; of one it can make nothing of, it raises ``ValueError``.

    That is a sentence. The file is looked at whenever ``now`` is called: one call to the kernel.
    """

    def __init__(self, path: Path, read: Callable[[Path], _Held]) -> None:
        """Read the file; ``ValueError`` is a sentence."""
        self._path = path
        self._read = read
        # First this: what is written while we read is then seen as a change.
        self._seen = _stamp(path)
        self._held = read(path)

    def now(self) -> _Held:
        """Return what the file holds now; where that cannot be read, the last that could."""
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._seen:
            self._seen = stamp
            try:
                self._held = self._read(self._path)
            except ValueError as error:
                log.warn("what was there before it stays in use: {error}", error=error)
        return self._held


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_mode
