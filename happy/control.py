"""The container's own door: a unix socket in the data directory, for its owner only.

A client sends one line, a command and its words; the answer is one line of JSON. ``happy status``
and ``happy mail`` ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from happy.codec import to_json

log = Logger()

SOCKET_NAME: Final = "control.sock"
SOCKET_MODE: Final = 0o600

Commands = Mapping[str, Callable[..., Any]]
"""What is done by name, with the words that follow it; what it returns is the answer."""


class _Control(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 8192  # a reason of any letters is twelve times as long there

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def lineReceived(self, line: bytes) -> None:
        name, *words = line.decode("ascii", "replace").split() or [""]
        command = self._commands.get(name)
        if command is None:
            self._answer({"error": f"unknown command {name!r}; known: {sorted(self._commands)}"})
        else:
            maybeDeferred(command, *words).addCallbacks(self._answer, self._failed)

    def _failed(self, failure: Failure) -> None:
        log.failure("a command failed", failure)
        self._answer({"error": f"it failed: {failure.getErrorMessage()}"})

    def _answer(self, answer: Any) -> None:
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
