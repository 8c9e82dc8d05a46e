"""Declaring state: a class whose changes can be undone, and the tables in it.

A handler works on the state in plain Python. When it raises, everything it did is taken back:
fields are restored from a tuple saved before the handler ran, and tables undo what they wrote,
backwards. Both cost per event, not per assignment and not per row.

A deleted row leaves a mark in its place until the handler has returned, so that undoing the
deletion puts the row back where it stood: order is part of the state. For the same reason a
row that one event deletes and puts back keeps its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, dataclass_transform, get_args, get_origin, overload

import attrs
import msgspec

from happy.errors import DefinitionError, DuplicateKey
from happy.values import complain, hints_of

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_GONE: Final = object()
_ABSENT: Final = object()
_TABLE: Final = "happy_table"

UndoLog = list[tuple[dict[Any, Any], Any, Any]]
"""What was written: the dict, the key, and what stood there (``_ABSENT``: nothing)."""


def table(*, index: tuple[str, ...] = (), unique: tuple[str, ...] = ()) -> Any:
    """Declare a field of a state that holds rows by key.

    As in ``rows: Table[Key, Row] = table(index=("owner",))``. ``index`` and ``unique`` name
    fields of the row; see ``Table.where`` and ``Table.one``.
    """
    for names in (index, unique):
        if not isinstance(names, tuple):
            raise DefinitionError(f"table: write ({names!r},), a tuple of field names")
    return attrs.field(
        factory=lambda: Table(index=index, unique=unique),
        on_setattr=attrs.setters.frozen,
        metadata={_TABLE: (*index, *unique)},
    )


class _Group(dict[Any, Any]):
    """The keys of the rows that have one value in an indexed field; goes when it is empty."""


class Table(MutableMapping[K, V], Generic[K, V]):
    """Rows by key, in the order they came, with indexes kept in step; a dict that can undo.

    Rows are frozen: change one by putting another in its place,
    ``rows[key] = attrs.evolve(row, balance=5)``; it keeps its place.
    """

    __slots__ = ("_gone", "_index", "_log", "_rows", "_unique")

    def __init__(self, *, index: tuple[str, ...] = (), unique: tuple[str, ...] = ()) -> None:
        self._rows: dict[K, Any] = {}
        self._log: UndoLog | None = None
        self._gone = 0
        self._index: dict[str, dict[Any, _Group]] = {name: {} for name in index}
        self._unique: dict[str, dict[Any, Any]] = {name: {} for name in unique}

    def __getitem__(self, key: K) -> V:
        row = self._rows[key]
        if row is _GONE:
            raise KeyError(key)
        return row  # type: ignore[no-any-return]

    def __setitem__(self, key: K, row: V) -> None:
        old = self._rows.get(key, _ABSENT)
        for name, keys in self._unique.items():
            value = getattr(row, name)
            holder = keys.get(value, _GONE)
            if holder is not _GONE and holder != key:
                raise DuplicateKey(f"{name} {value!r} is taken by the row {holder!r}")
        for name, groups in self._index.items():
            # What can go wrong goes wrong here, before the first change: a handler may catch it.
            groups.get(getattr(row, name))
        if old is _GONE:
            self._gone -= 1
        elif old is not _ABSENT:
            self._unlink(key, old, row)
        for name, groups in self._index.items():
            self._link(groups, getattr(row, name), key)
        for name, keys in self._unique.items():
            self._write(keys, getattr(row, name), key)
        self._write(self._rows, key, row)

    def __delitem__(self, key: K) -> None:
        row = self[key]
        self._unlink(key, row, None)
        if self._log is not None:
            self._gone += 1
        self._erase(self._rows, key)

    def __iter__(self) -> Iterator[K]:
        return (key for key, row in self._rows.items() if row is not _GONE)

    def __reversed__(self) -> Iterator[K]:
        return (key for key, row in reversed(self._rows.items()) if row is not _GONE)

    def __len__(self) -> int:
        return len(self._rows) - self._gone

    def __contains__(self, key: object) -> bool:
        return self._rows.get(key, _GONE) is not _GONE  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"

    def popitem(self) -> tuple[K, V]:
        """Remove and return the last row with its key, as a dict does."""
        for key in reversed(self):
            return key, self.pop(key)
        raise KeyError("popitem(): the table is empty")

    def clear(self) -> None:
        """Remove all rows."""
        for key in tuple(self):
            del self[key]

    def where(self, **field: Any) -> tuple[V, ...]:
        """Return the rows that have this value in an indexed field, in the order they got it."""
        name, value = _only(field)
        if name in self._unique:
            row = self.one(**field)
            return () if row is None else (row,)
        return tuple(self[key] for key in self._group(name, value))

    def count(self, **field: Any) -> int:
        """Return how many rows have this value in an indexed field."""
        name, value = _only(field)
        if name in self._unique:
            return int(self.one(**field) is not None)
        return sum(1 for _ in self._group(name, value))

    def one(self, **field: Any) -> V | None:
        """Return the row that has this value in a unique field, or None."""
        name, value = _only(field)
        if name not in self._unique:
            raise DefinitionError(f"no unique index {name!r}: declare table(unique=({name!r},))")
        key = self._unique[name].get(value, _GONE)
        return None if key is _GONE else self[key]

    def _group(self, name: str, value: Any) -> Iterator[K]:
        if name not in self._index:
            raise DefinitionError(f"no index {name!r}: declare table(index=({name!r},))")
        group = self._index[name].get(value, _Group())
        return (key for key, mark in group.items() if mark is not _GONE)

    def _link(self, groups: dict[Any, _Group], value: Any, key: K) -> None:
        group = groups.get(value)
        if group is None:
            group = _Group()
            self._write(groups, value, group)
        if group.get(key, _GONE) is _GONE:
            self._write(group, key, None)

    def _unlink(self, key: K, old: Any, new: Any) -> None:
        for name, groups in self._index.items():
            value = getattr(old, name)
            if new is None or value != getattr(new, name):
                group = groups[value]
                self._erase(group, key)
                if self._log is not None:
                    self._log.append((groups, value, group))  # so that commit looks at it
                elif not group:
                    del groups[value]
        for name, keys in self._unique.items():
            value = getattr(old, name)
            if new is None or value != getattr(new, name):
                self._erase(keys, value)

    def _write(self, target: dict[Any, Any], key: Any, value: Any) -> None:
        if self._log is not None:
            self._log.append((target, key, target.get(key, _ABSENT)))
        target[key] = value

    def _erase(self, target: dict[Any, Any], key: Any) -> None:
        if self._log is None:
            del target[key]
        else:
            self._log.append((target, key, target[key]))
            target[key] = _GONE


def _only(field: dict[str, Any]) -> tuple[str, Any]:
    if len(field) != 1:
        raise TypeError("name one indexed field, as in where(owner='ann')")
    return next(iter(field.items()))


@overload
def state(cls: type[T], /) -> type[T]: ...
@overload
def state(*, version: int = 1) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(field_specifiers=(attrs.field, attrs.Factory, table))
def state(cls: Any = None, /, *, version: int = 1) -> Any:
    """Declare a state: an attrs class of immutable values and ``Table``s, all with defaults.

    Raises ``DefinitionError`` for a field that could change without being undone.
    """

    def declare(cls: type) -> type:
        made = attrs.define(cls, slots=True, eq=False)
        if version < 1:
            raise DefinitionError(f"state {made.__qualname__}: version must be 1 or more")
        _check_state(made)
        made.__happy_state__ = version  # type: ignore[attr-defined]
        return made

    return declare if cls is None else declare(cls)


def is_state(cls: Any) -> bool:
    """Say whether a class was declared with ``@state``."""
    return isinstance(cls, type) and "__happy_state__" in cls.__dict__


def rows_of(cls: type) -> list[type]:
    """Return the classes of the rows in a state's tables."""
    hints = hints_of(cls)
    tables = (hints[f.name] for f in attrs.fields(cls) if _TABLE in f.metadata)
    return [row for row in (get_args(hint)[1] for hint in tables) if attrs.has(row)]


