"""What may stand in an event, a row or a state: values that cannot change under our feet."""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterable
from typing import Any

import attrs

from happy.errors import DefinitionError

_PLAIN = frozenset(
    {
        int, str, bytes, float, bool, type(None), decimal.Decimal, datetime.datetime,
        datetime.date, datetime.time, datetime.timedelta, uuid.UUID,
    }
)  # fmt: skip

_REMEDY = {
    list: "tuple[X, ...]",
    set: "tuple[X, ...], or a Table in the state",
    frozenset: "tuple[X, ...] (a set has no order, and a replay needs one)",
    dict: "a Table in the state, or a tuple of pairs",
    bytearray: "bytes",
}


def hints_of(cls: type) -> dict[str, Any]:
    """Return the resolved types of an attrs class's fields; ``DefinitionError`` if unknown."""
    try:
        hints = typing.get_type_hints(cls, include_extras=False)
    except NameError as error:
        raise DefinitionError(f"{cls.__qualname__}: {error}; import it at module level") from None
    return {f.name: hints.get(f.name, Any) for f in attrs.fields(cls)}


def check_immutable(cls: type, what: str) -> None:
    """Raise ``DefinitionError`` when a field of ``cls`` could change in place."""
    for name, hint in hints_of(cls).items():
        complaint = complain(hint)
        if complaint:
            raise DefinitionError(f"{what} {cls.__qualname__}, field {name}: {complaint}")


def complain(hint: Any) -> str | None:
    """Return why a type may not stand in an event, a row or a state; None when it may."""
    origin = typing.get_origin(hint) or hint
    if origin in _REMEDY:
        return f"{_show(hint)} can change or has no order; use {_REMEDY[origin]}"
    if origin in _PLAIN or origin is typing.Literal:
        return None
    if origin in (typing.Union, types.UnionType):
        return _first(typing.get_args(hint))
    if origin is tuple:
        items = [item for item in typing.get_args(hint) if item is not Ellipsis]
        return _first(items) if items else "tuple needs its item type, as in tuple[str, ...]"
    return _complain_of_class(origin)


def _complain_of_class(cls: Any) -> str | None:
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return None
    if not isinstance(cls, type) or not attrs.has(cls):
        return f"{_show(cls)} is not known to be immutable; use plain values, tuples, frozen attrs"
    if not attrs.inspect(cls).is_frozen:
        return f"{cls.__qualname__} is not frozen; declare it with @attrs.frozen"
    return _first(hint for hint in hints_of(cls).values() if hint is not cls)


def _first(hints: Iterable[Any]) -> str | None:
    return next(filter(None, map(complain, hints)), None)


def _show(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
