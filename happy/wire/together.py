"""Reading from all connections of a port together: many that are ready cost the reactor one call.

A reactor makes a context for its log, and looks whether a descriptor is still valid, for each
one that is ready. That takes longer than to read a short request. Here a port has an ``epoll``
of its own, which the reactor watches as it would one connection; from those that it names as
ready, all is read in one loop. Only reading goes this way; whatever else a connection waits
for, it asks of the reactor itself.
"""

from __future__ import annotations

import select
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()

_READY_MAX: Final = 256  # read in one turn of the reactor; then others have theirs


def read_together(port: IListeningPort) -> None:
    """Let the connections that a port will accept be read together, if it is a port of TCP."""
    accepting: Any = port
    if getattr(accepting, "transport", None) is Server:
        # A class, for an attribute of each connection would cost each of them memory.
        together = Together(accepting.reactor)
        accepting.transport = type("Server", (_TogetherServer,), {"together": together})


class _TogetherServer(Server):
    """Twisted's connection, read by ``together``."""

    together: Together

    def startReading(self) -> None:
        """See ``twisted.internet.abstract.FileDescriptor``."""
        self.together.add(self)

    def stopReading(self) -> None:
        """See ``twisted.internet.abstract.FileDescriptor``."""
        self.together.discard(self)


@implementer(IReadDescriptor)
class Together:
    """The connections that are to be read; for the reactor, one descriptor."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poll: select.epoll | None = None
        self._connections: dict[int, _TogetherServer] = {}

    def add(self, connection: _TogetherServer) -> None:
        """Read from a connection whenever there is something."""
        file = connection.fileno()
        if file in self._connections:
            return
        if self._poll is None:
            self._poll = select.epoll()
            self._reactor.addReader(self)
        self._poll.register(file, select.EPOLLIN)
        self._connections[file] = connection

    def discard(self, connection: _TogetherServer) -> None:
        """Read from it no more."""
        file = connection.fileno()
        if self._connections.pop(file, None) is None:
            return
        assert self._poll is not None
        self._poll.unregister(file)
        if not self._connections:
            self._close()

    # --- the reactor's side ------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor that is readable when one of them is."""
        return -1 if self._poll is None else self._poll.fileno()

    def logPrefix(self) -> str:
        """Return how Twisted names all of them."""
        return "connections"

    def doRead(self) -> None:
        """Read from all that are ready."""
        if self._poll is None:
            return
        connections = self._connections
        for file, _ in self._poll.poll(0, _READY_MAX):
            connection = connections.get(file)
            if connection is None:  # one before it made an end of it
                continue
            try:
                self._read(connection)
            except BaseException:  # noqa: BLE001 - as the reactor does: one ends, not all
                self._failed(connection)

    def _failed(self, connection: _TogetherServer) -> None:
        failure = Failure()
        _log.failure("a connection failed", failure)
        try:
            connection.connectionLost(failure)
        except BaseException:  # noqa: BLE001 - nor is it all when one does not even end well
            _log.failure("a connection failed at its end")

    def _read(self, connection: _TogetherServer) -> None:
        try:
            data = connection.socket.recv(connection.bufferSize)
        except BlockingIOError:
            return
        except OSError:
            connection.connectionLost(Failure(CONNECTION_LOST))
            return
        if data:
            connection.protocol.dataReceived(data)
            return
        self.discard(connection)  # there is nothing more to read, whatever becomes of the rest
        connection.readConnectionLost(Failure(CONNECTION_DONE))

    def connectionLost(self, reason: Failure) -> None:
        """End all of them: the reactor stops."""
        for connection in list(self._connections.values()):
            connection.connectionLost(reason)

    def _close(self) -> None:
        assert self._poll is not None
        self._reactor.removeReader(self)
        self._poll.close()
        self._poll = None
