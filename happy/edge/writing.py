"""The configuration of a server in front, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from happy.edge.facing import Edge, fields_max, head_bytes_max, size, size_up
from happy.edge.servers import Server


def written(server: Server, edge: Edge) -> str:
    """Return the configuration of a server, with a line end at its end."""
    template = _templates().get_template(f"{server.kind}.txt")
    return template.render(edge=edge, server=server, **_widest(edge), **_of_mail(edge))


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("happy.edge"),
        autoescape=False,  # noqa: S701 - none of it is HTML, and paths and names are plain
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(size=size, size_up=size_up)
    return templates


def _widest(edge: Edge) -> dict[str, int]:
    """Return the bounds of which a server has one only, for all: those of the widest."""
    limits = [site.limits for site in edge.sites]
    return {
        "line_bytes": max((one.http_request_line_bytes_max for one in limits), default=0),
        "field_bytes": max((one.http_header_bytes_max for one in limits), default=0),
        "fields": max(map(fields_max, limits), default=0),
        "head_bytes": max(map(head_bytes_max, limits), default=0),
        "message_bytes": max((one.message_bytes_max for one in edge.relayed), default=0),
    }


def _of_mail(edge: Edge) -> dict[str, Any]:
    """Return what mail servers say of all applications together."""
    services = {one.reach.service for one in edge.relayed}
    shared = Counter(one.reach for one in edge.relayed)
    return {
        "domains": [domain for one in edge.relayed for domain in one.domains],
        "services": sorted(services, reverse=True),
        "shared": {reach.service for reach, count in shared.items() if count > 1},
        "drivers": _drivers([one.app for one in edge.relayed]),
    }


def _drivers(apps: Sequence[str]) -> dict[str, str]:
    """Return a name of letters, digits and underscores for each application."""
    taken: dict[str, str] = {}
    for app in apps:
        name = "happy_" + app.replace("-", "_")
        while name in taken.values():
            name += "_"
        taken[app] = name
    return taken
