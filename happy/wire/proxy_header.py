"""What a proxy says of its client, before anything else: the PROXY protocol, version 1 and 2.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, sections 2.1 and 2.2. Pure, and the
same for every split of the input. Version 1 is a line of text, version 2 a signature, a length
and so many bytes: two addresses with their ports, and more (TLVs) that is passed over.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attrs import frozen

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX: Final = struct.Struct("!12sBBH")
_PORT: Final = struct.Struct("!H")
_TEXT: Final = b"PROXY "
_TEXT_BYTES_MAX: Final = 107
_WORDS: Final = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{2,45}) ([0-9A-Fa-f.:]{2,45}) ([0-9]{1,5}) ([0-9]{1,5})"
)
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [ -~]*)?")
_LOCAL, _PROXIED = 0x20, 0x21  # version 2 in the upper half
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_LENGTHS: Final = {_TCP4: 12, _TCP6: 36, _UNIX: 216}
_OF_TEXT: Final[dict[bytes, type[IPv4Address | IPv6Address]]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}


@frozen
class Proxied:
    """Where a connection comes from, as a proxy tells it."""

    address: str
    port: int


class ProxyReader:
    """Takes the header; at its end ``client`` is who is behind it, or ``fault`` why it is none.

    Without either nobody is: the proxy speaks for itself (LOCAL), or does not know (UNKNOWN).
    """

    ended = False
    overrun = False

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held = b""
        self.client: Proxied | None = None
        self.fault = ""

    def feed(self, data: bytes) -> bytes | None:
        """Take input; return what follows the header, None before its end."""
        self._held += data
        try:
            size = self._size()
        except ValueError as error:
            self.fault = str(error)
            size = len(self._held)
        if size is None:
            return None
        rest, self._held = self._held[size:], b""
        return rest

    def abandon(self) -> None:
        """Do nothing: it holds next to nothing."""

    def _size(self) -> int | None:
        """Read the header when it is all there; return its length, None before."""
        held = self._held
        if held[:12] == _SIGNATURE[: len(held)]:
            return self._binary(held)
        if held[:6] == _TEXT[: len(held)]:
            return self._line(held)
        raise ValueError("no header")

    def _line(self, held: bytes) -> int | None:
        end = held.find(b"\r\n", 0, _TEXT_BYTES_MAX)
        if end < 0:
            if len(held) >= _TEXT_BYTES_MAX:
                raise ValueError("a line without an end")
            return None
        line = held[:end]
        match = _WORDS.fullmatch(line)
        if match is not None:
            kind = _OF_TEXT[match[1]]
            kind(match[3].decode("ascii"))
            port, _ = _port(match[4]), _port(match[5])
            self.client = _client(kind(match[2].decode("ascii")), port)
        elif not _UNKNOWN.fullmatch(line):
            raise ValueError("a line that is no header")
        return end + 2

    def _binary(self, held: bytes) -> int | None:
        if len(held) < _PREFIX.size:
            return None
        _, command, family, length = _PREFIX.unpack_from(held)
        size: int = _PREFIX.size + length
        if size > self._bytes_max:
            raise ValueError(f"a header of {size} bytes")
        family = _family(command, family, length)
        if len(held) < size:
            return None
        self.client = _client_in(family, held[_PREFIX.size :])
        return size


def _family(command: int, family: int, length: int) -> int:
    """Return what addresses there are for us; none when the proxy speaks for itself."""
    if command not in (_LOCAL, _PROXIED):
        raise ValueError("neither version 2 nor a command of it")
    if command == _LOCAL or family == _UNSPEC:
        return _UNSPEC
    if family not in _LENGTHS:
        raise ValueError("the addresses of no stream")
    if length < _LENGTHS[family]:
        raise ValueError("a header too short for its addresses")
    return family


def _client_in(family: int, addresses: bytes) -> Proxied | None:
    if family == _TCP4:
        return _client(IPv4Address(addresses[:4]), *_PORT.unpack_from(addresses, 8))
    if family == _TCP6:
        return _client(IPv6Address(addresses[:16]), *_PORT.unpack_from(addresses, 32))
    return None  # a unix socket has no address that would tell anything


def _client(address: IPv4Address | IPv6Address, port: int) -> Proxied:
    return Proxied(plain_address(str(address)), port)


def plain_address(text: str) -> str:
    """Return an address in its one form, an IPv4 one as such; ``ValueError`` when it is none."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535:
        raise ValueError("a port above 65535")
    return port
