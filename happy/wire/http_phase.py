"""What an HTTP connection waits for, and how long it may."""

from __future__ import annotations

from typing import Final

from happy.limits import Limits

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
