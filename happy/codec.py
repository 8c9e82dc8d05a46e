"""Bytes and back: events for the journal (msgpack), settings and web bodies (JSON).

A record is what one event is on disk: a msgpack array ``[type, version, body, source, key,
fingerprint]``, ``body`` being a map of the event's fields; the last two may be missing. It
names its type, so that a journal can be read without the application that wrote it.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
import cattrs
import msgspec
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from happy.bulk import BulkReader, Happened
from happy.errors import BadRequest, DefinitionError, UnknownEvent
from happy.event import Entry, Prepared, Retired, event_meta
from happy.reading import MISFITS, Readers
from happy.strict_json import decode_json
from happy.unreadable import Faults

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

_Decode = Callable[[bytes | memoryview], Record]

decode_record: Final[_Decode] = msgspec.msgpack.Decoder(Record).decode
"""Return a record with its body still encoded; ``msgspec.MsgspecError`` when it is none."""


def encode(
    event: Any, source: str = "", key: str | None = None, fingerprint: bytes | None = None
) -> bytes:
    """Return the record of an event; ``DefinitionError`` when a value is not what it declares."""
    meta = event_meta(type(event))
    try:
        if key is None:
            return _encoder.encode((meta.name, meta.version, event, source))
        return _encoder.encode((meta.name, meta.version, event, source, key, fingerprint))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise DefinitionError(f"event {meta.name} cannot be written: {error}") from None


def encode_all(events: Sequence[Any], source: str = "") -> list[bytes]:
    """Return the records of many events without keys; ``DefinitionError`` as ``encode``."""
    metas = {cls: event_meta(cls) for cls in set(map(type, events))}
    kinds = {cls: (meta.name, meta.version) for cls, meta in metas.items()}
    try:
        return [_encoder.encode((*kinds[type(event)], event, source)) for event in events]
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return [encode(event, source) for event in events]  # which says what cannot be written


def encode_again(record: Record, source: str) -> bytes:
    """Return a record that says the same, from another source and without a key."""
    return _encoder.encode((record.type, record.version, record.body, source))


def decode_plain(data: bytes | memoryview) -> Any:
    """Return a body as plain maps and lists, for people and tools."""
    return msgspec.msgpack.decode(data)


class EventDecoder:
    """Decodes the events of one application by the name and version they were written with."""

    def __init__(self, events: Mapping[tuple[str, int], type]) -> None:
        self._readers = Readers(events)
        self._decoders: dict[tuple[str, int], Callable[[Any], Any]] = {
            kind: msgspec.msgpack.Decoder(cls).decode
            for kind, cls in events.items()
            if cls is not Retired
        }
        self._bulk = BulkReader(events)

    def together(self, records: Sequence[bytes]) -> Sequence[Happened] | None:
        """Return what many records say, decoded at once; None when one must be looked at alone.

        That one is of an older version, or retired, or cannot be read; ``entry`` knows.
        """
        return self._bulk.read(records)

    def entry(self, seq: int, time_ns: int, data: bytes | memoryview) -> Entry:
        """Return the entry of a record; ``UnknownEvent`` when the application cannot read it.

        Raises ``msgspec.MsgspecError`` or ``ValueError`` when the bytes are no record.
        """
        record = decode_record(data)
        kind = record.type, record.version
        read = self._readers.get(kind)
        if read is None:
            raise UnknownEvent(f"seq {seq}: {self._readers.complaint(kind, record.body)}")
        try:
            event = read(record.body)
        except MISFITS as error:
            raise UnknownEvent(f"seq {seq}: {self._readers.misfit(kind, error)}") from None
        return Entry(seq, time_ns, event, record.source, record.key, record.fingerprint)

    def read_back(self, data: bytes) -> Entry:
        """Return the entry of a record made just now; ``DefinitionError`` if it does not hold.

        An event that cannot be read back must not be journaled, and what is applied now must
        be what a replay will apply.
        """
        try:
            happened = self._bulk.one(data)
        except (ValueError, msgspec.MsgspecError):
            return self._read_back_with_care(data)
        return Entry(0, 0, happened.event, happened.source, happened.key, happened.fingerprint)

    def _read_back_with_care(self, data: bytes) -> Entry:
        record = decode_record(data)
        decode = self._decoders.get((record.type, record.version))
        if decode is None:
            raise DefinitionError(
                f"event {record.type} version {record.version} has no handler in this "
                "application: declare one with @handles"
            )
        try:
            event = decode(record.body)
        except msgspec.MsgspecError as error:
            raise DefinitionError(
                f"event {record.type} holds a value that is not what it declares: {error}"
            ) from None
        return Entry(0, 0, event, record.source, record.key, record.fingerprint)

    def prepared(self, event: object, source: str) -> Prepared:
        """Encode an event without a key, and read it back; raises what the two of them raise."""
        record = encode(event, source)
        try:
            event = self._bulk.one(record).event
        except (ValueError, msgspec.MsgspecError):
            event = self.read_back(record).event
        return Prepared(event, source, record)

    def faults(self, first_seq: int, records: Iterable[bytes | memoryview], into: Faults) -> None:
        """Gather why some records cannot be read; bytes that are no record are passed over."""
        for seq, data in enumerate(records, first_seq):
            try:
                record = decode_record(data)
            except (ValueError, msgspec.MsgspecError):
                continue
            complaint = self._readers.complaint((record.type, record.version), record.body)
            if complaint is not None:
                into.add(seq, complaint)


# --- JSON, for settings and web bodies -------------------------------------------------------


def _strict(kinds: tuple[type, ...], expected: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _type: Any) -> Any:
        if isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds):
            return value
        raise ValueError(f"expected {expected}, not {_kind(value)}")

    return hook


_whole = _strict((int,), "a whole number")
_number = _strict((float, int), "a number")


def _int64(value: Any, hint: Any) -> Any:
    # What an event cannot hold is the peer's fault here, and would be the author's there.
    if not -(2**63) <= _whole(value, hint) < 2**64:
        raise ValueError("expected a whole number of at most 64 bits")
    return value


_WRITTEN: dict[type, str] = {
    bytes: "base64",
    decimal.Decimal: "a decimal number",
    datetime.datetime: "a moment as in 2001-09-09T01:46:40Z",
    datetime.date: "a date as in 2001-09-09",
    datetime.time: "a time of day as in 13:30:00",
    datetime.timedelta: "a span of time as in P1DT12H",
    uuid.UUID: "a UUID",
}
"""What JSON has no form for, and how it is written there (by ``to_json`` too)."""


def _read_written(value: Any, kind: Any) -> Any:
    if type(value) is kind:
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ValueError(f"expected {_WRITTEN[kind]}, not {_kind(value)}") from None


_KINDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "a list",
    type(None): "nothing",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _is_of(*kinds: type) -> Callable[[Any], bool]:
    return lambda hint: any((get_origin(hint) or hint) is kind for kind in kinds)


def _is_attrs(hint: Any) -> bool:
    return attrs.has(get_origin(hint) or hint)


def _from_table(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a factory of hooks that take tables only, and otherwise do as those of ``make``."""

    def hook_of(hint: Any) -> Any:
        structure = make(hint)
        check = _strict((dict,), "a table")
        return lambda value, kind: structure(check(value, kind), kind)

    return hook_of


