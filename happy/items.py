"""Items of a snapshot's section as blocks, and back.

Items are written as their classes declare them, many at a time and at the speed of C, wherever
reading that gives them back exactly; a block in which it does not is written in the exact form.
"""

from __future__ import annotations

import datetime
import enum
import typing
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import islice
from typing import Any, Final

import attrs
import msgspec

from happy.effects import Call, SendMail
from happy.errors import UnfitSnapshot
from happy.event import Blob
from happy.exact import decode_exactly, decode_plainly, encode_exactly, name_of
from happy.journal.snapshot_format import Block, Form
from happy.values import hints_of

BLOCK_SIZE: Final = 256 * 1024
"""About how large a block is to be: one read, and little beside a state."""
_ITEMS_FIRST: Final = 16

_OURS: Final[dict[str, type]] = {f"happy:{cls.__name__}": cls for cls in (Blob, Call, SendMail)}
"""Our own classes by names that stay, wherever in the program they are."""
_NAMES: Final = {cls: name for name, cls in _OURS.items()}


class Items:
    """Writes and reads the items of a section; ``hint`` is their type when it is known."""

    def __init__(self, hint: Any = None) -> None:
        self._classes = {name_of(cls): cls for cls in _classes_in(hint)}
        self._careful = hint is not None and _has_moments(hint)
        self._decode: Callable[[Any], list[Any]] | None = None
        if hint is not None:
            try:
                self._decode = msgspec.msgpack.Decoder(list[hint]).decode
            except TypeError:
                # A union of classes, say: only the exact form tells them apart.
                self._decode = None

    def blocks(self, section: int, items: Iterable[Any]) -> Iterator[Block]:
        """Yield items as blocks; ``TypeError`` when one is of a sort that has no form."""
        left = iter(items)
        count = _ITEMS_FIRST
        while some := list(islice(left, count)):
            for block in self._split(section, some):
                yield block
                count = max(1, min(block.count * 2, block.count * BLOCK_SIZE // len(block.body)))

    def read(self, block: Block) -> list[Any]:
        """Return the items of a block; ``UnfitSnapshot`` when they are none of these."""
        try:
            if block.form is Form.DECLARED and self._decode is not None:
                return _all_of(block, self._decode(block.body))
            return _all_of(block, decode_exactly(block.body, self._resolve))
        except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
            raise UnfitSnapshot(f"it holds what the application does not know: {error}") from None

    def read_plain(self, block: Block) -> list[Any]:
        """Return the items of a block with instances as dicts, whatever their classes are now."""
        try:
            if block.form is Form.DECLARED:
                return _all_of(block, msgspec.msgpack.decode(block.body))
            return _all_of(block, decode_plainly(block.body))
        except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
            raise UnfitSnapshot(f"it cannot be read: {error}") from None

    def as_declared(self, body: bytes) -> list[Any]:
        """Return items from msgpack; ``ValueError`` when they are not what they are declared."""
        if self._decode is None:
            raise ValueError("a union of classes does not tell which of them is meant")
        return self._decode(body)

    def _split(self, section: int, items: list[Any]) -> Iterator[Block]:
        """Yield items as one block, or as several when they are larger than those before."""
        block = self._block(section, items)
        if len(block.body) <= 2 * BLOCK_SIZE or len(items) == 1:
            yield block
            return
        half = len(items) // 2
        yield from self._split(section, items[:half])
        yield from self._split(section, items[half:])

    def _block(self, section: int, items: list[Any]) -> Block:
        if self._decode is not None and not (self._careful and _holds_zones(items)):
            try:
                body = _encoder.encode(items)
                if _encoder.encode(self._decode(body)) == body:
                    return Block(section, Form.DECLARED, len(items), body)
            except (ValueError, OverflowError, msgspec.MsgspecError):
                pass
        return Block(section, Form.EXACT, len(items), encode_exactly(tuple(items), _call))

    def _resolve(self, name: str) -> type:
        known = _OURS.get(name) or self._classes.get(name)
        if known is not None:
            return known
        module, _, path = name.partition(":")
        try:
            found: Any = import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError):
            raise LookupError(f"the class {name} is not there any more") from None
        if isinstance(found, type):
            return found
        raise LookupError(f"{name} is no class any more")


_encoder = msgspec.msgpack.Encoder()


def _all_of(block: Block, items: Any) -> list[Any]:
    if len(items) != block.count:
        raise ValueError(f"a block of {block.count} items has {len(items)}")
    return list(items)


def _call(cls: type) -> str:
    return _NAMES.get(cls) or name_of(cls)


def _classes_in(hint: Any, known: frozenset[Any] = frozenset()) -> Iterator[type]:
    """Yield the attrs classes and enums that a type speaks of."""
    for part in _parts_of(hint):
        if part in known:
            continue
        if isinstance(part, type) and (attrs.has(part) or issubclass(part, enum.Enum)):
            yield part
        yield from _classes_in(part, known | {part})


def _parts_of(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is typing.Literal:
        return ()
    if isinstance(hint, type) and attrs.has(hint):
        return tuple(hints_of(hint).values())
    return tuple(part for part in typing.get_args(hint) if part is not Ellipsis)


def _has_moments(hint: Any, known: frozenset[Any] = frozenset()) -> bool:
    if hint in (datetime.datetime, datetime.time, Any):
        return True
    return hint not in known and any(_has_moments(part, known | {hint}) for part in _parts_of(hint))


def _holds_zones(value: Any) -> bool:
    """Say whether a moment that is not in UTC stands in a value: as declared, it would become so.

    So would one that is told twice when the clocks go back lose which of the two it is.
    """
    if isinstance(value, datetime.datetime | datetime.time):
        return value.tzinfo not in (None, datetime.UTC) or bool(value.fold)
    if isinstance(value, tuple | list):
        return any(map(_holds_zones, value))
    if attrs.has(type(value)):
        return any(_holds_zones(getattr(value, f.name)) for f in attrs.fields(type(value)))
    return False
