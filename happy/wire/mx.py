"""Direct delivery: each domain is a destination, and DNS tells its servers (RFC 5321 section 5).

In the order of their preference, those of one preference in a random order, each with all its
addresses. A domain without MX records is its own server; one that says so takes no mail at all
(RFC 7505). Servers that we are ourselves, and those behind them, are left out: they would send
the mail back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Protocol

import idna
from attrs import evolve, frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.names import dns

from happy.limits import Limits
from happy.wire.dane import DaneTls, demanded
from happy.wire.dnssec import NAME_CHARS_MAX, Found, Sections, look_up, text_of
from happy.wire.next_hop import Hop, NoHop

SMTP_PORT: Final = 25

_DOMAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")

Ask = Callable[[str], Deferred[Sections]]


class Resolver(Protocol):
    """What is asked of DNS; ``twisted.names.client.createResolver`` makes one."""

    def lookupMailExchange(self, name: str) -> Deferred[Sections]:
        """Look MX records up."""

    def lookupAddress(self, name: str) -> Deferred[Sections]:
        """Look A records up."""

    def lookupIPV6Address(self, name: str) -> Deferred[Sections]:
        """Look AAAA records up."""

    def query(self, query: dns.Query) -> Deferred[Sections]:
        """Look records of any kind up."""


class Chance(Protocol):
    """What breaks ties; ``random.Random`` outside the tests."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


@frozen
class _Host:
    """The addresses of a host; ``bases`` are the names of which it may have TLSA records."""

    addresses: Sequence[str]
    bases: Sequence[str]


class MxHops:
    """Finds the mail servers of domains; ``identity`` is the host name that is our own.

    What ``resolver`` gives as ``Authenticated`` is believed, and TLS to those servers is as their
    TLSA records demand; a resolver that gives none such is asked for none.
    """

    def __init__(  # noqa: PLR0913 - each is a part of the world that a test replaces
        self,
        *,
        resolver: Resolver,
        reactor: Any,
        identity: str,
        limits: Limits,
        chance: Chance,
        port: int = SMTP_PORT,
    ) -> None:
        self._resolver = resolver
        self._reactor = reactor
        self._identity = identity.lower()
        self._limits = limits
        self._chance = chance
        self._port = port

    def destination_of(self, recipient: str) -> str:
        """Return the domain of an address, in the letters that DNS has."""
        _, at, domain = recipient.rpartition("@")
        if not at:
            return ""
        domain = domain.rstrip(".").lower()
        try:
            return domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return domain

    async def find(self, destination: str) -> Sequence[Hop]:
        """Return the servers of a domain, the best first; ``NoHop`` when there is none."""
        if destination.startswith("["):
            return (self._literal(destination),)
        if len(destination) > NAME_CHARS_MAX or not _DOMAIN.fullmatch(destination):
            raise NoHop(f"5.1.2 not a domain: {destination!a}", permanent=True)
        mx = await self._look_up(destination, self._resolver.lookupMailExchange, dns.MX)
        names = tuple(dict.fromkeys((destination, mx.name)))
        hops: list[Hop] = []
        trouble: NoHop | None = None
        for name in self._in_turn(destination, _exchanges(destination, mx)):
            try:
                hops += await self._hops_of(name, names, is_sure=mx.is_authentic)
            except NoHop as none:
                # What may be better later must not be taken for a "never".
                trouble = none if trouble is None or trouble.permanent else trouble
            if len(hops) >= self._limits.mail_out_hops_max:
                break
        if not hops:
            raise trouble or NoHop(f"5.4.4 nobody takes mail for {destination}", permanent=True)
        return hops

    async def _hops_of(self, name: str, names: Sequence[str], *, is_sure: bool) -> list[Hop]:
        """Return a host's addresses as hops, ``is_sure`` when it is truly of the domain."""
        host = await self._host(name, is_sure=is_sure)
        tls = await demanded(self._resolver, host.bases, names, self._port)
        proof: Final = "DANE" if isinstance(tls, DaneTls) else ""
        return [evolve(self._hop(name, each), tls=tls, proof=proof) for each in host.addresses]

    def _in_turn(self, domain: str, exchanges: list[tuple[int, str]]) -> list[str]:
        own = min((preference for preference, name in exchanges if name == self._identity),
                  default=None)  # fmt: skip
        if own is not None:
            exchanges = [each for each in exchanges if each[0] < own]
        if not exchanges:
            raise NoHop(
                f"5.4.6 the best mail server of {domain} is {self._identity}, which is here",
                permanent=True,
            )
        keyed = [(preference, self._chance.random(), name) for preference, name in exchanges]
        return [name for _, _, name in sorted(keyed)]

    async def _host(self, name: str, *, is_sure: bool) -> _Host:
        """Return the addresses of a host, IPv6 first; ``NoHop`` when it has none.

        One that is an alias may have TLSA records of the name it stands for, or else of its own;
        of its own alone, when only that is authentic (RFC 7672 section 2.2.3).
        """
        both = await gatherResults(
            [
                Deferred.fromCoroutine(self._look_up_or_none(name, look_up, kind))
                for look_up, kind in (
                    (self._resolver.lookupIPV6Address, dns.AAAA),
                    (self._resolver.lookupAddress, dns.A),
                )
            ]
        )
        found = [one for one in both if isinstance(one, Found) and one.records]
        if not found:
            for none in both:
                if isinstance(none, NoHop) and not none.permanent:
                    raise none
            raise NoHop(f"5.4.4 {name} has no address", permanent=True)
        bases: Sequence[str] = ()
        if is_sure and all(one.is_authentic for one in found):
            bases = tuple(dict.fromkeys((*(one.name for one in found), name)))
        elif is_sure and any(one.name != name for one in found):
            ask = partial(self._resolver.query, dns.Query(name, dns.CNAME, dns.IN))
            alias = await look_up(ask, name, dns.CNAME)
            bases = (name,) if alias.is_authentic else ()
        return _Host([_address(record) for one in found for record in one.records], bases)

    async def _look_up_or_none(self, name: str, ask: Ask, kind: int) -> Found | NoHop:
        try:
            return await self._look_up(name, ask, kind)
        except NoHop as none:
            return none

    async def _look_up(self, name: str, ask: Ask, kind: int) -> Found:
        return await look_up(partial(ask, name), name, kind)

    def _literal(self, destination: str) -> Hop:
        """Return the server of an address literal (RFC 5321 section 4.1.3)."""
        inner = destination.strip("[]")
        inner = inner.removeprefix("ipv6:")
        try:
            return self._hop("", str(ip_address(inner)))
        except ValueError:
            raise NoHop(f"5.1.2 not an address: {destination!a}", permanent=True) from None

    def _hop(self, name: str, address: str) -> Hop:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        timeout_s = self._limits.mail_out_connect_timeout_s
        return Hop(kind(self._reactor, address, self._port, timeout_s), name or address)


def _exchanges(domain: str, mx: Found) -> list[tuple[int, str]]:
    """Return preferences and host names; the domain itself when it has no MX records."""
    found = [(record.preference, text_of(record.name)) for record in mx.records]
    if found and not any(name for _, name in found):
        raise NoHop(f"5.1.10 {domain} takes no mail (null MX)", permanent=True)
    return [(preference, name) for preference, name in found if name] or [(0, domain)]


def _address(record: Any) -> str:
    packed = record.address
    return str(IPv6Address(packed) if len(packed) == 16 else IPv4Address(packed))
