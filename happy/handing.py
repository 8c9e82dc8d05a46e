"""Putting events in the order, made here or encoded by another process.

What is done here per event is the same, but for the encoding: the memory of keys, twins, the
memory budget, room in the queue. The record is read back; and a front may have been started from
code that is newer than what applies it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

from happy.answers import Answers
from happy.backlog import is_early
from happy.codec import EventDecoder, encode
from happy.errors import CoreLost, HappyError, NotOpen
from happy.event import Exchange, MailAcknowledged, Waiting
from happy.inline_core import Core
from happy.memory import MemoryWatch
from happy.order import Order, check_fingerprint
from happy.retransmission import Retransmissions

_event_of: Final = attrgetter("event")
_key_of: Final = attrgetter("key")

Keys = Mapping[int, tuple[str, bytes | None]]


class Handing:
    """Where encoded events come into the order of one stream."""

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        order: Order,
        mail: Retransmissions,
        core: Core,
        answers: Answers,
        memory: MemoryWatch,
        decoder: EventDecoder,
    ) -> None:
        self._order = order
        self._mail = mail
        self._core = core
        self._answers = answers
        self._memory = memory
        self._decoder = decoder

    def admit(self, records: Sequence[bytes], keys: Keys, waiters: Sequence[Waiting]) -> None:
        """Admit events that came together; who is not admitted hears why at once.

        ``keys`` are the idempotency keys and fingerprints of some, by their places.
        """
        if not self._admit_alike(records, keys, waiters):
            self._admit_each(records, keys, waiters)

    def _admit_alike(
        self, records: Sequence[bytes], keys: Keys, waiters: Sequence[Waiting]
    ) -> bool:
        """Admit events of which none has to be looked at by itself, as nearly always; else none."""
        if not records or keys or self._core.away is not None or self._memory.full:
            return False
        happened = self._decoder.together(records)
        if happened is None or any(map(_key_of, happened)):
            return False
        if self._mail.concerns(map(type, map(_event_of, happened))):
            return False
        return self._order.admit_all(records, happened, waiters)

    def _admit_each(self, records: Sequence[bytes], keys: Keys, waiters: Sequence[Waiting]) -> None:
        for place, (record, waiter) in enumerate(zip(records, waiters, strict=True)):
            try:
                if place in keys and self.is_known(*keys[place], waiter):
                    continue
                entry = self._decoder.read_back(record)
                self.check(entry.event)
                self._mail.admit(record, entry, waiter)
            except HappyError as error:
                waiter.failed(0, error)

    def submit(self, event: object, exchange: Exchange, waiter: Waiting) -> None:
        """Encode and admit an event that was made here; raises when it is not admitted."""
        if type(event) is MailAcknowledged:  # it rides on the next message: nothing is encoded
            self._mail.acknowledge(event.acknowledged)
            waiter.replied(0, None)
            return
        key, fingerprint = exchange.claim_key(), exchange.fingerprint
        if key is not None and self.is_known(key, fingerprint, waiter):
            return
        self.check(event)
        record = encode(event, exchange.source, key, fingerprint)
        self._mail.admit(record, self._decoder.read_back(record), waiter)

    def check(self, event: object) -> None:
        """Raise an ``Unavailable`` when an event cannot be taken at present."""
        if self._core.away is not None and not (self._core.ahead and is_early(event)):
            raise NotOpen(self._core.away)
        self._memory.check(event)

    def trouble(self, size: int) -> HappyError | None:
        """Return why a mail of so many bytes would not be admitted now."""
        if self._core.away is not None and not self._core.ahead:
            return CoreLost(self._core.away)
        return self._memory.trouble() or self._order.trouble(size)

    def is_known(self, key: str, fingerprint: bytes | None, waiter: Waiting) -> bool:
        """Say whether a key was used, and have its outcome told; raises ``KeyReused``."""
        known = self._core.keys.get(key)
        if known is None:
            return self._order.join_twin(key, fingerprint, waiter)
        check_fingerprint(known.fingerprint, fingerprint)
        self._answers.release(waiter, known.seq, known.outcome)
        return True
