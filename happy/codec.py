"""Bytes and back: events for the journal (msgpack), settings and web bodies (JSON).

A record is what one event is on disk: a msgpack array ``[type, version, body, source, key,
fingerprint]``, ``body`` being a map of the event's fields; the last two may be missing. It
names its type, so that a journal can be read without the application that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from happy.errors import BadRequest, DefinitionError, UnknownEvent
from happy.event import Entry, event_meta

T = TypeVar("T")


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One journaled event before its body is decoded."""

    type: str
    version: int
    body: msgspec.Raw
    source: str = ""
    key: str | None = None
    fingerprint: bytes | None = None


_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(Record)


def encode(
    event: Any, source: str = "", key: str | None = None, fingerprint: bytes | None = None
) -> bytes:
    """Return the record of an event; ``DefinitionError`` when a value is not what it declares."""
    meta = event_meta(type(event))
    try:
        if key is None:
            return _encoder.encode((meta.name, meta.version, event, source))
        return _encoder.encode((meta.name, meta.version, event, source, key, fingerprint))
    except (TypeError, OverflowError, msgspec.MsgspecError) as error:
        raise DefinitionError(f"event {meta.name} cannot be written: {error}") from None


def decode_record(data: bytes | memoryview) -> Record:
    """Return a record with its body still encoded; ``msgspec.MsgspecError`` when it is none."""
    return _record_decoder.decode(data)


def decode_plain(data: bytes | memoryview) -> Any:
    """Return a body as plain maps and lists, for people and tools."""
    return msgspec.msgpack.decode(data)


class EventDecoder:
    """Decodes the events of one application by the name and version they were written with."""

    def __init__(self, events: Mapping[tuple[str, int], type]) -> None:
        self._decoders: dict[tuple[str, int], Callable[[Any], Any]] = {}
        for key, cls in events.items():
            try:
                self._decoders[key] = msgspec.msgpack.Decoder(cls).decode
            except TypeError as error:
                raise DefinitionError(f"event {cls.__qualname__}: {error}") from None

    def entry(self, seq: int, time_ns: int, data: bytes | memoryview) -> Entry:
        """Return the entry of a record; ``UnknownEvent`` when the application has no such type."""
        record = _record_decoder.decode(data)
        decode = self._decoders.get((record.type, record.version))
        if decode is None:
            raise UnknownEvent(self._unknown(record, seq))
        try:
            event = decode(record.body)
        except msgspec.MsgspecError as error:
            raise UnknownEvent(
                f"seq {seq}: event {record.type} version {record.version} does not fit its class "
                f"any more ({error}); raise its version and add an upcaster"
            ) from None
        return Entry(seq, time_ns, event, record.source, record.key, record.fingerprint)

    def _unknown(self, record: Record, seq: int) -> str:
        versions = sorted(v for name, v in self._decoders if name == record.type)
        if versions:
            known = ", ".join(map(str, versions))
            return (
                f"seq {seq}: event {record.type} has version {record.version} in the journal, "
                f"the application knows {known}; add an upcaster"
            )
        names = ", ".join(sorted({name for name, _ in self._decoders if "." not in name}))
        return (
            f"seq {seq}: the journal holds an event {record.type!r} that nobody handles "
            f"(known: {names or 'none'}); if its class was renamed, "
            f"declare @event(name={record.type!r})"
        )


# --- JSON, for settings and web bodies -------------------------------------------------------


def _strict(kinds: tuple[type, ...], expected: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _type: Any) -> Any:
        if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
            return value
        raise ValueError(f"expected {expected}, not {_kind(value)}")

    return hook


def _kind(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
    return (
        names.get(type(value), "a table" if isinstance(value, dict) else "nothing")
        if not isinstance(value, list)
        else "a list"
    )


def strict_converter() -> MsgspecJsonConverter:
    """Return a cattrs converter that coerces nothing and takes no unknown keys."""
    converter = make_converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict((str,), "text"))
    converter.register_structure_hook(int, _strict((int,), "a whole number"))
    converter.register_structure_hook(bool, _strict((bool,), "true or false"))
    converter.register_structure_hook(float, _strict((float, int), "a number"))
    return converter


_json = strict_converter()


def to_json(value: Any) -> bytes:
    """Return attrs instances, tables, lists and plain values as JSON."""
    return _json.dumps(value)


def from_json(data: bytes, cls: type[T]) -> T:
    """Return JSON as an attrs class; ``BadRequest`` lists every fault with its path."""
    try:
        plain = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    return from_plain(plain, cls)


def from_plain(plain: Any, cls: type[T]) -> T:
    """Return plain maps and lists as an attrs class; ``BadRequest`` lists every fault."""
    try:
        return _json.structure(plain, cls)
    except Exception as error:  # noqa: BLE001 - cattrs gathers whatever converters raise
        faults = tuple(cattrs.transform_error(error, format_exception=_sentence))
        raise BadRequest("; ".join(faults), faults) from None


def settings_from_bytes(data: bytes, cls: type[T]) -> T:
    """Return journaled settings as their attrs class, forgiving fields that are gone."""
    known = {f.name for f in attrs.fields(cls)}  # type: ignore[arg-type]
    plain = {k: v for k, v in msgspec.json.decode(data).items() if k in known}
    return _json.structure(plain, cls)


def _sentence(error: BaseException, hint: type | None) -> str:
    if isinstance(error, KeyError):
        return f"required field {error.args[0]!r} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown field {', '.join(sorted(map(repr, error.extra_fields)))}"
    if isinstance(error, ValueError | TypeError) and str(error):
        return str(error)
    name = getattr(hint, "__name__", str(hint))
    return f"is not a valid {name}"
