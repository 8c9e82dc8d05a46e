"""``happy core``: an application as a filter from standard input to standard output.

What it does is ``happy.split.filter``; here is where the bytes come from and where they go.
"""

from __future__ import annotations

import fcntl
import random
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from happy.cli.applications import application_of
from happy.cli.output import Unwell, config_option, is_terminal, safe
from happy.cli.serving import serve
from happy.cli.statuses import Status, statuses
from happy.collecting import collecting_seldom
from happy.errors import Diverged
from happy.event import FailedOutcome
from happy.marks import never

if TYPE_CHECKING:
    from io import FileIO

    from happy.app import Definition
    from happy.event import Outcome
    from happy.journal.frame import Frame
    from happy.marks import DigestMark
    from happy.split.filter import Filter

_PIECE_BYTES: Final = 1024 * 1024  # also what Linux lets anybody make of a pipe
_WRITE_BYTES: Final = 64 * 1024


@click.command()
@click.argument("application", metavar="MODULE:CLASS|NAME")
@config_option("Take the application NAME of this configuration.")
@click.option("--live-from", type=click.IntRange(min=1), default=2**64, metavar="SEQ",
              help="Apply frames from this seq on as they come.")  # fmt: skip
@click.option("--accept-divergence", is_flag=True,
              help="Go on where a digest mark says something else.")  # fmt: skip
@click.option("--failures", is_flag=True,
              help="Tell on standard error what handlers raised.")  # fmt: skip
@click.option("--journal", type=click.Path(path_type=Path), metavar="DIR",
              help="Serve a container: read from here what is before the frames.")  # fmt: skip
@click.option("--handler-timeout-s", type=click.IntRange(min=1), default=10, metavar="S",
              help="With --journal: how long events may take.")  # fmt: skip
def core(  # noqa: PLR0913 - as many as it takes
    application: str,
    config: Path | None,
    live_from: int,
    accept_divergence: bool,
    failures: bool,
    journal: Path | None,
    handler_timeout_s: int,
) -> None:
    """Read frames, apply them, and write their outcomes.

    They come on standard input and go to standard output. The frames are what `happy journal
    cat` writes, from the first event on, so that

    \b
        happy journal cat var/numbers | happy core shop.numbers:Numbers > outcomes

    is a replay. All of it is checked. For each frame there is one frame of outcomes; the page
    docs/stream-format.md describes both. Nothing else is read or written: no journal, no settings
    but those in the events, and no effect is performed.

    The last two batches wait for a mark that would quarantine them, or one that says that nothing
    follows; --live-from says from where on they need not.

    MODULE:CLASS is found from the current directory; with --config, the application is the one
    that is called NAME there.

    A container that has `core = "process"` for an application starts this command with --journal:
    then the frames need not begin with the first event, and questions stand between them.

    \b
    Exit status:
      0  all that came was applied
      1  nothing was applied: the application cannot be loaded
      2  the stream is damaged, or was cut off; what is before that was applied
      3  what came is no stream of frames from the first event on
      4  the application does not know an event
      5  it came to something else than a digest mark says
    """  # noqa: D301 - click's mark
    if is_terminal():
        raise click.UsageError("outcomes are binary: write them to a pipe or a file")
    if journal is not None:
        serve(
            lambda: _definition(application, config),
            journal,
            handler_timeout_s,
            accept_divergence=accept_divergence,
        )
        return
    from happy.split.filter import Filter  # noqa: PLC0415 - not for the other commands

    station = Filter(
        _definition(application, config),
        random.Random,
        live_from=live_from,
        accepts=_always if accept_divergence else never,
        report=_tell_failures if failures else _tell_nothing,
    )
    source: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    out: Any = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    for pipe in (source, out):
        with suppress(OSError, ValueError):  # another kind of file, or a user over a quota
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
    with collecting_seldom(), statuses(Path("standard input")):
        try:
            pump(station, source, out)
        except Diverged as error:
            raise Unwell(str(error), Status.DIFFERENT) from None
        except BrokenPipeError:
            raise SystemExit(1) from None  # whoever read the outcomes has gone: nobody to tell


def _definition(application: str, config: Path | None) -> Definition:
    from happy.config.imports import (  # noqa: PLC0415 - it imports the applications' world
        import_application,
        importable_from,
    )

    if config is not None:
        return application_of(config, application, "they are").definition
    try:
        with importable_from(Path.cwd()):
            return import_application(application)
    except ValueError as error:
        raise Unwell(str(error)) from None


def _always(_said: DigestMark, _diverged: Diverged) -> bool:
    return True


def _tell_nothing(_frame: Frame, _outcomes: list[Outcome]) -> None:
    return


def _tell_failures(frame: Frame, outcomes: list[Outcome]) -> None:
    for seq, outcome in enumerate(outcomes, frame.first_seq):
        if isinstance(outcome, FailedOutcome) and outcome.error is not None:
            told = "".join(traceback.format_exception(outcome.error))
            click.echo(
                safe(f"seq {seq}: the handler failed; nothing was changed\n{told}"), err=True
            )


def pump(station: Filter, source: FileIO, out: FileIO) -> None:
    """Hand all that comes to a core, and write what it says; reads and writes are large.

    What was said is written before more is waited for, and before an error is raised.
    """
    piece = memoryview(bytearray(_PIECE_BYTES))
    while count := source.readinto(piece):
        said: list[bytes] = []
        size = 0
        try:
            for answer in station.feed(piece[:count]):
                said.append(answer)
                size += len(answer)
                if size >= _WRITE_BYTES:
                    _write(out, said)
                    size = 0
        finally:
            _write(out, said)
    _write(out, list(station.end()))


def _write(out: FileIO, said: list[bytes]) -> None:
    rest = memoryview(b"".join(said))
    said.clear()
    while rest:
        rest = rest[out.write(rest) :]