def _from_list(converter: MsgspecJsonConverter) -> Callable[[Any], Any]:
    """Return a factory of hooks that take lists only: a text is no list of letters."""

    def hook_of(hint: Any) -> Any:
        make = get_origin(hint) or hint
        kinds = get_args(hint) or (Any, ...)
        fixed = make is tuple and kinds[-1] is not ...

        def structure(value: Any, _hint: Any) -> Any:
            _strict((list, tuple), "a list")(value, hint)
            if fixed and len(value) != len(kinds):
                raise ValueError(f"expected {len(kinds)} items, not {len(value)}")
            items: list[Any] = []
            faults: list[Exception] = []
            for index, item in enumerate(value):
                kind = kinds[index] if fixed else kinds[0]
                try:
                    items.append(converter.structure(item, kind))
                except Exception as fault:  # noqa: BLE001 - gathered, not swallowed
                    fault.add_note(cattrs.IterableValidationNote(f"item {index}", index, kind))
                    faults.append(fault)
            if faults:
                raise cattrs.IterableValidationError("items", faults, hint)
            return make(items)

        return structure

    return hook_of


def strict_converter() -> MsgspecJsonConverter:
    """Return a cattrs converter that coerces nothing and takes no unknown keys."""
    converter = make_converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict((str,), "text"))
    converter.register_structure_hook(int, _int64)
    converter.register_structure_hook(bool, _strict((bool,), "true or false"))
    converter.register_structure_hook(float, lambda v, hint: float(_number(v, hint)))
    for kind in _WRITTEN:
        converter.register_structure_hook(kind, _read_written)
    converter.register_structure_hook_factory(
        _is_of(list, tuple, set, frozenset), _from_list(converter)
    )
    converter.register_structure_hook_factory(
        _is_of(dict), _from_table(converter.gen_structure_mapping)
    )
    converter.register_structure_hook_factory(
        _is_attrs, _from_table(converter.gen_structure_attrs_fromdict)
    )
    return converter


