"""Asides: what a container and a core that serves it say to each other between the frames.

A core that knows them says so in the header of its outcomes; another is never sent one, and needs
to know nothing of this module. Their order among the frames counts: a question is answered of the
state after all that came before it. All numbers are little-endian. An aside::

     0   4  magic "HSAY"
     4   1  kind
     5   3  zero
     8   4  length of the body
    12   4  number: of a question and its answer; else 0
    16      body

The bodies are pickles (``happy.split.pickled``): both ends are this program, with one application.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final

import attrs

from happy.errors import Corrupt
from happy.event import Configured
from happy.marks import DigestMark
from happy.schedule import Place

ASIDE_MAGIC: Final = b"HSAY"
ASIDE_HEADER_SIZE: Final = 16
_HEAD = struct.Struct("<4sB3sII")
_ZEROS: Final = bytes(3)


class Say(IntEnum):
    """The kinds of asides."""

    ASK = 1
    """To a core: a query by its name, with arguments."""
    FOUND = 2
    """From a core: what a query returned."""
    RAISED = 3
    """From a core: what a query raised instead."""
    MARK = 4
    """To a core: what digest mark would stand here?"""
    MARKED = 5
    """From a core: that mark."""
    MEASURE = 6
    """To a core: how large is the state?"""
    MEASURED = 7
    """From a core: about so many bytes."""
    READY = 8
    """From a core: it has read the journal up to where the frames go on (``Ready``)."""
    CHANGED = 9
    """From a core, before the outcomes of a frame: what else came of it (``Changed``)."""
    ENDED = 10
    """From a core: it cannot go on, and why."""


@attrs.frozen
class Aside:
    """One aside."""

    kind: Say
    body: bytes = attrs.field(default=b"", repr=False)
    number: int = 0

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return ASIDE_HEADER_SIZE + len(self.body)

    def encode(self) -> bytes:
        """Return it as bytes."""
        return _HEAD.pack(ASIDE_MAGIC, self.kind, _ZEROS, len(self.body), self.number) + self.body


def decode_aside(held: bytearray, start: int) -> Aside | int:
    """Return the aside that begins at ``start``; or how many bytes there must be to know more.

    Raises ``Corrupt`` when it is none.
    """
    body_start = start + ASIDE_HEADER_SIZE
    if len(held) < body_start:
        return body_start
    magic, kind, zeros, length, number = _HEAD.unpack_from(held, start)
    if magic != ASIDE_MAGIC or zeros != _ZEROS or kind not in _KINDS:
        raise Corrupt(f"an aside of kind {kind} is not known here")
    end: int = body_start + length
    if len(held) < end:
        return end
    return Aside(Say(kind), bytes(held[body_start:end]), number)


_KINDS: Final = frozenset(Say)


@attrs.frozen
class Changed:
    """What came of a frame beside its outcomes."""

    failed: int
    """How many events have failed so far."""
    owed: tuple[tuple[int, int, Any], ...] = ()
    """The debts that changed: seq and n, and the debt as it is now, or None."""
    said: tuple[tuple[int, str], ...] = ()
    """What is to be told of events: how they failed, or why their replies cannot be."""


@attrs.frozen
class Ready:
    """A core that has read the journal, and what its container has to know of the machine."""

    schema: str
    """A digest of what its application declares."""
    seq: int
    failed: int
    configured: Configured
    places: tuple[Place, ...]
    owed: tuple[Any, ...]
    keys: tuple[tuple[str, bytes | None, int], ...]
    """Key, fingerprint and seq of each that is remembered; the outcomes are in ``outcomes``."""
    outcomes: bytes = attrs.field(repr=False)
    untold: tuple[int, ...]
    """The places of those whose replies cannot go over."""
    unacknowledged: tuple[tuple[int, bytes, int], ...]
    """The messages whose 250 may not have been read: place, copy and moment."""
    bounces: tuple[tuple[str, Any, tuple[Any, ...]], ...]
    """What is remembered of mail that was sent, and of addresses where it failed."""
    holds: tuple[tuple[str, int, tuple[Any, ...]], ...]
    """What an operator has said of mail that came."""
    agreed: DigestMark | None
    mark: DigestMark | None
    """The digest mark of all this, when a divergence was accepted."""
    accepted: str
    """The divergence that was accepted; empty when there was none."""
    snapshot: str
    """The snapshot that it began with; empty when there was none."""
    events: int
    """How many events were replayed behind that, in ``seconds``."""
    seconds: float
    state_bytes: int
