"""The DNS resolver that is believed what it says of its answers, by its address."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

_PORT: Final = 53
_EXPECTED: Final = "expected the address of a resolver, as in 127.0.0.1, 127.0.0.1:5353 or [::1]:53"


@frozen
class ResolverAddress:
    """Where a resolver answers."""

    address: str
    port: int = _PORT


def read_resolver(value: Any, _: Any) -> ResolverAddress:
    """Return what is written; ``ValueError`` is a sentence.

    A name will not do: it would have to be looked up before anybody can be believed.
    """
    text = value if isinstance(value, str) else ""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, str(_PORT)
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    try:
        address = str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        address = ""
    if not address or not 0 < number < 65536:
        raise ValueError(f"{_EXPECTED}, not {value!r}")
    return ResolverAddress(address, number)
