"""What the commands of ``happy mail`` share: naming a message, and asking a container of it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
import msgspec

from happy.cli.asking import NoAnswer, NotRunning, ask
from happy.cli.output import Unwell, config_option, json_option, rfc3339, safe, write_json

REASON_CHARS_MAX: Final = 300
"""How long a reason may be; it is written to the control socket in one line."""
F = TypeVar("F", bound=Callable[..., Any])


def place_options(command: F) -> F:
    """Give a command the argument DATA_DIR and the options --config and --json."""
    config = config_option("The container of this configuration.")
    data = click.argument(
        "data", metavar="[DATA_DIR]", type=click.Path(path_type=Path), required=False
    )
    return data(config(json_option(command)))


def _one_line(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if not text.isprintable() or len(text) > REASON_CHARS_MAX:
        raise click.BadParameter(f"write one line of at most {REASON_CHARS_MAX} characters")
    return text


reason_option: Callable[[F], F] = click.option(
    "--reason", default="", metavar="TEXT", callback=_one_line, help="Why; it is kept."
)


def message_of(text: str) -> tuple[str, int, int | None]:
    """Return what NAME/SEQ.N stands for; of NAME/SEQ, a message that came in, N is None."""
    name, slash, place = text.rpartition("/")
    seq, dot, n = place.partition(".")
    if not (slash and name and seq.isdecimal() and (n.isdecimal() if dot else True)):
        raise click.UsageError(
            f"{text!r} is no message: write NAME/SEQ.N for one that is owed, as in lists/17.0, or "
            "NAME/SEQ for one that came in"
        )
    return name, int(seq), int(n) if dot else None


def answer_of(path: Path, *words: str) -> dict[str, Any]:
    """Return what the container answers, an error as well; ``NoAnswer`` when nobody does."""
    line = " ".join(quote(word, safe="@/") for word in ("mail", *words) if word)
    try:
        answer: dict[str, Any] = msgspec.json.decode(ask(path, line.encode()))
    except msgspec.DecodeError:
        raise Unwell(f"{path}: the container gave no answer that can be read") from None
    return answer


def asked(path: Path, *words: str) -> dict[str, Any]:
    """Return what the container answers; ``Unwell`` when it does not, or says no."""
    try:
        return checked(answer_of(path, *words))
    except NotRunning as error:
        raise Unwell(f"{path}: {error}; start it first") from None
    except NoAnswer as error:
        raise Unwell(f"{path}: {error}") from None


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer; ``Unwell`` when it is an error."""
    if "error" in answer:
        raise Unwell(str(answer["error"]))
    return answer


def say_done(message: str, answer: dict[str, Any], as_json: bool, what: str) -> None:
    """Say what was done."""
    if as_json:
        write_json(answer)
    else:
        click.echo(safe(f"{message} {what}"))


def who() -> str:
    """Return the name of whoever runs this command."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def as_json_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a container tells, its moments as JSON has them."""
    plain = {key: value for key, value in row.items() if not key.endswith("_ns")}
    for key in ("since", "due", "held"):
        if f"{key}_ns" in row:
            plain[key] = rfc3339(row[f"{key}_ns"])
    return plain
