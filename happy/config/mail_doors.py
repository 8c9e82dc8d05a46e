"""Where mail comes in: endpoints, each with whom it faces."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NewType

import attrs
from attrs import frozen

from happy.config.checks import Checks, read_checks
from happy.config.endpoints import Endpoint, server_endpoint
from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader, did_you_mean
from happy.wire.trust import LEVELS, Level

_EXPECTED: Final = "expected an endpoint (text), a table with listen, or a list of them"
_PROXY: Final = "haproxy"
_WITH_TLS: Final = ("ssl", "tls")


@frozen
class MailEndpoint(Endpoint):
    """A place where mail comes in; ``proxied`` when it comes through a proxy that says so."""

    trust: Level = "untrusted"
    proxied: bool = False
    check: tuple[str, ...] = ()
    """What is looked up about the mail that comes here; see ``happy.wire.mail_checks``."""

    def is_one_with(self, other: Endpoint) -> bool:
        """Say whether both are one door; what is looked up is of each application behind it."""
        return super().is_one_with(other) and (
            isinstance(other, MailEndpoint)
            and (self.trust, self.proxied) == (other.trust, other.proxied)
        )

    @property
    def has_tls(self) -> bool:
        """Whether all of a connection is encrypted."""
        return self.description.partition(":")[0] in _WITH_TLS


MailDoors = NewType("MailDoors", tuple[MailEndpoint, ...])
"""One server endpoint, or a list of them; each as text, or as a table with its trust."""

_Door = NewType("_Door", MailEndpoint)


@frozen
class _Table:
    listen: MailEndpoint
    trust: Level = "untrusted"
    check: Checks | None = None


def read_mail_doors(reader: ConfigReader) -> None:
    """Teach a reader what ``MailDoors`` are."""
    converter, base = reader.converter, reader.base

    def listen(value: Any, _: Any) -> MailEndpoint:
        return _endpoint(converter.structure(value, str), base)

    def door(value: Any, _: Any) -> MailEndpoint:
        if not isinstance(value, dict):
            return listen(value, None)
        table: _Table = converter.structure(value, _Table)
        if table.check and table.trust == "submission":
            raise ValueError("trust submission is for users, who log in: leave check out")
        return attrs.evolve(table.listen, trust=table.trust, check=table.check or ())

    def doors(value: Any, _: Any) -> tuple[MailEndpoint, ...]:
        if isinstance(value, str | dict):
            return (door(value, None),)
        if not isinstance(value, list):
            raise ValueError(_EXPECTED)  # noqa: TRY004 - it is told like any other
        found: tuple[MailEndpoint, ...] = converter.structure(value, tuple[_Door, ...])
        return found

    converter.register_structure_hook(MailEndpoint, listen)
    converter.register_structure_hook(Checks, read_checks)
    converter.register_structure_hook_func(lambda kind: kind is Level, _level)
    converter.register_structure_hook(_Door, door)
    converter.register_structure_hook(MailDoors, doors)


def check_trust(
    reader: ConfigReader,
    doors: Iterable[tuple[KeyPath, Endpoint]],
    mail: dict[str, Any],
    *,
    users: bool,
) -> None:
    """Complain about mail endpoints that lack what their trust rests on."""
    for key, endpoint in doors:
        if not isinstance(endpoint, MailEndpoint):
            continue
        kind = key[2]
        if endpoint.proxied and endpoint.has_tls:
            reader.complain(key, "the header of a proxy comes before TLS: use tcp and STARTTLS")
        if endpoint.proxied and not mail.get("relays"):
            reader.complain(key, "needs [mail] relays: the proxies that are believed")
        if endpoint.trust == "relay" and not mail.get("relays"):
            reader.complain(key, "trust relay needs [mail] relays: the servers it is for")
        if endpoint.trust == "submission":
            if kind == "lmtp":
                reader.complain(key, "LMTP is for servers: trust submission is for smtp")
            if not users:
                reader.complain(key, "trust submission needs users: set [mail.users] or users_file")
            if "certificate" not in mail and not endpoint.has_tls:
                reader.complain(key, "trust submission needs TLS: set [mail] certificate")


def _endpoint(text: str, base: Path) -> MailEndpoint:
    wrapper, _, inner = text.partition(":")
    proxied = wrapper.lower() == _PROXY
    found = server_endpoint(inner if proxied else text, base)
    return MailEndpoint(found.description, found.binds, proxied=proxied)


def _level(value: Any, _: Any) -> str:
    if value not in LEVELS:
        hint = did_you_mean(value, LEVELS) if isinstance(value, str) else ""
        raise ValueError(f"expected untrusted, relay or submission, not {value!r}{hint}")
    return str(value)
