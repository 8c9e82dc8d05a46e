"""The shape of what is journaled: which fields, of what types; and noticing one that is lost.

The decoder that makes events passes over what its class does not know, without a word: of a
field that was renamed and has a default, every old value would be gone. So each class has a
*strict twin*, with the same names on all levels and no values of interest, that refuses a name
it does not know. Reading a record twice costs a fifth of a microsecond and is exact for every
record, where comparing sets of names would have to find out first which sets there are.
"""

from __future__ import annotations

import types
import typing
from typing import Any

import attrs
import msgspec

from happy.values import hints_of


def strict_twin(cls: type) -> type[msgspec.Struct]:
    """Return a class that decodes where ``cls`` does, unless a field is unknown to it."""
    twins = _Twins()
    return twins.of(cls)


class _Twins:
    """The twins of a class and of all classes in it, which may hold each other."""

    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._made: dict[str, type[msgspec.Struct]] = {}

    def of(self, cls: type) -> type[msgspec.Struct]:
        name = self._name(cls)
        for twin in self._made.values():
            for other, made in self._made.items():
                setattr(twin, other, made)  # where msgspec looks names up when it resolves them
        return self._made[name]

    def _name(self, cls: type) -> str:
        name = self._names.get(cls)
        if name is None:
            name = self._names[cls] = f"twin_{len(self._names)}"
            hints = hints_of(cls)
            self._made[name] = msgspec.defstruct(
                name,
                [self._field(field, hints[field.name]) for field in attrs.fields(cls)],
                forbid_unknown_fields=True,
                gc=False,
                kw_only=True,
            )
        return name

    def _field(self, field: attrs.Attribute[Any], hint: Any) -> Any:
        kind = self._type(hint)
        return (field.name, kind) if field.default is attrs.NOTHING else (field.name, kind, None)

    def _type(self, hint: Any) -> Any:
        if hint is int or hint is bool or hint is float:
            return hint  # made faster than a Raw is
        return self._replaced(hint) if holds_attrs(hint) else msgspec.Raw

    def _replaced(self, hint: Any) -> Any:
        origin = typing.get_origin(hint) or hint
        if origin in (typing.Union, types.UnionType):
            items = tuple(self._in_union(item) for item in typing.get_args(hint))
            return typing.Union[items]  # noqa: UP007 - made at run time
        if origin is tuple:
            parts = (i if i is Ellipsis else self._type(i) for i in typing.get_args(hint))
            return types.GenericAlias(tuple, tuple(parts))
        return typing.ForwardRef(self._name(origin))

    def _in_union(self, hint: Any) -> Any:
        # Raw would take it all, and nothing in the union would be looked at.
        return self._replaced(hint) if holds_attrs(hint) else hint


def holds_attrs(hint: Any) -> bool:
    """Say whether values of a type have fields, or may hold what has."""
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and attrs.has(origin):
        return True
    return any(holds_attrs(item) for item in typing.get_args(hint))
