"""Digests of what history determines, kept up at a cost in proportion to what changed.

A digest of many things is the sum of their hashes, so that one of them can be taken out and
another put in without looking at the rest (Bellare and Micciancio, "A New Paradigm for
Collision-Free Hashing", 1997). It finds mistakes, not forgers: XXH3 with 128 bits, no secret.

What is hashed is msgpack, and the same on every Python and under every hash seed. A thing in a
table or a set of things is hashed with its place or its name, so no two of them are equal.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import attrs
import msgspec
from xxhash import xxh3_128_digest

_BITS: Final = (1 << 128) - 1
_WAITING_MAX: Final = 512
"""How many that came or went may wait in a ``Sum``: an event waits while they are packed, 1 ms."""

_GAP: Final = bytes(4)
"""Goes before each hash of those that are added up together: room for what is carried over."""
_DIGIT: Final = 1 << 8 * (len(_GAP) + 16)
_PIECE_SIZE: Final = 64 * (len(_GAP) + 16)

_encode = msgspec.msgpack.Encoder().encode
_encode_unordered = msgspec.msgpack.Encoder(order="deterministic").encode

_EXACT: Final = frozenset(
    {int, str, bytes, type(None), uuid.UUID, datetime.date, datetime.timedelta}
)
"""Types of which two values are equal only when they are packed alike."""


def packed(value: Any) -> bytes:
    """Return a value as msgpack; one that msgpack has no word for is spelt out."""
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError):
        return _encode_unordered(_spelt_out(value))


def packed_reply(value: Any) -> bytes:
    """Return whatever a handler may reply as msgpack; the order of sets and dicts is no part."""
    try:
        try:
            return _encode_unordered(value)
        except (TypeError, ValueError, OverflowError):
            return _encode_unordered(_spelt_out(value))
    except RecursionError:  # it holds itself
        return _encode(type(value).__qualname__)


def sum_of(*columns: Sequence[Any]) -> int:
    """Return the sum of the hashes of things, each packed by itself, told by columns.

    All the hashes are in memory at once.
    """
    try:
        # Nobody else holds what zip gives: it is one tuple, filled again and again.
        total = _sum_of_hashes(map(_encode, zip(*columns, strict=True)))
    except (TypeError, ValueError, OverflowError):
        total = _sum_of_hashes(map(packed, zip(*columns, strict=True)))
    return total & _BITS


def _sum_of_hashes(parts: Iterable[bytes]) -> int:
    """Return the sum of the hashes of at most 2**32 parts.

    A hash takes a quarter of the time that making a number of it does. So they are put together,
    the digits of one number, and the sum of those is what is left when it is divided by the
    greatest digit: nines are cast out.
    """
    hashes = _GAP.join((b"", *map(xxh3_128_digest, parts)))
    pieces = range(0, len(hashes), _PIECE_SIZE)
    numbers = [int.from_bytes(hashes[at : at + _PIECE_SIZE], "big") for at in pieces]
    return sum(numbers) % (_DIGIT - 1)


def changed(total: int, added: int, removed: int) -> int:
    """Return a sum after hashes came and went."""
    return (total + added - removed) & _BITS


def hexdigest(parts: Sequence[Any]) -> str:
    """Return the digest of a few parts, packed together: 32 hexadecimal digits."""
    return hashlib.blake2b(packed(parts), digest_size=16).hexdigest()


class Sum:
    """The digest of a set of immutable things that come and go; they are packed in bulk."""

    __slots__ = ("_added", "_removed", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._added: list[tuple[Any, ...]] = []
        self._removed: list[tuple[Any, ...]] = []

    def add(self, *thing: Any) -> None:
        """Take in a thing that is not in it."""
        self._added.append(thing)
        if len(self._added) >= _WAITING_MAX:
            self.value()

    def remove(self, *thing: Any) -> None:
        """Take out a thing that was added, told as it was then."""
        self._removed.append(thing)
        if len(self._removed) >= _WAITING_MAX:
            self.value()

    def value(self) -> str:
        """Return the digest of what is in it now: 32 hexadecimal digits."""
        if self._added or self._removed:
            total = changed(self._total, _sum_odd(self._added), _sum_odd(self._removed))
            self._total, self._added, self._removed = total, [], []
        return f"{self._total:032x}"


def _sum_odd(things: list[tuple[Any, ...]]) -> int:
    """Return the sum of hashes of what may hold any reply."""
    return _sum_of_hashes(map(packed_reply, things))


def comparable_keys(keys: Sequence[Any]) -> Iterable[Any]:
    """Return keys in a form in which equal ones are packed alike, as ``1`` and ``True`` are not.

    A table does not tell equal keys apart, and remembers the one that came first.
    """
    kinds = set(map(type, keys))
    if tuple in kinds:
        kinds.discard(tuple)
        kinds.update(map(type, chain.from_iterable(k for k in keys if type(k) is tuple)))
    return keys if kinds <= _EXACT else map(_comparable, keys)


def _comparable(key: Any) -> Any:  # noqa: PLR0911 - a table of types
    """Return one value for all keys that are equal to this one."""
    if type(key) in _EXACT:
        return key
    if isinstance(key, tuple):
        return tuple(map(_comparable, key))
    if isinstance(key, int | float | decimal.Decimal):
        return _number(key)
    if isinstance(key, datetime.datetime) and key.utcoffset() is not None:
        return key.astimezone(datetime.UTC)
    if isinstance(key, datetime.time) and (offset := key.utcoffset()) is not None:
        since = datetime.timedelta(
            hours=key.hour,
            minutes=key.minute,
            seconds=key.second,
            microseconds=key.microsecond,
        )
        return ["time", since - offset]
    if attrs.has(type(key)):
        fields = [field for field in attrs.fields(type(key)) if field.eq]
        values = [getattr(key, f.name) if f.eq_key is None else f.eq_key(getattr(key, f.name))
                  for f in fields]  # fmt: skip
        return [type(key).__qualname__, *map(_comparable, values)]
    return key


def _number(key: float | decimal.Decimal) -> Any:
    if key != key or key in (float("inf"), float("-inf")):  # noqa: PLR0124 - not a number
        return str(float(key))
    above, below = key.as_integer_ratio()
    return above if below == 1 else ["ratio", str(above), str(below)]


def _spelt_out(value: Any) -> Any:  # noqa: PLR0911 - a table of types
    """Return a value in words that msgpack has: large ints, lone surrogates, other objects."""
    match value:
        case None | bool() | float() | bytes():
            return value
        case str():
            return ["text", value.encode("utf-8", "surrogatepass")]
        case int():
            return ["int", hex(value)]  # decimal digits are limited by Python
        case list() | tuple():
            return [_spelt_out(item) for item in value]
        case set() | frozenset():
            return sorted(packed_reply(item) for item in value)
        case dict():
            return sorted([packed_reply(key), packed_reply(item)] for key, item in value.items())
    kind = type(value)
    if attrs.has(kind):
        fields = [_spelt_out(getattr(value, f.name)) for f in attrs.fields(kind)]
        return [kind.__qualname__, fields]
    if isinstance(value, msgspec.Struct):
        return [kind.__qualname__, _spelt_out(msgspec.structs.astuple(value))]
    try:
        return _spelt_out(msgspec.to_builtins(value))
    except (TypeError, ValueError):
        return [kind.__qualname__, _spelt_out(getattr(value, "__dict__", None))]
