"""``happy schema``: what an application declares, and what changed in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from happy.cli.applications import application_of
from happy.cli.output import Unwell, config_option, json_option
from happy.declared import changes, declared_by


@click.command()
@click.argument("name")
@config_option("The configuration that has the application.", required=True)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="SCHEMA",
    help="Tell what changed since SCHEMA was written that old events do not agree with.",
)
@json_option
def schema(name: str, config: Path, compare: Path | None, as_json: bool) -> None:
    """Print what the application NAME declares, as JSON.

    These are events, state and rows. Keep it in a file beside the code: with --compare FILE,
    each event whose fields changed without a new version is told, and each that is gone or
    whose old versions cannot be read any more. No journal is looked at.

    Exit status 1 when --compare finds anything.
    """
    now = declared_by(application_of(config, name, "they are").definition)
    if compare is None:
        click.echo(_json(now))
        return
    found = changes(_schema_in(compare), now)
    if as_json:
        click.echo(_json({"ok": not found, "changes": found}))
    if found:
        raise Unwell("\n".join(found))


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _schema_in(path: Path) -> dict[str, Any]:
    try:
        return msgspec.convert(msgspec.json.decode(path.read_bytes()), _Schema).plain()
    except msgspec.MsgspecError as error:
        raise Unwell(f"{path}: this is no schema of an application: {error}") from None


class _Event(msgspec.Struct):
    version: int
    reads: list[int]
    fields: dict[str, dict[str, str]]


class _Schema(msgspec.Struct):
    """What is compared of a schema."""

    events: dict[str, _Event]

    def plain(self) -> dict[str, Any]:
        """Return it as ``declared_by`` does."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found
