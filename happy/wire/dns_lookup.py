"""Questions to DNS and what came of them, remembered for as long as it is true.

Whoever asks the same at the same time waits for one lookup; no more than so many are under way;
and who asks says until when he waits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Protocol

from attrs import frozen
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.error import AuthoritativeDomainError, DNSNameError
from twisted.python.failure import Failure

from happy.facts import DnsAnswer
from happy.limits import Limits

Question = tuple[str, str]
"""A name in small letters without its last dot, and TXT, A, AAAA, MX or PTR."""

_TRIES_S: Final = (2, 4, 8)  # for each try; whoever asked has given up by the last
_ABSENT_TTL_S: Final = 60  # what is not there today may be there soon
_NAME_CHARS_MAX: Final = 253  # RFC 1035 section 2.3.4, without the last dot
_LABEL: Final = re.compile(r"[ -~]{1,63}")
_METHODS: Final = {
    "TXT": ("lookupText", dns.TXT),
    "A": ("lookupAddress", dns.A),
    "AAAA": ("lookupIPV6Address", dns.AAAA),
    "MX": ("lookupMailExchange", dns.MX),
    "PTR": ("lookupPointer", dns.PTR),
}


class Resolver(Protocol):
    """What is asked of DNS; ``twisted.names.client.Resolver`` is one."""

    def lookupText(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Look TXT records up."""

    def lookupAddress(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Look A records up."""

    def lookupIPV6Address(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Look AAAA records up."""

    def lookupMailExchange(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Look MX records up."""

    def lookupPointer(self, name: str, timeout: Any = None) -> Deferred[Any]:
        """Look PTR records up."""


@frozen
class _Known:
    answer: DnsAnswer
    until_s: float


class DnsLookup:
    """Asks a resolver, as often as needed and no oftener; what failed is not remembered."""

    def __init__(self, resolver: Resolver, clock: IReactorTime, limits: Limits) -> None:
        self._resolver = resolver
        self._clock = clock
        self._limits = limits
        self._known: dict[Question, _Known] = {}
        self._waiting: dict[Question, list[Deferred[DnsAnswer]]] = {}
        self._free = DeferredSemaphore(limits.dns_lookups_max)

    async def answers(
        self, questions: Iterable[Question], until_s: float
    ) -> dict[Question, DnsAnswer]:
        """Return the answers to some questions; what is not told in time has failed."""
        asked = tuple(questions)
        told = await gatherResults([self._in_time(each, until_s) for each in asked])
        return dict(zip(asked, told, strict=True))

    def _in_time(self, question: Question, until_s: float) -> Deferred[DnsAnswer]:
        left_s = until_s - self._clock.seconds()
        if left_s <= 0:
            return succeed(_failed(question))
        answer = self._answer(question)
        answer.addTimeout(left_s, self._clock)
        answer.addErrback(_too_late, question)
        return answer

    def _answer(self, question: Question) -> Deferred[DnsAnswer]:
        if not _is_name(question[0]):
            return succeed(DnsAnswer(*question, "nxdomain"))
        known = self._known.get(question)
        if known is not None and known.until_s > self._clock.seconds():
            return succeed(known.answer)
        waiter: Deferred[DnsAnswer] = Deferred()
        waiting = self._waiting.get(question)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        self._waiting[question] = [waiter]
        self._free.run(self._look_up, question).addBoth(self._told, question)
        return waiter

    def _look_up(self, question: Question) -> Deferred[Any]:
        name, kind = question
        method, _ = _METHODS[kind]
        found: Deferred[Any] = getattr(self._resolver, method)(name, timeout=_TRIES_S)
        return found

    def _told(self, result: Any, question: Question) -> None:
        answer, ttl_s = self._read(result, question)
        if answer.status != "failed":
            self._remember(question, _Known(answer, self._clock.seconds() + ttl_s))
        for waiter in self._waiting.pop(question):
            waiter.callback(answer)

    def _read(self, result: Any, question: Question) -> tuple[DnsAnswer, int]:
        if isinstance(result, Failure):
            if result.check(DNSNameError, AuthoritativeDomainError) is not None:
                return DnsAnswer(*question, "nxdomain"), _ABSENT_TTL_S
            return _failed(question), 0
        _, kind = _METHODS[question[1]]
        try:
            records = [record for record in result[0] if record.type == kind]
            values = tuple(_text(question[1], record.payload) for record in records)
        except (AttributeError, TypeError, ValueError):
            return _failed(question), 0
        if sum(map(len, values)) > self._limits.dns_answer_chars_max:
            return _failed(question), 0
        if not values:
            return DnsAnswer(*question, "nodata"), _ABSENT_TTL_S
        ttl_s = min(int(record.ttl) for record in records)
        return DnsAnswer(*question, "found", values), ttl_s

    def _remember(self, question: Question, known: _Known) -> None:
        self._known.pop(question, None)
        if len(self._known) >= self._limits.dns_cache_answers_max:
            del self._known[next(iter(self._known))]
        latest_s = self._clock.seconds() + self._limits.dns_cache_s_max
        self._known[question] = _Known(known.answer, min(known.until_s, latest_s))


def _is_name(name: str) -> bool:
    return len(name) <= _NAME_CHARS_MAX and all(map(_LABEL.fullmatch, name.split(".")))


def _failed(question: Question) -> DnsAnswer:
    return DnsAnswer(*question, "failed")


def _too_late(failure: Failure, question: Question) -> DnsAnswer:
    failure.trap(defer.TimeoutError)
    return _failed(question)


def _text(kind: str, record: Any) -> str:
    """Return a record as ``DnsAnswer`` has it."""
    if kind == "TXT":
        return b"".join(record.data).decode("latin-1")
    if kind == "A":
        return str(IPv4Address(record.address))
    if kind == "AAAA":
        return str(IPv6Address(record.address))
    name = record.name.name.decode("latin-1").rstrip(".").lower()
    return f"{record.preference} {name}" if kind == "MX" else str(name)
