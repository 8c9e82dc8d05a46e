"""``happy bench``: how fast it is on this machine, on this disk, in twenty seconds."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from happy.bench.model import LOAD, predictions_of, work_of
from happy.cli.output import Unwell, counted, json_option, progress, safe, write_json, write_table
from happy.errors import JournalError

if TYPE_CHECKING:
    from happy.bench.model import Prediction
    from happy.bench.parts import Row

_NOT_MEASURED: Final = 1
_WRONG: Final = 2
CORES_PREDICTED: Final = (2, 4, 8, 16)
CLIENTS_PREDICTED: Final = 256


@click.command()
@click.argument("directory", metavar="[DIR]", default=".",
                type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1, 600),
              help="About how long is measured; starting and checking are on top.")  # fmt: skip
@json_option
def bench(directory: Path, seconds: float, as_json: bool) -> None:
    """Measure how fast happy is here, with data on the disk of DIR.

    Write and sync, durable appends, durable numbers through the order without a door, HTTP
    requests to the numbers example over real sockets, and a replay. Every answer is checked.
    Servers run on one core and what asks them on another, if there are two; the load generator
    is a Python program, and the table says when it was the limit and not the server.

    It listens on the loopback interface alone, writes to a new directory in DIR, some 300 MB,
    and removes it. For comparisons with other servers see benchmarks/ in the source.

    \b
    Exit status:
      0  measured
      1  not measured, or not all of it: a sentence says why
      2  measured, and an answer was wrong: a bug, please report it
    """  # noqa: D301 - click's mark
    from happy.bench.children import ChildFailed  # noqa: PLC0415 - not for the other commands
    from happy.bench.machine import complaint_about, machine_of  # noqa: PLC0415 - as above

    machine = machine_of(directory)
    complaint = complaint_about(machine["file_system"])
    if complaint is not None:
        click.echo(safe(f"{directory}: {complaint}"), err=True)
    if machine["load_before"] > machine["cores"] / 2:
        click.echo(
            f"this machine is busy with something else (load {machine['load_before']}): "
            "the figures are worse than it is",
            err=True,
        )
    with _folder_in(directory) as folder:
        try:
            rows = _measured(folder, seconds)
        except (ChildFailed, JournalError) as error:
            raise Unwell(f"{directory}: {error}", _NOT_MEASURED) from None
    work = work_of(rows)
    predictions = predictions_of(
        work, sorted({machine["cores"], *CORES_PREDICTED}), CLIENTS_PREDICTED
    )
    if as_json:
        said = [attrs.asdict(one) for one in predictions]
        write_json({"machine": machine, "rows": rows, "work": attrs.asdict(work),
                    "predictions": said})  # fmt: skip
    else:
        _show(directory, machine, rows, predictions)
    wrong = sum(row.get("wrong", 0) for row in rows)
    if wrong:
        raise Unwell(f"{wrong} answers were wrong: this is a bug, please report it", _WRONG)


@contextmanager
def _folder_in(directory: Path) -> Iterator[Path]:
    """Yield a new directory that is gone afterwards, also when the command is ended."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = Path(tempfile.mkdtemp(prefix="happy-bench-", dir=directory)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _measured(folder: Path, seconds: float) -> list[Row]:
    from happy.bench.parts import PARTS, seconds_of  # noqa: PLC0415 - as above

    rows: list[Row] = []
    shares = zip(PARTS, seconds_of(PARTS, seconds), strict=True)
    for number, (part, share_s) in enumerate(shares, 1):
        with progress(f"{number}/{len(PARTS)} {part.title}", "s") as show:
            rows += part.measure(folder, share_s, _ticker(show, share_s))
    return rows


def _ticker(show: Callable[[int, int], None], total_s: float) -> Callable[[], None]:
    """Return a function that shows how much of some time has gone by."""
    start_s = time.monotonic()

    def tick() -> None:
        show(round(min(time.monotonic() - start_s, total_s)), round(total_s))

    return tick


# --- saying ---------------------------------------------------------------------------------------


def _show(
    directory: Path,
    machine: Mapping[str, Any],
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
) -> None:
    click.echo(
        safe(
            f"{directory}: {machine['file_system']}; {counted(machine['cores'], 'core')} "
            f"({machine['processor']}), Linux {machine['kernel']}, Python {machine['python']}; "
            f"load {machine['load_before']} before\n"
        )
    )
    write_table(("what", "a second ", "p50 ", "p99 ", "processor ", "limit"), map(_cells, rows))
    if any(row.get("limit") == LOAD for row in rows):
        click.echo(f"\nWhere {LOAD} was the limit, the server can do more.")
    click.echo(f"\nPredicted for {CLIENTS_PREDICTED} clients over HTTP:\n")
    write_table(
        ("cores ", "fronts ", "numbers a second ", "bottleneck"),
        [
            (str(one.cores), str(one.fronts or "none"), f"{one.per_s:,.0f}", one.bottleneck)
            for one in predictions
        ],
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        title_of(row),
        f"{row['per_s']:,}",
        short_time_us(row["p50_us"]),
        short_time_us(row.get("p99_us")),
        short_time_us(row.get("cpu_us")),
        row.get("limit", ""),
    )


def title_of(row: Row) -> str:
    """Return what a row is about, for people."""
    what = row["what"]
    if what == "sync":
        return "sync: one write"
    if what == "append":
        return f"journal: {counted(row['batch'], 'event')} an append"
    if what == "order":
        return f"order: {counted(row['clients'], 'client')}"
    if what == "replay":
        return f"replay: {row['events']:,} events"
    fronts = f", {counted(row['fronts'], 'front')}" if row.get("fronts") else ""
    return f"{what}: {counted(row['clients'], 'connection')}{fronts}"


def short_time_us(value: float | None) -> str:
    """Return a time in microseconds for a table."""
    if value is None:
        return ""
    return f"{value:.1f} us" if value < 1_000 else f"{value / 1_000:,.1f} ms"