def _check_state(cls: type) -> None:
    hints = hints_of(cls)
    for field in attrs.fields(cls):
        complaint = _complain_of(field, hints[field.name])
        if complaint:
            raise DefinitionError(f"state {cls.__qualname__}, field {field.name}: {complaint}")


def _complain_of(field: attrs.Attribute[Any], hint: Any) -> str | None:
    if field.default is attrs.NOTHING:
        return "give it a default, the value before any event"
    if (get_origin(hint) or hint) is not Table:
        return "table() declares a Table[Key, Row]" if _TABLE in field.metadata else complain(hint)
    if _TABLE not in field.metadata:
        return "declare it with = table()"
    arguments = get_args(hint)
    if len(arguments) != 2:
        return "say what it holds, as in Table[str, Account]"
    row = arguments[1]
    known = {f.name for f in attrs.fields(row)} if attrs.has(row) else set()
    unknown = [name for name in field.metadata[_TABLE] if name not in known]
    if unknown:
        return f"its rows have no field {unknown[0]!r} to index"
    return next(filter(None, map(complain, arguments)), None)


class Undo:
    """Takes back what a handler did to a state: ``save``, then ``commit`` or ``rollback``."""

    __slots__ = ("_fields", "_log", "_read", "_root", "_saved", "_tables")

    def __init__(self, root: Any) -> None:
        fields = attrs.fields(type(root))
        self._root = root
        self._log: UndoLog = []
        self._tables = tuple(getattr(root, f.name) for f in fields if _TABLE in f.metadata)
        self._fields = tuple(f.name for f in fields if _TABLE not in f.metadata)
        self._read = _reader(self._fields)
        self._saved: tuple[Any, ...] = ()
        for rows in self._tables:
            rows._log = self._log  # noqa: SLF001 - one module, one mechanism

    def save(self) -> None:
        """Remember the state as it is."""
        self._saved = self._read(self._root)

    def commit(self) -> None:
        """Keep what was done since ``save``."""
        if self._log:
            for target, key, _old in self._log:
                value = target.get(key)
                if value is _GONE or (type(value) is _Group and not value):
                    del target[key]
            self._settle()

    def rollback(self) -> None:
        """Take back what was done since ``save``."""
        for name, value in zip(self._fields, self._saved, strict=True):
            # Not setattr: a converter or a frozen field must not get in the way.
            object.__setattr__(self._root, name, value)
        if self._log:
            for target, key, old in reversed(self._log):
                if old is _ABSENT:
                    del target[key]
                else:
                    target[key] = old
            self._settle()

    def _settle(self) -> None:
        for rows in self._tables:
            rows._gone = 0  # noqa: SLF001
        self._log.clear()


