"""Places to listen that are named twice: mail doors may share one, all others clash.

Behind one mail door the domains of the recipients tell the applications apart, so that none may
be of two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from happy.config.endpoints import Endpoint
from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader, dotted

MAIL_DOORS: Final = ("smtp", "lmtp")


def check_places(
    reader: ConfigReader,
    listening: Sequence[tuple[KeyPath, Endpoint]],
    apps: Mapping[str, Mapping[str, Any]],
) -> None:
    """Complain about doors that cannot be in the same place.

    ``listening`` are all endpoints with their keys, ``apps`` the good values of each application.
    """
    sharing: set[tuple[str, str]] = set()
    for (first_key, first), (second_key, second) in combinations(listening, 2):
        if not first.clashes(second):
            continue
        (_, first_app, door, *_), (_, second_app, second_door, *_) = first_key, second_key
        same_kind = door in MAIL_DOORS and door == second_door and first_app != second_app
        assert first.binds is not None
        if not same_kind or not first.is_one_with(second):
            taken = f"{first.binds[0]} is already taken by {_where(reader, first_key)}"
            same = f"write {str(first)!r} here too"
            if first.description == second.description:
                same = "face the same peers: with the same trust, both through a proxy or neither"
            remedy = f"; to share it, {same}" if same_kind else ""
            reader.complain(second_key, taken + remedy)
            continue
        for key, app in ((first_key, first_app), (second_key, second_app)):
            if apps[str(app)].get("fronts", 0):
                reader.complain(key, "an application with fronts cannot share it: set fronts = 0")
        sharing.add((str(first_app), str(second_app)))
    for first_app, second_app in sorted(sharing):
        _check_domains(reader, first_app, second_app, apps)


def _check_domains(
    reader: ConfigReader, first: str, second: str, apps: Mapping[str, Mapping[str, Any]]
) -> None:
    taken = {
        domain: ("apps", first, "domains", n)
        for n, domain in enumerate(apps[first].get("domains", ()))
    }
    for n, domain in enumerate(apps[second].get("domains", ())):
        if domain in taken:
            where = _where(reader, taken[domain])
            reader.complain(
                ("apps", second, "domains", n),
                f"mail for {domain} already goes to {where}, on a port that both have",
            )


def _where(reader: ConfigReader, key: KeyPath) -> str:
    return f"{dotted(key)} (line {reader.line(key)})"
