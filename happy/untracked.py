"""Rows, and the garbage collector that need not look for circles among them.

Python's collector looks for objects that hold each other in a circle and that nobody else holds.
For that it goes through all objects that could, a tenth of a microsecond for each, and everything
waits meanwhile: with a million rows that is a tenth of a second, again and again as rows come and
change. But a row is frozen, and so is all it holds. What is made of things that were there before
is held by none of them; it goes when it is counted out, as a number does. So rows are taken out
of the collector's sight, as it does itself with tuples of plain values, and as ``gc=False`` does
with a msgspec struct.

That is a function of CPython's stable ABI. Where there is none, nothing is done, and nothing is
different but the pauses. It must not be told of what the collector does not know at all.
"""

from __future__ import annotations

import ctypes
import gc
import typing
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final
from uuid import UUID

import attrs

from happy.errors import DefinitionError
from happy.values import hints_of

_HOLDING: Final = (tuple, UUID, object, Any)


def untrack(values: Iterable[Any]) -> None:
    """Take frozen values, and what they hold, out of the collector's sight; others stay in it."""
    found = _tracked(values)
    while found:
        for value in found:
            _untrack(value)
        holders = [value for value in found if _holds_more(value.__class__)]
        found = _tracked(gc.get_referents(*holders))


def _tracked(values: Iterable[Any]) -> list[Any]:
    return [value for value in filter(gc.is_tracked, values) if _is_frozen(value.__class__)]


@cache
def _is_frozen(cls: Any) -> bool:
    """Say whether objects of a class are what rows are made of; an enum's members, say, are not."""
    return cls in (tuple, UUID) or (attrs.has(cls) and attrs.inspect(cls).is_frozen)


@cache
def _holds_more(cls: Any) -> bool:
    """Say whether objects of a class hold what the collector may know; it costs to look."""
    if not attrs.has(cls):
        return cls is tuple
    try:
        return not all(map(_is_plain, hints_of(cls).values()))
    except DefinitionError:
        return True


def _is_plain(hint: Any) -> bool:
    parts = typing.get_args(hint)
    if parts and typing.get_origin(hint) is not tuple:
        return all(map(_is_plain, parts))
    return isinstance(hint, type) and not attrs.has(hint) and hint not in _HOLDING


def _found() -> Callable[[Any], object]:
    api = getattr(ctypes, "pythonapi", None)
    untrack: Any = getattr(api, "PyObject_GC_UnTrack", None)
    if untrack is None:  # another Python than CPython
        return lambda _value: None
    untrack.argtypes = (ctypes.py_object,)
    untrack.restype = None
    found: Callable[[Any], object] = untrack
    return found


_untrack = _found()
