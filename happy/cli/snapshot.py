"""``happy snapshot``: making one by hand."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from happy.cli.applications import application, application_options
from happy.cli.output import Unwell, json_option, safe, short_bytes, write_json
from happy.cli.statuses import Status, statuses


@click.command()
@application_options
@json_option
def snapshot(name: str, config: Path, data: Path | None, as_json: bool) -> None:
    """Make a snapshot of application NAME now.

    A container may be running on the journal, and makes snapshots by itself when enough has
    happened; this is for before an upgrade, or after a repair. It begins with the last snapshot,
    applies what is durable behind it, writes and reads back the new one, and removes those that
    are too many (`snapshots_kept_max`). Nothing else is written, and no effect is performed.

    \b
    Exit status:
      0  a snapshot covers all that is durable: this one, or one that was there
      1  none could be made of this state
      2  the journal is damaged
      3  there is no journal
      4  something could not be read or written, or another process is making one
    """  # noqa: D301 - click's mark
    from happy.errors import UnfitSnapshot  # noqa: PLC0415 - as below
    from happy.side_process import make_snapshot  # noqa: PLC0415 - it imports the whole house

    found = application(name, config, data)
    with statuses(found.path):
        try:
            made = make_snapshot(
                found.path, found.config.definition, found.config.limits.snapshots_kept_max
            )
        except UnfitSnapshot as error:
            raise Unwell(f"{found.path}: {error}", Status.NOT_DONE) from None
    for complaint in made.complaints:
        click.echo(safe(f"not used: {complaint}"), err=True)
    if as_json:
        write_json({"journal": str(found.path), **attrs.asdict(made)})
        return
    if made.name is None:
        click.echo(safe(f"{found.path}: nothing has happened since seq {made.seq}"))
        return
    size = short_bytes(made.good[0].size_bytes)
    click.echo(safe(f"{found.path / made.name}: all up to seq {made.seq}, {size}"))
