"""Decoding many records in one go: a whole frame, at a fraction of the price of one by one.

For each kind of event there is a class whose tag is the event's name, and whose fields are those
of a record, the body's class among them; so one call makes an event, and ``map`` all of a frame.
Records with the same bytes are the same event, which cannot change, and are decoded once. Read
one by one, a record ends where it ends; so what is lost is looked for in all of them together. For
most kinds that is a look at where a record begins: what its class needs is all there when it is
decoded, and a map with as many entries as the class needs has no other.

It is as strict as reading one by one (``happy.reading``), and explains nothing: where anything is
not as the present classes have it, nothing is returned, and the records are to be read singly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache, reduce
from itertools import chain
from operator import attrgetter, or_
from types import GenericAlias
from typing import Any, Final, Literal, Protocol

import attrs
import msgspec

from happy.event import Retired
from happy.strict_twin import holds_attrs, strict_twin
from happy.values import CLASSES_KEPT, hints_of

_ARRAY_32: Final = b"\xdd"
_MAP_SIZE_MAX: Final = 15
_SIZES: Final = 4, 6
"""How many items a record has, without and with a key."""
_encode: Final = msgspec.msgpack.Encoder().encode
_event_of: Final = attrgetter("event")


class Happened(Protocol):
    """What an entry says when its place and moment are known besides."""

    @property
    def event(self) -> object:
        """What happened."""

    @property
    def source(self) -> str:
        """Where it came from."""

    @property
    def key(self) -> str | None:
        """The peer's idempotency key, if any."""

    @property
    def fingerprint(self) -> bytes | None:
        """A digest of the peer's request, if it had a key."""


class BulkReader:
    """Reads records of the events that an application has now."""

    def __init__(self, events: Mapping[tuple[str, int], type]) -> None:
        versions = Counter(name for name, _ in events)
        present = {
            kind: cls
            for kind, cls in events.items()
            if cls is not Retired and versions[kind[0]] == 1
        }
        records = [_record(name, version, cls) for (name, version), cls in present.items()]
        self._present = present
        self._decode: Callable[[bytes], Happened] = _decoder(_any_of(records))
        self.one = self._decode
        """Return what one record says that was made just now, so that nothing can be lost of it.

        Raises ``msgspec.MsgspecError`` or ``ValueError`` for one that is to be read with care."""
        self._heads = {cls: _heads(*kind, cls) for kind, cls in present.items()}

    def read(self, records: Sequence[bytes]) -> Sequence[Happened] | None:
        """Return what records say, in their order; None when one must be read by itself."""
        different = dict.fromkeys(records)
        try:
            happened = list(map(self._decode, different))
            self._check_unlike(different, set(map(type, map(_event_of, happened))))
        except (ValueError, msgspec.MsgspecError):
            return None
        if len(different) == len(records):
            return happened
        if len(different) == 1:
            return happened * len(records)
        of = dict(zip(different, happened, strict=True))
        return list(map(of.__getitem__, records))

    def _check_unlike(self, records: Iterable[bytes], kinds: set[type]) -> None:
        """Raise when something is lost of records that were decoded to events of these kinds."""
        heads = tuple(chain.from_iterable(map(self._heads.__getitem__, kinds)))
        unlike = [record for record in records if not record.startswith(heads)]
        if unlike:
            self._check(b"".join((_ARRAY_32, len(unlike).to_bytes(4, "big"), *unlike)))

    @cached_property
    def _check(self) -> Callable[[bytes], Any]:
        """What looks at all fields of many records; it takes long to make, and few need it."""
        twins = [_twin(name, cls) for (name, _), cls in self._present.items()]
        return _decoder(GenericAlias(list, (_any_of(twins),)))


def _heads(name: str, version: int, cls: type) -> tuple[bytes, ...]:
    """Return how records begin of which nothing is lost if they can be decoded; none: not known."""
    fields, hints = attrs.fields(cls), hints_of(cls)
    if (
        len(fields) > _MAP_SIZE_MAX
        or any(field.default is not attrs.NOTHING for field in fields)
        or any(map(holds_attrs, hints.values()))
    ):
        return ()
    kind = _encode(name) + _encode(version) + bytes((0x80 + len(fields),))
    return tuple(bytes((0x90 + size,)) + kind for size in _SIZES)


def _decoder(cls: Any) -> Callable[[bytes], Any]:
    return msgspec.msgpack.Decoder(cls).decode


@lru_cache(maxsize=CLASSES_KEPT)
def _record(name: str, version: int, cls: type) -> type:
    """Return the type of the records of a kind; nothing but the tag tells one from another."""
    return msgspec.defstruct(
        cls.__name__,
        [
            ("version", Literal[version]),
            ("event", cls),
            ("source", str, ""),
            ("key", str | None, None),
            ("fingerprint", bytes | None, None),
        ],
        tag=name,
        array_like=True,
        frozen=True,
        gc=False,
    )


@lru_cache(maxsize=CLASSES_KEPT)
def _twin(name: str, cls: type) -> type:
    """Return the type in which only the bodies of such records are looked at, strictly."""
    fields = [("version", int), ("event", strict_twin(cls))]
    return msgspec.defstruct(cls.__name__, fields, tag=name, array_like=True, gc=False)


def _any_of(records: Iterable[type]) -> Any:
    return reduce(or_, records)
