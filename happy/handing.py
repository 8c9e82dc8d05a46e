"""Putting events in the order that another process has encoded.

What is done here per event is done for a submission in this process, but for the encoding: the
memory of keys, twins, the memory budget, room in the queue. The record is read back, for a
front may have been started from code that is newer than what applies it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from happy.answers import Answers
from happy.codec import EventDecoder
from happy.errors import HappyError
from happy.event import Entry, Waiting
from happy.inline_core import Core
from happy.memory import MemoryWatch
from happy.order import Order, check_fingerprint
from happy.retransmission import Retransmissions

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
        read: dict[bytes, Entry] = {}
        for place, (record, waiter) in enumerate(zip(records, waiters, strict=True)):
            try:
                if place in keys and self._is_known(*keys[place], waiter):
                    continue
                known = read.get(record)
                if known is None:
                    known = read[record] = self._decoder.read_back(record)
                self._memory.check(known.event)
                self._mail.admit(record, known, waiter)
            except HappyError as error:
                waiter.failed(0, error)

    def _is_known(self, key: str, fingerprint: bytes | None, waiter: Waiting) -> bool:
        known = self._core.keys.get(key)
        if known is None:
            return self._order.join_twin(key, fingerprint, waiter)
        check_fingerprint(known.fingerprint, fingerprint)
        self._answers.release(waiter, known.seq, known.outcome)
        return True
