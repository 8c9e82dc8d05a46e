"""Certificates that nobody trusts, for the tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import CertificateOptions


@frozen
class Issued:
    """A certificate and its key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def issue(
    name: str,
    by: Issued | None = None,
    *,
    days: tuple[int, int] = (-1, 30),
    extensions: tuple[x509.ExtensionType, ...] | None = None,
) -> Issued:
    """Make a certificate that another signs, or it itself; for a host unless told otherwise."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if extensions is None:
        extensions = (x509.SubjectAlternativeName([x509.DNSName(name)]),)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Issued(key, builder.sign(key if by is None else by.key, hashes.SHA256()))


def authority(name: str, by: Issued | None = None) -> Issued:
    """Make a certificate that may sign others."""
    return issue(name, by, extensions=(x509.BasicConstraints(ca=True, path_length=None),))


def server_side(own: Issued, *above: Issued) -> CertificateOptions:
    """Return what a server needs that shows a certificate and those above it."""
    chain = [each.certificate for each in above]
    return CertificateOptions(own.key, own.certificate, extraCertChain=chain)


def make_certificate(path: Path, name: str = "mx.lists.example") -> tuple[bytes, bytes]:
    """Write a key and its certificate to a file; return the two in PEM."""
    made = issue(name)
    key_pem = made.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate_pem = made.certificate.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(key_pem + certificate_pem)
    return key_pem, certificate_pem
