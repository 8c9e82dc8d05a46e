"""How rows and what changed in them are said: as text for people, as JSON for programs."""

from __future__ import annotations

from typing import Any, Final

from happy.cli.bodies import plain
from happy.cli.output import json_line
from happy.row_diff import Change, unpacked
from happy.touched import ABSENT

_CHARS_MAX: Final = 200
"""How much of a value a line of text shows; JSON has all of it."""


def place(change: Change) -> str:
    """Return where a change is, as in ``items["b7"]``."""
    return place_of(change.field, change.key)


def place_of(field: str, key: bytes | None) -> str:
    """Return the name of a row, or of a field that is no table."""
    return field if key is None else f"{field}[{json_text(unpacked(key))}]"


def json_text(value: Any) -> str:
    """Return a plain value as JSON, ``-`` when it is not there, cut when it is long."""
    if value is ABSENT:
        return "-"
    text = json_line(plain(value)).decode().rstrip("\n")
    return text if len(text) <= _CHARS_MAX else f"{text[:_CHARS_MAX]} ... ({len(text)} characters)"


def change_lines(change: Change) -> list[str]:
    """Return a change as lines, as in ``items["b7"] size: 1 -> 2``."""
    where = place(change)
    old, new = change.values()
    if change.old is None or change.new is None:
        return [f"{where} {change.kind}: {json_text(new if change.old is None else old)}"]
    fields = change.fields()
    if fields is None:
        return [f"{where}: {json_text(old)} -> {json_text(new)}"]
    return [f"{where} {name}: {json_text(a)} -> {json_text(b)}" for name, (a, b) in fields.items()]


def change_plain(change: Change, old_name: str = "old", new_name: str = "new") -> dict[str, Any]:
    """Return a change for JSON.

    A row has its ``key``; one that was added or removed is whole (``row``), of one that changed
    there are the ``fields`` that did, or both values when it has no fields.
    """
    said: dict[str, Any] = {"change": change.kind}
    if change.key is None:
        said["field"] = change.field
    else:
        said["table"] = change.field
        said["key"] = plain(unpacked(change.key))
    old, new = change.values()
    fields = change.fields()
    if change.old is None or change.new is None:
        said["row"] = plain(new if change.old is None else old)
    elif fields is None:
        said[old_name], said[new_name] = plain(old), plain(new)
    else:
        said["fields"] = {
            name: {
                side: plain(value)
                for side, value in ((old_name, a), (new_name, b))
                if value is not ABSENT
            }
            for name, (a, b) in fields.items()
        }
    return said
