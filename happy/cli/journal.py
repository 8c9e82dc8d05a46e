"""``happy journal``: reading journals; nothing is locked or written, a container may run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from happy.cli.output import (
    Commands,
    Unwell,
    counted,
    is_terminal,
    json_line,
    json_option,
    reason,
    rfc3339,
    short_bytes,
    short_time,
    write_json,
    write_table,
)
from happy.cli.places import journal_path
from happy.cli.segments import SegmentReport, State, segment_names, survey
from happy.errors import JournalError
from happy.journal.disk import FileDisk

F = TypeVar("F", bound=Callable[..., Any])

_UNREADABLE = 4


@click.group(cls=Commands)
def journal() -> None:
    """Look at a journal; a container may be running on it.

    DIR is the journal's directory, DATA/NAME; with --config FILE it is the NAME of an
    application. Nothing is locked or changed, and no application is imported.
    """


def _place(command: F) -> F:
    config = click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Take the journal of application DIR of this configuration.",
    )
    return click.argument("place", metavar="DIR")(config(command))


# --- ls --------------------------------------------------------------------------------------


@journal.command()
@_place
@json_option
def ls(place: str, config: Path | None, as_json: bool) -> None:
    """List the segments of a journal.

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


# --- show ------------------------------------------------------------------------------------


@journal.command()
@_place
@click.option("--from", "first", type=click.IntRange(min=1), default=1, metavar="SEQ",
              help="Begin with this seq.")  # fmt: skip
@click.option("--to", "last", type=click.IntRange(min=1), metavar="SEQ", help="End with this seq.")
@click.option("--type", "types", multiple=True, metavar="NAME",
              help="Show events of this type only; may be given several times.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Show at most N events.")
@click.option("--json", "as_json", is_flag=True, help="Changes nothing: entries always are JSON.")
def show(  # noqa: PLR0913 - one for each option
    place: str,
    config: Path | None,
    first: int,
    last: int | None,
    types: tuple[str, ...],
    limit: int | None,
    as_json: bool,  # noqa: ARG001 - every command has it
) -> None:
    """Show the entries of a journal, in order: a line of JSON for each.

    \b
    seq, time          its place and moment (RFC 3339, UTC)
    type, version      what kind of event
    source, key        where it came from; the peer's idempotency key, or null
    body               its fields

    Bytes in a body are {"$utf8": TEXT} or, when they are not UTF-8, {"$base64": TEXT}; a
    number that JSON has not is {"$float": TEXT}. Text is text.

    Exit status 1 when the journal is damaged; what stands before the damage was shown.
    """  # noqa: D301 - click's mark
    from happy.cli.entries import entries  # noqa: PLC0415 - the codec takes a moment to import

    path = journal_path(place, config)
    disk = FileDisk(path)
    out = sys.stdout.buffer
    found = entries(disk, segment_names(disk, path), first, last)
    chosen = (entry for entry in found if not types or entry.type in types)
    try:
        for entry in islice(chosen, limit):
            out.write(json_line(entry.plain()))
    finally:
        out.flush()


# --- verify ----------------------------------------------------------------------------------


@journal.command()
@_place
@json_option
def verify(place: str, config: Path | None, as_json: bool) -> None:
    """Read a whole journal and say whether it is in order.

    Every checksum, the chain over all segments, every record, and the content of every blob
    are checked, and that the blob of every mail is there.

    \b
    Exit status:
      0  whole
      1  whole, with a torn tail that nobody was answered for: nothing to do
      2  damaged (or, the last frame, perhaps damaged): restore it from a backup
      3  not a journal
      4  it could not be read
    """  # noqa: D301 - click's mark
    from happy.cli.verdict import Health, Verification  # noqa: PLC0415 - as in show

    path = journal_path(place, config)
    try:
        with _progress() as progress:
            verdict = Verification(path, progress).verdict()
    except JournalError as error:
        raise Unwell(str(error), _UNREADABLE) from None
    except OSError as error:
        raise Unwell(f"{error.filename or path}: {reason(error)}", _UNREADABLE) from None
    if as_json:
        write_json({"journal": str(path), **attrs.asdict(verdict)})
    good = ", ".join(
        (
            counted(verdict.events, "event"),
            counted(verdict.segments, "segment"),
            counted(verdict.blobs, "blob"),
        )
    )
    if verdict.health is Health.WHOLE:
        if not as_json:
            click.echo(f"{path}: whole: {good}")
        return
    status = {Health.TORN: 1, Health.NOT_A_JOURNAL: 3}.get(verdict.health, 2)
    raise Unwell(f"{path}: {verdict.health}: {verdict.sentence} (good: {good})", status)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show how far it is, when somebody is there to look."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading")
        yield lambda done, total: bar.update(task, completed=done, total=total)
