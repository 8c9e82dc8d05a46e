"""MTA-STS (RFC 8461): domains that say which servers are theirs, and that TLS to them is checked.

A policy is fetched when DNS tells a new one, and obeyed for as long as it says. In mode *enforce*
mail goes over verified TLS to a server that the policy names, or it waits; any other mode, and
any trouble in getting a first policy, leaves it as it is for domains without one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.ssl import optionsForClientTLS
from twisted.names import dns

from happy.wire.next_hop import Hop, NextHops, NoHop

POLICY_BYTES_MAX: Final = 64 * 1024  # RFC 8461 section 3.3
_AGE_S_MAX: Final = 31_557_600  # section 3.2: a year
_CACHED_MAX: Final = 10_000

_ID: Final = re.compile(r"v=STSv1\s*;(?:.*;)?\s*id=([A-Za-z0-9]{1,32})\s*(?:;.*)?", re.DOTALL)

Fetch = Callable[[str], Awaitable[bytes]]
"""Returns what an HTTPS URL holds, its certificate verified and no redirect followed; or raises."""


@frozen
class Policy:
    """What a domain demands: ``mode`` is enforce, testing or none; ``mx`` are host patterns."""

    mode: str
    mx: tuple[str, ...]
    age_s_max: int

    def allows(self, host: str) -> bool:
        """Say whether a host is one of the domain's; ``*.`` stands for one label."""
        return any(
            host.partition(".")[2] == pattern[2:] if pattern.startswith("*.") else host == pattern
            for pattern in self.mx
        )


def parse_policy(content: bytes) -> Policy | None:
    """Return a policy (section 3.2); None when it is none."""
    fields: dict[str, list[str]] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), []).append(value.strip())
    mode = fields.get("mode", [""])[0]
    age = fields.get("max_age", [""])[0]
    mx = tuple(host.lower().rstrip(".") for host in fields.get("mx", ()))
    if fields.get("version", [""])[0] != "STSv1" or mode not in ("enforce", "testing", "none"):
        return None
    if not (age.isascii() and age.isdigit() and len(age) <= 10) or (mode != "none" and not mx):
        return None
    return Policy(mode, mx, min(int(age), _AGE_S_MAX))


class TextResolver(Protocol):
    """What is asked of DNS."""

    def lookupText(self, name: str) -> Deferred[Any]:
        """Look TXT records up."""


@frozen
class _Known:
    id: str
    policy: Policy
    until_s: float


class StsHops:
    """Obeys policies on the way that ``inner`` finds; see the head of this module."""

    def __init__(
        self,
        inner: NextHops,
        resolver: TextResolver,
        fetch: Fetch,
        now_s: Callable[[], float],
        tls_for: Callable[[str], Any] = optionsForClientTLS,
    ) -> None:
        self._inner = inner
        self._resolver = resolver
        self._fetch = fetch
        self._now_s = now_s
        self._tls_for = tls_for
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def destination_of(self, recipient: str) -> str:
        """Return what ``inner`` does."""
        return self._inner.destination_of(recipient)

    async def find(self, destination: str) -> Sequence[Hop]:
        """Return the servers that the domain's policy allows, TLS to be verified if it says so.

        Those that DANE proves stay, and as they are: it goes before any policy (section 2).
        """
        hops = await self._inner.find(destination)
        policy = None if destination.startswith("[") else await self._policy_of(destination)
        if policy is None or policy.mode != "enforce":
            return hops
        allowed = [
            hop if hop.proof else evolve(hop, tls=self._tls_for(hop.name), proof="MTA-STS")
            for hop in hops
            if hop.proof or policy.allows(hop.name)
        ]
        if not allowed:
            raise NoHop(
                f"4.7.5 the MTA-STS policy of {destination} allows none of its servers",
                permanent=False,
            )
        return allowed

    async def _policy_of(self, domain: str) -> Policy | None:
        known = self._known.get(domain)
        if known is not None and known.until_s <= self._now_s():
            del self._known[domain]
            known = None
        told = await self._id_of(domain)
        if told is not None and (known is None or known.id != told):
            try:
                url = f"https://mta-sts.{domain}/.well-known/mta-sts.txt"
                policy = parse_policy(await self._fetch(url))
            except Exception:  # noqa: BLE001 - whatever keeps it from us, the old one still holds
                policy = None
            if policy is not None:
                known = _Known(told, policy, self._now_s() + policy.age_s_max)
                self._known[domain] = known
                while len(self._known) > _CACHED_MAX:
                    self._known.popitem(last=False)
        return None if known is None else known.policy

    async def _id_of(self, domain: str) -> str | None:
        """Return the id of the policy that DNS tells; None when it tells none, or several."""
        try:
            answers, _, _ = await self._resolver.lookupText(f"_mta-sts.{domain}")
        except Exception:  # noqa: BLE001 - resolvers fail with anything
            return None
        texts = [
            b"".join(answer.payload.data).decode("ascii", "replace")
            for answer in answers
            if answer.type == dns.TXT
        ]
        ours = [text for text in texts if text.startswith("v=STSv1")]
        found = _ID.fullmatch(ours[0]) if len(ours) == 1 else None
        return None if found is None else found[1]
