"""``happy check``: whether a configuration is fit to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from happy.cli.output import Unwell, json_option, write_json, write_table
from happy.errors import ConfigError

if TYPE_CHECKING:
    from happy.config import AppConfig


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Test the configuration FILE, without starting anything.

    Applications are imported and their settings are checked; no port is opened and no file is
    made. What is wrong is said all at once, as FILE:LINE: key: sentence.

    Exit status 1 when anything is wrong.
    """
    from happy.config import load  # noqa: PLC0415 - it imports the applications' world

    try:
        config = load(file)
    except ConfigError as error:
        if as_json:
            write_json({"config": str(file), "ok": False, "complaints": error.complaints})
        raise Unwell("\n".join(error.complaints)) from None
    if as_json:
        apps = [_plain(app) for app in config.apps]
        write_json({"config": str(file), "ok": True, "data": str(config.data), "apps": apps})
        return
    write_table(
        ("application", "class", "door", "where", "domains"),
        [
            (app.name, _class(app), kind, where, ", ".join(app.domains))
            for app in config.apps
            for kind, where in _doors(app) or [("none", "")]
        ],
    )


def _plain(app: AppConfig) -> dict[str, object]:
    return {
        "name": app.name,
        "app": _class(app),
        "doors": [{"kind": kind, "endpoint": where} for kind, where in _doors(app)],
        "domains": app.domains,
    }


def _class(app: AppConfig) -> str:
    return f"{app.app.__module__}:{app.app.__qualname__}"


def _doors(app: AppConfig) -> list[tuple[str, str]]:
    by_kind = (("http", app.http), ("smtp", app.smtp), ("lmtp", app.lmtp))
    return [(kind, str(endpoint)) for kind, endpoints in by_kind for endpoint in endpoints]
