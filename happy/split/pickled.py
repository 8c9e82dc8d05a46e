"""Values between two processes of one house: replies, arguments, errors, as pickles.

They are as free as Python's own calls: whatever a handler returns goes to the front that renders
it. A pickle may run code when it is read, so these go over a socket that both processes
inherited and nobody else can reach, and never to a disk.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, Final

from happy.errors import HappyError

_PROTOCOL: Final = 5


class NotTold(HappyError):
    """A value that cannot go from one process to another; the event holds all the same."""


def pack(value: Any) -> bytes:
    """Return the pickle of a value; ``NotTold`` when it has none."""
    try:
        return pickle.dumps(value, _PROTOCOL)
    except Exception as error:  # noqa: BLE001 - whatever a value raises when it is pickled
        raise NotTold(
            f"a {type(value).__qualname__} cannot go to another process: {error}"
        ) from None


def unpack(data: bytes) -> Any:
    """Return a value that was packed; ``NotTold`` when it cannot be made here."""
    try:
        return pickle.loads(data)  # noqa: S301 - from our own house, see above
    except Exception as error:  # noqa: BLE001 - whatever a value raises when it is made
        raise NotTold(f"what came from the other process cannot be read: {error}") from None


def pack_each(values: Sequence[Any]) -> tuple[bytes, dict[int, NotTold]]:
    """Return the pickle of a list; and the place of each value that has none, None instead."""
    try:
        return pack(values), {}
    except NotTold:
        pass
    untold: dict[int, NotTold] = {}
    told: list[Any] = []
    for place, value in enumerate(values):
        try:
            pack(value)
        except NotTold as error:
            untold[place] = error
        told.append(None if place in untold else value)
    return pack(told), untold


def pack_error(error: BaseException) -> bytes:
    """Return an exception as bytes: its class, its arguments and all it was given besides."""
    more = {name: value for name, value in vars(error).items() if not name.startswith("__")}
    try:
        return pack((type(error), error.args, more))
    except NotTold:
        return pack((RuntimeError, (f"{type(error).__qualname__}: {error}",), {}))


def unpack_error(data: bytes) -> Exception:
    """Return an exception that was packed, without calling its ``__init__``."""
    try:
        kind, args, more = unpack(data)
    except NotTold as untold:
        return untold
    error = kind.__new__(kind)
    assert isinstance(error, Exception)
    error.args = args
    vars(error).update(more)
    return error
