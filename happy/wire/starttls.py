"""Encrypting with whoever answers (RFC 7435): nobody can listen in who cannot also interfere.

A certificate is not checked, for most mail servers have none that could be: who would refuse
it would have to send in the clear instead, which protects from nobody.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from OpenSSL.SSL import Connection, Context
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer


@cache
def _context() -> Context:
    return CertificateOptions().getContext()


@implementer(IOpenSSLClientConnectionCreator)
class Opportunistic:
    """Makes the client's side of TLS; ``name`` is whom we mean to speak to, empty if unknown."""

    def __init__(self, name: str) -> None:
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        """Return a connection that asks for the server by its name (RFC 6066)."""
        made = Connection(_context(), None)
        made.set_app_data(tlsProtocol)
        if self._name and not self._name[-1].isdigit() and ":" not in self._name:
            made.set_tlsext_host_name(self._name.encode("ascii"))
        return made
