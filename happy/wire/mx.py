"""Direct delivery: each domain is a destination, and DNS tells its servers (RFC 5321 section 5).

In the order of their preference, those of one preference in a random order, each with all its
addresses. A domain without MX records is its own server; one that says so takes no mail at all
(RFC 7505). Servers that we are ourselves, and those behind them, are left out: they would send
the mail back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Protocol

import idna
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError

from happy.limits import Limits
from happy.wire.next_hop import Hop, NoHop

SMTP_PORT: Final = 25

_NAME_CHARS_MAX: Final = 253  # RFC 1035 section 2.3.4, without the last dot
_DOMAIN: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")

Answer = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]


class Resolver(Protocol):
    """What is asked of DNS; ``twisted.names.client.createResolver`` makes one."""

    def lookupMailExchange(self, name: str) -> Deferred[Answer]:
        """Look MX records up."""

    def lookupAddress(self, name: str) -> Deferred[Answer]:
        """Look A records up."""

    def lookupIPV6Address(self, name: str) -> Deferred[Answer]:
        """Look AAAA records up."""


class Chance(Protocol):
    """What breaks ties; ``random.Random`` outside the tests."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class MxHops:
    """Finds the mail servers of domains; ``identity`` is the host name that is our own."""

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
        if len(destination) > _NAME_CHARS_MAX or not _DOMAIN.fullmatch(destination):
            raise NoHop(f"5.1.2 not a domain: {destination!a}", permanent=True)
        hops: list[Hop] = []
        trouble: NoHop | None = None
        for host in self._in_turn(destination, await self._exchanges(destination)):
            try:
                hops += [self._hop(host, address) for address in await self._addresses(host)]
            except NoHop as none:
                # What may be better later must not be taken for a "never".
                trouble = none if trouble is None or trouble.permanent else trouble
            if len(hops) >= self._limits.mail_out_hops_max:
                break
        if not hops:
            raise trouble or NoHop(f"5.4.4 nobody takes mail for {destination}", permanent=True)
        return hops

    async def _exchanges(self, domain: str) -> list[tuple[int, str]]:
        """Return preferences and host names; the domain itself when it has no MX records."""
        records = await self._look_up(domain, self._resolver.lookupMailExchange, dns.MX)
        found = [(record.preference, _text(record.name)) for record in records]
        if found and not any(name for _, name in found):
            raise NoHop(f"5.1.10 {domain} takes no mail (null MX)", permanent=True)
        return [(preference, name) for preference, name in found if name] or [(0, domain)]

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

    async def _addresses(self, host: str) -> list[str]:
        """Return the addresses of a host, IPv6 first; ``NoHop`` when it has none."""
        both = await gatherResults(
            [
                Deferred.fromCoroutine(self._look_up_or_none(host, look_up, kind))
                for look_up, kind in (
                    (self._resolver.lookupIPV6Address, dns.AAAA),
                    (self._resolver.lookupAddress, dns.A),
                )
            ]
        )
        found = [_address(r) for records in both if not isinstance(records, NoHop) for r in records]
        if not found:
            for none in both:
                if isinstance(none, NoHop) and not none.permanent:
                    raise none
            raise NoHop(f"5.4.4 {host} has no address", permanent=True)
        return found

    async def _look_up_or_none(self, name: str, look_up: Any, kind: int) -> Any:
        try:
            return await self._look_up(name, look_up, kind)
        except NoHop as none:
            return none

    async def _look_up(self, name: str, look_up: Any, kind: int) -> list[Any]:
        """Return the records of a kind; none when the name has none of that kind."""
        try:
            answers, _, _ = await look_up(name)
        except (DNSNameError, AuthoritativeDomainError):
            raise NoHop(f"5.1.2 there is no domain {name}", permanent=True) from None
        except Exception as error:  # noqa: BLE001 - resolvers fail with anything
            why = type(error).__name__.removeprefix("DNS")
            raise NoHop(f"4.4.3 {name} cannot be looked up: {why}", permanent=False) from None
        return [answer.payload for answer in answers if answer.type == kind]

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


def _text(name: Any) -> str:
    text: str = name.name.decode("ascii", "replace").rstrip(".").lower()
    return text


def _address(record: Any) -> str:
    packed = record.address
    return str(IPv6Address(packed) if len(packed) == 16 else IPv4Address(packed))
