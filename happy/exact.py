"""Any value that may stand in a state or a reply, as bytes and back exactly.

What an event holds is made to be what its class declares before it is applied. Nobody does this
for a state: a handler may put the whole number 0 where a float is declared, a number of more
than 64 bits, or a moment in another time zone than UTC, and all of these must come back from a
snapshot as they were, for the next handler sees the difference. So this form says of each value
what it is. It is msgpack, with extension types for what msgpack does not tell apart:

    1  a whole number of more than 64 bits: its decimal digits
    2  a text that UTF-8 has no form for: UTF-8 with surrogates let through
    3  an instance of an attrs class: [name, {field: value}]
    4  a member of an enum: [name, value]
    5  a decimal number: its text
    6  a moment: [ISO 8601 without zone, fold, zone], the zone being nil, an offset in seconds or
       the name of a zone
    7  a date: ISO 8601
    8  a time of day without zone: [ISO 8601, fold]
    9  a span of time: [days, seconds, microseconds]
   10  a UUID: 16 bytes
   11  a list (an array is a tuple): its items
   12  a dict: its items, key, value, key, value ...
"""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs
import msgspec


class Code(IntEnum):
    """The extension types; see the head of this module."""

    BIG = 1
    TEXT = 2
    OBJECT = 3
    MEMBER = 4
    DECIMAL = 5
    MOMENT = 6
    DATE = 7
    TIME = 8
    SPAN = 9
    UUID = 10
    LIST = 11
    DICT = 12


_encode = msgspec.msgpack.Encoder().encode

Resolve = Callable[[str], type]
"""Returns the class of a name; ``LookupError`` when there is none."""


def name_of(cls: type) -> str:
    """Return how a class is called, unless whoever writes it says otherwise."""
    return f"{cls.__module__}:{cls.__qualname__}"


def encode_exactly(value: Any, call: Callable[[type], str] = name_of) -> bytes:
    """Return a value as bytes; ``TypeError`` when it is of a sort that has no form.

    ``call`` says how a class is called.
    """
    return _encode(_told(value, call))


def decode_exactly(data: bytes | memoryview, resolve: Resolve) -> Any:
    """Return the value that was written.

    Raises ``LookupError`` when a class is not known any more, ``TypeError`` or ``ValueError``
    when one has changed, and ``msgspec.MsgspecError`` when the bytes are none of ours.
    """

    def ext_hook(code: int, body: memoryview) -> Any:
        return _untold(code, bytes(body), decoder.decode, resolve)

    decoder = msgspec.msgpack.Decoder(ext_hook=ext_hook)
    return _final(decoder.decode(data))


def decode_plainly(data: bytes | memoryview) -> Any:
    """Return what was written with the fields of instances as dicts, and members as values.

    So it can be read when the classes are not there any more; raises as ``decode_exactly``.
    """
    return decode_exactly(data, lambda _name: _Plain)


class _Plain:
    """Stands for any class where none is wanted."""

    def __new__(cls, value: Any) -> Any:
        return value


def _ext(code: int, data: bytes) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(int(code), data)


