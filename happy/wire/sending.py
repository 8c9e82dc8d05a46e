"""Sending at once: an answer goes to the kernel now, not in the reactor's next turn.

A transport keeps what is written until the reactor asks for it, which costs two calls to the
kernel to be asked and one more turn. Nearly every answer fits the socket's buffer right away.
"""

from __future__ import annotations

from typing import Any


def send(transport: Any, data: bytes) -> None:
    """Write to a transport; what the kernel takes now is gone when this returns.

    Where that cannot be done - under TLS, behind what is still unsent, in a test - it is the
    transport's own ``write``, which also sees to whatever went wrong here.
    """
    try:
        # Twisted has no public name for "nothing is waiting"; without these it is asked to wait.
        unsent = transport.dataBuffer or transport._tempDataBuffer  # noqa: SLF001
        at_once = transport.connected and not unsent and not transport.disconnecting
        send_some = transport.writeSomeData
    except AttributeError:
        transport.write(data)
        return
    sent = send_some(data) if at_once else 0
    if not isinstance(sent, int) or sent <= 0:
        transport.write(data)
    elif sent < len(data):
        transport.write(data[sent:])
