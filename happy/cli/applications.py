"""Which application is meant, with its code, and where its journal is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from happy.cli.output import Unwell, config_option
from happy.cli.places import data_of
from happy.errors import ConfigError
from happy.journal.names import segment_seq

if TYPE_CHECKING:
    from happy.config import AppConfig

F = TypeVar("F", bound=Callable[..., Any])


def application_options(command: F) -> F:
    """Give a command the argument NAME, and --config and --data; see ``application``."""
    config = config_option("The configuration that has the application.", required=True)
    data = click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Take the journal DIR, or DIR/NAME, as of a backup, in place of the live one.",
    )
    return click.argument("name")(config(data(command)))


@attrs.frozen
class Application:
    """An application of a configuration, and the directory of the journal to read."""

    config: AppConfig
    path: Path


def application(name: str, config: Path, data: Path | None) -> Application:
    """Return an application, imported as for a start, and where its journal is.

    Raises ``Unwell`` as ``happy check`` does when the configuration is not fit.
    """
    app = application_of(config, name, "they are")
    if data is None:
        return Application(app, data_of(config) / name)
    return Application(app, data if _is_journal(data) else data / name)


def application_of(config: Path, name: str, hint: str) -> AppConfig:
    """Return an application of a configuration; ``Unwell`` as ``happy check`` is."""
    apps = applications_of(config)
    if name not in apps:
        raise click.UsageError(f"{config} has no application {name!r}; {hint}: {', '.join(apps)}")
    return apps[name]


def applications_of(config: Path) -> dict[str, AppConfig]:
    """Return the applications of a configuration by name; ``Unwell`` as ``happy check`` is."""
    from happy.config import load  # noqa: PLC0415 - it imports the applications' world

    try:
        return {app.name: app for app in load(config).apps}
    except ConfigError as error:
        raise Unwell("\n".join(error.complaints)) from None


def _is_journal(path: Path) -> bool:
    return path.is_dir() and any(segment_seq(found.name) is not None for found in path.iterdir())
