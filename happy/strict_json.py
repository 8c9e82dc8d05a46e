"""JSON as others send it, taken only when it can mean one thing.

The decoder refuses what is not JSON: NaN, numbers out of range, halves of surrogate pairs. It
takes an object that has a name twice, and keeps the last value; other programs keep the first, so
that a proxy and the application may each have read another request (RFC 8259 section 4, RFC 7493
section 2.3). It is noticed by counting: there are as many names in the text as there are colons
outside of its strings, and as many in the result unless one stood there twice. To find the strings
takes longest; so first the colons are counted wherever they stand, and then those behind which a
name may stand. Who finds no more of them than there are names in the result is done.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NESTED: Final = frozenset({dict, list})
_NAME_END: Final = re.compile(rb'["\t\n\r ]:')
_decode = msgspec.json.Decoder().decode


def decode_json(data: bytes) -> Any:
    """Return plain maps, lists and values; ``ValueError`` is a sentence about what is wrong."""
    try:
        plain = _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is JSON in too many levels") from None
    colons = data.count(b":")
    if colons:
        names = _names_in(plain)
        if (
            names != colons
            and names != len(_NAME_END.findall(data))
            and names != _STRING.sub(b"", data).count(b":")
        ):
            raise ValueError(f"it is JSON with a name twice in one object: {_twice_in(data)!r}")
    return plain


def _names_in(plain: Any) -> int:
    """Return how many names all objects in a value have."""
    count = 0
    waiting = [plain]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            count += len(value)
            value = value.values()
        elif type(value) is not list:  # all there is
            break
        waiting += [item for item in value if type(item) in _NESTED]
    return count


def _twice_in(data: bytes) -> str:
    """Return the first name that an object in a text has twice."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(name for number, name in enumerate(names) if name in names[:number])

    try:
        json.loads(data, object_pairs_hook=look, parse_int=float)
    except (ValueError, RecursionError):
        return "?"
    return found[0]
