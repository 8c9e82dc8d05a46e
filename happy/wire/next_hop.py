"""Where a message goes next: its destination, and the servers there, the best one first."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

from attrs import frozen
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint


@frozen
class Hop:
    """A server that takes mail for a destination; ``name`` is its host name, or empty.

    ``tls`` makes the connection secret, and it must be; without it, it is where that is offered.
    ``proof`` names what ``tls`` proves the server by; it is empty when any server will do.
    """

    endpoint: IStreamClientEndpoint
    name: str = ""
    tls: IOpenSSLClientConnectionCreator | None = None
    proof: Literal["", "DANE", "MTA-STS"] = ""


class NoHop(Exception):
    """There is no server for a destination; ``reply`` says why.

    ``permanent`` when there never will be one.
    """

    def __init__(self, reply: str, *, permanent: bool) -> None:
        super().__init__(reply)
        self.reply = reply
        self.permanent = permanent


class NextHops(Protocol):
    """Finds the way of mail."""

    def destination_of(self, recipient: str) -> str:
        """Return where mail for an address goes; what has one destination is sent in one queue."""

    def find(self, destination: str) -> Awaitable[Sequence[Hop]]:
        """Return the servers of a destination, the best first; ``NoHop`` when there is none."""


class Smarthost:
    """All mail goes to one server, which finds its further way."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._hop = Hop(endpoint)

    def destination_of(self, recipient: str) -> str:  # noqa: ARG002 - the same for all
        """Return the one destination there is."""
        return ""

    def find(self, destination: str) -> Awaitable[Sequence[Hop]]:  # noqa: ARG002 - the only one
        """Return the smarthost."""
        return succeed((self._hop,))
