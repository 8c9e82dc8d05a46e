"""What the configuration says of users: their names and the hashes of their passwords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader
from happy.wire.passwords import PasswordHash, check_name, read_hash, read_users

_OTHERS = 0o077


def users_of(
    reader: ConfigReader, key: KeyPath, raw: Any, file: Path | None
) -> dict[str, PasswordHash]:
    """Return the users of the table at ``key`` and those of a file; complain about the others.

    Whatever holds a hash is to be read by its owner alone. No complaint repeats a hash.
    """
    users: dict[str, PasswordHash] = {}
    if raw is not None:
        if isinstance(raw, dict):
            for name, written in raw.items():
                try:
                    if not isinstance(written, str):
                        raise ValueError(  # noqa: TRY004, TRY301 - it is told like any other
                            "is no password hash"
                        )
                    users[check_name(name)] = read_hash(written)
                except ValueError as error:
                    reader.complain((*key, name), str(error))
        else:
            reader.complain(key, "expected a table of names and password hashes")
        if users:
            _check_private(reader, key, reader.path)
    if file is not None:
        file_key = (*key[:-1], "users_file")
        for name, kept in _from_file(reader, file_key, file).items():
            if name in users:
                reader.complain(file_key, f"{name} is a user of the table as well")
            users[name] = kept
    return users


def _from_file(reader: ConfigReader, key: KeyPath, file: Path) -> dict[str, PasswordHash]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        reader.complain(key, f"{file} is not UTF-8 text")
        return {}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        reader.complain(key, f"{file} cannot be read: {reason}")
        return {}
    _check_private(reader, key, file)
    try:
        return read_users(text)
    except ValueError as error:
        reader.complain(key, f"{file}: {error}")
        return {}


def _check_private(reader: ConfigReader, key: KeyPath, file: Path) -> None:
    if file.stat().st_mode & _OTHERS:
        reader.complain(key, f"{file} has password hashes and others may read it: chmod 600")
