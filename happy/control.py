"""The container's own door: a unix socket in the data directory, for its owner only.

A client sends one line, a command; the answer is one line of JSON. ``happy status`` asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineOnlyReceiver

from happy.codec import to_json

SOCKET_NAME: Final = "control.sock"
SOCKET_MODE: Final = 0o600

Commands = Mapping[str, Callable[[], Any]]


class _Control(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1024

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def lineReceived(self, line: bytes) -> None:
        name = line.strip().decode("ascii", "replace")
        command = self._commands.get(name)
        if command is None:
            answer: Any = {"error": f"unknown command {name!r}; known: {sorted(self._commands)}"}
        else:
            answer = command()
        self.sendLine(to_json(answer))
        assert self.transport is not None
        self.transport.loseConnection()


class ControlFactory(Factory):
    """Serves the commands; none of them takes long."""

    noisy = False

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: ARG002 - Twisted's
        return _Control(self._commands)
