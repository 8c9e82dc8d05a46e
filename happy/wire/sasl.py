"""How a client proves who it is: PLAIN (RFC 4616) and LOGIN, as conversations of bytes.

A mechanism is a generator: it yields challenges, is sent the responses to them, and returns
what it was told. ``ValueError`` when a response is not one.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Generator
from typing import Final

from attrs import field, frozen


@frozen
class Credentials:
    """Who somebody says to be, and the proof; ``acts_as`` is whom to act for, empty: the same."""

    name: str
    password: str = field(repr=False)
    acts_as: str = ""


Exchange = Generator[bytes, bytes, Credentials]


def _plain() -> Exchange:
    acts_as, name, password = _three(_text((yield b"")))
    return Credentials(name, password, acts_as)


def _login() -> Exchange:
    name = _text((yield b"Username:"))
    password = _text((yield b"Password:"))
    return Credentials(name, password)


MECHANISMS: Final[dict[bytes, Callable[[], Exchange]]] = {b"PLAIN": _plain, b"LOGIN": _login}


def decoded(line: bytes) -> bytes:
    """Return what a line in base64 says; ``ValueError`` when it is anything else."""
    return binascii.a2b_base64(line, strict_mode=True)  # its Error is a ValueError


def encoded(challenge: bytes) -> bytes:
    """Return a challenge as it goes over the line."""
    return binascii.b2a_base64(challenge, newline=False)


def _text(response: bytes) -> str:
    return response.decode("utf-8")  # its error is a ValueError, too


def _three(text: str) -> tuple[str, str, str]:
    parts = text.split("\0")
    if len(parts) != 3 or not all(parts[1:]):
        raise ValueError("not three parts, the last two with something in them")
    return parts[0], parts[1], parts[2]
