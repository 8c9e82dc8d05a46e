"""Batches of encoded events on their way to the order, and their outcomes on the way back.

A stream maker encodes events and hands them over by many at a time, through a local socket or a
pipe; what orders them never looks into one. All numbers are little-endian. A batch::

     0   4  magic "HBAT"
     4   4  length of the body
     8   4  count of records, at least 1
    12   4  number: of this batch, in the words of its maker
    16   4  CRC-32 of the body
    20   4  CRC-32 of bytes 0 to 20
    24      body: each record as its length in 4 bytes, then its bytes

What comes back when the batch is durable and applied, in the order of the batches::

     0   4  magic "HSET"
     4   4  length of the body
     8   4  count of outcomes: that of the records
    12   4  number: that of the batch
    16   8  seq of its first event
    24   4  CRC-32 of the body
    28   4  CRC-32 of bytes 0 to 28
    32      body: the outcomes, as in an outcome frame (``happy.split.outcome_frame``)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import attrs

from happy.errors import BadRequest
from happy.journal.frame import Packed

BATCH_MAGIC: Final = b"HBAT"
SETTLED_MAGIC: Final = b"HSET"
_BATCH = struct.Struct("<4sIIII")
_SETTLED = struct.Struct("<4sIIIQI")
_U32 = struct.Struct("<I")

T = TypeVar("T")


@attrs.frozen
class Batch:
    """Events of one maker, encoded."""

    number: int
    records: Packed

    def encode(self) -> bytes:
        """Return the batch as bytes."""
        data = self.records.data
        head = _BATCH.pack(BATCH_MAGIC, len(data), len(self.records), self.number, zlib.crc32(data))
        return b"".join((head, _U32.pack(zlib.crc32(head)), data))


@attrs.frozen
class Settled:
    """What became of a batch: it is durable from ``first_seq`` on, and has been applied."""

    number: int
    first_seq: int
    count: int
    outcomes: bytes = attrs.field(repr=False)

    def encode(self) -> bytes:
        """Return it as bytes."""
        body = self.outcomes
        head = _SETTLED.pack(
            SETTLED_MAGIC, len(body), self.count, self.number, self.first_seq, zlib.crc32(body)
        )
        return b"".join((head, _U32.pack(zlib.crc32(head)), body))


class _Messages(Generic[T]):
    """Messages of one sort: bytes in, as they come; whole messages out."""

    _head: struct.Struct
    _magic: bytes

    def __init__(self, body_bytes_max: int) -> None:
        self._held = bytearray()
        self._body_bytes_max = body_bytes_max

    def feed(self, data: bytes | memoryview) -> Iterator[T]:
        """Take bytes in; yield what is whole by now; ``BadRequest`` when they are none of ours."""
        held = self._held
        held += data
        start = 0
        head_size = self._head.size + 4
        try:
            while len(held) >= start + head_size:
                magic, length, *fields, crc = self._head.unpack_from(held, start)
                right = zlib.crc32(held[start : start + self._head.size])
                if (
                    magic != self._magic
                    or right != _U32.unpack_from(held, start + head_size - 4)[0]
                ):
                    raise BadRequest("no batch begins here, or its header is damaged")
                if length > self._body_bytes_max:
                    raise BadRequest(f"a batch of {length} bytes, over {self._body_bytes_max}")
                end = start + head_size + length
                if len(held) < end:
                    return
                body = bytes(held[start + head_size : end])
                if zlib.crc32(body) != crc:
                    raise BadRequest("the checksum of a batch is wrong")
                start = end
                yield self._made(body, *fields)
        finally:
            del held[:start]

    def end(self) -> None:
        """Say that nothing comes any more; ``BadRequest`` when something was to come."""
        if self._held:
            raise BadRequest("it was cut off inside of a batch")

    def _made(self, body: bytes, *fields: int) -> T:
        raise NotImplementedError


class BatchStream(_Messages[Batch]):
    """Reads batches; each is checked to hold as many records as it says."""

    _head, _magic = _BATCH, BATCH_MAGIC

    def _made(self, body: bytes, *fields: int) -> Batch:
        count, number = fields
        records = Packed(count, body)
        try:
            if not count:
                raise ValueError("it holds no records")  # noqa: TRY301 - as those of the check
            records.check()
        except ValueError as error:
            raise BadRequest(f"a batch is not what it says: {error}") from None
        return Batch(number, records)


class SettledStream(_Messages[Settled]):
    """Reads what comes back."""

    _head, _magic = _SETTLED, SETTLED_MAGIC

    def _made(self, body: bytes, *fields: int) -> Settled:
        count, number, first_seq = fields
        return Settled(number, first_seq, count, body)
