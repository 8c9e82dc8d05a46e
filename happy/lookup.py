"""Asking a table: by an indexed field, by a range of a sorted one, and walking its rows.

What is found comes in the table's order, or by value and then in the table's order; never in
an order that depends on how an index was built. Rows found by ``where`` and ``between`` are a
tuple, so that the table may be changed while one goes through them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from happy.errors import DefinitionError
from happy.index import SortedIndex, UniqueIndex

K = TypeVar("K")
V = TypeVar("V")


class Mark(enum.Enum):
    """What stands where there is no row."""

    ABSENT = "no row"
    GONE = "a row that this event deleted"


ABSENT: Final = Mark.ABSENT
GONE: Final = Mark.GONE


class Lookup(Generic[K, V]):
    """The part of a table that answers questions."""

    __slots__ = ("_changes", "_indexes", "_names", "_ordinals", "_rows")

    def __init__(self) -> None:
        self._rows: dict[K, Any] = {}
        self._ordinals: dict[K, int] = {}
        self._names: dict[str, Any] = {}  # the index that each field's name stands for
        self._indexes: tuple[Any, ...] = ()
        self._changes = 0  # of the set of keys

    def where(self, **field: Any) -> tuple[V, ...]:
        """Return the rows that have this value in an indexed field, in the table's order."""
        name, value = _only(field, "where(owner='ann')")
        return tuple(self._in_order(self._index(name).keys(value)))

    def count(self, **field: Any) -> int:
        """Return how many rows have this value in an indexed field."""
        name, value = _only(field, "count(owner='ann')")
        return int(self._index(name).count(value))

    def one(self, **field: Any) -> V | None:
        """Return the row that has this value in a unique field, or None."""
        name, value = _only(field, "one(token='x')")
        unique = self._names.get(name)
        if not isinstance(unique, UniqueIndex):
            raise DefinitionError(f"no unique index {name!r}: declare table(unique=({name!r},))")
        for key in unique.keys(value):
            row: V = self._rows[key]
            return row
        return None

    def between(self, **field: tuple[Any, Any]) -> tuple[V, ...]:
        """Return the rows whose value lies between two, both included, by value.

        As in ``between(due=(start, end))``; the field is declared ``sorted``, and None is no
        bound. Rows of one value come in the table's order. Raises ``TypeError`` for a bound
        that cannot be compared with what the rows have.
        """
        name, bounds = _only(field, "between(due=(start, end))")
        if not isinstance(bounds, tuple) or len(bounds) != 2:
            raise TypeError(f"between: write {name}=(low, high), None for no bound")
        return tuple(self._ranged(name, *bounds))

    def ordered(self, name: str, *, reverse: bool = False) -> Iterator[V]:
        """Yield all rows by the value of a sorted field; ``reverse``: exactly backwards."""
        return self._ranged(name, None, None, reverse=reverse)

    def first(self, name: str) -> V | None:
        """Return the row with the least value in a sorted field, None of an empty table."""
        return next(self._ranged(name, None, None), None)

    def last(self, name: str) -> V | None:
        """Return the row with the greatest value in a sorted field, None of an empty table."""
        return next(self._ranged(name, None, None, reverse=True), None)

    def put_in_order(self, *, anew: bool) -> None:
        """Put sorted indexes in order, as ``SortedIndex`` does; between events, for the undo."""
        for one in self._indexes:
            if type(one) is SortedIndex:
                one.put_in_order(anew=anew)

    def _index(self, name: str) -> Any:
        found = self._names.get(name)
        if found is None:
            raise DefinitionError(f"no index {name!r}: declare table(index=({name!r},))")
        return found

    def _ranged(self, name: str, low: Any, high: Any, *, reverse: bool = False) -> Iterator[V]:
        found = [one for one in self._indexes if type(one) is SortedIndex and one.name == name]
        if not found:
            raise DefinitionError(f"no sorted index {name!r}: declare table(sorted=({name!r},))")
        groups = found[0].between(low, high, reverse=reverse)
        pairs: Iterator[tuple[Any, V]] = (
            (None, row) for keys in groups for row in self._in_order(keys, reverse=reverse)
        )
        return (row for _, row in live(self, pairs, self._changes))

    def _in_order(self, keys: Any, *, reverse: bool = False) -> Iterator[V]:
        if len(keys) > 1:
            keys = sorted(keys, key=self._ordinals.__getitem__, reverse=reverse)
        return map(self._rows.__getitem__, keys)


def live(
    table: Lookup[K, V], pairs: Iterator[tuple[K, Any]], changes: int
) -> Iterator[tuple[K, V]]:
    """Yield what is no mark; ``RuntimeError`` when keys came or went meanwhile."""
    if table._changes != changes:  # noqa: SLF001 - a part of it
        raise RuntimeError("the table changed before it was iterated over")
    for pair in pairs:
        if pair[1] is not GONE:
            yield pair
            if table._changes != changes:  # noqa: SLF001 - as above
                raise RuntimeError("the table changed while it was iterated over")


def _only(field: dict[str, Any], example: str) -> tuple[str, Any]:
    if len(field) != 1:
        raise TypeError(f"name one indexed field, as in {example}")
    return next(iter(field.items()))
