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

from happy.wire.reread import Reread

_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL
)


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
        self._file = Reread(path, read_certificate)

    def options(self) -> CertificateOptions:
        """Return what TLS needs now; one that cannot be read leaves the last that could."""
        return self._file.now()
