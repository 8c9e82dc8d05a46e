"""``happy journal``: looking at journals; no journal is locked or changed, a container may run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import click

from happy.cli.bounds import SeqOrTime, wanted
from happy.cli.cat import cat
from happy.cli.entries import entries
from happy.cli.keepsakes import SnapshotReport, snapshot_reports
from happy.cli.output import (
    Commands,
    Unwell,
    is_terminal,
    json_line,
    json_option,
    pause_while_read,
    progress,
    rfc3339,
    safe,
    short_bytes,
    short_time,
    until_interrupted,
    write_json,
    write_table,
)
from happy.cli.places import journal_argument, journal_path
from happy.cli.repair import repair
from happy.cli.segments import SegmentReport, State, segment_names, survey
from happy.cli.statuses import Status, statuses
from happy.cli.verdict import Health, Verification
from happy.journal.disk import FileDisk


@click.group(cls=Commands)
def journal() -> None:
    """Look at a journal; a container may be running on it.

    DIR is the journal's directory, DATA/NAME; with --config FILE it is the NAME of an
    application. The journal is not locked or changed, and no application is imported.
    """


for _command in (cat, repair):
    journal.add_command(_command)


# --- ls --------------------------------------------------------------------------------------


@journal.command()
@journal_argument
@json_option
def ls(place: str, config: Path | None, as_json: bool) -> None:
    """List the segments of a journal.

    `happy journal snapshots` lists its snapshots.

    \b
    STATE is
      sealed      full; only its beginning and its end were looked at
      open        the last one: being written, or its writer did not stop in good order
      closed      the last one, and its writer stopped in good order
      torn        the last one, with an unfinished end that nobody was answered for
      ambiguous, corrupt   damaged: see `happy journal verify`

    FROM is the time of the first event, UNTIL that of the last; of a sealed segment, when the
    next one was begun. A table has local times; JSON, a line for each segment, RFC 3339 in UTC.

    Exit status 1 when a segment is damaged, or there is no journal.
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    disk = FileDisk(path)
    reports = list(survey(disk, segment_names(disk, path)))
    if as_json or not is_terminal():
        write_json(*map(_as_json, reports))
    else:
        write_table(
            ("no. ", "first seq ", "events ", "used ", "from", "until", "state"),
            map(_as_row, reports),
        )
    damaged = [r.name for r in reports if r.state in (State.CORRUPT, State.AMBIGUOUS)]
    if damaged:
        raise Unwell(
            f"{path}: damaged: {', '.join(damaged)}; `happy journal verify {path}` says more"
        )


def _as_json(report: SegmentReport) -> dict[str, Any]:
    plain = attrs.asdict(report)
    for name in ("created", "from", "until"):
        time_ns = plain.pop(f"{name}_ns")
        plain[name] = None if time_ns is None else rfc3339(time_ns)
    return plain


def _as_row(report: SegmentReport) -> tuple[str, ...]:
    def shown(value: int | None, show: Callable[[int], str] = str) -> str:
        return "?" if value is None else show(value)

    return (
        shown(report.number),
        shown(report.first_seq),
        shown(report.events),
        shown(report.used_bytes, short_bytes),
        "" if report.from_ns is None else short_time(report.from_ns),
        "" if report.until_ns is None else short_time(report.until_ns),
        report.state,
    )


# --- snapshots -------------------------------------------------------------------------------


