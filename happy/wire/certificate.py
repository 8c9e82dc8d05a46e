"""The certificate of a mail door: read from a file, and read again when that was renewed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger

_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL
)

log = Logger()


def read_certificate(path: Path) -> CertificateOptions:
    """Return what TLS needs of a PEM file that holds a key, its certificate, and then the chain.

    ``ValueError`` is a sentence that names the file.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError(f"{path} holds no certificate in PEM")
    key = _KEY.search(pem)
    try:
        found: Any = load_pem_x509_certificates(pem)  # Twisted's types know an older form only
        private: Any = load_pem_private_key(b"" if key is None else key[0], password=None)
        options = CertificateOptions(private, found[0], extraCertChain=found[1:])
        options.getContext()
    except (SSL.Error, UnsupportedAlgorithm, ValueError, TypeError):
        raise ValueError(
            f"{path} holds no private key in PEM that goes with its first certificate"
        ) from None
    return options


class Certificate:
    """The certificate in a file; a newer one counts from the next connection on."""

    def __init__(self, path: Path) -> None:
        """Read the file; ``ValueError`` is a sentence."""
        self._path = path
        self._options = read_certificate(path)
        self._seen = _stamp(path)

    def options(self) -> CertificateOptions:
        """Return what TLS needs now; one that cannot be read leaves the last that could."""
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._seen:
            self._seen = stamp
            try:
                self._options = read_certificate(self._path)
            except ValueError as error:
                log.warn("the certificate before it stays in use: {error}", error=error)
        return self._options


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
