"""The indexes of a table: which keys have a value, which key has it, and which come in order.

Each is told of a value and a key, to ``check``, ``add`` or ``discard``; adding and
discarding may be done twice, so that undoing need not know how far a change had come. None of
them knows the order of a table's rows: whoever asks puts keys in the table's own order.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from sortedcontainers import SortedList

from happy.errors import DuplicateKey


class _Free(enum.Enum):
    FREE = enum.auto()


_FREE: Final[Any] = _Free.FREE
_NOBODY: Final[dict[Any, None]] = {}


class Index:
    """Groups of keys by value; a group goes with its last key."""

    __slots__ = ("groups", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.groups: dict[Any, dict[Any, None]] = {}

    def check(self, value: Any, _key: Any) -> None:
        """Raise, before anything has changed, when ``add`` would."""
        self.groups.get(value)

    def add(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value."""
        group = self.groups.get(value)
        if group is None:
            self.groups[value] = {key: None}
        else:
            group[key] = None

    def discard(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value no more."""
        group = self.groups.get(value)
        if group is not None:
            group.pop(key, None)
            if not group:
                self.groups.pop(value, None)

    def fill(self, values: Iterable[Any], keys: Iterable[Any]) -> None:
        """Check and add many; ``values`` and ``keys`` go together."""
        for value, key in zip(values, keys, strict=True):
            self.check(value, key)
            self.add(value, key)

    def keys(self, value: Any) -> Iterable[Any]:
        """Return the keys of the rows with this value, in no order that means anything."""
        found: dict[Any, None] = self.groups.get(value, _NOBODY)
        return found

    def count(self, value: Any) -> int:
        """Return how many rows have this value."""
        return len(self.groups.get(value, _NOBODY))


class UniqueIndex:
    """The key of the one row that has a value."""

    __slots__ = ("holders", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.holders: dict[Any, Any] = {}

    def check(self, value: Any, key: Any) -> None:
        """Raise ``DuplicateKey``, before anything has changed, when another row has the value."""
        holder = self.holders.get(value, _FREE)
        if holder is not _FREE and holder != key:
            raise DuplicateKey(f"{self.name} {value!r} is taken by the row {holder!r}")

    def add(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value."""
        self.holders[value] = key

    def discard(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value no more; another's stays."""
        holder = self.holders.get(value, _FREE)
        if holder is not _FREE and holder == key:
            del self.holders[value]

    def fill(self, values: Iterable[Any], keys: Iterable[Any]) -> None:
        """Check and add many; ``values`` and ``keys`` go together."""
        for value, key in zip(values, keys, strict=True):
            self.check(value, key)
            self.holders[value] = key

    def keys(self, value: Any) -> Iterable[Any]:
        """Return the key of the row with this value, or nothing."""
        holder = self.holders.get(value, _FREE)
        return () if holder is _FREE else (holder,)

    def count(self, value: Any) -> int:
        """Return how many rows have this value: 0 or 1."""
        return int(value in self.holders)


class SortedIndex(Index):
    """Groups of keys whose values can be walked in order, from any value to any other.

    The groups are the truth; their order is put right when somebody asks, from the values that
    came and went since, and between events, so that nobody who asks waits for many. An exception
    in the middle of that leaves no order at all, and the next to ask gets a new one.
    """

    __slots__ = ("_kind", "_order", "_touched")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._kind: Any = None  # of the values; means nothing while there are none
        self._order: Any = None
        self._touched: list[Any] = []

    def check(self, value: Any, _key: Any) -> None:
        """Raise ``TypeError``, before anything has changed, for a value that has no place."""
        kind = self._kind_of(value)
        if not self.groups:
            self._kind = kind
        elif kind != self._kind:
            raise TypeError(
                f"{self.name} {value!r}: {_show(kind)}, and the other rows have "
                f"{_show(self._kind)}: they cannot be sorted together"
            )
        self.groups.get(value)

    def add(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value."""
        group = self.groups.get(value)
        if group is None:
            self._touch(value)
            self.groups[value] = {key: None}
        else:
            group[key] = None

    def discard(self, value: Any, key: Any) -> None:
        """Note that the row of ``key`` has this value no more."""
        group = self.groups.get(value)
        if group is not None:
            group.pop(key, None)
            if not group:
                self._touch(value)
                self.groups.pop(value, None)

    def between(self, low: Any, high: Any, *, reverse: bool = False) -> Iterator[dict[Any, None]]:
        """Yield the groups of keys from one value to another, both included; None: no bound."""
        order = self._in_order()
        for bound in (low, high):
            if bound is not None and self.groups and self._kind_of(bound) != self._kind:
                raise TypeError(
                    f"{self.name} is sorted and has {_show(self._kind)}; it cannot be compared "
                    f"with {bound!r}"
                )
        return map(self.groups.__getitem__, order.irange(low, high, reverse=reverse))

    def put_in_order(self, *, anew: bool) -> None:
        """Put the order right; where there is none, only if it may be made ``anew``."""
        if anew or self._order is not None:
            self._in_order()

    def _touch(self, value: Any) -> None:
        if self._order is None:
            return
        if len(self._touched) > len(self._order) // 4 + 1000:
            self._order = None  # to sort anew is cheaper
            self._touched.clear()
        else:
            self._touched.append(value)

    def _in_order(self) -> Any:
        order, groups = self._order, self.groups
        self._order = None
        if order is None:
            order = SortedList(groups)
        else:
            for value in self._touched:
                if value in groups:
                    if value not in order:
                        order.add(value)
                else:
                    order.discard(value)
        self._touched.clear()
        self._order = order
        return order

    def _kind_of(self, value: Any) -> Any:
        kind = _KINDS.get(type(value))
        if kind is not None:
            return kind
        try:
            return _kind_of(value)
        except TypeError as error:
            raise TypeError(f"{self.name} {value!r}: {error}") from None


# --- what can be sorted ------------------------------------------------------------------------

_NUMBER: Final = "a number"
_KINDS: Final[dict[type, str]] = {
    int: _NUMBER,
    bool: _NUMBER,
    str: "text",
    bytes: "bytes",
    datetime.date: "a date",
    datetime.timedelta: "a span of time",
    uuid.UUID: "a UUID",
}
"""Types whose values can all be compared with one another."""


def _kind_of(value: Any) -> Any:
    """Return what a value can be compared with; ``TypeError`` says why it has no order."""
    match value:
        case int():
            return _NUMBER
        case str():
            return "text"
        case float() | decimal.Decimal():
            if value != value:  # noqa: PLR0124 - so it says it is not a number
                raise TypeError("not a number has no place in an order")
            return _NUMBER
        case datetime.datetime():
            return f"a moment {_zone(value)} timezone"
        case datetime.time():
            return f"a time of day {_zone(value)} timezone"
        case tuple():
            return tuple(_KINDS.get(type(item)) or _kind_of(item) for item in value)
        case None:
            raise TypeError("None has no place in an order; leave such rows out, or use a bound")
    raise TypeError(f"{type(value).__qualname__} has no order")


def _zone(value: datetime.datetime | datetime.time) -> str:
    return "without" if value.utcoffset() is None else "with"


def _show(kind: Any) -> str:
    return kind if isinstance(kind, str) else f"({', '.join(map(_show, kind))})"


_SORTABLE: Final = (*_KINDS, float, decimal.Decimal, datetime.datetime, datetime.time)


def complain_of_order(hint: Any) -> str | None:
    """Return why values of a type cannot be sorted; None when they can."""
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return _first(complain_of_order, typing.get_args(hint))
    if origin is tuple:
        return _first(complain_of_order, (a for a in typing.get_args(hint) if a is not Ellipsis))
    if origin is typing.Literal or origin in _SORTABLE:
        return None
    if isinstance(origin, type) and issubclass(origin, int | str):
        return None
    if origin is type(None):
        return (
            "None has no place in an order; let a value stand for it, such as the latest date, "
            "or keep the rows that have none in a table of their own"
        )
    name = getattr(origin, "__qualname__", str(origin))
    return f"{name} has no place in an order; sort by a number, a text, bytes, a date or a tuple"


def _first(complain: Callable[[Any], str | None], hints: Iterable[Any]) -> str | None:
    return next(filter(None, map(complain, hints)), None)
