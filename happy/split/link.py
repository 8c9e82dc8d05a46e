"""One end of the pipe between a front and its container: messages over it."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from happy.split.messages import Kind, MessageReader, message
from happy.split.pipe import Pipe

log = Logger()


class Link(Pipe):
    """Sends and receives messages; ``received`` is told of each, ``lost`` of the end, once."""

    def __init__(
        self,
        end: socket.socket,
        reactor: Any,
        received: Callable[[Kind, bytes], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(end, reactor, self._take, lost)
        self._told = received
        self._reader = MessageReader()
        self._came: list[Kind] = []

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Send a message; nothing when the link is closed."""
        self.write(message(kind, body))

    def await_message(self, wanted: Kind, timeout_s: float | None = None) -> bool:
        """Receive, blocking, until a message of this kind came, while no reactor runs.

        Returns False when the other end is gone; raises ``TimeoutError``.
        """
        until_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._came.clear()
        while wanted not in self._came:
            left_s = max(0.001, until_s - time.monotonic())
            if not self.receive(None if timeout_s is None else left_s):
                return False
        return True

    def _take(self, data: bytes) -> None:
        self._came.clear()
        for kind, body in self._reader.feed(data):
            self._came.append(kind)
            try:
                self._told(kind, body)
            except Exception:  # noqa: BLE001 - one message; the others are as good
                log.failure("a message of kind {kind} could not be taken", kind=kind.name)
