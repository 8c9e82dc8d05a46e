"""Where journals are: a directory, or what a configuration says, applications left alone."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from happy.cli.output import Unwell, config_option, reason

F = TypeVar("F", bound=Callable[..., Any])


def journal_argument(command: F) -> F:
    """Give a command the argument DIR and the option --config; see ``journal_path``."""
    config = config_option("Take the journal of application DIR of this configuration.")
    return click.argument("place", metavar="DIR")(config(command))


def data_of(config: Path) -> Path:
    """Return the data directory that a configuration names.

    Nothing else of it is looked at: a journal can be read where its application cannot.
    """
    try:
        raw = tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise Unwell(f"{config}: cannot be read: {reason(error)}") from None
    except ValueError as error:
        raise Unwell(f"{config}: {_small(str(error))}; `happy check {config}` says more") from None
    data = raw.get("data")
    if not isinstance(data, str):
        raise Unwell(f"{config}: it names no data directory; `happy check {config}` says more")
    return config.parent / data


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def journal_path(place: str, config: Path | None) -> Path:
    """Return the directory of a journal: ``place`` itself, or an application of ``config``."""
    return Path(place) if config is None else data_of(config) / place


def data_path(data: Path | None, config: Path | None) -> Path:
    """Return the data directory: given as it is or by a configuration, one of the two."""
    if (data is None) == (config is None):
        raise click.UsageError("say which container: DATA_DIR, or --config FILE")
    if config is not None:
        return data_of(config)
    assert data is not None
    return data
