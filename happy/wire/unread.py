"""What a peer has sent that was not read yet: a question to the kernel."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any, Final

_INT: Final = struct.Struct("i")


def unread_bytes(transport: Any) -> int:
    """Return how many bytes wait in the kernel for a transport; 0 when it has no descriptor."""
    fileno = getattr(transport, "fileno", None)
    if fileno is None:
        return 0
    try:
        (count,) = _INT.unpack(fcntl.ioctl(fileno(), termios.FIONREAD, bytes(_INT.size)))
    except (OSError, ValueError):  # closed already
        return 0
    return int(count)
