"""What is different in two states, row by row and field by field.

A ``Change`` holds a row's two values as msgpack, with the names of its fields: so changes can be
compared exactly (``1`` is not ``True``), kept without keeping a state, and sent to another
process that has other classes by the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

import attrs
import msgspec

from happy.touched import ABSENT, FIELD, Touch
from happy.undo import fields_of
from happy.values import hints_of

_encode: Final = msgspec.msgpack.Encoder().encode


@attrs.frozen
class Change:
    """A row, or a field that is no table, with what stood there and what stands there now.

    ``key`` is None for a field; ``old`` is None for a row that is added, ``new`` for one that is
    removed.
    """

    field: str
    key: bytes | None
    old: bytes | None
    new: bytes | None

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    def values(self) -> tuple[Any, Any]:
        """Return both values as plain ones; ``ABSENT`` for a row that is not there."""
        return unpacked(self.old), unpacked(self.new)

    def fields(self) -> dict[str, tuple[Any, Any]] | None:
        """Return the fields of a changed row that differ; None when it is no row with fields."""
        if self.old is None or self.new is None:
            return None
        old, new = self.values()
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return None
        names = dict.fromkeys((*old, *new))
        pairs = {name: (old.get(name, ABSENT), new.get(name, ABSENT)) for name in names}
        return {name: (a, b) for name, (a, b) in pairs.items() if not _same(a, b)}


def unpacked(data: bytes | None) -> Any:
    """Return a packed value as plain maps, lists and values; ``ABSENT`` for None."""
    return ABSENT if data is None else msgspec.msgpack.decode(data)


class Packer:
    """Makes bytes of values, leaving out some fields of some classes (by qualified name)."""

    def __init__(self, left_out: Mapping[str, Iterable[str]] | None = None) -> None:
        self._left_out = {name: frozenset(fields) for name, fields in (left_out or {}).items()}

    def packed(self, value: Any) -> bytes:
        """Return a value as msgpack; ``TypeError`` when it is none that a state may hold."""
        if self._left_out:
            value = self._trimmed(value)
        try:
            return _encode(value)
        except (OverflowError, UnicodeEncodeError):
            return _encode(_spelt_out(value))

    def changes(self, state: Any, touches: Iterable[Touch]) -> list[Change]:
        """Return what came of touches, in an order that does not depend on theirs.

        Only rows that were added stand in the order in which they came, for that is their order
        in the table. What is as it was before is no change.
        """
        settled: list[Change] = []
        added: list[Change] = []
        for touch in touches:
            change = self.change(state, touch)
            if change is not None:
                (added if change.old is None else settled).append(change)
        settled.sort(key=lambda change: (change.field, change.key or b""))
        added.sort(key=lambda change: change.field)
        return settled + added

    def change(self, state: Any, touch: Touch) -> Change | None:
        """Return what is different in a row or field that was touched, None when nothing is."""
        now = getattr(state, touch.field)
        key: bytes | None = None
        if touch.key is not FIELD:
            key = self.packed(touch.key)
            now = now.get(touch.key, ABSENT)
        old = None if touch.old is ABSENT else self.packed(touch.old)
        new = None if now is ABSENT else self.packed(now)
        return None if old == new else Change(touch.field, key, old, new)

    def contents(self, state: Any, names: Iterable[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield these fields of a state and, of each, the packed value or rows in their order."""
        tables = fields_of(type(state))[1]
        for name in names:
            value = getattr(state, name)
            items = value.items() if name in tables else (value,)
            yield name, (self.packed(item) for item in items)

    def _trimmed(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._trimmed(item) for item in value]
        cls = type(value)
        if not attrs.has(cls):
            return value
        out = self._left_out.get(cls.__qualname__, ())
        names = (f.name for f in attrs.fields(cls))
        return {name: self._trimmed(getattr(value, name)) for name in names if name not in out}


def _spelt_out(value: Any) -> Any:
    """Return a value in words that msgpack has, where it holds an int or a text too large."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, list | tuple):
        return [_spelt_out(item) for item in value]
    if isinstance(value, dict):
        return {name: _spelt_out(item) for name, item in value.items()}
    if attrs.has(type(value)):
        return {f.name: _spelt_out(getattr(value, f.name)) for f in attrs.fields(type(value))}
    return value


def _same(a: Any, b: Any) -> bool:
    if a is ABSENT or b is ABSENT:
        return a is b
    return _encode(a) == _encode(b)


def differences(ours: Sequence[Change], theirs: Sequence[Change]) -> list[Change]:
    """Return how two states differ that were equal before these changes: ours old, theirs new."""
    mine = {(change.field, change.key): change for change in ours}
    others = {(change.field, change.key): change for change in theirs}
    found = []
    for place in dict.fromkeys((*mine, *others)):
        one, other = mine.get(place), others.get(place)
        # What only one of them touched is for the other as it was.
        before = one.old if one is not None else other.old if other is not None else None
        now = before if one is None else one.new
        then = before if other is None else other.new
        if now != then:
            found.append(Change(*place, now, then))
    return found


# --- classes that differ ----------------------------------------------------------------------


@attrs.frozen
class Shape:
    """The fields of a state, and of each class that stands in it, by qualified name."""

    fields: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]


def shape_of(state: type) -> Shape:
    """Return what a state is made of."""
    classes: dict[str, tuple[str, ...]] = {}
    for hint in hints_of(state).values():
        _collect(hint, classes)
    return Shape(tuple(f.name for f in attrs.fields(state)), classes)


def _collect(hint: Any, classes: dict[str, tuple[str, ...]]) -> None:
    for inner in get_args(hint):
        _collect(inner, classes)
    cls = get_origin(hint) or hint
    if isinstance(cls, type) and attrs.has(cls) and cls.__qualname__ not in classes:
        classes[cls.__qualname__] = tuple(f.name for f in attrs.fields(cls))
        for inner in hints_of(cls).values():
            _collect(inner, classes)


@attrs.frozen
class Common:
    """What two shapes have both, and what only the one or the other has."""

    fields: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def common(ours: Shape, theirs: Shape) -> Common:
    """Return what can be compared of two states, and the names of what cannot."""
    added = [f"state.{name}" for name in theirs.fields if name not in ours.fields]
    removed = [f"state.{name}" for name in ours.fields if name not in theirs.fields]
    left_out: dict[str, tuple[str, ...]] = {}
    for name in ours.classes.keys() & theirs.classes.keys():
        mine, others = ours.classes[name], theirs.classes[name]
        new = [field for field in others if field not in mine]
        gone = [field for field in mine if field not in others]
        if new or gone:
            left_out[name] = (*new, *gone)
        added += [f"{name}.{field}" for field in new]
        removed += [f"{name}.{field}" for field in gone]
    both = tuple(name for name in ours.fields if name in theirs.fields)
    return Common(both, left_out, tuple(sorted(added)), tuple(sorted(removed)))
