"""One end of a socket between two processes of the house: bytes, both ways.

They are read as many at once as have come, and written at once: only what the socket does not take
waits for the reactor. The socket is one of a pair that was made by the container and inherited
by the process that it started, so nobody else can have it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

log = Logger()

_READ_BYTES: Final = 256 * 1024
_BUFFER_BYTES: Final = 1024 * 1024


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends, with room for a large batch in either direction."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return pair


@implementer(IReadDescriptor, IWriteDescriptor)
class Pipe:
    """Sends and receives; ``received`` is told of all bytes, ``lost`` of the end, once.

    What ``received`` raises is the end too: whoever sent that is not to be trusted any more.
    """

    def __init__(
        self,
        end: socket.socket,
        reactor: Any,
        received: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        self.unsent_bytes = 0
        self._end = end
        self._reactor = reactor
        self._received = received
        self._lost = lost
        self._unsent: list[bytes] = []
        self._closed = False
        # To make room for that many bytes at each read takes longer than to copy what came.
        self._room = memoryview(bytearray(_READ_BYTES))

    def start(self) -> None:
        """Read and write from now on by the reactor, without waiting."""
        self._end.setblocking(False)
        self._reactor.addReader(self)

    def write(self, data: bytes) -> None:
        """Send bytes; nothing when this end is closed."""
        if self._closed:
            return
        if not self._unsent:
            data = self._sent(data)
            if not data:
                return
            self._reactor.addWriter(self)
        self._unsent.append(data)
        self.unsent_bytes += len(data)

    def receive(self, timeout_s: float | None = None) -> bool:
        """Receive, blocking, while no reactor runs; return False when the other end is gone.

        Raises ``TimeoutError``.
        """
        self._end.settimeout(timeout_s)
        try:
            data = self._read()
        except ConnectionError:  # it ended, and had not read all
            return False
        if data:
            self._received(data)
        return bool(data)

    def close(self) -> None:
        """Close this end; the other hears of it. ``lost`` is not told."""
        if not self._closed:
            self._closed = True
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._end.close()

    # --- what the reactor calls ---------------------------------------------------------------

    def fileno(self) -> int:
        """See ``IReadDescriptor``."""
        return self._end.fileno()

    def logPrefix(self) -> str:
        """See ``IReadDescriptor``."""
        return "pipe"

    def doRead(self) -> Any:
        """Receive what has come; see ``IReadDescriptor``."""
        try:
            data = self._read()
        except BlockingIOError:
            return None
        except OSError:
            return ConnectionLost()
        if not data:
            return ConnectionDone()
        try:
            self._received(data)
        except Exception:  # noqa: BLE001 - whatever it is, it came from there
            log.failure("what came from another process cannot be taken")
            return ConnectionLost()
        return None

    def doWrite(self) -> Any:
        """Send what is left; see ``IWriteDescriptor``."""
        rest = self._sent(b"".join(self._unsent))
        self._unsent = [rest] if rest else []
        self.unsent_bytes = len(rest)
        if not rest:
            self._reactor.removeWriter(self)
        return None

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002 - Twisted's
        """Take note that the other end is gone."""
        if not self._closed:
            self.close()
            self._lost()

    def _read(self) -> bytes:
        return bytes(self._room[: self._end.recv_into(self._room)])

    def _sent(self, data: bytes) -> bytes:
        """Send what the socket takes; return the rest. That the other end is gone, reading says."""
        try:
            sent = self._end.send(data)
        except BlockingIOError:
            return data
        except OSError:
            return b""
        return data[sent:]
