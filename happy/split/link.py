"""One end of the socket between a front and its container.

Messages are read as many at once as have come, and written at once: only what the socket does not
take waits for the reactor. The socket is one of a pair that was made by the container and
inherited by the front, so nobody else can have it.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.split.messages import BrokenLink, Kind, MessageReader, message

log = Logger()

_READ_BYTES: Final = 256 * 1024
_BUFFER_BYTES: Final = 1024 * 1024


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a link, with room for a large batch in either direction."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return pair


@implementer(IReadDescriptor, IWriteDescriptor)
class Link:
    """Sends and receives messages; ``received`` is told of each, ``lost`` of the end, once."""

    def __init__(
        self,
        end: socket.socket,
        reactor: Any,
        received: Callable[[Kind, bytes], None],
        lost: Callable[[], None],
    ) -> None:
        self.unsent_bytes = 0
        self._end = end
        self._reactor = reactor
        self._received = received
        self._lost = lost
        self._reader = MessageReader()
        self._unsent: list[bytes] = []
        self._closed = False

    def start(self) -> None:
        """Read and write from now on by the reactor, without waiting."""
        self._end.setblocking(False)
        self._reactor.addReader(self)

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Send a message; nothing when the link is closed."""
        if self._closed:
            return
        data = message(kind, body)
        if not self._unsent:
            data = self._write(data)
            if not data:
                return
            self._reactor.addWriter(self)
        self._unsent.append(data)
        self.unsent_bytes += len(data)

    def await_message(self, wanted: Kind, timeout_s: float | None = None) -> bool:
        """Receive, blocking, until a message of this kind came, while no reactor runs.

        Returns False when the other end is gone; raises ``TimeoutError``.
        """
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = max(0.001, until_s - time.monotonic())
            self._end.settimeout(None if timeout_s is None else left_s)
            try:
                data = self._end.recv(_READ_BYTES)
            except ConnectionError:  # it ended, and had not read all
                return False
            if not data:
                return False
            kinds = self._take(data)
            if wanted in kinds:
                self._end.settimeout(None)
                return True

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
        return "link"

    def doRead(self) -> Any:
        """Receive what has come; see ``IReadDescriptor``."""
        try:
            data = self._end.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return ConnectionLost()
        if not data:
            return ConnectionDone()
        try:
            self._take(data)
        except BrokenLink:
            log.failure("a link is broken")
            return ConnectionLost()
        return None

    def doWrite(self) -> Any:
        """Send what is left; see ``IWriteDescriptor``."""
        rest = self._write(b"".join(self._unsent))
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

    def _write(self, data: bytes) -> bytes:
        """Send what the socket takes; return the rest. That the other end is gone, reading says."""
        try:
            sent = self._end.send(data)
        except BlockingIOError:
            return data
        except OSError:
            return b""
        return data[sent:]

    def _take(self, data: bytes) -> list[Kind]:
        kinds = []
        for kind, body in self._reader.feed(data):
            kinds.append(kind)
            try:
                self._received(kind, body)
            except Exception:  # noqa: BLE001 - one message; the others are as good
                log.failure("a message of kind {kind} could not be taken", kind=kind.name)
        return kinds
