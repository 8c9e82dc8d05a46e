"""TLSA records (RFC 6698, RFC 7671): what DNS says of the certificate of a server.

A mail server is proven by two usages alone (RFC 7672 section 3.1): DANE-EE names its certificate
or its key, and neither names nor dates in the certificate matter; DANE-TA names an authority
above it, and then they do. Whatever else is in a record makes it unusable.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256, sha512
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509 import Certificate, load_der_x509_certificate

TLSA: Final = 52
"""The number of the record type."""

DANE_TA: Final = 2
DANE_EE: Final = 3

CERTIFICATE: Final = 0
PUBLIC_KEY: Final = 1

FULL: Final = 0
_DIGESTS: Final = {1: sha256, 2: sha512}  # a larger number is the stronger digest


@frozen
class Tlsa:
    """A record: which certificate (``usage``), what of it (``selector``), and how (``matching``).

    ``data`` is that, or its digest.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Whether a mail server can be proven by it; a record that is broken is none."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (CERTIFICATE, PUBLIC_KEY):
            return False
        if self.matching == FULL:
            return _is_whole(self.selector, self.data)
        digest = _DIGESTS.get(self.matching)
        return digest is not None and len(self.data) == digest().digest_size

    def matches(self, certificate: Certificate) -> bool:
        """Say whether a certificate is the one that is meant."""
        chosen = certificate.public_bytes(Encoding.DER)
        if self.selector == PUBLIC_KEY:
            chosen = public_key_of(chosen)
        digest = _DIGESTS.get(self.matching)
        return self.data == (chosen if digest is None else digest(chosen).digest())


def parse_tlsa(data: bytes) -> Tlsa | None:
    """Return the record that DNS tells (RFC 6698 section 2.1); None when it is cut off."""
    return Tlsa(data[0], data[1], data[2], data[3:]) if len(data) > 3 else None


def usable(records: Sequence[Tlsa]) -> tuple[Tlsa, ...]:
    """Return the records that count; of several digests of the same, only the strongest does.

    So an owner can go on telling a weak one to those who know no better (RFC 7671 section 9).
    """
    fit = [record for record in records if record.is_usable]
    strongest: dict[tuple[int, int], int] = {}
    for record in fit:
        kind = (record.usage, record.selector)
        strongest[kind] = max(strongest.get(kind, FULL), record.matching)
    return tuple(
        record
        for record in fit
        if record.matching in (FULL, strongest[record.usage, record.selector])
    )


def public_key_of(certificate: bytes) -> bytes:
    """Return the subjectPublicKeyInfo of a certificate in DER (RFC 5280 section 4.1), as it is.

    A key that was read and written again may be another string of bytes than the one that its
    owner made a digest of. ``certificate`` was parsed before, so its lengths are right.
    """
    at, _ = _content(certificate, 0)  # Certificate
    at, _ = _content(certificate, at)  # tbsCertificate
    if certificate[at] == 0xA0:  # version, which those of version 1 have not
        at = _end(certificate, at)
    for _ in range(5):  # serialNumber, signature, issuer, validity, subject
        at = _end(certificate, at)
    return certificate[at : _end(certificate, at)]


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at a place begins, and its length."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2, length
    begin = at + 2 + (length & 0x7F)
    return begin, int.from_bytes(der[at + 2 : begin], "big")


def _end(der: bytes, at: int) -> int:
    begin, length = _content(der, at)
    return begin + length


def _is_whole(selector: int, data: bytes) -> bool:
    load = load_der_x509_certificate if selector == CERTIFICATE else load_der_public_key
    try:
        load(data)
    except UnsupportedAlgorithm:
        return True  # it can still be the same bytes
    except (ValueError, TypeError):
        return False
    return True
