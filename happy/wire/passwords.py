"""Passwords as a configuration has them: hashed with scrypt (RFC 7914), one line for each user.

A hash is written ``$scrypt$ln=14,r=8,p=5$SALT$DIGEST``, both parts in base64 without padding:
whoever reads the configuration still has to guess, and each guess costs what ``COST`` says.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets
import unicodedata
from typing import Final

from attrs import field, frozen

from happy.limits import MIB

_HASH: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})"
    r"\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)
_NAME: Final = re.compile(r"[^\x00-\x20:\x7f-\xa0]{1,255}")
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_MEMORY_BYTES_MAX: Final = 64 * MIB  # of one check: what others can make us spend


@frozen
class Cost:
    """What one guess costs: 128 * r * 2**ln bytes of memory, gone through ``p`` times."""

    ln: int
    r: int
    p: int

    @property
    def memory_bytes(self) -> int:
        """The memory that one check takes."""
        return (128 * self.r) << self.ln


COST: Final = Cost(14, 8, 5)  # 16 MiB, and about a fifth of a second


@frozen
class PasswordHash:
    """The hash of one password; it is not shown by accident."""

    cost: Cost
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: str) -> bool:
        """Say whether this is the hash of a password; takes the time that ``cost`` is for."""
        found = _digest(password, self.salt, self.cost, len(self.digest))
        return hmac.compare_digest(found, self.digest)

    def __str__(self) -> str:
        cost = self.cost
        words = f"ln={cost.ln},r={cost.r},p={cost.p}"
        return f"$scrypt${words}${_text(self.salt)}${_text(self.digest)}"


def hashed(password: str, cost: Cost = COST) -> PasswordHash:
    """Return a hash of a password, with a salt of its own."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return PasswordHash(cost, salt, _digest(password, salt, cost, _DIGEST_BYTES))


def hash_of_nothing(cost: Cost) -> PasswordHash:
    """Return a hash that no password is known to have, and that takes as long to find out."""
    return PasswordHash(cost, secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_DIGEST_BYTES))


def read_hash(text: str) -> PasswordHash:
    """Read a hash; ``ValueError`` is a sentence that does not repeat it."""
    match = _HASH.fullmatch(text)
    if match is None:
        raise ValueError("is no password hash; `happy mail password` makes one")
    ln, r, p = map(int, match.groups()[:3])
    cost = Cost(ln, r, p)
    if not (ln and r and p) or cost.memory_bytes * p > 16 * _MEMORY_BYTES_MAX:
        raise ValueError("costs too much to check")
    if cost.memory_bytes > _MEMORY_BYTES_MAX:
        raise ValueError(f"takes more than {_MEMORY_BYTES_MAX // MIB} MiB of memory to check")
    try:
        return PasswordHash(cost, _bytes(match[4]), _bytes(match[5]))
    except binascii.Error:
        raise ValueError("is cut: copy the whole line") from None


def check_name(name: str) -> str:
    """Return a user's name; ``ValueError`` when it cannot be one."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: 1 to 255 characters, no blank and no colon")
    return name


def read_users(text: str) -> dict[str, PasswordHash]:
    """Read lines of ``NAME:HASH``; empty ones and those that begin with # are passed over.

    ``ValueError`` is a sentence that begins with the number of the line.
    """
    users: dict[str, PasswordHash] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, written = line.strip().partition(":")
        try:
            if not colon:
                raise ValueError("is not written NAME:HASH")  # noqa: TRY301 - one way out
            if check_name(name) in users:
                raise ValueError(f"{name} is there twice")  # noqa: TRY301 - as above
            users[name] = read_hash(written)
        except ValueError as error:
            raise ValueError(f"line {number} {error}") from None
    return users


def _digest(password: str, salt: bytes, cost: Cost, size: int) -> bytes:
    return hashlib.scrypt(
        _prepared(password),
        salt=salt,
        n=2**cost.ln,
        r=cost.r,
        p=cost.p,
        maxmem=cost.memory_bytes + 256 * cost.r * (cost.p + 2) + MIB,
        dklen=size,
    )


def _prepared(password: str) -> bytes:
    """Return what is compared: the same however a keyboard makes it (RFC 8265 section 4.2.2)."""
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", spaced).encode("utf-8")


def _text(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=")


def _bytes(text: str) -> bytes:
    return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
