"""Decoding many records in one go: a whole frame, at a fraction of the price of one by one.

For each kind of event there is a class whose tag is the event's name, and whose fields are those
of a record, the body's class among them; so one call of the decoder makes all events of a frame.
Records with the same bytes are the same event, which cannot change, and are decoded once.

It is as strict as reading one by one (``happy.reading``), and explains nothing: where anything is
not as the present classes have it, nothing is returned, and the records are to be read singly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

import msgspec

from happy.event import Happened, Retired
from happy.strict_twin import strict_twin

_ARRAY_32: Final = b"\xdd"
_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class BulkReader:
    """Reads records of the events that an application has now."""

    def __init__(self, events: Mapping[tuple[str, int], type]) -> None:
        versions = Counter(name for name, _ in events)
        present = {
            kind: cls
            for kind, cls in events.items()
            if cls is not Retired and versions[kind[0]] == 1
        }
        self._decode = _decoder(present)
        self._check = _decoder({kind: strict_twin(cls) for kind, cls in present.items()})

    def read(self, records: Sequence[bytes]) -> Sequence[Happened] | None:
        """Return what records say, in their order; None when one must be read by itself."""
        different = dict.fromkeys(records)
        data = b"".join((_ARRAY_32, len(different).to_bytes(4, "big"), *different))
        try:
            happened = self._decode(data)
            self._check(data)
            if _split(data) != list(map(msgspec.Raw, different)):
                return None  # a record ends where another should begin
        except (ValueError, msgspec.MsgspecError):
            return None
        if len(different) == len(records):
            return happened
        of = dict(zip(different, happened, strict=True))
        return list(map(of.__getitem__, records))


def _decoder(events: Mapping[tuple[str, int], type]) -> Callable[[bytes], list[Any]]:
    """Return what decodes an array of records; nothing but the tag tells their types."""
    records = [
        msgspec.defstruct(
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
        for (name, version), cls in events.items()
    ]
    any_of_them: Any = reduce(or_, records)
    return msgspec.msgpack.Decoder(list[any_of_them]).decode
