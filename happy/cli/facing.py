"""What `happy edge` makes of a configuration: its applications as a server in front sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from attrs import evolve, field, frozen

from happy.cli.output import Unwell
from happy.edge.facing import Edge, Public, Relayed, Site, outwaiting_s
from happy.edge.reach import Door, Reach, Service, plain_path, reach_of
from happy.edge.servers import Server

if TYPE_CHECKING:
    from happy.config import AppConfig
    from happy.config.endpoints import Endpoint

_PUBLIC_PORTS: Final = {"untrusted": 25, "submission": 587}
"""Where clients look for a mail door, by whom it faces."""

_HEADER: Final = "haproxy:"


@frozen
class Told:
    """What the command line says beside the configuration; ``UsageError`` for what is no use."""

    server: Server
    names: tuple[str, ...] = ()
    certificate: str | None = None
    key: str | None = field(default=None)

    @key.validator
    def _check(self, *_: object) -> None:
        server = self.server
        if self.names and not server.named:
            raise click.UsageError(f"--name: {server.title} keeps the name that it has")
        if self.certificate and not server.certificate:
            raise click.UsageError(f"--certificate: what is written for {server.title} has no TLS")
        if self.key and not server.key:
            raise click.UsageError(f"--key: {server.title} is told of no file with a key alone")
        if server.key and bool(self.certificate) != bool(self.key):
            raise click.UsageError("--certificate and --key go together: say both or neither")

    def paths(self, name: str) -> tuple[str, str]:
        """Return where the certificate and the key for a host name are."""
        certificate = self.certificate or self.server.certificate
        key = self.key or self.server.key
        try:
            plain = plain_path(certificate.replace("{name}", name))
            return plain, plain_path(key.replace("{name}", name)) if key else ""
        except ValueError as error:
            raise click.UsageError(f"--certificate and --key: {error}") from None


def chosen_of(
    config: Path, apps: Mapping[str, AppConfig], chosen: Sequence[str]
) -> list[AppConfig]:
    """Return the applications that were chosen, or all, in the order of the configuration."""
    for name in chosen:
        if name not in apps:
            known = ", ".join(apps)
            raise click.UsageError(f"{config} has no application {name!r}; they are: {known}")
    return [app for name, app in apps.items() if not chosen or name in chosen]


def in_front(
    server: Server, apps: Sequence[AppConfig], told: Told, *, strict: bool, written_by: str
) -> Edge:
    """Return what a server is in front of; ``Unwell`` says which doors it cannot have, and why.

    With ``strict`` each application must have a door for it, otherwise one of them.
    """
    if server.for_mail:
        relayed = _relayed(server, apps)
        made = Edge(written_by, relayed=relayed)
    else:
        sites = _sites(server, apps, told)
        made = Edge(written_by, sites=sites, public=_public(apps) if server.speaks_proxy else ())
    missing = [app.name for app in apps if app.name not in made.apps]
    if missing and (strict or len(missing) == len(apps)):
        raise Unwell("\n".join(f"application {name} has no {server.wanted}" for name in missing))
    if server.for_mail and server.named:
        return evolve(made, name=_own_name(told.names, made.relayed[0].domains[0]))
    return made


def _doors(app: AppConfig, services: Iterable[Service]) -> Iterator[Door]:
    """Yield the doors of an application, as what is in front sees them."""
    from happy.config.endpoints import server_arguments  # noqa: PLC0415 - it imports Twisted
    from happy.config.mail_doors import MailEndpoint  # noqa: PLC0415 - as above

    for service in services:
        endpoints: tuple[Endpoint, ...] = getattr(app, service)
        for one in endpoints:
            proxied = one.description.startswith(_HEADER)
            trust = "untrusted"
            if isinstance(one, MailEndpoint):
                proxied, trust = one.proxied, one.trust
            kind, arguments = server_arguments(one.description.removeprefix(_HEADER))
            yield Door(service, kind, arguments, one.place, proxied=proxied, trust=trust)


def _first_fit(server: Server, app: AppConfig) -> Reach | None:
    """Return where a server finds an application, None if that has no door for it at all."""
    doors = list(_doors(app, server.looks_at))
    try:
        return server.first_fit(doors) if doors else None
    except ValueError as error:
        raise Unwell(str(error)) from None


def _sites(server: Server, apps: Sequence[AppConfig], told: Told) -> list[Site]:
    found = [(app, reach) for app in apps if (reach := _first_fit(server, app))]
    names = _names([app.name for app, _ in found], told.names)
    return [
        Site(app.name, names[app.name], reach, app.limits, *told.paths(names[app.name][0]))
        for app, reach in found
    ]


def _relayed(server: Server, apps: Sequence[AppConfig]) -> list[Relayed]:
    found = [
        Relayed(app.name, app.domains, reach, app.limits)
        for app in apps
        if (reach := _first_fit(server, app))
    ]
    taken: dict[str, str] = {}
    for one in found:
        for domain in one.domains:
            if domain in taken:
                raise Unwell(
                    f"mail for {domain} is for {taken[domain]} and for {one.app}: "
                    "choose one of them by --app"
                )
            taken[domain] = one.app
    return found


def _public(apps: Sequence[AppConfig]) -> list[Public]:
    """Return the public ports of mail doors that a header of the PROXY protocol is for."""
    found: dict[int, Public] = {}
    for app in apps:
        for door in _doors(app, ("smtp",)):
            port = _PUBLIC_PORTS.get(door.trust)
            if not door.proxied or port is None:
                continue
            try:
                reach = reach_of(door)
            except ValueError as error:
                raise Unwell(f"{door.place}: {error}") from None
            other = found.get(port)
            if other and other.reach != reach:
                raise Unwell(
                    f"{door.place}: port {port} leads to {other.reach.place} already: "
                    "share one port, or choose an application by --app"
                )
            behind, longest_s = (other.apps, other.quiet_s) if other else ((), 0)
            quiet_s = max(longest_s, outwaiting_s(app.limits))
            found[port] = Public((*behind, app.name), port, reach, quiet_s)
    return [found[port] for port in sorted(found)]


def _names(apps: Sequence[str], named: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the host names of each application, said by ``--name`` or assumed."""
    said: dict[str, list[str]] = {app: [] for app in apps}
    known = ", ".join(apps)
    if named and not apps:
        raise click.UsageError("--name: there is no http door, and so no host name")
    for text in named:
        app, equals, host = text.rpartition("=")
        if not equals and len(apps) > 1:
            raise click.UsageError(f"--name {text}: say whose, as in {apps[0]}={text} ({known})")
        app = app if equals else apps[0]
        if app not in said:
            raise click.UsageError(f"--name {text}: there is no {app!r} here; say {known}")
        said[app].append(_host(host))
    names = {app: tuple(hosts) or (_assumed(app),) for app, hosts in said.items()}
    for host, count in Counter(host for hosts in names.values() for host in hosts).items():
        if count > 1:
            raise click.UsageError(f"{host} would be the name of two: say others by --name")
    return names


def _assumed(app: str) -> str:
    return f"{app.replace('_', '-').strip('-')}.example"


def _own_name(named: Sequence[str], domain: str) -> str:
    """Return the name of a mail server."""
    if len(named) > 1:
        raise click.UsageError("--name: a mail server has one")
    return _host(named[0]) if named else f"mx.{domain}"


def _host(text: str) -> str:
    from happy.config.reader import host_name  # noqa: PLC0415 - it imports Twisted

    try:
        return host_name(text)
    except ValueError as error:
        raise click.UsageError(f"--name: {error}") from None
