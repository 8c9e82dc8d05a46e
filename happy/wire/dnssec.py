"""DNS answers that somebody has validated (RFC 4033): a resolver that we trust, and say so.

Such a resolver checks signatures up to the root of DNS, fails where they are broken, and sets the
AD bit of an answer all of which is authentic. The bit is worth as much as the way to it: whoever
can write on that way can set it too. So it is believed of the one resolver that was named for it,
and of no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.client import DNSClientFactory, Resolver
from twisted.names.error import AuthoritativeDomainError, DNSNameError

from happy.wire.next_hop import NoHop

log = Logger()

NAME_CHARS_MAX: Final = 253
"""RFC 1035 section 2.3.4, without the last dot."""

Sections = tuple[Sequence[Any], Sequence[Any], Sequence[Any]]
"""The answers, the authority and the additional records, as Twisted's resolvers return them."""

_Asking = TypeVar("_Asking", dns.DNSDatagramProtocol, dns.DNSProtocol)


class Authenticated(Sections):
    """An answer all of which was validated, also that there is nothing of the kind."""

    __slots__ = ()


@frozen
class Found:
    """What DNS has of a kind under a name: the records, and the name that they really stand under.

    ``is_authentic`` when that was validated, and every alias on the way there.
    """

    records: tuple[Any, ...]
    name: str
    is_authentic: bool


async def look_up(asked: Callable[[], Deferred[Any]], name: str, kind: int) -> Found:
    """Return what a resolver tells; ``NoHop`` when there is no such name, or it cannot tell."""
    try:
        told = await asked()
    except (DNSNameError, AuthoritativeDomainError):
        raise NoHop(f"5.1.2 there is no domain {name}", permanent=True) from None
    except Exception as error:  # noqa: BLE001 - resolvers fail with anything
        why = type(error).__name__.removeprefix("DNS")
        raise NoHop(f"4.4.3 {name} cannot be looked up: {why}", permanent=False) from None
    found = [answer for answer in told[0] if answer.type == kind]
    return Found(
        tuple(answer.payload for answer in found),
        text_of(found[0].name) if found else name,
        isinstance(told, Authenticated),
    )


async def warn_unless_validating(resolver: ValidatingResolver) -> None:
    """Ask for what every validating resolver vouches for, the root; log when this one does not."""
    try:
        found = await look_up(partial(resolver.query, dns.Query("", dns.NS, dns.IN)), ".", dns.NS)
    except NoHop as none:
        why = none.reply
    else:
        if found.is_authentic:
            return
        why = "it does not vouch for the root of DNS"
    address, _ = resolver.servers[0]
    log.warn("{resolver} was named validating_resolver: {why}", resolver=address, why=why)


def text_of(name: Any) -> str:
    """Return a name of a record in small letters, without its last dot."""
    text: str = name.name.decode("ascii", "replace").rstrip(".").lower()
    return text


class _Factory(DNSClientFactory):
    def buildProtocol(self, addr: Any) -> dns.DNSProtocol:
        made: dns.DNSProtocol = super().buildProtocol(addr)
        return _wanting_ad(made)


class ValidatingResolver(Resolver):
    """Asks a validating resolver; what it vouches for comes as ``Authenticated``.

    Where validation fails it answers SERVFAIL, which is an error like any other. Nothing is
    remembered here: it does that itself, and is near.
    """

    def __init__(self, address: str, port: int = dns.PORT, reactor: Any = None) -> None:
        super().__init__(servers=[(address, port)], reactor=reactor)
        self.factory = _Factory(self)
        self.factory.noisy = False

    # Twisted has no public way to set a bit in a question; an answer has its AD bit only for
    # who asked with it (RFC 6840 section 5.7).
    def _connectedProtocol(self, interface: str = "") -> dns.DNSDatagramProtocol:
        made: dns.DNSDatagramProtocol = super()._connectedProtocol(interface)
        return _wanting_ad(made)

    def filterAnswers(self, message: dns.Message) -> Sections | Deferred[Sections]:
        """Return what a message says; one that was cut off is asked for again over TCP."""
        told = super().filterAnswers(message)
        return Authenticated(told) if message.authenticData and isinstance(told, tuple) else told


def _wanting_ad(protocol: _Asking) -> _Asking:
    ask = partial(_write, protocol.writeMessage)
    protocol.writeMessage = ask  # type: ignore[method-assign] # of this one
    return protocol


def _write(write: Any, message: dns.Message, *address: Any) -> None:
    message.authenticData = 1
    write(message, *address)
