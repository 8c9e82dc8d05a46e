"""Rows by key, in the order they came, with indexes kept in step: a dict that can be undone.

**One log.** All tables of a state write into one list what a row was before: ``(table, key,
old)``, and nothing else. Indexes have no log, for what they hold follows from the rows; going
back, ``restore`` puts a row right and its index entries with it.

**Whatever breaks off.** An exception can come between any two steps, out of the blue
(``MemoryError``, ``KeyboardInterrupt``), or an index may find that it cannot take a value. So a
change is logged before its first step, and ``restore`` may be called however much of it was
done, or twice. Where a handler could catch the exception and go on, the change that broke off is
taken back at once.

**Order.** Each row has an ordinal, given when it is inserted and kept while it is replaced.
A deleted row leaves a mark in its place until its event has ended, so that undoing puts it
back where it stood; for the same reason a row that one event deletes and puts back keeps its
place. Rows found by an index come in the table's order, whenever they got the value.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from functools import cache
from itertools import chain, compress, islice
from operator import attrgetter, lt
from typing import Any, Final, Generic, Self, TypeVar

from happy.digest import changed, comparable_keys, sum_of
from happy.index import Index, SortedIndex, UniqueIndex
from happy.lookup import ABSENT, GONE, Lookup, Mark, live
from happy.put import put_of

K = TypeVar("K")
V = TypeVar("V")

_CHUNK: Final = 4096


class Log(list[tuple["Table[Any, Any]", Any, Any]]):
    """What rows were, oldest first; one for all tables of a state."""

    __slots__ = ("broken", "deleted", "mark")

    def __init__(self) -> None:
        super().__init__()
        self.mark = 0
        """How long it was when this event began."""
        self.deleted: list[tuple[Table[Any, Any], Any]] = []
        """Where this event has left marks."""
        self.broken: BaseException | None = None
        """Why a change broke off that could not be taken back: the event must be."""


class Table(Lookup[K, V], MutableMapping[K, V], Generic[K, V]):
    """Rows by key; see the head of this module.

    Rows are frozen: change one by putting another in its place,
    ``rows[key] = attrs.evolve(row, balance=5)``; it keeps its place. ``index``, ``unique`` and
    ``sorted`` name fields of the row; see ``where``, ``one``, ``between``.
    """

    __slots__ = (
        "_gone",
        "_left",
        "_popping",
        "_read",
        "_sum",
        "before",
        "log",
        "next_ordinal",
    )

    def __init__(
        self,
        *,
        index: tuple[str, ...] = (),
        unique: tuple[str, ...] = (),
        sorted: tuple[str, ...] = (),  # noqa: A002 - it reads as what it does
    ) -> None:
        super().__init__()
        self.next_ordinal = 0
        """The ordinal of the next row to be inserted: how many ever were."""
        self._names |= {name: SortedIndex(name) for name in sorted}
        self._names |= {name: Index(name) for name in index if name not in self._names}
        self._names |= {name: UniqueIndex(name) for name in unique}
        plain = [SortedIndex(name) for name in sorted if name in unique]
        self._indexes = (*self._names.values(), *plain)
        names = tuple(one.name for one in self._indexes)
        self._read = _reader(names)
        if names:
            self.__class__ = _indexed(tuple((one.name, type(one)) for one in self._indexes))
        self.log: Log | None = None
        self._gone: dict[K, None] = {}
        self._popping: Iterator[tuple[K, Any]] | None = None
        self.before: dict[K, Any] = {}
        """What the log said that changed rows were when it was last settled; kept by the undo."""
        self._sum = 0  # of the rows as they were then
        self._left: dict[K, int] = {}  # ordinals that rows deleted since then had then

    # --- a mapping ------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        row: V = self._rows[key]
        if row is GONE:
            raise KeyError(key)
        return row

    def __setitem__(self, key: K, row: V) -> None:
        old = self._rows.get(key, ABSENT)  # with indexes: ``happy.put``
        if old is ABSENT or old is GONE:
            self._insert(key, row, old)
            return
        if self.log is not None:
            self.log.append((self, key, old))
        self._rows[key] = row

    def __delitem__(self, key: K) -> None:
        row = self[key]
        values = () if self._read is None else self._read(row)
        log = self.log
        if log is None:
            for one, value in zip(self._indexes, values, strict=False):
                one.discard(value, key)
            del self._rows[key], self._ordinals[key]
            self._changes += 1
            return
        log.append((self, key, row))
        try:
            log.deleted.append((self, key))
            self._changes += 1
            self._gone[key] = None
            self._rows[key] = GONE
            for one, value in zip(self._indexes, values, strict=False):
                one.discard(value, key)
        except BaseException as error:
            self._mend(key, row, error)
            raise

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self.pairs())

    def __reversed__(self) -> Iterator[K]:
        return (key for key, _ in self.pairs(reverse=True))

    def __len__(self) -> int:
        return len(self._rows) - len(self._gone)

    def __contains__(self, key: object) -> bool:
        return self._rows.get(key, GONE) is not GONE  # type: ignore[arg-type] # a key or not

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return dict(self) | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        return dict(other) | dict(self) if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc] # | makes a dict
        self.update(other)
        return self

    def keys(self) -> _Keys[K]:
        """Return a view of the keys, in the table's order."""
        return _Keys(self)

    def values(self) -> _Values[V]:
        """Return a view of the rows, in the table's order."""
        return _Values(self)

    def items(self) -> _Items[K, V]:
        """Return a view of the keys and rows, in the table's order."""
        return _Items(self)

    def popitem(self) -> tuple[K, V]:
        """Remove and return the last row with its key, as a dict does."""
        key, row = self._last()
        del self[key]
        return key, row

    def clear(self) -> None:
        """Remove all rows."""
        for key in tuple(self):
            del self[key]

    def pairs(self, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """Iterate over keys and rows; what ``items`` does."""
        items = self._rows.items()
        return live(self, reversed(items) if reverse else iter(items), self._changes)

    def _last(self) -> tuple[K, V]:
        """Find the last row; marks that were passed over are not looked at again."""
        for start in (self._popping, reversed(self._rows.items())):
            self._popping = start
            try:
                for key, row in start or ():
                    if row is not GONE:
                        return key, row
            except RuntimeError:  # rows were inserted since, behind where we had been
                continue
        raise KeyError("popitem(): the table is empty")

    # --- changing -------------------------------------------------------------------------

    def _place(self, key: K, row: V, old: Any) -> None:
        """Put a row where none is; with indexes, ``happy.put`` has looked and will join."""
        log = self.log
        if log is not None:
            log.append((self, key, old))
        try:
            self._changes += 1
            if old is ABSENT:
                ordinal = self.next_ordinal
                self._ordinals[key] = ordinal
                self.next_ordinal = ordinal + 1
            else:
                self._popping = None
                del self._gone[key]
            self._rows[key] = row
        except BaseException as error:
            self._mend(key, old, error)
            raise

    _insert = _place

    def _mend(self, key: K, old: Any, error: BaseException) -> None:
        """Take back a change that broke off; if that breaks off too, the log says so."""
        log = self.log
        if log is not None:
            log.broken = error
        self.restore(key, old)
        if log is not None:
            log.broken = None

    # --- undoing --------------------------------------------------------------------------

    def restore(self, key: K, old: Any) -> None:
        """Put one row back as the log says; for the undo. Doing it twice does no harm."""
        rows, read = self._rows, self._read
        now = rows.get(key, ABSENT)
        if read is not None and now is not old and not isinstance(now, Mark):
            for one, value in zip(self._indexes, read(now), strict=False):
                one.discard(value, key)
        self._changes += 1
        self._popping = None
        if old is ABSENT:
            rows.pop(key, None)
            ordinal = self._ordinals.get(key)
            if ordinal is not None:
                self.next_ordinal = ordinal
                del self._ordinals[key]
        elif old is GONE:
            self._gone[key] = None
            rows[key] = old
        else:
            rows[key] = old
            self._gone.pop(key, None)
            if read is not None:
                for one, value in zip(self._indexes, read(old), strict=False):
                    one.add(value, key)

    def attach(self, log: Log) -> None:
        """Write into a log from now on; for the undo."""
        self.log = log
        self._sum = self.full_sum()

    def sweep(self, key: K) -> None:
        """Take away the mark of a row that is gone for good; for the undo."""
        if self._rows.get(key) is GONE:
            self._popping = None
            ordinal = self._ordinals.pop(key, None)
            if ordinal is not None:
                self._left.setdefault(key, ordinal)
            self._rows.pop(key)
        self._gone.pop(key, None)

    # --- snapshots and digests ------------------------------------------------------------

    def stored(self) -> Iterator[tuple[int, K, V]]:
        """Yield ordinal, key and row of each row, in order; with ``next_ordinal``, all there is."""
        return zip(self._ordinals.values(), self._rows, self._rows.values(), strict=True)

    def fill(self, stored: Iterable[tuple[int, K, V]], next_ordinal: int) -> None:
        """Put rows as ``stored`` yields them behind those that are there; for snapshots.

        It may be called for block after block, before any event. Raises ``ValueError`` when
        an ordinal or a key is out of order or twice, ``DuplicateKey`` for a unique value; then
        the table is good for nothing.
        """
        rest = iter(stored)
        last = next(reversed(self._ordinals.values()), -1)
        while chunk := tuple(islice(rest, _CHUNK)):
            ordinals, keys, rows = zip(*chunk, strict=True)
            count = len(self._rows) + len(chunk)
            self._ordinals.update(zip(keys, ordinals, strict=True))
            self._rows.update(zip(keys, rows, strict=True))
            if len(self._rows) != count or not all(map(lt, (last, *ordinals), ordinals)):
                raise ValueError(f"rows are out of order, or twice, behind ordinal {last}")
            last = ordinals[-1]
            for one in self._indexes:
                one.fill(map(attrgetter(one.name), rows), keys)
            self._sum = changed(self._sum, _sum(ordinals, keys, rows), 0)
        if next_ordinal <= last:
            raise ValueError(f"the next ordinal, {next_ordinal}, is not behind the last, {last}")
        self.next_ordinal = next_ordinal

    def full_sum(self) -> int:
        """Return the sum of the hashes of all rows, computed from all of them."""
        total = 0
        rest = iter(self.stored())
        while chunk := tuple(islice(rest, _CHUNK)):
            total = changed(total, _sum(*zip(*chunk, strict=True)), 0)
        return total

    def settle(self, count: int) -> Iterable[Any]:
        """Take so many changes into the sum, the first ones; return keys and rows. For the undo."""
        before, rest = self.before, dict[K, Any]()
        if count < len(before):
            items = iter(before.items())
            before, rest = dict(islice(items, count)), dict(items)
        left = {key: place for key, place in self._left.items() if key in rest}
        rows = list(map(self._rows.get, before))
        total = self._sum_after(before, rows)  # what breaks it off leaves all as it was
        self._sum, self.before, self._left = total, rest, left
        return chain(before, rows)

    def _sum_after(self, before: dict[K, Any], rows: list[Any]) -> int:
        """Return the sum when rows that were as in ``before`` are as in ``rows``."""
        keys = list(comparable_keys(list(before)))
        now = list(map(self._ordinals.get, before))
        then = list(map(self._left.get, before, now)) if self._left else now
        were = list(before.values())
        added, removed = [now, keys, rows], [then, keys, were]
        if None in now:
            there = [place is not None for place in now]
            added = [list(compress(column, there)) for column in added]
        if Mark in set(map(type, were)):
            there = [row is not ABSENT for row in were]
            removed = [list(compress(column, there)) for column in removed]
        return changed(self._sum, sum_of(*added), sum_of(*removed))

    def digest_parts(self, total: int | None = None) -> tuple[int, int, str]:
        """Return what stands for this table in a digest; all is settled, or ``total`` given."""
        return len(self), self.next_ordinal, f"{self._sum if total is None else total:032x}"


@cache
def _indexed(indexes: tuple[tuple[str, type], ...]) -> Any:
    """Return the class of the tables with such indexes, each told by its field and its class."""
    made = {"__slots__": (), "__module__": __name__, **put_of(indexes)}
    return type(Table.__name__, (Table,), made)


class _Keys(KeysView[K]):
    _mapping: Table[K, Any]

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._mapping)


class _Values(ValuesView[V]):
    _mapping: Table[Any, V]

    def __reversed__(self) -> Iterator[V]:
        return (row for _, row in self._mapping.pairs(reverse=True))

    def __iter__(self) -> Iterator[V]:
        return (row for _, row in self._mapping.pairs())


class _Items(ItemsView[K, V]):
    _mapping: Table[K, V]

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return self._mapping.pairs(reverse=True)

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping.pairs()


def _sum(ordinals: Sequence[int], keys: Sequence[Any], rows: Sequence[Any]) -> int:
    return sum_of(ordinals, list(comparable_keys(keys)), rows)


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]] | None:
    """Return what reads the indexed fields of a row, in C; None when there are none."""
    if not names:
        return None
    return attrgetter(*names) if len(names) > 1 else attrgetter(*names, *names)
