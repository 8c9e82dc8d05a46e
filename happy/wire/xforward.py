"""What a mail server in front tells of the client it had a message from: Postfix's XFORWARD.

It is believed from the servers that the configuration names, and from nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address, ip_network
from typing import Final

UNIX: Final = "unix"
"""Stands among the networks for whoever comes by a unix socket."""
ATTRIBUTES: Final = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")

_ATTRIBUTE: Final = re.compile(r"([A-Z]{1,20}+)=([!-~]{1,255}+)", re.IGNORECASE)
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_ENCODED: Final = re.compile(r"\+([0-9A-F]{2})")
_PRINTABLE: Final = re.compile(r"[ -~]+")


class Relays:
    """The servers in front that are believed; networks, addresses, or ``unix``."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raise ``ValueError`` for what is no network."""
        names = tuple(networks)
        self._unix = UNIX in names
        self._networks = tuple(ip_network(name) for name in names if name != UNIX)

    def trusts(self, peer: str) -> bool:
        """Say whether a peer is one of them; it is empty for a unix socket."""
        if not peer:
            return self._unix
        address = ip_address(peer.partition("%")[0])
        return any(address in network for network in self._networks)


def parse_attributes(verb: str, known: Collection[str], text: bytes) -> dict[str, str]:
    """Read ``NAME=value NAME=value``; ``ValueError`` when it is something else.

    Values come decoded from xtext (RFC 3461 section 4); what the server does not know is empty.
    """
    found: dict[str, str] = {}
    words = text.decode("latin-1").split()
    for word in words:
        match = _ATTRIBUTE.fullmatch(word)
        name, value = (match[1].upper(), match[2]) if match is not None else ("", "")
        if name not in known:
            raise ValueError(f"write {verb} and attributes as NAME=value")
        if value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]"):
            found[name] = ""
            continue
        decoded = _ENCODED.sub(lambda code: chr(int(code[1], 16)), value)
        if not _XTEXT.fullmatch(value) or not _PRINTABLE.fullmatch(decoded):
            raise ValueError(f"{name} is not xtext of printable characters")
        found[name] = decoded
    if not words:
        raise ValueError(f"write {verb} and attributes as NAME=value")
    return found


def parse_xforward(text: bytes) -> dict[str, str]:
    """Read what follows XFORWARD; see ``parse_attributes``."""
    return parse_attributes("XFORWARD", ATTRIBUTES, text)
