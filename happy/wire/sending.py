"""Sending at once: an answer goes to the kernel now, not in the reactor's next turn.

A transport keeps what is written until the reactor asks for it, which costs two calls to the
kernel to be asked and one more turn. Nearly every answer fits the socket's buffer right away.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport
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
    unsent = transport.dataBuffer or transport._tempDataBuffer  # noqa: SLF001 - see above
    at_once = transport.connected and not unsent and not transport.disconnecting
    try:
        sent = transport.socket.send(data) if at_once else 0
    except OSError:  # no room, or worse
        sent = 0
    if not sent:
        transport.write(data)
    elif sent < len(data):
        transport.write(data[sent:])


def unsent_bytes(transport: Any) -> int:
    """Return how much of what was written has not yet gone to the kernel; 0 if it is not told."""
    try:
        written: int = len(transport.dataBuffer) - transport.offset
        waiting: int = transport._tempDataLen  # noqa: SLF001 - as above
    except AttributeError:
        return 0
    return written + waiting


def shut(transport: Any, *, at_once: bool) -> None:
    """Close in stages, so that what is written arrives (RFC 9112 section 9.6).

    Closing with unread bytes would reset the connection and take the last answer with it: so
    the sending side alone is shut, and what still comes is to be read and dropped, until the
    peer closes or ``hang_up``. ``at_once`` is for a peer that has shut its own side, or must
    not be waited for. TLS has stages of its own, and what is under it is not to be closed
    before it has come through them.
    """
    at_once = at_once or ISSLTransport.providedBy(transport)
    in_stages = IHalfCloseableDescriptor.providedBy(transport) and not at_once
    close: Any = transport.loseWriteConnection if in_stages else transport.loseConnection
    close()


def hang_up(transport: Any) -> None:
    """End the last stage of a close: what the kernel has is on its way, and the rest is cut."""
    if transport.disconnecting:
        transport.abortConnection()
    else:
        transport.loseConnection()
