"""Whether the disk of one application has room: said in the log when that changes, and to doors.

That there is none is found out by who writes. Whether there is room again is found out in the
same way, so a door goes on to let something be tried - unless the file system itself says that
it would be in vain.
"""

from __future__ import annotations

from twisted.logger import Logger

from happy.errors import NoRoom
from happy.journal.disk import Disk
from happy.limits import Limits

log = Logger()


class Room:
    """The room for one journal and its blobs."""

    def __init__(self, name: str, disk: Disk, limits: Limits) -> None:
        self.is_full = False
        """Whether what was written last found no room."""
        self._name = name
        self._disk = disk
        self._limits = limits

    def was_found(self) -> None:
        """Take note that something was written."""
        if self.is_full:
            self.is_full = False
            log.info("{name}: there is room again", name=self._name)

    def was_missed(self, reason: str) -> None:
        """Take note that something was not written, for there was no room."""
        if not self.is_full:
            self.is_full = True
            log.error("{name}: {reason}", name=self._name, reason=reason)

    def trouble(self, size: int) -> NoRoom | None:
        """Return why there is no room for something of so many bytes, as far as that is known."""
        limits = self._limits
        needed = limits.segment_bytes_max if self.is_full else 0
        if size > limits.mail_inline_bytes_max:  # to be a file of its own
            needed += size
        if not needed or self._disk.free_bytes() >= needed:
            return None
        return NoRoom("the disk is full; new events are refused until there is room")
