"""Declaring the rows of a table, when they have a history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

import attrs

from happy.errors import DefinitionError
from happy.values import check_immutable

T = TypeVar("T")


@overload
def row(cls: type[T], /) -> type[T]: ...
@overload
def row(*, version: int = 1) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field, attrs.Factory))
def row(cls: Any = None, /, *, version: int = 1) -> Any:
    """Declare a row: a frozen attrs class with the version that snapshots know it by.

    A plain ``@attrs.frozen`` class does as well and is version 1. Raises ``DefinitionError``
    when a field could change in its place (a list, a dict).
    """

    def declare(cls: type) -> type:
        made: type = attrs.frozen(cls, slots=True)
        if version < 1:
            raise DefinitionError(f"row {made.__qualname__}: version must be 1 or more")
        check_immutable(made, "row")
        made.__happy_row__ = version  # type: ignore[attr-defined] # our mark
        return made

    return declare if cls is None else declare(cls)