@journal.command()
@journal_argument
@json_option
def snapshots(place: str, config: Path | None, as_json: bool) -> None:
    """List the snapshots of a journal, the newest first.

    \b
    STATE is
      good        all of it was read, and every checksum is right
      damaged     the next start passes it over

    SEQ is the last event that it holds, UNTIL the time of that. Whether it is of the journal's
    history, `happy journal verify` says. A table has local times; JSON, a line for each snapshot,
    RFC 3339 in UTC.

    Exit status 1 when a snapshot is damaged, or there is no journal.
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    disk = FileDisk(path)
    segment_names(disk, path)  # which says what is there instead of a journal
    reports = list(snapshot_reports(disk))
    if as_json or not is_terminal():
        write_json(*map(_snapshot_as_json, reports))
    else:
        write_table(("seq ", "size ", "until", "made", "state"), map(_snapshot_as_row, reports))
    damaged = [report.complaint for report in reports if report.complaint is not None]
    if damaged:
        raise Unwell(f"{path}: the next start passes over: {'; '.join(damaged)}")


def _snapshot_as_json(report: SnapshotReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "state": _snapshot_state(report),
        "seq": report.seq,
        "size_bytes": report.size_bytes,
        "time": None if report.time_ns is None else rfc3339(report.time_ns),
        "created": None if report.created_ns is None else rfc3339(report.created_ns),
        "complaint": report.complaint,
    }


def _snapshot_as_row(report: SnapshotReport) -> tuple[str, ...]:
    return (
        str(report.seq),
        "?" if report.size_bytes is None else short_bytes(report.size_bytes),
        "" if report.time_ns is None else short_time(report.time_ns),
        "" if report.created_ns is None else short_time(report.created_ns),
        _snapshot_state(report),
    )


def _snapshot_state(report: SnapshotReport) -> str:
    return "good" if report.complaint is None else "damaged"


# --- show ------------------------------------------------------------------------------------


@journal.command()
@journal_argument
@click.option("--from", "begin", type=SeqOrTime(), default=1, metavar="SEQ|TIME",
              help="Begin with this seq, or with what came at this time.")  # fmt: skip
@click.option("--to", "end", type=SeqOrTime(), metavar="SEQ|TIME",
              help="End with this seq, or with what came at this time.")  # fmt: skip
@click.option("--type", "types", multiple=True, metavar="NAME",
              help="Show events of this type only; may be given several times.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Show at most N events.")
@click.option("--follow", "-f", is_flag=True,
              help="Go on with what comes, until Ctrl-C or until nobody reads.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: entries always are JSON.")
def show(  # noqa: PLR0913 - one for each option
    place: str,
    config: Path | None,
    begin: int | datetime,
    end: int | datetime | None,
    types: tuple[str, ...],
    limit: int | None,
    follow: bool,
    as_json: bool,  # noqa: ARG001 - every command has it
) -> None:
    """Show the entries of a journal, a line of JSON for each.

    \b
    seq, time          its place and moment (RFC 3339, UTC)
    type, version      what kind of event
    source, key        where it came from; the peer's idempotency key, or null
    body               its fields

    Bytes in a body are {"$utf8": TEXT} or, when they are not UTF-8, {"$base64": TEXT}; a
    number that JSON has not is {"$float": TEXT}. Text is text.

    TIME is RFC 3339 (2026-11-23T06:15:00Z); without an offset it is local time. Of a journal in
    use, the last entry may be one that nobody was answered for yet.

    Exit status 1 when the journal is damaged; what stands before the damage was shown.
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    out = sys.stdout.buffer
    found = entries(path, wanted(begin, end), pause_while_read(out) if follow else None)
    chosen = (entry for entry in found if not types or entry.type in types)
    with until_interrupted() if follow else nullcontext():
        try:
            for entry in islice(chosen, limit):
                out.write(json_line(entry.plain()))
        finally:
            out.flush()


# --- verify ----------------------------------------------------------------------------------


@journal.command()
@journal_argument
@json_option
def verify(place: str, config: Path | None, as_json: bool) -> None:
    """Read a whole journal and say whether it is in order.

    Every checksum, the chain over all segments, every record, and the content of every blob
    are checked, and that the blob of every mail is there. So are snapshots, and that they are of
    this history; where old segments were let go, one of them must hold what was in those.

    \b
    Exit status:
      0  whole
      1  whole, but for a torn tail that nobody was answered for, or a damaged snapshot
         that can be done without: nothing to do
      2  damaged (or, the last frame, perhaps damaged): restore it from a backup
      3  not a journal
      4  it could not be read, or not to its end

    A large journal is read in a process for each processor; `taskset -c 0` before the command
    leaves the others alone, `nice` lets a container go before.
    """  # noqa: D301 - click's mark
    path = journal_path(place, config)
    try:
        with statuses(path), progress("reading") as tell:
            verdict = Verification(path, tell).verdict()
    except KeyboardInterrupt:  # click's status for it would say that there is a torn tail
        said = f"{path}: interrupted: nothing is known of the journal"
        raise Unwell(said, Status.UNUSABLE) from None
    if as_json:
        write_json({"journal": str(path), **attrs.asdict(verdict)})
    if verdict.health is Health.WHOLE:
        if not as_json:
            click.echo(safe(f"{path}: whole: {verdict.good}"))
        if verdict.complaints:
            damaged = "; ".join(verdict.complaints)
            raise Unwell(f"{path}: the next start passes over: {damaged}", Status.NOT_DONE)
        return
    said = f"{path}: {verdict.health}: {verdict.sentence} (good: {verdict.good})"
    if verdict.health.status is Status.DAMAGED:
        said += f"; `happy journal repair {path} --to NEW` tells what can be saved without one"
    raise Unwell(said, verdict.health.status)
