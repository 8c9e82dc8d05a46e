"""The users of the mail doors: those of the configuration, and those of a file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from happy.wire.passwords import PasswordHash, read_users
from happy.wire.reread import Reread

_OTHERS = 0o077

Users = Mapping[str, PasswordHash]
"""Names and the hashes of their passwords."""


def users_now(table: Users, file: Path | None) -> Callable[[], Users]:
    """Return what tells who the users are now: those of a table, and of a file that may change.

    It returns the same mapping until that changes. ``ValueError`` is a sentence.
    """
    return (lambda: table) if file is None else Reread(file, partial(together, table)).now


def together(table: Users, file: Path) -> Users:
    """Return the users of a table and of a file; ``ValueError`` when one is in both."""
    users = _of_file(file)
    for name in table:
        if name in users:
            raise ValueError(f"{file}: {name} is a user of the table as well")
    return {**table, **users}


def check_private(file: Path) -> None:
    """Raise ``ValueError`` unless a file with hashes is to be read by its owner alone."""
    if file.stat().st_mode & _OTHERS:
        raise ValueError(f"{file} has password hashes and others may read it: chmod 600")


def _of_file(file: Path) -> dict[str, PasswordHash]:
    try:
        text = file.read_text(encoding="utf-8")
        check_private(file)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from None
    try:
        return read_users(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
