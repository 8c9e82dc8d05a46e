"""A server in front that speaks as its client: Postfix's XCLIENT_README.

What XFORWARD tells beside the peer, XCLIENT puts in its place, for the rest of the connection.
"""

from __future__ import annotations

import re
from typing import Final

from happy.wire.proxy_header import plain_address
from happy.wire.xforward import parse_attributes

ATTRIBUTES: Final = (
    "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT",
)  # fmt: skip

_ADDRESSES: Final = ("ADDR", "DESTADDR")
_PORTS: Final = ("PORT", "DESTPORT")
_HELLO_NAME: Final = re.compile(r"[!-~]{1,255}")


def parse_xclient(text: bytes) -> dict[str, str]:
    """Read what follows XCLIENT; what the server does not know is empty.

    Addresses come in their one form, without ``IPV6:``. ``ValueError`` is a sentence.
    """
    told = parse_attributes("XCLIENT", ATTRIBUTES, text)
    for name, value in told.items():
        if value:
            told[name] = _read(name, value)
    return told


def _read(name: str, value: str) -> str:
    if name in _ADDRESSES:
        try:
            return plain_address(value[5:] if value[:5].upper() == "IPV6:" else value)
        except ValueError:
            raise ValueError(f"{name} is no address") from None
    if name in _PORTS and not (value.isdigit() and int(value) <= 65535):
        raise ValueError(f"{name} is no port")
    if name == "PROTO":
        if value.upper() not in ("SMTP", "ESMTP"):
            raise ValueError("PROTO is SMTP or ESMTP")
        return value.upper()
    if name == "HELO" and not _HELLO_NAME.fullmatch(value):
        raise ValueError("HELO is no host name")
    return value
