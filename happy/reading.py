"""Reading what is journaled, of each kind, into the classes that an application has now.

The kinds - a name and a version - are those of its events, their older versions that upcasters
lead from, and those that are retired. What is read must fit exactly: a field that the class does
not know would be lost without a word, so it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from happy.errors import CannotUpcast, DefinitionError
from happy.event import ANY_VERSION, Retired
from happy.strict_twin import strict_twin
from happy.unreadable import KindOfEvent, unknown_kind
from happy.upcast import bring_up, upcasters_of
from happy.values import CLASSES_KEPT

Body = msgspec.Raw | bytes | memoryview
Read = Callable[[Any], Any]

_encode = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Lost(ValueError):
    """A field stands in the journal that the class does not have."""


MISFITS: Final = (msgspec.MsgspecError, CannotUpcast, Lost)
"""What a reader raises for a body that does not become an event."""


class Readers:
    """The readers of one application's events, by kind; see the head of this module."""

    def __init__(self, events: Mapping[KindOfEvent, type]) -> None:
        self._events = events
        self._reads: dict[KindOfEvent, Read] = {}
        for (name, version), cls in events.items():
            if cls is Retired:
                continue
            read = self._reads[name, version] = strict_reader(cls)
            for older in upcasters_of(cls):
                self._reads[name, older] = _upcasting(cls, older, read)

    def get(self, kind: KindOfEvent) -> Read | None:
        """Return the reader of a kind, from body to event; None when it is unknown."""
        read = self._reads.get(kind)
        if read is None and self._events.get((kind[0], ANY_VERSION)) is Retired:
            retired = Retired(*kind)
            read = self._reads[kind] = lambda _body: retired
        return read

    def complaint(self, kind: KindOfEvent, body: Body | None = None) -> str | None:
        """Return why events of a kind, or one with this body, cannot be read; None if they can."""
        read = self.get(kind)
        if read is None:
            return unknown_kind(kind, self._events, () if body is None else _names_in(body))
        if body is not None:
            try:
                read(body)
            except MISFITS as error:
                return self.misfit(kind, error)
        return None

    def misfit(self, kind: KindOfEvent, error: Exception) -> str:
        """Return what to say of an event whose reader raised one of the ``MISFITS``."""
        name, version = kind
        if isinstance(error, CannotUpcast):
            return f"event {name} version {version} cannot be read: {error}"
        if kind not in self._events:
            return (
                f"event {name} version {version} does not fit its class after its upcasters "
                f"({error}); mend them"
            )
        cls = self._events[kind].__name__
        return (
            f"event {name} version {version} does not fit its class any more ({error}); raise "
            f"its version: declare @event(version={version + 1}) and @upcast({cls}, {version})"
        )


@lru_cache(maxsize=CLASSES_KEPT)
def strict_reader(cls: type) -> Read:
    """Return what makes instances of a class from msgpack; ``DefinitionError`` when nothing can.

    It raises ``msgspec.MsgspecError`` for what does not fit and ``Lost`` for an unknown field.
    """
    try:
        decode: Read = msgspec.msgpack.Decoder(cls).decode
        check = msgspec.msgpack.Decoder(strict_twin(cls)).decode
    except TypeError as error:
        raise DefinitionError(f"event {cls.__qualname__}: {error}") from None

    def read(body: Any) -> Any:
        event = decode(body)
        try:
            check(body)
        except msgspec.ValidationError as error:
            raise Lost(f"{error}: its value would be lost") from None
        return event

    return read


def _upcasting(cls: type, version: int, read: Read) -> Read:
    """Return what reads an older version of a class, as if the present one had written it."""

    def upcast(body: Any) -> Any:
        fields = bring_up(cls, version, _decode_fields(body))
        try:
            written = _encode(fields)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise CannotUpcast(
                f"the upcasters of {cls.__qualname__} made what cannot be written: {error}"
            ) from None
        return read(written)

    return upcast


def _names_in(body: Body) -> tuple[str, ...]:
    try:
        return tuple(_decode_fields(body))
    except (ValueError, msgspec.MsgspecError):
        return ()
