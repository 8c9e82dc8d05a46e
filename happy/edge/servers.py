"""The servers that a configuration is written for, and which doors each can be in front of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from happy.edge.reach import Door, Reach, Service, reach_of

_HTTP: Final = ("http",)
_MAIL: Final = ("smtp", "lmtp")
_USERS: Final = "submission"


@frozen
class Server:
    """A server in front.

    ``services`` are the doors that it can hand on to, those it prefers first, and ``sockets``
    those of them that may be unix sockets. ``speaks_proxy`` when it can send the header of the
    PROXY protocol. ``named`` when it is told its names, ``certificate`` and ``key`` are where it
    looks for them, unless told.
    """

    kind: str
    title: str
    services: tuple[Service, ...]
    sockets: tuple[Service, ...]
    speaks_proxy: bool = False
    named: bool = False
    certificate: str = ""
    key: str = ""

    @property
    def for_mail(self) -> bool:
        """Whether it is a mail server."""
        return "http" not in self.services

    @property
    def looks_at(self) -> tuple[Service, ...]:
        """The doors of which it needs one that fits, if there are any."""
        return _MAIL if self.for_mail else _HTTP

    @property
    def wanted(self) -> str:
        """The doors that it can be in front of, after "has no"."""
        mail = ", and no smtp door that begins with haproxy:" if self.speaks_proxy else ""
        return f"{' or '.join(self.looks_at)} door{mail}"

    def fit(self, door: Door) -> Reach:
        """Return where it finds a door; ``ValueError`` says why it can have nothing of it."""
        if door.proxied and not self.speaks_proxy:
            raise ValueError(f"{self.title} sends no PROXY header, which haproxy: asks for")
        if door.service not in self.services:
            raise ValueError(
                f"{self.title} may not be asked to speak {door.service.upper()}: "
                "give the application an smtp door"
            )
        if door.trust == _USERS:
            raise ValueError("trust submission is for users, who log in")
        reach = reach_of(door)
        if reach.path and door.service not in self.sockets:
            raise ValueError(
                f"{self.title} goes to no unix socket by {door.service.upper()}: name a port"
            )
        return reach

    def first_fit(self, doors: Iterable[Door]) -> Reach:
        """Return the best door; ``ValueError`` has a line for each, and why it is none."""
        found: list[Reach] = []
        sentences: list[str] = []
        for door in doors:
            try:
                found.append(self.fit(door))
            except ValueError as error:
                sentences.append(f"{door.place}: {error}")
        if not found:
            raise ValueError("\n".join(sentences))
        return min(found, key=self._rank)

    def _rank(self, reach: Reach) -> tuple[bool, int]:
        return reach.trust != "relay", self.services.index(reach.service)


_LIVE: Final = "/etc/letsencrypt/live/{name}/"

SERVERS: Final = {
    server.kind: server
    for server in (
        Server("nginx", "nginx", _HTTP, _HTTP, named=True,
               certificate=f"{_LIVE}fullchain.pem", key=f"{_LIVE}privkey.pem"),
        Server("apache", "Apache", _HTTP, _HTTP, named=True,
               certificate=f"{_LIVE}fullchain.pem", key=f"{_LIVE}privkey.pem"),
        Server("haproxy", "HAProxy", _HTTP, _HTTP, speaks_proxy=True, named=True,
               certificate="/etc/haproxy/certs/{name}.pem"),
        Server("postfix", "Postfix", _MAIL, ("lmtp",)),
        Server("exim", "Exim", _MAIL, ("lmtp",), named=True),
        # By SMTP alone: over LMTP it takes a message to several for deferred when it is not.
        Server("opensmtpd", "OpenSMTPD", ("smtp",), ()),
        # It finds a unix socket unsafe where anybody but root may write to a folder above it.
        Server("sendmail", "Sendmail", _MAIL, ()),
    )
}  # fmt: skip
"""All of them, by kind."""
