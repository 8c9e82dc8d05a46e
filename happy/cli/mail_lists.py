"""The lists of ``happy mail``: what is owed, what came back, who is not written to, what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from happy.cli.applications import application, application_options
from happy.cli.mail_asking import as_json_row, asked, place_options
from happy.cli.output import is_terminal, json_option, safe, short_time, write_json, write_table
from happy.cli.places import data_path
from happy.cli.statuses import statuses

Row = dict[str, Any]
Columns = Mapping[str, Callable[[Row], str]]


@click.command()
@place_options
def ls(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the messages that a running container owes.

    They are in the order they were owed. A table has local times; JSON, a line for each
    message, RFC 3339 in UTC.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    columns: Columns = {
        "message": lambda row: row["id"],
        "state": lambda row: row["state"] + (", may be taken" if row["ambiguous"] else ""),
        "recipient": lambda row: row["recipient"],
        "attempts ": lambda row: str(row["attempts"]),
        "since": _since,
        "next attempt": lambda row: short_time(row["due_ns"]),
    }
    _list(data_path(data, config), "ls", columns, as_json)


@click.command()
@place_options
def held(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the messages that are held, and who said so.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    columns: Columns = {
        "message": lambda row: row["id"],
        "held": lambda row: short_time(row["held_ns"]),
        "who": lambda row: row["who"],
        "reason": lambda row: row["reason"],
    }
    _list(data_path(data, config), "held", columns, as_json)


@click.command()
@place_options
def bounced(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the messages that were sent and came back.

    Those are known that went out under a return path of happy's own. `happy mail show` tells more.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    columns: Columns = {
        "message": lambda row: row["id"],
        "state": lambda row: row["state"],
        "recipient": lambda row: row["recipient"],
        "status": lambda row: row["status"],
        "since": _since,
    }
    _list(data_path(data, config), "bounced", columns, as_json)


@click.command()
@place_options
def suppressed(data: Path | None, config: Path | None, as_json: bool) -> None:
    """List the addresses that are not written to.

    So much mail there failed for good that no more is sent.

    \b
    Exit status:
      0  listed, or there are none
      1  no container answers
    """  # noqa: D301 - click's mark
    columns: Columns = {
        "application": lambda row: row["app"],
        "address": lambda row: row["address"],
        "since": _since,
        "failures ": lambda row: str(row["failures"]),
        "the last one": lambda row: row["reply"],
    }
    _list(data_path(data, config), "suppressed", columns, as_json)


@click.command()
@application_options
@json_option
def dead(name: str, config: Path, data: Path | None, as_json: bool) -> None:
    """List the messages that a handler of NAME did not take.

    It failed, or it refused what had been accepted already (accept = "durable").

    The journal is replayed to find them; the container may run. `happy mail redeliver` has one
    handled once more, `bounce` returns it to its sender, `hold` sets it aside; then it is not
    listed any more.

    \b
    Exit status:
      0  listed, or there are none
      1  the application cannot be loaded
      2  the journal is damaged
      3  not a journal
      4  something could not be read
    """  # noqa: D301 - click's mark
    from happy.cli.dead_letters import dead_letters  # noqa: PLC0415 - it loads all that replays

    app = application(name, config, data)
    with statuses(app.path):
        found = list(dead_letters(app.path, app.config))
    if as_json or not is_terminal():
        write_json(*found)
        return
    columns: Columns = {
        "message": lambda row: row["id"],
        "time": lambda row: row["time"],
        "from": lambda row: row["reverse_path"],
        "to": lambda row: " ".join(row["recipients"]),
        "error": lambda row: row["error"],
    }
    _show(found, columns)


def _list(path: Path, verb: str, columns: Columns, as_json: bool) -> None:
    """List what a container answers, and say when there is more than it lists."""
    found = asked(path, verb)
    rows = found["listed"]
    if as_json or not is_terminal():
        write_json(*map(as_json_row, rows))
    else:
        _show(rows, columns)
    if found["count"] > len(rows):
        click.echo(f"{len(rows)} of {found['count']} are listed", err=True)


def _show(rows: list[Row], columns: Columns) -> None:
    shown = [[safe(cell(row)) for cell in columns.values()] for row in rows]
    write_table(tuple(columns), shown)


def _since(row: Row) -> str:
    return short_time(row["since_ns"])
