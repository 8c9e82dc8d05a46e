"""DANE for SMTP (RFC 7672): servers that are proven by what DNS says of them.

Where DNS was validated all the way - the MX records, the addresses, the TLSA records - whoever
has those records demands TLS, and is who the records say, or gets no mail: nobody in between can
take the offer of STARTTLS away, or show a certificate of his own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from cryptography.x509 import (
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.names import dns
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.wire.dnssec import NAME_CHARS_MAX, look_up
from happy.wire.next_hop import NoHop
from happy.wire.starttls import Opportunistic
from happy.wire.tlsa import CERTIFICATE, DANE_EE, DANE_TA, FULL, TLSA, Tlsa, parse_tlsa, usable

_FOR_SERVERS: Final = (
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)


class Unproven(Exception):
    """A server is not who the TLSA records say."""


class TlsaResolver(Protocol):
    """What is asked of DNS."""

    def query(self, query: dns.Query) -> Deferred[Any]:
        """Look records of any kind up."""


async def demanded(
    resolver: TlsaResolver, bases: Iterable[str], names: Sequence[str], port: int
) -> IOpenSSLClientConnectionCreator | None:
    """Return the TLS that a host demands, which goes by ``bases``; None when it demands none.

    Records of which none is usable ask for TLS with whoever answers (RFC 7672 section 2.2).
    ``NoHop`` when nobody can tell: that is just what who wants mail in the clear would bring
    about, so the host is not to be used now (section 2.1.2).
    """
    for base in bases:
        records = await _records_of(resolver, base, port)
        if records is not None:
            fit = usable(records)
            return DaneTls(base, (base, *names), fit) if fit else Opportunistic(base)
    return None


async def _records_of(resolver: TlsaResolver, base: str, port: int) -> list[Tlsa] | None:
    name = f"_{port}._tcp.{base}"
    if len(name) > NAME_CHARS_MAX:
        return None
    query = dns.Query(name, TLSA, dns.IN)
    try:
        found = await look_up(partial(resolver.query, query), name, TLSA)
    except NoHop as none:
        if none.permanent:
            return None
        raise
    if not found.records or not found.is_authentic:
        return None
    parsed = [parse_tlsa(record.data) for record in found.records]
    return [record for record in parsed if record is not None]


@implementer(IOpenSSLClientConnectionCreator)
class DaneTls:
    """TLS with a server that usable records of ``base`` prove; it is asked for by that name.

    ``names`` are those of which a certificate below a named authority must have one.
    """

    def __init__(self, base: str, names: Sequence[str], records: Sequence[Tlsa]) -> None:
        self.base = base
        self._names = names
        self._records = records

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """Return a connection that fails as soon as the server has not proven itself."""
        context = CertificateOptions().getContext()
        context.set_info_callback(self._look)
        made = SSL.Connection(context, None)
        made.set_app_data(tlsProtocol)
        made.set_tlsext_host_name(self.base.encode("ascii"))
        return made

    def _look(self, connection: SSL.Connection, where: int, _: int) -> None:
        if not where & SSL.SSL_CB_HANDSHAKE_DONE:
            return
        fault = Failure(Unproven(f"its certificate is none that TLSA records of {self.base} name"))
        try:
            shown = [each.to_cryptography() for each in connection.get_peer_cert_chain() or ()]
            if is_proven(shown, self._records, self._names):
                return
        except Exception:  # noqa: BLE001 - an exception here would go nowhere, and be a yes
            fault = Failure()
        connection.get_app_data().failVerification(fault)


def is_proven(shown: Sequence[Certificate], records: Iterable[Tlsa], names: Iterable[str]) -> bool:
    """Say whether a server that shows these certificates, its own first, is who is meant.

    An authority is to be among those shown, as RFC 7672 section 3.1.2 tells its owner, or to be
    told whole; the server's own certificate is none.
    """
    if not shown:
        return False
    own, above = shown[0], shown[1:]
    records = tuple(records)
    if any(record.usage == DANE_EE and record.matches(own) for record in records):
        return True
    tops = [record for record in records if record.usage == DANE_TA]
    anchors = [each for each in above if any(top.matches(each) for top in tops)]
    anchors += [
        load_der_x509_certificate(top.data)
        for top in tops
        if (top.selector, top.matching) == (CERTIFICATE, FULL)
    ]
    anchors = [each for each in anchors if each != own]
    return (
        bool(anchors)
        and _is_below(own, above, anchors)
        and _is_for_servers(own)
        and any(_has_name(own, name) for name in names)
    )


def _is_below(own: Certificate, above: Iterable[Certificate], anchors: list[Certificate]) -> bool:
    """Say whether signatures and dates lead from a certificate up to an anchor."""
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # an anchor needs nobody above it
    for anchor in anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
    between = [crypto.X509.from_cryptography(each) for each in above]
    leaf = crypto.X509.from_cryptography(own)
    try:
        crypto.X509StoreContext(store, leaf, between).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


def _is_for_servers(certificate: Certificate) -> bool:
    try:
        purposes = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        return True
    return any(purpose in purposes for purpose in _FOR_SERVERS)


def _has_name(certificate: Certificate, name: str) -> bool:
    try:
        verify_certificate_hostname(certificate, name)
    except (CertificateError, VerificationError):
        return False
    return True
