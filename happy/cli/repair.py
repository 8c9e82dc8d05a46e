"""``happy journal repair``: the good beginning of a damaged journal, as a journal of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import click

from happy.cli.copying import (
    check_copy,
    copy_segment,
    link_blob,
    new_journal,
    refuse_unless_free,
)
from happy.cli.keepsakes import copy_snapshots
from happy.cli.output import Unwell, counted, json_option, progress, safe, short_bytes, write_json
from happy.cli.places import journal_argument, journal_path
from happy.cli.salvage import LeftOut, Salvage, salvage
from happy.cli.statuses import Status, statuses
from happy.cli.verdict import Health, Verification


@click.command()
@journal_argument
@click.option("--to", "to", type=click.Path(path_type=Path), required=True, metavar="NEW",
              help="The directory to make; it must not be there.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask, do it.")
@json_option
def repair(place: str, config: Path | None, to: Path, yes: bool, as_json: bool) -> None:
    """Write the good beginning of a damaged journal to a new one.

    First it says what would be kept and what would be lost, then it asks; without a terminal
    it only says, unless --yes is given. What is kept is the longest whole beginning: events
    behind a hole would meet another state than they did. The journal in DIR is not changed.
    Blobs are linked where that can be, else copied; the snapshots of what is kept are copied.

    \b
    Exit status:
      0  done, or the journal is whole and nothing was done
      1  not done: not told to, or something is at NEW already
      2  it cannot be repaired, or blobs are missing: it says which
      3  not a journal
      4  something could not be read or written
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    refuse_unless_free(to)
    with statuses(path):
        with progress("reading") as tell:
            verdict = Verification(path, tell).verdict()
        if verdict.health in (Health.WHOLE, Health.TORN):
            _say_whole(path, f"{verdict.health}: {verdict.sentence}", as_json)
            return
        found = salvage(path)
    if not found.kept.extents or found.fault is None:
        why = [f"{path}: cannot be repaired: {found.fault or verdict.sentence}"]
        raise Unwell("\n".join([*why, *_unhurt(path, found)]), verdict.health.status)
    if as_json:
        write_json(_plain(path, to, found))
    else:
        click.echo(safe("\n".join(_sentences(path, to, found))))
    if not (yes or _agreed()):
        raise Unwell(f"{to}: nothing was written; --yes writes it", Status.NOT_DONE)
    with statuses(to):
        missing = _write(path, to, found)
    if missing:
        raise Unwell(
            f"{to}: {counted(found.events, 'event')}, but restore from a backup: "
            f"{', '.join(missing)}",
            Status.DAMAGED,
        )
    if not as_json:
        click.echo(safe(f"{to}: whole: {counted(found.events, 'event')}"))


def _say_whole(path: Path, how: str, as_json: bool) -> None:
    if as_json:
        write_json({"journal": str(path), "fault": None, "written": False})
    else:
        click.echo(safe(f"{path}: {how}; there is nothing to repair"))


def _agreed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm("Write it?", default=False, err=True)


def _plain(path: Path, to: Path, found: Salvage) -> dict[str, Any]:
    return {
        "journal": str(path),
        "to": str(to),
        "fault": found.fault,
        "kept": {
            "events": found.events,
            "first_seq": found.first_seq,
            "segments": len(found.kept.extents),
            "snapshots": len(found.kept.snapshots),
            "bytes": found.kept_bytes,
        },
        "lost": {
            "first_seq": found.last_seq + 1,
            "bytes": found.lost_bytes,
            "whole": [attrs.asdict(left) for left in found.left_out],
        },
        "blobs_missing": found.blobs_missing,
        "starts_from": found.starts_from,
    }


def _sentences(path: Path, to: Path, found: Salvage) -> list[str]:
    """Return what would be done, in lines."""
    segments = counted(len(found.kept.extents), "segment")
    kept = f"{counted(found.events, 'event')}, {segments}, {short_bytes(found.kept_bytes)}"
    if found.kept.snapshots:
        kept += f", {counted(len(found.kept.snapshots), 'snapshot')}"
    return [
        f"{path}: {found.fault}",
        f"kept, in {to}: {kept}, up to seq {found.last_seq}",
        f"lost: {short_bytes(found.lost_bytes)} behind that; damaged: {found.damaged}",
        *map(_left_out, found.left_out),
        *(f"missing: {name}" for name in found.blobs_missing),
        *_unhurt(path, found),
        f"{path} stays as it is: keep it until the new one has proved itself",
    ]


def _unhurt(path: Path, found: Salvage) -> list[str]:
    """Say that no state need be lost, where that is so."""
    if found.starts_from is None:
        return []
    sentence = (
        f"the snapshot of seq {found.starts_from} is good, and so is all behind it: an application "
        f"that it fits starts with {path} as it is, and no state is lost, only history"
    )
    return [sentence]


def _left_out(left: LeftOut) -> str:
    events = counted(left.last_seq - left.first_seq + 1, "event")
    return (
        f"  whole, but left out: seq {left.first_seq} to {left.last_seq} in {left.segment}, "
        f"{events}, {short_bytes(left.bytes)}"
    )


def _write(path: Path, to: Path, found: Salvage) -> tuple[str, ...]:
    """Write the new journal; return the blobs that it lacks."""
    bad: list[str] = []
    with new_journal(to) as disk:
        copy_snapshots(found.kept.snapshots, path, disk)
        bad += [name for name in found.kept.blobs if not link_blob(path, disk, name)]
        for extent in found.kept.extents:
            copy_segment(path, disk, extent)
        if not (bad or found.blobs_missing):
            with progress("reading") as tell:
                check_copy(disk.path, tell)
    return (*found.blobs_missing, *bad)
