"""How commands speak: data on standard output, what is wrong in a sentence on standard error."""

from __future__ import annotations

import errno
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, TypeVar

import click
import msgspec

from happy.errors import HappyError
from happy.moments import moment

F = TypeVar("F", bound=Callable[..., Any])

USAGE_STATUS: Final = os.EX_USAGE
"""64: that the command line was not understood; nothing else ends with it."""

_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON leaves as it is and a terminal obeys: C1 controls, and marks that turn the text."""


class Unwell(click.ClickException):
    """What was looked at is not well; the message is a sentence, or several lines of them."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click's typing, not its habit

    def show(self, file: IO[Any] | None = None) -> None:
        """Say it on standard error."""
        click.echo(safe(self.format_message()), file=file or sys.stderr)


class Commands(click.Group):
    """Commands whose known errors end in a sentence and a status, never in a traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line as far as it is for all of them."""
        with _usage_has_its_status():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with _usage_has_its_status():
                return super().invoke(ctx)
        except HappyError as error:
            raise Unwell(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Unwell(f"{where}{reason(error)}") from None


@contextmanager
def _usage_has_its_status() -> Iterator[None]:
    """Change click's status 2: for some commands it means something else."""
    try:
        yield
    except click.UsageError as error:
        error.exit_code = USAGE_STATUS  # type: ignore[misc] # as above
        raise


def reason(error: OSError) -> str:
    """Return what the system says is wrong, in small letters."""
    return (error.strerror or str(error)).lower()


json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Write JSON to standard output, for programs."
)


def config_option(help_text: str, *, required: bool = False) -> Callable[[F], F]:
    """Give a command the option --config: the path of a configuration, None when it is left out."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path),
        metavar="FILE",
        required=required,
        help=help_text,
    )


def is_terminal() -> bool:
    """Say whether standard output is a terminal."""
    return sys.stdout.isatty()


_PAUSE_MS: Final = 100
_DRAWN_EVERY_S: Final = 0.1


def pause_while_read(out: BinaryIO) -> Callable[[], bool]:
    """Return a function that pauses; it says whether anybody may still read what is written.

    What was written before the pause can be read during it.
    """
    closed = select.poll()
    closed.register(out.fileno(), 0)  # that a pipe has lost its reader is always told

    def pause() -> bool:
        out.flush()
        return not closed.poll(_PAUSE_MS)

    return pause


def until_interrupted() -> suppress:
    """Return a context that ends with Ctrl-C, which is how following a journal ends."""
    return suppress(KeyboardInterrupt)


def json_line(value: Any) -> bytes:
    """Return a value as a line of JSON that is safe to show on a terminal."""
    text = msgspec.json.encode(value).decode("utf-8")
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def safe(text: str) -> str:
    """Return a text without what a terminal would obey; line ends stay."""
    text = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)
    return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def write_json(*values: Any) -> None:
    """Write values as lines of JSON."""
    for value in values:
        click.echo(json_line(value), nl=False)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; columns whose name ends in a space are numbers, set to the right."""
    shown = [[safe(cell) for cell in row] for row in rows]
    if is_terminal():
        _write_rich(columns, shown)
        return
    heads = [name.strip() for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
    for line in (heads, *shown):
        cells = [
            cell.rjust(width) if name.endswith(" ") else cell.ljust(width)
            for cell, width, name in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _write_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(
            name.strip(), justify="right" if name.endswith(" ") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, emoji=False).print(table)


@contextmanager
def progress(what: str, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
    """Show how much of how much is done, in bytes or events, when somebody is there to look."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import (  # noqa: PLC0415 - as above
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts = (
        (DownloadColumn(binary_units=True), TransferSpeedColumn())
        if unit == "bytes"
        else (MofNCompleteColumn(), TextColumn(unit))
    )
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    # Without a thread that draws it: processes may be forked meanwhile.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(what, total=None)
        drawn_s = 0.0

        def tell(done: int, total: int) -> None:
            nonlocal drawn_s
            bar.update(task, completed=done, total=total)
            if time.monotonic() - drawn_s >= _DRAWN_EVERY_S:
                bar.refresh()
                drawn_s = time.monotonic()

        yield tell


def counted(count: int, noun: str) -> str:
    """Return how many there are, in words."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def rfc3339(time_ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 has it, in UTC, to the microsecond."""
    return moment(time_ns).isoformat(timespec="microseconds").replace("+00:00", "Z")


def short_time(time_ns: int) -> str:
    """Return nanoseconds since 1970 for a table: local time, to the minute."""
    return f"{moment(time_ns).astimezone():%Y-%m-%d %H:%M}"


def short_bytes(count: int) -> str:
    """Return a number of bytes for a table."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
