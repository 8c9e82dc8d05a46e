"""What an HTTP connection waits for, and how long it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from happy.limits import Limits
from happy.wire.sending import unsent_bytes

if TYPE_CHECKING:
    from happy.wire.http_site import HappySite

NEVER: Final = 1 << 62
"""A deadline that does not come, with or without a number of sweeps added to it."""


class Phase:
    """What a connection waits for, and so what its deadline means."""

    # Plain numbers: to look at a member of an Enum takes longer than all the rest of a look.
    IDLE: Final = 0  # a request: it is closed in silence
    HEAD: Final = 1  # the rest of a head: 408
    BODY: Final = 2  # the rest of a body: 408
    HANDLING: Final = 3  # the application: 503
    STREAMING: Final = 4  # the application, for as long as it likes
    STALLED: Final = 5  # the peer, which does not read: it is cut off
    CLOSING: Final = 6  # the peer, which is to read the last answer: it is cut off


def patience_of(limits: Limits) -> tuple[int, ...]:
    """Return in how many sweeps, one a second, each phase is over.

    It is one more than the seconds: the sweep that comes first may come at once.
    """
    seconds = {
        Phase.IDLE: limits.http_idle_timeout_s,
        Phase.HEAD: limits.http_header_timeout_s,
        Phase.BODY: limits.http_body_timeout_s,
        Phase.HANDLING: limits.http_handler_timeout_s,
        Phase.STREAMING: NEVER,
        Phase.STALLED: limits.http_stall_timeout_s,
        Phase.CLOSING: limits.http_linger_s,
    }
    return tuple(seconds[phase] + 1 for phase in sorted(seconds))


class Timed:
    """A connection in its phase; ``deadline`` is the sweep at which the phase is over.

    A peer that reads slowly is one that reads: where the phase is for it to take what was
    written, the deadline is a new one as long as it has taken some of it.
    """

    __slots__ = ("_phase", "_unsent_bytes", "deadline", "peer", "site", "transport")

    def __init__(self, site: HappySite) -> None:
        self.site = site
        self.transport: Any = None
        self.deadline = NEVER
        self.peer = ""  # as the log names it, once it was named
        self._phase: int = Phase.IDLE
        self._unsent_bytes = 0

    def _enter(self, phase: int) -> None:
        self._phase = phase
        self.deadline = self.site.deadlines[phase]

    def _enter_once(self, phase: int) -> None:
        if self._phase != phase:
            self._enter(phase)

    def _watch(self) -> None:
        """Note how much the peer is still to take."""
        self._unsent_bytes = unsent_bytes(self.transport)

    def _takes(self) -> bool:
        """Say whether the peer has taken some of it since, and is to take more; then wait on."""
        before = self._unsent_bytes
        self._watch()
        taking = 0 < self._unsent_bytes < before
        if taking:
            self.deadline = self.site.deadlines[Phase.STALLED]
        return taking
