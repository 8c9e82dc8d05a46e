"""What passes between a front and its container: messages, as bytes on a stream.

A message is a head of five bytes - the length of its body, little-endian, and its kind - and the
body. Events go one way, outcomes the other, as many in one message as came together; the body
of either is msgpack. Pure: bytes in, messages out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Literal

import msgspec

from happy.errors import HappyError

_HEAD: Final = struct.Struct("<IB")
BODY_BYTES_MAX: Final = 2**32 - 1


class Kind(IntEnum):
    """What a message is for."""

    ORDER = 1
    """To a front: what it is to serve (``Order``)."""
    READY = 2
    """From a front: it could serve (``Ready``)."""
    FAILED = 3
    """From a front: it cannot, and a sentence."""
    GO = 4
    """To a front: accept connections; and the key of the return paths."""
    EVENTS = 5
    """From a front: a batch of events (``Events``)."""
    OUTCOMES = 6
    """To a front: what became of some of them (``Outcomes``)."""
    ASK = 7
    """From a front: queries (a list of ``Question``)."""
    FOUND = 8
    """To a front: what they returned (a list of ``Found``)."""
    LINES = 9
    """From a front: lines for the log (a list of ``Line``)."""
    COUNTS = 10
    """From a front, each second: how many connections it has, a number. So silence means stuck."""
    REOPEN = 11
    """To a front: go on in a new file for the access log."""
    DRAIN = 12
    """To a front: accept no more, and finish what runs."""
    DRAINED = 13
    """From a front: no connection is left."""
    CUT = 14
    """To a front: close every connection."""


class BrokenLink(HappyError):
    """What came is no message; the process at the other end is not to be trusted any more."""


class Order(msgspec.Struct, frozen=True):
    """All that a front has to know to serve one application, beside the code of it."""

    number: int
    """Which of the fronts of the application it is, from 1."""
    name: str
    app: str
    """The application, as ``module:Class``."""
    base: str
    """The directory that is first on the path of modules."""
    journal: str
    """The directory of the journal, where blobs are."""
    hostname: str
    domains: tuple[str, ...]
    settings: bytes
    limits: dict[str, int]
    doors: list[tuple[str, str, int]]
    """Of each: its kind, its endpoint, and the descriptor of the socket that listens."""
    shares: int
    """The descriptor of the memory that says how many connections each front has."""
    access: str
    access_file: str | None
    certificate: str | None = None
    relays: tuple[str, ...] = ()
    trust: list[tuple[Literal["untrusted", "relay", "submission"], bool, tuple[str, ...]]] = []
    """Of each door: whom it faces, whether through a proxy, and what it looks up about mail."""
    accept: Literal["handled", "durable"] = "handled"
    users: dict[str, str] = {}
    users_file: str | None = None


class Ready(msgspec.Struct, frozen=True):
    """A front that could serve; ``schema`` is what its application declares, as a digest."""

    schema: str


class Events(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Events that came together: numbered from ``first_id`` on, each as its record.

    ``keys`` has the place of each that has an idempotency key, the key and the fingerprint; so
    that nobody needs to look into a record for them.
    """

    first_id: int
    records: list[bytes]
    keys: list[tuple[int, str, bytes | None]] = []


class Outcomes(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What became of events: their numbers, their seqs, and the pickle of their replies.

    ``errors`` has the place and the error of each that has no reply; see ``happy.split.pickled``.
    """

    ids: list[int]
    seqs: list[int]
    replies: bytes
    errors: list[tuple[int, bytes]] = []


class Question(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A query: its number, its name, and the pickle of its arguments."""

    id: int
    query: str
    arguments: bytes


class Found(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The end of a query: what it returned, or what it raised."""

    id: int
    value: bytes
    raised: bool = False


class Line(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A line for the log of the container."""

    level: str
    namespace: str
    text: str


def message(kind: Kind, body: bytes = b"") -> bytes:
    """Return a message as bytes."""
    return _HEAD.pack(len(body), kind) + body


class MessageReader:
    """Reads messages: bytes in, as they come; what is whole out."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[Kind, bytes]]:
        """Take bytes in; yield the messages that are whole by now.

        Raises ``BrokenLink`` at a kind that is not known.
        """
        if self._held:
            self._held += data
            data = self._held
        start, end = 0, len(data)
        try:
            while end - start >= _HEAD.size:
                length, kind = _HEAD.unpack_from(data, start)
                body_start = start + _HEAD.size
                if end - body_start < length:
                    return
                start = body_start + length
                yield _kind(kind), bytes(data[body_start:start])
        finally:
            if data is self._held:
                del data[:start]
            elif start < end:  # else it came whole, as nearly all does
                self._held += data[start:]


_KINDS: Final = {int(kind): kind for kind in Kind}


def _kind(number: int) -> Kind:
    try:
        return _KINDS[number]
    except KeyError:
        raise BrokenLink(f"a message of kind {number} is not known") from None