def _reader(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _root: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda root: (one(root),)
    return attrgetter(*names)


def digest(root: Any) -> str:
    """Return a digest of a whole state, table order included: equal means the same state."""
    parts: list[Any] = [type(root).__qualname__]
    for field in attrs.fields(type(root)):
        value = getattr(root, field.name)
        parts.append(list(value.items()) if isinstance(value, Table) else value)
    try:
        data = msgspec.msgpack.encode(parts)
    except (OverflowError, UnicodeEncodeError):
        data = msgspec.msgpack.encode(_spelt_out(parts))
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _spelt_out(value: Any) -> Any:
    """Return a value in words that msgpack has, where it holds an int or a text too large."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return [_spelt_out(item) for item in value]
    if attrs.has(type(value)):
        return [_spelt_out(getattr(value, f.name)) for f in attrs.fields(type(value))]
    return value


def fields_of(cls: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the fields of a state that are no tables, and of those that are."""
    fields = attrs.fields(cls)
    return (
        tuple(f.name for f in fields if _TABLE not in f.metadata),
        tuple(f.name for f in fields if _TABLE in f.metadata),
    )


def writes_in(root: Any, tables: tuple[str, ...], absent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what the running handler wrote to tables, in order: table, key, and the row before.

    ``absent`` stands for a row that was not there.
    """
    named = {id(getattr(root, name)._rows): name for name in tables}  # noqa: SLF001 - see Undo
    if tables:
        for target, key, old in getattr(root, tables[0])._log or ():  # noqa: SLF001 - likewise
            name = named.get(id(target))
            if name is not None:
                yield name, key, absent if old is _ABSENT or old is _GONE else old
