"""DKIM signatures (RFC 6376, RFC 8463) for the mail that goes out, relaxed in both respects.

A message is signed as it will be on the wire, in one pass and with one block in memory, however
large it is. The signature is made at each attempt and is no part of history: a key may change.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from happy.message import parse_header
from happy.wire.dkim_body import BodyHash
from happy.wire.dkim_fields import relaxed

RSA_BITS_MIN: Final = 1024  # RFC 8301: verifiers take no less
_HEADER_BYTES_MAX: Final = 1024 * 1024  # whatever has more before its body is signed as it is

_SIGNED: Final = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id",
    b"in-reply-to", b"references", b"mime-version", b"content-type", b"content-transfer-encoding",
    b"auto-submitted", b"list-id", b"list-help", b"list-subscribe", b"list-unsubscribe",
    b"list-unsubscribe-post", b"list-post", b"list-owner", b"list-archive",
)  # fmt: skip
_SIGNED_ONCE_MORE: Final = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to")
"""Named once more than they are there, so that nobody can add another (section 5.4.2)."""

_FIELD: Final = re.compile(rb"(?m)^([!-9;-~]+)[ \t]*:((?:.*\r\n)(?:[ \t].*\r\n)*)")

Key = RSAPrivateKey | Ed25519PrivateKey


@frozen
class Signer:
    """Signs for a domain and those below it, with the key that ``selector`` names in DNS."""

    domain: str
    selector: str
    key: Key = field(repr=False)

    def signs_for(self, domain: str) -> bool:
        """Say whether a message from a domain is signed."""
        return domain == self.domain or domain.endswith(f".{self.domain}")

    def field_of(self, fields: Sequence[tuple[bytes, bytes]], body_hash: bytes, at_s: int) -> bytes:
        """Return the signature's field, for the fields of a header and the hash of a body.

        ``fields`` are names in small letters, and values with their line ends.
        """
        chosen = _chosen(fields)
        algorithm = "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"
        names = b":".join(name for name, _ in chosen)
        value = (
            b" v=1; a=%s; c=relaxed/relaxed;\r\n\td=%s; s=%s; t=%d;\r\n\th=%s;\r\n\tbh=%s;\r\n\tb="
            % (
                algorithm.encode(),
                self.domain.encode(),
                self.selector.encode(),
                at_s,
                _folded(names),
                b64encode(body_hash),
            )
        )
        signed = b"".join(relaxed(*each) for each in chosen if each[1])
        signed += relaxed(b"dkim-signature", value + b"\r\n").removesuffix(b"\r\n")
        return b"DKIM-Signature:" + value + _folded(b64encode(self._signature(signed))) + b"\r\n"

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), SHA256())
        return self.key.sign(hashlib.sha256(data).digest())


def load_key(path: Path) -> Key:
    """Read a private key (PEM, RSA or Ed25519); ``ValueError`` is a sentence."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"{path} is not a private key in PEM without a password") from None
    if isinstance(key, RSAPrivateKey):
        if key.key_size < RSA_BITS_MIN:
            raise ValueError(f"{path}: an RSA key of {key.key_size} bits; {RSA_BITS_MIN} at least")
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError(f"{path}: DKIM knows RSA and Ed25519 keys")


def signatures(signers: Sequence[Signer], blocks: Iterable[bytes], at_s: int) -> bytes:
    """Return the fields to put before a message, one for each signer that is for its author.

    ``blocks`` are the message as it goes out (``happy.wire.smtp_data.as_sent``). Empty when its
    author is of another domain, or cannot be told.
    """
    header, body = bytearray(), BodyHash()
    ended = False
    for block in blocks:
        if ended:
            body.update(block)
            continue
        header += block
        end = header.find(b"\r\n\r\n")
        if end >= 0:
            ended = True
            body.update(bytes(header[end + 4 :]))
            del header[end + 2 :]
        elif len(header) > _HEADER_BYTES_MAX:
            return b""
    authors = parse_header(bytes(header)).addresses("from")
    domains = {author.address.rpartition("@")[2].lower() for author in authors}
    if len(domains) != 1:
        return b""
    (domain,) = domains
    fields = [(name.lower(), value) for name, value in _FIELD.findall(bytes(header))]
    digest = body.digest()
    assert digest is not None
    return b"".join(
        signer.field_of(fields, digest, at_s) for signer in signers if signer.signs_for(domain)
    )


def _chosen(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields to sign, those of one name from the last up (section 5.4.2).

    What is named and not there has an empty value, which no field has that is there.
    """
    chosen: list[tuple[bytes, bytes]] = []
    for name in _SIGNED:
        chosen += [(name, value) for known, value in reversed(fields) if known == name]
        if name in _SIGNED_ONCE_MORE:
            chosen.append((name, b""))
    return chosen


def _folded(text: bytes) -> bytes:
    """Fold where it is allowed to, so that no line is long."""
    if b":" not in text:
        return b"\r\n\t ".join(text[at : at + 72] for at in range(0, len(text), 72))
    lines, line = [], b""
    for name in text.split(b":"):
        if line and len(line) + len(name) > 70:
            lines.append(line)
            line = b""
        line += (b":" if line or lines else b"") + name
    return b"\r\n\t ".join([*lines, line])
