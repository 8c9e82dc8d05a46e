"""What may stand in an event, a row or a state: values that cannot change under our feet."""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import attrs

from happy.errors import DefinitionError

CLASSES_KEPT: Final = 1_024
"""Of how many classes it is kept what was found out about them: it takes long, and stays true."""

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


@lru_cache(maxsize=CLASSES_KEPT)
def hints_of(cls: type) -> Mapping[str, Any]:
    """Return the resolved types of an attrs class's fields; ``DefinitionError`` if unknown."""
    try:
        # Under its own name too: a class may speak of itself before the module knows it.
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=False)
    except NameError as error:
        raise DefinitionError(f"{cls.__qualname__}: {error}; import it at module level") from None
    return MappingProxyType({f.name: hints.get(f.name, Any) for f in attrs.fields(cls)})


def check_immutable(cls: type, what: str) -> None:
    """Raise ``DefinitionError`` when a field of ``cls`` could change in place."""
    for name, hint in hints_of(cls).items():
        complaint = _complain_of_name(name) or complain(hint, frozenset({cls}))
        if complaint:
            raise DefinitionError(f"{what} {cls.__qualname__}, field {name}: {complaint}")


def complain(hint: Any, known: frozenset[type] = frozenset()) -> str | None:
    """Return why a type may not stand in an event, a row or a state; None when it may.

    ``known`` are the classes already being looked at: a tree's nodes hold nodes.
    """
    origin = typing.get_origin(hint) or hint
    if origin in _REMEDY:
        return f"{_show(hint)} can change or has no order; use {_REMEDY[origin]}"
    if origin in _PLAIN or origin is typing.Literal:
        return None
    if origin in (typing.Union, types.UnionType):
        return _first(typing.get_args(hint), known)
    if origin is tuple:
        items = [item for item in typing.get_args(hint) if item is not Ellipsis]
        if not items:
            return "tuple needs its item type, as in tuple[str, ...]"
        return _first(items, known)
    return None if origin in known else _complain_of_class(origin, known)


def _complain_of_class(cls: Any, known: frozenset[type]) -> str | None:
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return _complain_of_enum(cls)
    if not isinstance(cls, type) or not attrs.has(cls):
        return f"{_show(cls)} is not known to be immutable; use plain values, tuples, frozen attrs"
    if not attrs.inspect(cls).is_frozen:
        return f"{cls.__qualname__} is not frozen; declare it with @attrs.frozen"
    hints = hints_of(cls)
    return next(filter(None, map(_complain_of_name, hints)), None) or _first(
        hints.values(), known | {cls}
    )


def _complain_of_enum(cls: type[enum.Enum]) -> str | None:
    for kind in (str, int):
        if all(isinstance(member.value, kind) for member in cls):
            return None
    return f"the values of {cls.__qualname__} must be all text or all whole numbers"


def _complain_of_name(name: str) -> str | None:
    # The encoder passes over such names without a word: the value would be lost on disk.
    return f"{name} would not be written; begin it with a letter" if name[0] == "_" else None


def _first(hints: Iterable[Any], known: frozenset[type]) -> str | None:
    return next(filter(None, (complain(hint, known) for hint in hints)), None)


def _show(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
