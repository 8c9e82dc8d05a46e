"""``happy restore``: a backup put where a container will serve it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from happy.cli.applications import application_of
from happy.cli.copying import (
    check_copy,
    contents_of,
    copy_blob,
    copy_segment,
    new_journal,
    refuse_unless_free,
)
from happy.cli.keepsakes import copy_snapshots
from happy.cli.output import Unwell, config_option, json_option, progress, safe, write_json
from happy.cli.statuses import Status, statuses
from happy.cli.verdict import Health, Verdict, Verification
from happy.errors import Corrupt, HappyError

if TYPE_CHECKING:
    from happy.cli.replaying import Replayed
    from happy.config import AppConfig


@click.command()
@click.argument("backup", type=click.Path(path_type=Path), metavar="BACKUP")
@click.option("--to", "to", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The journal to make, DATA/NAME; it must not be there.")  # fmt: skip
@click.option("--verify", is_flag=True, help="Replay it with the application of --config.")
@config_option("The configuration that has the application.")
@click.option("--app", "name", metavar="NAME",
              help="The application in it; otherwise it is named like DIR.")  # fmt: skip
@json_option
def restore(  # noqa: PLR0913 - one for each option
    backup: Path, to: Path, verify: bool, config: Path | None, name: str | None, as_json: bool
) -> None:
    """Make the journal DIR from a backup.

    It was made by `happy backup`, or is a plain copy of a journal. The backup is read and
    checked, copied, and the copy is read and checked before it gets its name. A torn tail, as
    in a copy made beside a writer, is left away. With --verify the backup and the copy are both
    replayed with the application's own code, and the digests of the two states are compared and
    printed; the backup alone does not know its state. No effect is performed.

    \b
    Exit status:
      0  restored (and, with --verify, replayed to the same state)
      1  not restored: something is at DIR already
      2  not restored: the backup is damaged
      3  not restored: BACKUP is not a journal
      4  not restored: something could not be read or written
      5  restored, but the application cannot replay it, or comes to another state
    """  # noqa: D301 - click's mark
    app = _application(config, name or to.resolve().name) if verify else None
    refuse_unless_free(to)
    with statuses(to):
        verdict = _restore(backup, to)
    said = f"{to}: whole: {verdict.good}"
    if app is None:
        _say(said, {"journal": str(to), "events": verdict.events}, as_json)
        return
    replayed = _replay_both(backup, to, app)
    _say(
        f"{said}; replayed to seq {replayed.seq}, state digest {replayed.digest}, as the backup",
        {
            "journal": str(to),
            "events": verdict.events,
            "seq": replayed.seq,
            "failed": replayed.failed,
            "digest": replayed.digest,
        },
        as_json,
    )


def _say(sentence: str, plain: dict[str, object], as_json: bool) -> None:
    if as_json:
        write_json(plain)
    else:
        click.echo(safe(sentence))


def _application(config: Path | None, name: str) -> AppConfig:
    if config is None:
        raise click.UsageError("--verify needs the application: add --config FILE")
    return application_of(config, name, "say which with --app")


def _restore(backup: Path, to: Path) -> Verdict:
    """Copy a good backup; return what the copy is found to be."""
    with progress("reading") as tell:
        verdict = Verification(backup, tell).verdict()
    if verdict.health not in (Health.WHOLE, Health.TORN):
        raise Unwell(f"{backup}: {verdict.health}: {verdict.sentence}", verdict.health.status)
    contents = contents_of(backup)
    with new_journal(to) as disk:
        total = sum(extent.size for extent in contents.extents)
        done = 0
        for name in contents.blobs:
            if not copy_blob(backup, disk, name):
                raise Corrupt(f"{backup / name}: it is not what its name says")
        with progress("copying") as tell:
            for extent in contents.extents:
                copy_segment(backup, disk, extent)
                done += extent.size
                tell(done, total)
        copy_snapshots(contents.snapshots, backup, disk)
        with progress("reading") as tell:
            return check_copy(disk.path, tell)


def _replay_both(backup: Path, to: Path, app: AppConfig) -> Replayed:
    from happy.cli.replaying import replayed  # noqa: PLC0415 - as above

    try:
        known, found = replayed(backup, app), replayed(to, app)
    except HappyError as error:
        raise Unwell(f"{to}: restored, but cannot be replayed: {error}", Status.DIFFERENT) from None
    if known != found:
        raise Unwell(
            f"{to}: restored, but replayed to another state than the backup: seq {found.seq} with "
            f"digest {found.digest}, the backup seq {known.seq} with {known.digest}: the handlers "
            "do not do the same each time",
            Status.DIFFERENT,
        )
    return found
