"""Wrong passwords, by where they came from: whoever tries many has to wait, on any connection.

Each address has a bucket: a wrong password fills it, time empties it, and while it is full no
more are looked at. IPv6 addresses share the bucket of their network of 64 bits, for that is what
one customer is given.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address

from attrs import define
from twisted.internet.interfaces import IReactorTime

from happy.limits import Limits

_NETWORK_BITS = 64


@define
class _Bucket:
    """How full it was at ``at_s``."""

    level: float
    at_s: float


class FailedLogins:
    """The wrong passwords of the last hours, of no more than so many addresses.

    ``smtp_auth_peer_failures_max`` of one address fill its bucket, and every
    ``smtp_auth_peer_failure_s`` one of them is forgotten.
    """

    def __init__(self, clock: IReactorTime, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def add(self, peer: str) -> None:
        """Count a wrong password; of too many addresses the one quiet for longest is forgotten."""
        where = _where(peer)
        level = self._level(where) + 1
        self._buckets[where] = _Bucket(level, self._clock.seconds())
        self._buckets.move_to_end(where)
        if len(self._buckets) > self._limits.smtp_auth_peers_max:
            self._buckets.popitem(last=False)

    def is_full(self, peer: str) -> bool:
        """Say whether no password from there is looked at now."""
        return self._level(_where(peer)) + 1 > self._limits.smtp_auth_peer_failures_max

    def _level(self, where: str) -> float:
        bucket = self._buckets.get(where)
        if bucket is None:
            return 0
        gone = (self._clock.seconds() - bucket.at_s) / self._limits.smtp_auth_peer_failure_s
        return max(0, bucket.level - gone)


def _where(peer: str) -> str:
    try:
        address = ip_address(peer)
    except ValueError:
        return peer  # a unix socket
    if not isinstance(address, IPv6Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), _NETWORK_BITS), strict=False))
