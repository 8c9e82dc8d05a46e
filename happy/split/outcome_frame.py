"""The format of what a core writes, version 1: a header, then a frame of outcomes for each frame.

All numbers are little-endian. The stream begins with a header::

     0   8  magic "HAPPYOUT"
     8   2  format version, 1
    10   1  1 when the core takes asides (``happy.split.aside``), else 0
    11   5  zero
    16  16  identity of the journal
    32   8  seq of the first outcome
    40  20  zero
    60   4  CRC-32 of bytes 0 to 60

Then comes one outcome frame for each frame that was read, in the same order, marks included::

     0   4  magic "HOUT"
     4   1  kind of the frame that it answers
     5   1  verdict on a digest mark: 0 not compared, 1 it agrees, 2 it differs; else 0
     6   2  zero
     8   4  length of the body
    12   4  count of outcomes: that of the events in the frame
    16   8  seq of the first outcome; of a mark: the next seq
    24  16  chain of the frame that it answers
    40   4  CRC-32 of the body
    44   4  CRC-32 of bytes 0 to 44
    48      body: the outcomes, one after the other

An outcome is one item of msgpack, and what it is stands in its first byte. These are the bytes
that the digest of outcomes is made of, as long as replies are plain:

- a reply is its value; an array is a tuple;
- extension 1, refused: an array of reason, HTTP status, SMTP code, SMTP enhanced status;
- extension 2, failed: the seq of the event, as an item of msgpack;
- extension 3, a reply that msgpack has no word for: ``happy.exact`` has its form;
- extension 4, a reply that has no form at all: a text that says what it was.

The chain says which frame is answered and, with it, which history was applied; so whoever hands
frames to a core knows that it did not lose its place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final

import attrs
import msgspec

from happy.errors import Corrupt
from happy.event import FailedOutcome, Outcome, RefusedOutcome, Reply
from happy.exact import Resolve, decode_exactly, encode_exactly
from happy.journal.frame import Frame, Kind
from happy.outcomes import FAILED, REFUSED, OutcomeDigest
from happy.split.aside import ASIDE_MAGIC, Aside, decode_aside

OUTCOMES_MAGIC: Final = b"HAPPYOUT"
VERSION: Final = 1
HEADER_SIZE: Final = 64
FRAME_MAGIC: Final = b"HOUT"
FRAME_HEADER_SIZE: Final = 48

_HEADER = struct.Struct("<8sHB5s16sQ20s")
_FRAME = struct.Struct("<4sBBHIIQ16sI")
_U32 = struct.Struct("<I")
_EXACT: Final = 3
_FORMLESS: Final = 4
_EXTENSIONS: Final = frozenset((*range(0xC7, 0xCA), *range(0xD4, 0xD9)))
"""The first bytes of extensions in msgpack."""

_encode = msgspec.msgpack.Encoder().encode
PLAIN: Final = frozenset((int, str, bytes, bool, float, type(None)))
"""The types of replies that stand in msgpack as they are."""


class Verdict(IntEnum):
    """What a core says to a digest mark."""

    NONE = 0
    AGREES = 1
    DIFFERS = 2


@attrs.frozen
class OutcomesHeader:
    """The beginning of a stream of outcomes."""

    journal_id: bytes
    first_seq: int
    asides: bool = False
    """Whether asides may be said to this core, and come from it."""


@attrs.frozen
class OutcomeFrame:
    """What a core made of one frame; the checksums were right."""

    kind: Kind
    verdict: Verdict
    first_seq: int
    count: int
    chain: bytes
    body: bytes = attrs.field(repr=False)

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return FRAME_HEADER_SIZE + len(self.body)


def encode_header(header: OutcomesHeader) -> bytes:
    """Return the beginning of a stream of outcomes."""
    head = _HEADER.pack(
        OUTCOMES_MAGIC,
        VERSION,
        header.asides,
        bytes(5),
        header.journal_id,
        header.first_seq,
        bytes(20),
    )
    return head + _U32.pack(zlib.crc32(head))


def encode_outcome_frame(frame: Frame, body: bytes, verdict: Verdict = Verdict.NONE) -> bytes:
    """Return the answer to a frame; ``body`` is of as many outcomes as it has events."""
    head = _FRAME.pack(
        FRAME_MAGIC,
        frame.kind,
        verdict,
        0,
        len(body),
        frame.count,
        frame.first_seq,
        frame.chain,
        zlib.crc32(body),
    )
    return b"".join((head, _U32.pack(zlib.crc32(head)), body))


def encode_latest(outcomes: Sequence[Outcome], digest: OutcomeDigest) -> bytes:
    """Return the body of an outcome frame; ``digest`` has taken in these outcomes last.

    Nothing is encoded again where msgpack, as the digest has it, gives all back as it was.
    """
    plain = PLAIN.issuperset(map(type, digest.told)) and len(digest.told) == len(outcomes)
    return digest.latest if plain and digest.latest is not None else encode_outcomes(outcomes)


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """Return outcomes of any sort as the body of an outcome frame."""
    return b"".join(map(encode_outcome, outcomes))


def formless(said: str) -> bytes:
    """Return what stands in a body for a reply that has no form."""
    return _extension(_FORMLESS, _encode(_shown(said)))


def is_formless(item: bytes) -> bool:
    """Say whether an item stands for a reply that has no form."""
    return item[0] in _EXTENSIONS and int(_extension_of(item).code) == _FORMLESS


def decode_outcomes(frame: OutcomeFrame, resolve: Resolve) -> list[Outcome]:
    """Return the outcomes in a frame; ``resolve`` finds the classes that replies are made of.

    A reply without a form is the text that says what it was. Raises ``Corrupt`` when the body
    does not hold what the frame says.
    """
    head = b"\xdd" + frame.count.to_bytes(4, "big")
    try:
        values = _values(head + frame.body)
        if PLAIN.issuperset(map(type, values)):
            return [Reply(value) for value in values]
        items = _split(head + frame.body)
        return [decode_outcome(bytes(item), resolve) for item in items]
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise Corrupt(f"seq {frame.first_seq}: the outcomes cannot be read: {error}") from None


class OutcomeStream:
    """Reads a stream of outcomes: bytes in, as they come; whole frames out.

    Asides stand where the header says that there are any; before it, a core may say why it ends.
    """

    def __init__(self) -> None:
        self.header: OutcomesHeader | None = None
        """Known as soon as it has come."""
        self._held = bytearray()
        self._next_seq = 0

    def feed(self, data: bytes | memoryview) -> Iterator[OutcomeFrame | Aside]:
        """Take bytes in; yield what is whole by now; ``Corrupt`` at damage."""
        held = self._held
        held += data
        start = 0
        if self.header is None and not held.startswith(ASIDE_MAGIC):
            if len(held) < HEADER_SIZE:
                return
            self.header = _decode_header(bytes(held[:HEADER_SIZE]))
            self._next_seq = self.header.first_seq
            start = HEADER_SIZE
        try:
            while (step := self._next(start)) is not None:
                start += step.size
                yield step
        finally:
            del held[:start]

    def end(self) -> None:
        """Say that nothing comes any more; ``Corrupt`` when something was to come."""
        if self._held:
            raise Corrupt(f"seq {self._next_seq}: the stream of outcomes ends inside of a frame")

    def _next(self, start: int) -> OutcomeFrame | Aside | None:
        header = self.header
        if (header is None or header.asides) and self._held.startswith(ASIDE_MAGIC, start):
            found = decode_aside(self._held, start)
            return found if isinstance(found, Aside) else None
        return None if header is None else self._frame(start)

    def _frame(self, start: int) -> OutcomeFrame | None:
        held = self._held
        body_start = start + FRAME_HEADER_SIZE
        if len(held) < body_start:
            return None
        magic, kind, verdict, zero, length, count, first_seq, chain, crc = _FRAME.unpack_from(
            held, start
        )
        right = zlib.crc32(held[start : body_start - 4])
        if magic != FRAME_MAGIC or _U32.unpack_from(held, body_start - 4)[0] != right:
            raise Corrupt(f"seq {self._next_seq}: no good frame of outcomes begins here")
        if len(held) < body_start + length:
            return None
        body = bytes(held[body_start : body_start + length])
        if zlib.crc32(body) != crc:
            raise Corrupt(f"seq {first_seq}: the checksum of the outcomes is wrong")
        if zero or first_seq != self._next_seq:
            raise Corrupt(f"seq {first_seq}: outcomes that do not follow those before")
        try:
            frame = OutcomeFrame(Kind(kind), Verdict(verdict), first_seq, count, chain, body)
        except ValueError as error:
            raise Corrupt(f"seq {first_seq}: of a frame of outcomes, {error}") from None
        self._next_seq += count
        return frame


def _decode_header(head: bytes) -> OutcomesHeader:
    magic, version, asides, _, journal_id, first_seq, _ = _HEADER.unpack_from(head)
    right = zlib.crc32(head[:-4]) == _U32.unpack_from(head, _HEADER.size)[0]
    if magic != OUTCOMES_MAGIC or not right:
        raise Corrupt("this is no stream of outcomes: its header is not right")
    if version != VERSION:
        raise Corrupt(f"outcomes of version {version}; this program reads {VERSION}")
    return OutcomesHeader(journal_id, first_seq, bool(asides & 1))


def encode_outcome(outcome: Outcome) -> bytes:
    """Return one outcome as it stands in a body."""
    if isinstance(outcome, FailedOutcome):
        return _extension(FAILED, _encode(outcome.seq))
    if isinstance(outcome, RefusedOutcome):
        refused = msgspec.structs.astuple(outcome)
        told = [_shown(part) if isinstance(part, str) else part for part in refused]
        return _extension(REFUSED, _encode(told))
    try:
        exact = encode_exactly(outcome.value)
    except (TypeError, ValueError, RecursionError) as error:
        return formless(str(error))
    return _extension(_EXACT, exact) if exact[0] in _EXTENSIONS else exact


def _extension(code: int, data: bytes) -> bytes:
    return _encode(msgspec.msgpack.Ext(code, data))


_split = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_values = msgspec.msgpack.Decoder(list[Any]).decode
_extension_of = msgspec.msgpack.Decoder(msgspec.msgpack.Ext).decode
_failed_seq = msgspec.msgpack.Decoder(int).decode
_refused = msgspec.msgpack.Decoder(tuple[str, int, int, str]).decode
_text = msgspec.msgpack.Decoder(str).decode


def decode_outcome(item: bytes, resolve: Resolve) -> Outcome:
    """Return one outcome; raises what ``decode_exactly`` raises."""
    if item[0] not in _EXTENSIONS:
        return Reply(decode_exactly(item, resolve))
    found = _extension_of(item)
    data: Any = found.data
    match found.code:
        case 1:
            return RefusedOutcome(*_refused(data))
        case 2:
            return FailedOutcome(_failed_seq(data))
        case 3:
            return Reply(decode_exactly(data, resolve))
        case 4:
            return Reply(_text(data))
    raise ValueError(f"an outcome of type {found.code} is not known here")


def _shown(text: str) -> str:
    """Return a text that UTF-8 has a form for."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
