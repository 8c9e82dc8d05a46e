"""``happy mail password``: the line by which a user of the mail doors is known."""

from __future__ import annotations

import sys

import click

from happy.cli.output import Unwell, json_option, write_json
from happy.wire.passwords import check_name, hashed

PASSWORD_CHARS_MAX = 1_000  # under what fits a line of AUTH


@click.command()
@click.argument("name")
@json_option
def password(name: str, as_json: bool) -> None:
    """Hash a password for the user NAME.

    It makes a line for the file that [mail] users_file names. A terminal is asked for the
    password, twice; from anything else the first line is it. In the configuration itself the
    same is written NAME = "HASH", under [mail.users].

    \b
    Exit status:
      0  written
      1  there is no password, or it cannot be one
    """  # noqa: D301 - click's mark
    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    made = str(hashed(_asked()))
    if as_json:
        write_json({"name": name, "hash": made})
    else:
        click.echo(f"{name}:{made}")


def _asked() -> str:
    if sys.stdin.isatty():
        given: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        try:
            given = sys.stdin.readline(PASSWORD_CHARS_MAX + 2).rstrip("\r\n")
        except UnicodeDecodeError:
            raise Unwell("the password is not UTF-8 text") from None
    if not given:
        raise Unwell("there is no password: write it to standard input")
    if len(given) > PASSWORD_CHARS_MAX or not given.isprintable():
        raise Unwell(f"a password is up to {PASSWORD_CHARS_MAX} printable characters")
    return given
