"""What stands in an event, as JSON that loses nothing.

Text, numbers, lists and maps are what they are. JSON has no bytes, so bytes are a map of one
key that no field can have: ``{"$utf8": "..."}`` when they are UTF-8, as headers and messages
mostly are, else ``{"$base64": "..."}``. A number that JSON lacks is ``{"$float": "nan"}``.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from happy.codec import Record, decode_plain, decode_record
from happy.errors import Corrupt
from happy.event import Mail, event_meta
from happy.journal.frame import Frame, Kind, records_of
from happy.journal.names import blob_name
from happy.marks import mark_in

MAIL: Final = event_meta(Mail).name
"""The type of the records that are mails."""
_LENGTH: Final = struct.Struct("<I")


def records_in(frame: Frame) -> Iterator[tuple[int, Record]]:
    """Yield the records of a frame with their seqs, bodies not yet decoded.

    Raises ``Corrupt`` when the frame, though its checksums are right, holds something else.
    """
    if frame.kind is not Kind.EVENTS:
        return
    seq = frame.first_seq
    try:
        for record in records_of(frame):
            yield seq, decode_record(record)
            seq += 1
    except (ValueError, msgspec.MsgspecError) as error:
        raise Corrupt(f"seq {seq}: not an event of this program: {error}") from None


def checked(frame: Frame) -> list[Record]:
    """Return the records of a frame as ``records_in`` does, only faster: for reading everything.

    Raises ``Corrupt`` likewise, and when a digest mark is none.
    """
    if frame.kind is Kind.DIGEST_MARK:
        mark_in(frame)
    if frame.kind is not Kind.EVENTS:
        return []
    body, length_at, decode = bytes(frame.body), _LENGTH.unpack_from, decode_record
    records = []
    position = 0
    try:
        for _ in range(frame.count):
            begin = position + 4
            position = begin + length_at(body, position)[0]
            records.append(decode(body[begin:position]))
    except (struct.error, msgspec.MsgspecError):
        position = -1
    if position != len(body):
        return [record for _, record in records_in(frame)]  # which says what is wrong, and where
    return records


def gather(frame: Frame, blobs: dict[str, int]) -> None:
    """Check the records of a frame; note each blob that a mail names, and the first such seq.

    Raises ``Corrupt`` as ``checked`` does, and when a mail is none.
    """
    for seq, record in enumerate(checked(frame), frame.first_seq):
        if record.type == MAIL:
            sha256 = _blob_of(seq, record)
            if sha256 is not None:
                blobs.setdefault(sha256, seq)


def _blob_of(seq: int, mail: Record) -> str | None:
    """Return the blob that a mail names; which fields of other events are, only their App knows."""
    try:
        content = decode_plain(mail.body).get("content")
        if not isinstance(content, dict):
            return None
        sha256 = str(content["sha256"])
        blob_name(sha256)
    except (AttributeError, LookupError, ValueError, msgspec.MsgspecError) as error:
        raise Corrupt(f"seq {seq}: not a mail of this program: {error!r}") from None
    return sha256


def body_of(seq: int, record: Record) -> Any:
    """Return the body of a record as plain values; ``Corrupt`` when it is none."""
    try:
        return plain(decode_plain(record.body))
    except (ValueError, msgspec.MsgspecError) as error:
        raise Corrupt(f"seq {seq}: its body cannot be read: {error}") from None


def plain(value: Any) -> Any:
    """Return a decoded value as JSON can say it; see the head of this module."""
    match value:
        case dict():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list():
            return [plain(inner) for inner in value]
        case bytes():
            return _bytes(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
    return value


def _bytes(value: bytes) -> dict[str, Any]:
    try:
        return {"$utf8": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"$base64": base64.b64encode(value).decode("ascii")}
