"""What a type is, with all that is in it, as one digest."""

from __future__ import annotations

import enum
import hashlib
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from happy.values import hints_of


def schema_of(hint: Any) -> str:
    """Return a digest of a type: of the names and the types of its fields, on all levels.

    Values of types with one schema can be read as each other. Names of classes do not count,
    nor do defaults.
    """
    text = _schema(hint, ())
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fields_schema(hints: Mapping[str, Any]) -> str:
    """Return a digest of some fields, as ``schema_of`` does of a class that has them."""
    text = ", ".join(f"{name}: {_schema(hint, ())}" for name, hint in hints.items())
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _schema(hint: Any, above: tuple[Any, ...]) -> str:  # noqa: PLR0911 - one for each sort
    origin = typing.get_origin(hint)
    if hint in above:
        return f"^{above.index(hint)}"
    if origin is typing.Literal:
        return f"one of {sorted(map(repr, typing.get_args(hint)))}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(sorted(_schema(part, above) for part in typing.get_args(hint)))
    if origin is not None:
        parts = (
            "..." if part is Ellipsis else _schema(part, above) for part in typing.get_args(hint)
        )
        return f"{origin.__name__}[{', '.join(parts)}]"
    if not isinstance(hint, type):
        return str(hint)
    if attrs.has(hint):
        within = (*above, hint)
        fields = (f"{name}: {_schema(part, within)}" for name, part in hints_of(hint).items())
        return f"{{{', '.join(fields)}}}"
    if issubclass(hint, enum.Enum):
        return f"member of {sorted(repr(member.value) for member in hint)}"
    return hint.__name__
