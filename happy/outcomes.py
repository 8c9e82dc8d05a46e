"""A running digest over all outcomes, the same however they were batched.

It is made of the outcomes as bytes, one after the other, cut into blocks of 4,096 bytes; each
block goes into a chain of BLAKE2b-128. So it costs a fraction of a microsecond per event, a
handful of hashes per batch, and what is between two blocks can be kept in a snapshot.

A reply is packed as msgpack; *refused* and *failed* are extension types, so that no reply looks
like one. A reply may be anything, for it need not go to a disk: what msgpack has no form for is
spelt out by ``happy.digest``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from happy.digest import packed_reply
from happy.event import FailedOutcome, Outcome, Reply

_BLOCK_SIZE: Final = 4096
_CHAIN_SIZE: Final = 16
REFUSED: Final = 1
FAILED: Final = 2

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_NO_FORM: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class OutcomeDigest:
    """The digest of all outcomes so far; see the head of this module."""

    __slots__ = ("_chain", "_rest", "latest", "told")

    def __init__(self, image: bytes = bytes(_CHAIN_SIZE)) -> None:
        self._chain = image[:_CHAIN_SIZE]
        self._rest = bytearray(image[_CHAIN_SIZE:])
        self.told: list[Any] = []
        """What was taken in last: the values of replies, and extensions for other outcomes."""
        self.latest: bytes | None = b""
        """The same as it went in; None when some of it had to be spelt out."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take in the outcomes that come next."""
        rest = self._rest
        self.told = told = [o.value if type(o) is Reply else _told_outcome(o) for o in outcomes]
        self.latest = latest = _packed_together(told)
        rest += b"".join(map(packed_reply, told)) if latest is None else latest
        if len(rest) >= _BLOCK_SIZE:
            self._fold()

    def digest(self) -> str:
        """Return the digest in 32 hex digits."""
        return _hash(self._chain + self._rest).hex()

    def image(self) -> bytes:
        """Return what a new one needs to go on from here."""
        return self._chain + bytes(self._rest)

    def _fold(self) -> None:
        rest = self._rest
        whole = len(rest) - len(rest) % _BLOCK_SIZE
        for start in range(0, whole, _BLOCK_SIZE):
            self._chain = _hash(self._chain + rest[start : start + _BLOCK_SIZE])
        del rest[:whole]


def _hash(data: bytes | bytearray) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHAIN_SIZE, person=b"outcomes").digest()


def _packed_together(values: list[Any]) -> bytes | None:
    """Return the packed values one after the other: an array without its head."""
    try:
        packed = _encode(values)
    except _NO_FORM:
        return None
    count = len(values)
    return packed[1 if count < 16 else 3 if count < 65_536 else 5 :]


def _told_outcome(outcome: Outcome) -> msgspec.msgpack.Ext:
    if isinstance(outcome, FailedOutcome):
        return msgspec.msgpack.Ext(FAILED, _encode(outcome.seq))
    return msgspec.msgpack.Ext(REFUSED, packed_reply(msgspec.structs.astuple(outcome)))
