"""All benchmarks in one go, and the documents that tell of them.

    python benchmarks/report.py [--only web,growth] [--short] [--data DIR]
    python benchmarks/report.py --render

runs each benchmark, bounded in time and fourteen minutes together, keeps its figures in
``docs/benchmarks/figures.json``, draws the plots beside it, and writes the tables between the
marks of ``docs/benchmarks.md`` and ``README.md``. ``--render`` measures nothing and writes
both again from the figures. A benchmark that broke off leaves the figures of the time before.
Exits with 1 when one broke off, a promised bound did not hold, or an answer was wrong.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
from documents import with_parts
from rendered import parts_of_figures

from happy.bench.machine import machine_of

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
DOCS: Final = ROOT / "docs"
FIGURES: Final = DOCS / "benchmarks" / "figures.json"
DOCUMENTS: Final = (DOCS / "benchmarks.md", ROOT / "README.md")

TOGETHER_S: Final = 840.0
"""How long all of it may take; a benchmark that runs then is ended, and no other is begun."""
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "web": ("web.py", "--data", "{data}", "--rounds", "3", "--seconds", "2", "--json", "{json}"),
    "growth": ("growth.py", "--directory", "{data}", "--json", "{json}"),
    "fronts": ("fronts.py", "--directory", "{data}", "--rounds", "5", "--seconds", "2",
               "--json", "{json}"),
    "journal": ("journal.py", "--directory", "{data}", "--seconds", "20", "--json"),
    "stream": ("stream.py", "--directory", "{data}", "--rounds", "5", "--seconds", "2", "--json"),
    "distinct": ("stream.py", "--directory", "{data}", "--rounds", "3", "--seconds", "2",
                 "--distinct", "--json"),
    "replay": ("replay.py", "--runs", "3", "--json"),
    "mail": ("mail.py", "--data", "{data}", "--rounds", "3", "--seconds", "2", "--json", "{json}"),
}  # fmt: skip
"""Each says its figures in a file, where one is named, or on standard output."""
SHORT: Final[dict[str, tuple[str, ...]]] = {
    "web": ("--rounds", "1", "--seconds", "1"),
    "growth": ("--seconds", "1", "--rows", "30000"),
    "fronts": ("--rounds", "1", "--seconds", "1"),
    "journal": ("--seconds", "3"),
    "stream": ("--rounds", "1", "--seconds", "1"),
    "distinct": ("--rounds", "1", "--seconds", "1"),
    "replay": ("--runs", "1", "--events", "20000"),
    "mail": ("--rounds", "1", "--seconds", "1"),
}
"""To see that all of it works, not to measure."""


def argv_of(name: str, data: Path, file: Path, *, short: bool) -> list[str]:
    """Return the command of a benchmark."""
    script, *options = (word.format(data=data, json=file) for word in COMMANDS[name])
    return [sys.executable, str(HERE / script), *options, *(SHORT[name] if short else ())]


def measured(
    name: str, data: Path, *, within_s: float, short: bool
) -> tuple[dict[str, Any] | None, int]:
    """Run a benchmark; return its figures, or None when it broke off, and its status."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        process = subprocess.Popen(
            argv_of(name, data, file, short=short), stdout=subprocess.PIPE, text=True
        )
        try:
            said, _ = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.communicate()
            return None, process.returncode
        try:
            text = file.read_text("utf-8") if "{json}" in COMMANDS[name] else said
            found: dict[str, Any] = json.loads(text)
        except (OSError, ValueError):
            return None, process.returncode
    return found, process.returncode


def measure(figures: dict[str, Any], wanted: list[str], data: Path, *, short: bool) -> bool:
    """Run benchmarks one after the other; return whether all held what they promise."""
    machine = machine_of(data)
    load = machine.pop("load_before")
    figures["machine"] = machine
    good = True
    end_s = time.monotonic() + TOGETHER_S
    for name in wanted:
        start_s = time.monotonic()
        if start_s > end_s:
            click.echo(f"--- {name}: no time is left for it", err=True)
            good = False
            continue
        click.echo(f"--- {name}", err=True)
        found, status = measured(name, data, within_s=end_s - start_s, short=short)
        good = good and status == 0
        taken_s = time.monotonic() - start_s
        click.echo(f"--- {name}: status {status}, {taken_s:.0f} s", err=True)
        if found is None:
            click.echo(f"--- {name} broke off: its figures stay as they were", err=True)
            continue
        today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
        figures[name] = found
        figures["runs"][name] = {"date": today, "load_before": load, "short": short}
        keep(figures)
    return good


def keep(figures: Mapping[str, Any]) -> None:
    """Write the figures down."""
    FIGURES.parent.mkdir(exist_ok=True)
    beside = FIGURES.with_suffix(".part")
    beside.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", "utf-8")
    beside.replace(FIGURES)


def read_figures() -> dict[str, Any]:
    """Return the figures that are kept."""
    if not FIGURES.exists():
        return {"runs": {}}
    figures: dict[str, Any] = json.loads(FIGURES.read_text("utf-8"))
    return figures


def render(figures: Mapping[str, Any]) -> None:
    """Write the tables into the documents, and draw the plots."""
    import plots  # noqa: PLC0415 - matplotlib is not needed to measure

    parts = parts_of_figures(figures)
    for document in DOCUMENTS:
        document.write_text(with_parts(document.read_text("utf-8"), parts), "utf-8")
    for name, draw in (("web", plots.web), ("growth", plots.growth)):
        if name in figures:
            draw(figures[name], FIGURES.parent)


def _names(_context: object, _option: object, value: str) -> list[str]:
    names = value.split(",")
    unknown = [name for name in names if name not in COMMANDS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(COMMANDS)}")
    return names


@click.command()
@click.option("--only", default=",".join(COMMANDS), callback=_names, help="Some of them.")
@click.option("--short", is_flag=True, help="As short as it gets, to see that it works.")
@click.option("--render", "only_render", is_flag=True, help="Measure nothing; write again.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=tempfile.gettempdir(),
    help="A directory on the disk that matters.",
)
def main(only: list[str], short: bool, only_render: bool, data: Path) -> None:
    """Measure everything and write the documents."""
    os.chdir(ROOT)
    figures = read_figures()
    good = only_render or measure(figures, only, data.resolve(), short=short)
    render(read_figures())  # in the order in which they are kept
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
