"""Bringing what an old version of a class wrote to the present one: versions and upcasters.

An event, a state and a row have a version each, which is written down with them. An upcaster
makes the fields of one version from those of the version before it. Both are plain: maps, lists,
numbers and text, as they were written. It never makes an instance, for the class goes on
changing, while what version 2 was stays true; so upcasters once written stay as they are, and
a new version adds one more: 1 to 2, 2 to 3. Values inside of an event or a row have no version of
their own: that of what holds them covers them.

Of a state, an upcaster sees the fields that are not tables as plain values, and each table as one
value to be left, moved to another name, or dropped; the rows have their own upcasters. States and
rows are only read from snapshots: a replay from the first event makes them anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

from happy.errors import CannotUpcast, DefinitionError
from happy.guard import closed

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
F = TypeVar("F", bound=Upcaster)

_UPCASTERS: Final = "__happy_upcasters__"


def upcast(cls: type, version: int) -> Callable[[F], F]:
    """Declare how fields that ``version`` of a class wrote become those of the version after it.

    As in::

        @event(version=2)
        class Next:
            count: int = 1

        @upcast(Next, 1)
        def _(old):
            return {"count": old["n"]}

    The function gets a dict of plain values and returns one, a new one or the same; it is pure,
    as handlers are. ``DefinitionError`` when the class has no such older version, or an upcaster
    of it already.
    """
    current = version_of(cls)
    if not isinstance(version, int) or not 1 <= version < current:
        raise DefinitionError(
            f"@upcast({cls.__qualname__}, {version!r}): {cls.__qualname__} is version {current}, "
            f"so an upcaster begins at a version from 1 to {current - 1}; {_raise_version(cls)}"
            if current > 1
            else f"@upcast({cls.__qualname__}, {version!r}): {cls.__qualname__} is version 1 and "
            f"has none before it; {_raise_version(cls)}"
        )

    def declare(function: F) -> F:
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(f"{_named(cls, version)} runs at once, without await or yield")
        known = upcasters_of(cls)
        if version in known:
            raise DefinitionError(
                f"{_named(cls, version)} is there twice, at {_place(known[version])} and at "
                f"{_place(function)}; keep one"
            )
        setattr(cls, _UPCASTERS, {**known, version: function})
        return function

    return declare


def upcasters_of(cls: type) -> Mapping[int, Upcaster]:
    """Return the upcasters of a class by the version they begin at."""
    found: Mapping[int, Upcaster] = cls.__dict__.get(_UPCASTERS, {})
    return found


def version_of(cls: type) -> int:
    """Return the version of an event, a state or a row; 1 for a plain attrs class.

    Raises ``DefinitionError`` for any other class.
    """
    own = cls.__dict__ if isinstance(cls, type) else {}
    if "__happy_event__" in own:
        version: int = own["__happy_event__"].version
        return version
    for mark in ("__happy_state__", "__happy_row__"):
        if mark in own:
            return int(own[mark])
    if not isinstance(cls, type) or not attrs.has(cls):
        raise DefinitionError(f"{cls!r} has no version: declare it with @event, @state or @row")
    return 1


def bring_up(cls: type, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Return plain fields of an older version of a class as those of its present one.

    ``CannotUpcast`` when the version is newer than the class, no upcaster begins at it, or one
    of them fails.
    """
    current = version_of(cls)
    upcasters = upcasters_of(cls)
    if version > current:
        raise CannotUpcast(
            f"{cls.__qualname__} version {version} was written by newer code: here it is "
            f"version {current}; run the code that wrote it"
        )
    for number in range(version, current):
        if number not in upcasters:
            raise CannotUpcast(
                f"{cls.__qualname__} is version {current}, and nothing leads there from version "
                f"{number}; declare @upcast({cls.__name__}, {number})"
            )
        fields = _step(cls, number, upcasters[number], fields)
    return fields


def leads_on(cls: type, version: int) -> bool:
    """Say whether upcasters lead from an older version of a class to its present one."""
    current = version_of(cls)
    return version < current and set(range(version, current)) <= set(upcasters_of(cls))


def _step(cls: type, version: int, function: Upcaster, fields: dict[str, Any]) -> dict[str, Any]:
    try:
        with closed:
            made = function(fields)
    except MemoryError:
        raise
    except Exception as error:
        raise CannotUpcast(
            f"{_named(cls, version)} at {_place(function)} raised {type(error).__name__}: {error}"
        ) from error
    if type(made) is not dict or not all(type(name) is str for name in made):
        raise CannotUpcast(
            f"{_named(cls, version)} at {_place(function)} returned {made!r:.80}; it returns the "
            f"fields of version {version + 1}, a dict by name"
        )
    return made


def check_upcasters(classes: Iterable[type]) -> None:
    """Raise ``DefinitionError`` when the upcasters of a class do not lead to its version."""
    for cls in classes:
        upcasters = upcasters_of(cls)
        for version in range(min(upcasters, default=0), version_of(cls)) if upcasters else ():
            if version not in upcasters:
                raise DefinitionError(
                    f"{cls.__qualname__} is version {version_of(cls)} and has an upcaster from "
                    f"version {min(upcasters)} on, but none from {version}: declare "
                    f"@upcast({cls.__name__}, {version})"
                )


def _raise_version(cls: type) -> str:
    own = cls.__dict__
    kind = "event" if "__happy_event__" in own else "state" if "__happy_state__" in own else "row"
    return f"raise it with @{kind}(version={version_of(cls) + 1}) first"


def _named(cls: type, version: int) -> str:
    return f"the upcaster of {cls.__qualname__} version {version}"


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)
