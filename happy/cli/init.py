"""``happy init``: a small application that runs at once, to be changed into one's own."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from happy.cli.output import Unwell, json_option, safe, write_json

_FILES: Final = ("README.md", "guestbook.py", "happy.toml", "test_guestbook.py")
# They are data to this package, and code only where they are written to.
_STORED_AS: Final = "{}.txt"


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def init(directory: Path, as_json: bool) -> None:
    """Write a small application into DIR.

    It is a guest book with a web page and a mail address. It comes with its configuration and
    its tests, and runs as it is. DIR is made if it is not there; if it is, it must be empty.

    Exit status 1 when DIR cannot be used; then nothing was written.
    """
    if directory.exists() and not directory.is_dir():
        raise Unwell(f"{directory}: is not a directory")
    if directory.is_dir() and any(directory.iterdir()):
        raise Unwell(f"{directory}: is not empty; name a new directory")
    directory.mkdir(parents=True, exist_ok=True)
    stored = files("happy.cli") / "template"
    for name in _FILES:
        text = (stored / _STORED_AS.format(name)).read_text("utf-8")
        (directory / name).write_text(text, "utf-8")
    there = f"cd {shlex.quote(str(directory))}"
    run, test = f"{there} && twistd -n --pidfile= happy --config happy.toml", f"{there} && pytest"
    if as_json:
        write_json({"directory": str(directory), "files": _FILES, "next": (run, test)})
        return
    click.echo(safe(f"{directory}: wrote {', '.join(_FILES)}. Run it, and test it:\n"))
    click.echo(safe(f"  {run}\n  {test}"))