def _told(value: Any, call: Callable[[type], str]) -> Any:  # noqa: PLR0911 - one for each sort
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is bytes:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _ext(Code.BIG, str(value).encode())
    if kind is str:
        return value if _is_utf8(value) else _ext(Code.TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is tuple:
        return [_told(item, call) for item in value]
    if isinstance(value, enum.Enum):
        return _ext(Code.MEMBER, _encode([call(kind), _told(value.value, call)]))
    if attrs.has(kind):
        fields = {f.name: _told(getattr(value, f.name), call) for f in attrs.fields(kind)}
        return _ext(Code.OBJECT, _encode([call(kind), fields]))
    if kind is list:
        return _ext(Code.LIST, _encode([_told(item, call) for item in value]))
    if kind is dict:
        flat = [_told(part, call) for pair in value.items() for part in pair]
        return _ext(Code.DICT, _encode(flat))
    tell = _TELLING.get(kind)
    if tell is None:
        raise TypeError(f"a value of {kind.__qualname__} has no form on disk: {value!r}"[:300])
    code, told = tell(value)
    return _ext(code, told)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told_moment(value: datetime.datetime) -> tuple[int, bytes]:
    zone: Any = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        zone = zone.key
    elif isinstance(zone, datetime.timezone):
        offset = zone.utcoffset(None)
        if zone.tzname(None) != datetime.timezone(offset).tzname(None):
            raise TypeError(f"a moment in a zone with a name of its own has no form: {value!r}")
        zone = offset.total_seconds()
    elif zone is not None:
        raise TypeError(f"a moment in a zone of {type(zone).__qualname__} has no form on disk")
    return Code.MOMENT, _encode([value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone])


def _told_time(value: datetime.time) -> tuple[int, bytes]:
    if value.tzinfo is not None:
        raise TypeError(f"a time of day with a zone has no form on disk: {value!r}")
    return Code.TIME, _encode([value.replace(fold=0).isoformat(), value.fold])


_TELLING: Final[dict[type, Callable[[Any], tuple[int, bytes]]]] = {
    decimal.Decimal: lambda value: (Code.DECIMAL, str(value).encode()),
    datetime.datetime: _told_moment,
    datetime.date: lambda value: (Code.DATE, value.isoformat().encode()),
    datetime.time: _told_time,
    datetime.timedelta: lambda v: (Code.SPAN, _encode([v.days, v.seconds, v.microseconds])),
    uuid.UUID: lambda value: (Code.UUID, value.bytes),
}


def _untold(  # noqa: PLR0911 - one for each sort
    code: int, body: bytes, decode: Callable[[bytes], Any], resolve: Resolve
) -> Any:
    match code:
        case Code.OBJECT:
            name, fields = decode(body)
            return _made(resolve(name), {name: _final(value) for name, value in fields.items()})
        case Code.MEMBER:
            name, value = decode(body)
            return resolve(name)(_final(value))
        case Code.MOMENT:
            return _moment(*decode(body))
        case Code.TIME:
            time, fold = decode(body)
            return datetime.time.fromisoformat(time).replace(fold=fold)
        case Code.SPAN:
            return datetime.timedelta(*decode(body))
        case Code.LIST:
            return _List(decode(body))
        case Code.DICT:
            flat = [_final(part) for part in decode(body)]
            return dict(zip(flat[::2], flat[1::2], strict=True))
    read = _READING.get(code)
    if read is None:
        raise ValueError(f"an extension of type {code} is none of ours")
    return read(body)


_READING: Final[dict[int, Callable[[bytes], Any]]] = {
    Code.BIG: int,
    Code.TEXT: lambda body: body.decode("utf-8", "surrogatepass"),
    Code.DECIMAL: lambda body: decimal.Decimal(body.decode()),
    Code.DATE: lambda body: datetime.date.fromisoformat(body.decode()),
    Code.UUID: lambda body: uuid.UUID(bytes=body),
}


def _moment(naive: str, fold: int, zone: str | float | None) -> datetime.datetime:
    tzinfo: datetime.tzinfo | None = None
    if isinstance(zone, str):
        tzinfo = ZoneInfo(zone)
    elif zone is not None:
        tzinfo = datetime.timezone(datetime.timedelta(seconds=zone))
    return datetime.datetime.fromisoformat(naive).replace(tzinfo=tzinfo, fold=fold)


def _made(cls: type, fields: dict[str, Any]) -> Any:
    """Return an instance as it was: no converter, no validator and no default has a say."""
    if cls is _Plain:
        return fields
    if not attrs.has(cls) or {f.name for f in attrs.fields(cls)} != set(fields):
        raise ValueError(f"{cls.__qualname__} has other fields now")
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


class _List(list[Any]):
    """A list that was written as such, until ``_final`` has seen it."""


def _final(value: Any) -> Any:
    if type(value) is list:
        return tuple(map(_final, value))
    if type(value) is _List:
        return list(map(_final, value))
    return value
