"""Where another program on this machine finds a door."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from attrs import evolve, field, frozen

Service = Literal["http", "smtp", "lmtp"]

_HERE: Final = "127.0.0.1"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - it is reached, not bound
_ANYWHERE: Final = {"": _HERE, _EVERYWHERE: _HERE, "localhost": _HERE, "::": "::1"}
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._+@-]+")


@frozen
class Door:
    """A door as the configuration has it.

    ``endpoint`` is the type of its endpoint (``tcp``, ``unix``, ...), ``arguments`` are those by
    name; ``proxied`` when a header of the PROXY protocol must come first. ``trust`` is whom it
    faces, ``place`` says where it was configured, as FILE:LINE: key.
    """

    service: Service
    endpoint: str
    arguments: Mapping[str, str]
    place: str = ""
    proxied: bool = False
    trust: str = "untrusted"


@frozen
class Reach:
    """Where a door is reached: a ``host``, which is an address, and a ``port``; or a ``path``.

    Two are equal when they are the same place, wherever they were configured.
    """

    service: Service
    host: str = ""
    port: int = 0
    path: str = ""
    proxied: bool = False
    trust: str = "untrusted"
    place: str = field(default="", eq=False)

    @property
    def address(self) -> str:
        """The host and the port as a URL has them (RFC 3986 section 3.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def reach_of(door: Door) -> Reach:
    """Return where a door is reached; ``ValueError`` is a sentence that says why it cannot be."""
    arguments = door.arguments
    there = Reach(door.service, proxied=door.proxied, trust=door.trust, place=door.place)
    if door.endpoint == "unix":
        return evolve(there, path=plain_path(arguments["address"]))
    if door.endpoint not in ("tcp", "tcp6"):
        raise ValueError(
            f"a server in front goes to a tcp or a unix endpoint, and this one is {door.endpoint}"
        )
    if int(arguments["port"]) == 0:
        raise ValueError("port 0 is another one after each start: name a port")
    interface = arguments.get("interface", "::" if door.endpoint == "tcp6" else "")
    host = _ANYWHERE.get(interface, interface)
    return evolve(there, host=host, port=int(arguments["port"]))


def plain_path(path: str) -> str:
    """Return a path that means itself in every configuration; ``ValueError`` for all others."""
    if not _PLAIN_PATH.fullmatch(path):
        raise ValueError(
            f"{path!r} has characters that mean something else to a server in front: "
            "a path of letters, digits and / . _ + @ - does not"
        )
    return path
