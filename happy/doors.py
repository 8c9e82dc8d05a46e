"""The doors and the runners of an application, made from its configuration."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.names.client import Resolver, createResolver
from twisted.web.client import Agent

from happy.app import App
from happy.bounces import Unreached
from happy.config import AppConfig, Config, MailConfig
from happy.config.mail_doors import MailEndpoint
from happy.debts import Runner
from happy.effects import Call, EffectId, Owed, SendMail
from happy.errors import StartError
from happy.event import Exchange
from happy.limits import Limits
from happy.stream import Stream
from happy.wire.access import AccessLog
from happy.wire.call_out import CallOut, fetch_text
from happy.wire.certificate import Certificate
from happy.wire.dkim import signatures
from happy.wire.dns_lookup import DnsLookup
from happy.wire.dnssec import ValidatingResolver, warn_unless_validating
from happy.wire.failed_logins import FailedLogins
from happy.wire.http import site_for
from happy.wire.lmtp import LmtpFactory
from happy.wire.logins import Logins
from happy.wire.mail_checks import MailChecks
from happy.wire.mta_sts import POLICY_BYTES_MAX, StsHops
from happy.wire.mx import MxHops
from happy.wire.next_hop import NextHops, Smarthost
from happy.wire.smtp import MailFactory
from happy.wire.smtp_data import as_sent, blocks_of
from happy.wire.smtp_out import MailOut
from happy.wire.together import read_together
from happy.wire.trust import Trust
from happy.wire.users import users_now
from happy.wire.xforward import Relays

RESOLV_CONF: Final = "/etc/resolv.conf"


class DoorFactory(Protocol):
    """A factory whose connections can be brought to an end."""

    @property
    def connections_count(self) -> int:
        """How many there are."""

    def drain(self) -> Deferred[None]:
        """Close what is idle, let what runs finish; fires when no connection is left."""

    def cut(self) -> None:
        """Close what is left."""


@attrs.define
class Door:
    """One place to listen."""

    kind: str
    endpoint: str
    factory: DoorFactory
    where: str = ""
    is_open: bool = False
    _port: Any = None

    def listens(self, port: IListeningPort) -> None:
        """Take in where it listens now; until the door is open, who comes waits."""
        read_together(port)
        self.where = _show(port.getHost())
        self._port = port
        if not self.is_open and hasattr(port, "stopReading"):
            port.stopReading()

    def open(self) -> None:
        """Accept connections."""
        self.is_open = True
        if hasattr(self._port, "startReading"):
            self._port.startReading()

    def status(self) -> dict[str, str]:
        """Return what it is and where."""
        return {"kind": self.kind, "where": self.where}


class _Shared(Factory):
    """The factory of a door whose connections are in other processes."""

    noisy = False
    connections_count = 0

    def drain(self) -> Deferred[None]:
        """Do nothing: there are no connections here."""
        return succeed(None)

    def cut(self) -> None:
        """Do nothing."""


class SharedDoor(Door):
    """A place where this process listens, and others accept."""

    def listens(self, port: IListeningPort) -> None:
        """Take in where it listens now, and accept nothing."""
        super().listens(port)
        if not hasattr(port, "stopReading"):
            raise StartError(f"{self.endpoint} cannot be shared by fronts: set fronts = 0")

    def open(self) -> None:
        """Leave it to the others to accept."""

    def fileno(self) -> int:
        """Return what the others inherit."""
        descriptor: int = self._port.fileno()
        return descriptor


def shared_doors_of(config: AppConfig) -> list[SharedDoor]:
    """Return the doors of an application that has fronts, not yet open."""
    return [
        SharedDoor(kind, str(endpoint), _Shared())
        for kind in ("http", "smtp", "lmtp")
        for endpoint in getattr(config, kind)
    ]


class MailDoors:
    """The mail doors of a container: one for each place, however many applications share it."""

    def __init__(self, mail: MailConfig, reactor: Any) -> None:
        """``ValueError`` for a bad certificate, or a bad file of users."""
        self._mail = mail
        self._reactor = reactor
        self._certificate = None if mail.certificate is None else Certificate(mail.certificate)
        self._users_now = users_now(mail.users, mail.users_file)
        self._shared: dict[tuple[str, str], tuple[Door, MailFactory]] = {}

    def door(self, kind: str, endpoint: MailEndpoint, app: App, config: AppConfig) -> Door:
        """Return the door at a place, with an application behind it besides those there were."""
        checks, early = self._checks_of(endpoint, config.limits), config.accept == "durable"
        place = kind, str(endpoint)
        if place in self._shared:
            door, factory = self._shared[place]
            factory.homes.add(app, config.limits, checks, early=early)
            return door
        factory = (LmtpFactory if kind == "lmtp" else MailFactory)(
            app,
            limits=config.limits,
            clock=self._reactor,
            hostname=self._mail.hostname,
            certificate=self._certificate,
            trust=self._trust(endpoint, config.limits),
            checks=checks,
            early=early,
        )
        door = Door(kind, str(endpoint), factory)
        if endpoint.can_be_shared:
            self._shared[place] = door, factory
        return door

    def _trust(self, endpoint: MailEndpoint, limits: Limits) -> Trust:
        logins = None
        if endpoint.trust == "submission":
            aside = partial(deferToThreadPool, self._reactor, self._reactor.getThreadPool())
            failed = FailedLogins(self._reactor, limits)
            logins = Logins(self._users_now, aside, limits.smtp_auth_checks_max, failed)
        return Trust(endpoint.trust, endpoint.proxied, Relays(self._mail.relays), logins)

    def _checks_of(self, endpoint: MailEndpoint, limits: Limits) -> MailChecks | None:
        if not endpoint.check:
            return None
        reactor = self._reactor
        return MailChecks(
            endpoint.check,
            dns=DnsLookup(Resolver(RESOLV_CONF), reactor, limits),
            clock=reactor,
            now_s=time.time,
            aside=partial(deferToThreadPool, reactor, reactor.getThreadPool()),
            limits=limits,
            host=self._mail.hostname,
        )


def doors_of(
    app: App, config: AppConfig, mail_doors: MailDoors, reactor: Any, access_log: AccessLog | None
) -> list[Door]:
    """Return the doors of an application, not yet open."""
    doors = []
    for endpoint in config.http:
        site = site_for(app, limits=config.limits, reactor=reactor, access_log=access_log)
        doors.append(Door("http", str(endpoint), site))
    for kind, endpoints in (("smtp", config.smtp), ("lmtp", config.lmtp)):
        doors += [mail_doors.door(kind, endpoint, app, config) for endpoint in endpoints]
    return doors


def runners_of(
    stream: Stream, config: AppConfig, container: Config, reactor: Any
) -> dict[type, Runner]:
    """Return who performs each kind of debt of an application."""
    submit = partial(_submit, stream)
    mail = MailOut(
        name=stream.name,
        hops=_hops_of(container, config, reactor),
        submit=submit,
        open_blob=stream.open_blob,
        key_of=stream.effect_key,
        owed_now=partial(_owed_now, stream),
        limits=config.limits,
        identity=container.mail.hostname,
        clock=reactor,
        time_ns=stream.clock.now_ns,
        chance=random.SystemRandom(),
        sign=_sign_of(stream, container, reactor),
        suppression_of=partial(_suppression_of, stream),
    )
    call = CallOut(
        agent=Agent(reactor, connectTimeout=config.limits.call_timeout_s),
        submit=submit,
        key_of=stream.effect_key,
        limits=config.limits,
        clock=reactor,
    )
    return {SendMail: mail, Call: call}


def _hops_of(container: Config, config: AppConfig, reactor: Any) -> NextHops | None:
    """Return how mail finds its way; None when nothing was said of it."""
    mail = container.mail
    if mail.smarthost is not None:
        return Smarthost(clientFromString(reactor, str(mail.smarthost)))
    if not mail.direct:
        return None
    resolver = _resolver_of(mail, reactor)
    direct = MxHops(
        resolver=resolver,
        reactor=reactor,
        identity=mail.hostname,
        limits=config.limits,
        chance=random.SystemRandom(),
    )
    agent = Agent(reactor, connectTimeout=config.limits.mail_out_connect_timeout_s)
    fetch = partial(fetch_text, agent, reactor, config.limits.call_timeout_s, POLICY_BYTES_MAX)
    return StsHops(direct, resolver, fetch, reactor.seconds)


def _resolver_of(mail: MailConfig, reactor: Any) -> Any:
    named = mail.validating_resolver
    if named is None:
        return createResolver()
    resolver = ValidatingResolver(named.address, named.port, reactor)
    Deferred.fromCoroutine(warn_unless_validating(resolver))
    return resolver


def _sign_of(
    stream: Stream, container: Config, reactor: Any
) -> Callable[[SendMail], Awaitable[bytes]] | None:
    """Return what signs mail, in a thread, for it takes milliseconds; None when nothing does."""
    signers = container.mail.signers
    if not signers:
        return None

    def fields_of(mail: SendMail, at_s: int) -> bytes:
        return signatures(signers, as_sent(blocks_of(mail, stream.open_blob)), at_s)

    def sign(mail: SendMail) -> Deferred[bytes]:
        at_s = stream.clock.now_ns() // 1_000_000_000
        return deferToThreadPool(reactor, reactor.getThreadPool(), fields_of, mail, at_s)

    return sign


def _owed_now(stream: Stream, effect_id: EffectId) -> Owed | None:
    return stream.debts.outbox.get(effect_id)


def _suppression_of(stream: Stream, address: str) -> Unreached | None:
    return stream.bounces.suppression_of(address)  # there are none before it is opened


def _submit(stream: Stream, event: object) -> Deferred[Any]:
    return stream.submit(event, Exchange("effect"))


def _show(host: object) -> str:
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    if isinstance(host, IPv6Address):
        return f"[{host.host}]:{host.port}"
    if isinstance(host, UNIXAddress):
        return f"unix:{host.name.decode() if isinstance(host.name, bytes) else host.name}"
    return str(host)
