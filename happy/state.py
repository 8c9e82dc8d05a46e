"""Declaring state: a class whose changes can be undone, and the tables in it.

A handler works on the state in plain Python. When it raises, everything it did is taken back
(``happy.undo``): fields are restored from a tuple saved before the handler ran, and rows from
the log that the tables write (``happy.table``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, get_args, get_origin, overload

import attrs

from happy.digest import hexdigest
from happy.errors import DefinitionError
from happy.index import complain_of_order
from happy.table import Table
from happy.undo import TABLE, parts_of
from happy.values import complain, hints_of

T = TypeVar("T")


def table(
    *,
    index: tuple[str, ...] = (),
    unique: tuple[str, ...] = (),
    sorted: tuple[str, ...] = (),  # noqa: A002 - it reads as what it does
) -> Any:
    """Declare a field of a state that holds rows by key.

    As in ``rows: Table[Key, Row] = table(index=("owner",), sorted=("due",))``. ``index``,
    ``unique`` and ``sorted`` name fields of the row; see ``Table.where``, ``Table.one`` and
    ``Table.between``.
    """
    for names in (index, unique, sorted):
        if not isinstance(names, tuple):
            raise DefinitionError(f"table: write ({names!r},), a tuple of field names")
    return attrs.field(
        factory=lambda: Table(index=index, unique=unique, sorted=sorted),
        on_setattr=_only_itself,
        metadata={TABLE: (*index, *unique, *sorted), _SORTED: sorted},
    )


_SORTED = "happy_sorted"


def _only_itself(root: Any, field: attrs.Attribute[Any], value: Any) -> Any:
    """Let ``state.rows |= more`` pass, which puts a table in its own place."""
    if value is not getattr(root, field.name):
        raise attrs.exceptions.FrozenAttributeError
    return value


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
        made.__happy_state__ = version  # type: ignore[attr-defined] # our mark
        return made

    return declare if cls is None else declare(cls)


def is_state(cls: Any) -> bool:
    """Say whether a class was declared with ``@state``."""
    return isinstance(cls, type) and "__happy_state__" in cls.__dict__


def rows_of(cls: type) -> list[type]:
    """Return the classes of the rows in a state's tables."""
    hints = hints_of(cls)
    tables = (hints[f.name] for f in attrs.fields(cls) if TABLE in f.metadata)
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
        return "table() declares a Table[Key, Row]" if TABLE in field.metadata else complain(hint)
    if TABLE not in field.metadata:
        return "declare it with = table()"
    arguments = get_args(hint)
    if len(arguments) != 2:
        return "say what it holds, as in Table[str, Account]"
    row = arguments[1]
    known = {f.name for f in attrs.fields(row)} if attrs.has(row) else set()
    unknown = [name for name in field.metadata[TABLE] if name not in known]
    if unknown:
        return f"its rows have no field {unknown[0]!r} to index"
    return next(filter(None, map(complain, arguments)), None) or _complain_of_sorting(field, row)


def _complain_of_sorting(field: attrs.Attribute[Any], row: Any) -> str | None:
    for name in field.metadata[_SORTED]:
        complaint = complain_of_order(hints_of(row)[name])
        if complaint:
            return f"it is sorted by {name}: {complaint}"
    return None


def digest(root: Any) -> str:
    """Return the digest of a whole state, computed from all of it: 32 hexadecimal digits.

    Equal means that the same events gave the same values, and the same rows in the same order.
    ``Undo.digest`` is the same, kept up while the state changes.
    """
    tables = {
        f.name: getattr(root, f.name) for f in attrs.fields(type(root)) if TABLE in f.metadata
    }
    sums = {name: rows.digest_parts(rows.full_sum()) for name, rows in tables.items()}
    return hexdigest(parts_of(root, sums))