_json = strict_converter()


def to_json(value: Any) -> bytes:
    """Return attrs instances, tables, lists and plain values as JSON."""
    return _json.dumps(value)


def from_json(data: bytes, cls: type[T]) -> T:
    """Return JSON as an attrs class; ``BadRequest`` lists every fault with its path."""
    return from_plain(_plain_of(data), cls)


def members_of(data: bytes) -> dict[str, Any]:
    """Return the members of a JSON object as they are; ``BadRequest`` for anything else."""
    plain = _plain_of(data)
    return plain if type(plain) is dict else from_plain(plain, dict[str, Any])


def _plain_of(data: bytes) -> Any:
    try:
        return decode_json(data)
    except ValueError as error:
        raise BadRequest(f"the body cannot be read: {error}") from None


def from_plain(plain: Any, cls: type[T]) -> T:
    """Return plain maps and lists as an attrs class; ``BadRequest`` lists every fault."""
    try:
        return _json.structure(plain, cls)
    except cattrs.StructureHandlerNotFoundError as error:
        raise DefinitionError(f"{cls.__qualname__} cannot be read from JSON: {error}") from None
    except Exception as error:  # noqa: BLE001 - cattrs gathers whatever converters raise
        faults = tuple(cattrs.transform_error(error, format_exception=_sentence))
        raise BadRequest("; ".join(faults), faults) from None


def settings_from_bytes(data: bytes, cls: type[T]) -> T:
    """Return journaled settings as their attrs class, forgiving fields that are gone.

    Raises ``BadRequest`` when they do not fit the class any more.
    """
    known = {f.name for f in attrs.fields(cls)}  # type: ignore[arg-type] # an attrs class
    plain = {k: v for k, v in msgspec.json.decode(data).items() if k in known}
    return from_plain(plain, cls)


def settings_at(seq: int, data: bytes, cls: type[T] | None) -> T | None:
    """Return the settings that the journal has for ``seq``, None where there are none.

    Raises ``UnknownEvent`` when they do not fit the class any more.
    """
    if cls is None or not data:
        return None
    try:
        return settings_from_bytes(data, cls)
    except BadRequest as error:
        raise UnknownEvent(
            f"seq {seq}: the settings of that time do not fit {cls.__qualname__} any more "
            f"({error}); give new fields a default, and a changed one a new name"
        ) from None


def _sentence(error: BaseException, hint: type | None) -> str:
    if isinstance(error, KeyError):
        return f"required field {error.args[0]!r} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown field {', '.join(sorted(map(repr, error.extra_fields)))}"
    if isinstance(error, ValueError | TypeError) and str(error):
        return str(error)
    name = getattr(hint, "__name__", str(hint))
    return f"is not a valid {name}"
