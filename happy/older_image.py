"""Reading an image that an older version of the state, or of its rows, wrote.

The upcasters of the state come first: each table stands in its fields as one value, so that what
comes out says which table has become which, or is gone. Then each row is brought up by itself,
block by block. Values are then what their classes declare, as if they had come from an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import GenericAlias
from typing import Any, Final, Protocol

import attrs
import msgspec

from happy.errors import UnfitSnapshot
from happy.items import Items
from happy.journal.snapshot_format import Block, Section
from happy.strict_twin import strict_twin
from happy.undo import fields_of
from happy.upcast import bring_up, leads_on, version_of
from happy.values import hints_of

STATE: Final = "state"
TABLES: Final = "tables"
TABLE: Final = "table "
"""How the name of a table's section begins."""

_encode = msgspec.msgpack.Encoder().encode


class Reads(Protocol):
    """What is to be known of a part of an image: ``happy.image.Part``."""

    @property
    def items(self) -> Items:
        """Reads its blocks."""

    @property
    def version(self) -> int:
        """The version of the state, or of the rows."""

    @property
    def schema(self) -> str:
        """A digest of what its items are."""

    @property
    def cls(self) -> type | None:
        """The class that the version is of."""


@attrs.frozen
class _TableOf:
    """A table, as upcasters of a state see it: to be left, moved or dropped."""

    name: str


def is_older(section: Section, part: Reads | None) -> bool:
    """Say whether upcasters bring a section up; ``UnfitSnapshot`` when they would have to."""
    if part is None or section.version == part.version:
        return False
    cls = part.cls
    if cls is not None and leads_on(cls, section.version):
        return True
    raise UnfitSnapshot(
        f"{section.name} is of version {section.version}, the application has {part.version}, and "
        "no upcasters lead there"
    )


class OlderImage:
    """Brings the blocks of an image up; its sections were found to have upcasters."""

    def __init__(
        self, state: type, parts: Mapping[str, Reads], sections: tuple[Section, ...]
    ) -> None:
        self._state = state
        self._parts = parts
        self._sections = sections
        self._plain, self._tables = fields_of(state)
        self._moved: dict[str, str] = {}
        self._rows = {
            name: _RowReader(part.cls)
            for name, part in parts.items()
            if name.startswith(TABLE) and part.cls is not None
        }

    def items(self, blocks: Iterable[Block], whole: Items) -> Iterator[tuple[str, list[Any]]]:
        """Yield the items of each section by its present name; ``whole`` reads unknown ones."""
        fields: dict[str, Any] = {}
        waiting = True
        for block in blocks:
            section = self._sections[block.section]
            name = section.name
            if name == STATE:
                fields.update(self._fields_in(block, section))
                continue
            if waiting and name.startswith(TABLES[:-1]):
                waiting = False
                yield STATE, self._state_items(fields)
            if name == TABLES:
                yield name, self._ordinals_in(block)
            elif name.startswith(TABLE):
                yield from self._rows_in(block, section)
            else:
                part = self._parts.get(name)
                yield name, (whole if part is None else part.items).read(block)
        if waiting:
            yield STATE, self._state_items(fields)

    def _fields_in(self, block: Block, section: Section) -> list[Any]:
        part = self._parts[STATE]
        return part.items.read_plain(block) if is_older(section, part) else part.items.read(block)

    def _state_items(self, fields: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the fields of the state as they are now, and note what became of tables."""
        tables = {s.name.removeprefix(TABLE) for s in self._sections if s.name.startswith(TABLE)}
        (section,) = (s for s in self._sections if s.name == STATE)
        if section.version == version_of(self._state):
            self._moved = {name: name for name in tables}
            return list(fields.items())
        brought = bring_up(
            self._state, section.version, {**fields, **{name: _TableOf(name) for name in tables}}
        )
        hints = hints_of(self._state)
        found = []
        for name, value in brought.items():
            if isinstance(value, _TableOf) and name in self._tables:
                self._moved[value.name] = name
            elif name in self._plain:
                found.append((name, _as_declared(name, value, hints[name])))
            else:
                raise UnfitSnapshot(f"the upcasters of the state made {name!r}, which it has not")
        return found

    def _ordinals_in(self, block: Block) -> list[tuple[str, int]]:
        found = self._parts[TABLES].items.read(block)
        return [(self._moved[name], next_) for name, next_ in found if name in self._moved]

    def _rows_in(self, block: Block, section: Section) -> Iterator[tuple[str, list[Any]]]:
        now = self._moved.get(section.name.removeprefix(TABLE))
        if now is None:
            return
        name = f"{TABLE}{now}"
        part = self._parts[name]
        if is_older(section, part):
            yield name, self._rows[name].read(block, section.version, part.items)
        elif section.schema == part.schema:
            yield name, part.items.read(block)
        else:
            raise UnfitSnapshot(f"{name} has other fields than in the application")


class _RowReader:
    """Reads the rows of a table in an older version."""

    def __init__(self, cls: type) -> None:
        self._cls = cls
        item = GenericAlias(tuple, (int, Any, strict_twin(cls)))
        self._check = msgspec.msgpack.Decoder(GenericAlias(list, (item,))).decode

    def read(self, block: Block, version: int, items: Items) -> list[Any]:
        """Return the items of a block, each row brought up; ``UnfitSnapshot`` if it cannot be."""
        brought = [
            (ordinal, key, bring_up(self._cls, version, fields))
            for ordinal, key, fields in items.read_plain(block)
        ]
        try:
            body = _encode(brought)
            self._check(body)
            return items.as_declared(body)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise UnfitSnapshot(
                f"what the upcasters of {self._cls.__qualname__} made does not fit: {error}"
            ) from None


def _as_declared(name: str, value: Any, hint: Any) -> Any:
    if type(value) is hint:
        return value
    try:
        return msgspec.msgpack.Decoder(hint).decode(_encode(value))
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise UnfitSnapshot(
            f"what the upcasters of the state made of {name} does not fit: {error}"
        ) from None
