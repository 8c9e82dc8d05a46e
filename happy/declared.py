"""The schema of an application - what is written of it, and in which form - and what changed in it.

It is plain, so that an author can keep it in a file beside the code. A field is listed by its
path, those of nested classes too, for the version of an event covers them. Types are spelt as in
the code, but for nested classes: these have no name on the disk, and are maps there.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from happy.app import Definition
from happy.event import Retired
from happy.state import rows_of
from happy.table import Table
from happy.upcast import upcasters_of, version_of
from happy.values import hints_of

Schema = dict[str, Any]

_OWN: Final = "happy."
"""How the names of happy's own events begin."""


def declared_by(definition: Definition) -> Schema:
    """Return the schema of an application: its events, retired events, state and rows.

    Each event has its version, the versions that can be read, and its fields: the type of each,
    and its default where it has one. happy's own events are not listed.
    """
    events: dict[str, Any] = {}
    retired = []
    for (name, version), cls in sorted(definition.events.items(), key=lambda item: item[0]):
        if cls is Retired:
            retired.append(name)
        elif not name.startswith(_OWN):
            older = events.get(name, {"reads": []})
            reads = sorted({*older["reads"], *upcasters_of(cls), version})
            events[name] = {"version": version, "reads": reads, "fields": _fields_of(cls)}
    return {
        "events": events,
        "retired": retired,
        "state": _form_of(definition.state),
        "rows": {cls.__qualname__: _form_of(cls) for cls in rows_of(definition.state)},
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what became of events since ``before`` that old ones do not agree with.

    Both are schemas; one sentence for each fault, in the order of the names. What is new, was
    retired, or has a newer version that the older ones lead to, is no fault.
    """
    found: list[str] = []
    for name, old in sorted(before["events"].items()):
        new = now["events"].get(name)
        if new is not None:
            found += [f"event {name}: {fault}" for fault in _changes_of(name, old, new)]
        elif name not in now["retired"]:
            found.append(
                f"event {name} is gone; if its class was renamed, declare @event(name={name!r}); "
                f"if it is to do nothing any more, write retired = ({name!r},)"
            )
    return found


def _form_of(cls: type) -> dict[str, Any]:
    version = version_of(cls)
    reads = sorted({*upcasters_of(cls), version})
    return {"version": version, "reads": reads, "fields": _fields_of(cls)}


def _fields_of(cls: type) -> dict[str, dict[str, str]]:
    return dict(_paths(cls, "", ()))


def _paths(cls: type, path: str, above: tuple[type, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    hints = hints_of(cls)
    for field in attrs.fields(cls):
        hint = hints[field.name]
        told = {"type": _spelt(hint)}
        if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type] # a class
            told["default"] = "made anew"
        elif field.default is not attrs.NOTHING:
            told["default"] = repr(field.default)
        yield f"{path}{field.name}", told
        for nested in _nested_in(hint):
            if nested is not cls and nested not in above:
                yield from _paths(nested, f"{path}{field.name}.", (*above, cls))


def _nested_in(hint: Any) -> Iterator[type]:
    origin = typing.get_origin(hint) or hint
    if origin is Table:  # its rows are listed by themselves
        return
    if isinstance(origin, type) and attrs.has(origin):
        yield origin
    for item in typing.get_args(hint):
        yield from _nested_in(item)


def _spelt(hint: Any) -> str:  # noqa: PLR0911 - one for each sort
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, typing.get_args(hint)))}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_spelt, typing.get_args(hint)))
    if origin is Table:
        key, row = typing.get_args(hint)
        return f"Table[{_spelt(key)}, {row.__qualname__ if attrs.has(row) else _spelt(row)}]"
    if origin is not None:
        items = ("..." if i is Ellipsis else _spelt(i) for i in typing.get_args(hint))
        return f"{origin.__name__}[{', '.join(items)}]"
    if not isinstance(hint, type):
        return str(hint)
    if issubclass(hint, enum.Enum):
        return f"one of {', '.join(repr(member.value) for member in hint)}"
    if attrs.has(hint):
        return "map"
    return "None" if hint is type(None) else hint.__qualname__


def _changes_of(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    version = old["version"]
    if new["version"] < version:
        yield f"it was version {version} and is version {new['version']} now: versions only rise"
        return
    for lost in sorted({*old["reads"]} - {*new["reads"]}):
        yield (
            f"version {lost} cannot be read any more: declare @upcast({name}, {lost}), or keep "
            "its class and handle it"
        )
    if new["version"] > version:
        return
    raised = f"raise its version: @event(version={version + 1}) and @upcast({name}, {version})"
    for field, told in old["fields"].items():
        there = new["fields"].get(field)
        if there is None:
            yield f"the field {field} is gone; {raised}"
        elif there["type"] != told["type"]:
            yield f"the field {field} was {told['type']} and is {there['type']} now; {raised}"
    for field in new["fields"].keys() - old["fields"].keys():
        if "default" not in new["fields"][field] and _parent_was(field, old["fields"]):
            yield f"the field {field} is new; give it a default, or {raised}"


def _parent_was(field: str, fields: Mapping[str, Any]) -> bool:
    """Say whether what a field stands in was there: what is new as a whole has a default."""
    parent = field.rpartition(".")[0]
    return not parent or parent in fields
