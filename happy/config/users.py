"""What the configuration says of users: their names and the hashes of their passwords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader
from happy.wire.passwords import PasswordHash, check_name, read_hash
from happy.wire.users import check_private, together


def users_of(reader: ConfigReader, key: KeyPath, raw: Any) -> dict[str, PasswordHash]:
    """Return the users of the table at ``key``; complain about the others.

    Whatever holds a hash is to be read by its owner alone. No complaint repeats a hash.
    """
    users: dict[str, PasswordHash] = {}
    if raw is None:
        return users
    if not isinstance(raw, dict):
        reader.complain(key, "expected a table of names and password hashes")
        return users
    for name, written in raw.items():
        try:
            if not isinstance(written, str):
                raise ValueError(  # noqa: TRY004, TRY301 - it is told like any other
                    "is no password hash"
                )
            users[check_name(name)] = read_hash(written)
        except ValueError as error:
            reader.complain((*key, name), str(error))
    if users:
        try:
            check_private(reader.path)
        except ValueError as error:
            reader.complain(key, str(error))
    return users


def has_users(
    reader: ConfigReader, key: KeyPath, table: dict[str, PasswordHash], file: Path | None
) -> bool:
    """Say whether there is anybody in a table or in the file at ``key``, which must be fit."""
    if file is None:
        return bool(table)
    try:
        return bool(together(table, file))
    except ValueError as error:
        reader.complain(key, str(error))
        return True  # one complaint about one mistake
