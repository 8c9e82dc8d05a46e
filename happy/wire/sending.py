"""Sending at once: an answer goes to the kernel now, not in the reactor's next turn.

A transport keeps what is written until the reactor asks for it, which costs two calls to the
kernel to be asked and one more turn. Nearly every answer fits the socket's buffer right away.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def send(transport: Any, data: bytes) -> None:
    """Write to a transport; what the kernel takes now is gone when this returns.

    Where that cannot be done - under TLS, behind what is still unsent, in a test - it is the
    transport's own ``write``, which also sees to whatever went wrong here. What wraps another
    transport has that one's names, and is not to be gone past: so its type is asked.
    """
    if not isinstance(transport, Connection) or transport.TLS:
        transport.write(data)
        return
    # Twisted has no public name for "nothing is waiting".
    unsent = transport.dataBuffer or transport._tempDataBuffer  # noqa: SLF001
    at_once = transport.connected and not unsent and not transport.disconnecting
    try:
        sent = transport.socket.send(data) if at_once else 0
    except OSError:  # no room, or worse
        sent = 0
    if not sent:
        transport.write(data)
    elif sent < len(data):
        transport.write(data[sent:])
