"""Many doors, one queue: admission, twins, batches, and the place of each event.

An event is admitted when there is room for it, and never otherwise: the queue is bounded in
events and in bytes, and a full queue is an answer (*busy*), not a wait. Events leave in the
order they came, as a batch of all that gathered while the batch before was being made
durable; there is no timer, so a lone event waits for nobody. An event gets its place when its
batch is durable, so a batch that found no room on the disk leaves no hole.

Two submissions with the same idempotency key are twins: the second joins the first and hears
the same outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from happy.bulk import Happened
from happy.errors import Busy, KeyReused, TooLarge
from happy.event import Entry, Prepared
from happy.limits import Limits

_FULL: Final = "too much is waiting; try again in a moment"


class Admitted(Entry):
    """An event in the queue: its record, and who waits for its outcome.

    It is the event as the record says it; its place and moment come with its batch.
    """

    __slots__ = ("record", "waiters")

    def __init__(self, record: bytes, event: Happened, waiter: Any) -> None:
        self.seq = self.time_ns = 0
        self.event = event.event
        self.source = event.source
        self.key = event.key
        self.fingerprint = event.fingerprint
        self.record = record
        self.waiters = [waiter]


@attrs.frozen(eq=False)
class Batch:
    """What becomes durable together."""

    admitted: list[Admitted]
    records: list[bytes]
    bytes_count: int


class Order:
    """The queue of one application."""

    def __init__(self, next_seq: int, limits: Limits) -> None:
        self.next_seq = next_seq
        self._limits = limits
        self._queue: deque[Admitted] = deque()
        self._by_key: dict[str, Admitted] = {}
        self._events_count = 0
        self._bytes_count = 0

    def __len__(self) -> int:
        """Return how many events are admitted and not settled, those in a batch included."""
        return self._events_count

    @property
    def waiting(self) -> bool:
        """Whether a batch could be taken."""
        return bool(self._queue)

    def join_twin(self, key: str, fingerprint: bytes | None, waiter: Any) -> bool:
        """Join the event in flight that has this key; False when there is none.

        Raises ``KeyReused`` when it is a different request.
        """
        twin = self._by_key.get(key)
        if twin is None:
            return False
        check_fingerprint(twin.fingerprint, fingerprint)
        twin.waiters.append(waiter)
        return True

    def admit(self, record: bytes, event: Entry | Prepared, waiter: Any) -> None:
        """Put an event in the queue; ``Busy`` when it is full, ``TooLarge`` for its size."""
        size, limits = len(record), self._limits
        if size > limits.event_bytes_max:
            raise TooLarge(
                f"an event of {size} bytes, over the limit of {limits.event_bytes_max} "
                "(event_bytes_max)"
            )
        count, total = self._events_count + 1, self._bytes_count + size
        if count > limits.queue_events_max or total > limits.queue_bytes_max:
            raise Busy(_FULL)
        admitted = Admitted(record, event, waiter)
        if event.key is not None:
            self._by_key[event.key] = admitted
        self._queue.append(admitted)
        self._events_count, self._bytes_count = count, total

    def admit_all(
        self, records: Sequence[bytes], events: Sequence[Happened], waiters: Sequence[Any]
    ) -> bool:
        """Put events without keys in the queue if there is room for all; say whether there was."""
        limits = self._limits
        count = self._events_count + len(records)
        total = self._bytes_count + sum(map(len, records))
        if (
            count > limits.queue_events_max
            or total > limits.queue_bytes_max
            or len(max(records, key=len)) > limits.event_bytes_max
        ):
            return False
        self._queue.extend(map(Admitted, records, events, waiters))
        self._events_count, self._bytes_count = count, total
        return True

    def trouble(self, size: int) -> Busy | None:
        """Return why there is no room for a mail of so many bytes; None when there is."""
        limits = self._limits
        total = self._bytes_count + min(size, limits.mail_inline_bytes_max)
        full = self._events_count >= limits.queue_events_max or total > limits.queue_bytes_max
        return Busy(_FULL) if full else None

    def take(self) -> Batch:
        """Take what waits, as much as fits a frame; at least one event must be waiting."""
        queue, limits = self._queue, self._limits
        count = len(queue)
        most = self._bytes_count + 4 * count  # and what is in flight
        if count <= limits.frame_events_max and most <= limits.frame_bytes_max:
            admitted = list(queue)
            queue.clear()
        else:
            admitted = self._take_some()
        records = [one.record for one in admitted]
        return Batch(admitted, records, sum(map(len, records)) + 4 * len(records))

    def _take_some(self) -> list[Admitted]:
        queue, limits = self._queue, self._limits
        taken: list[Admitted] = []
        total = 0
        while queue and len(taken) < limits.frame_events_max:
            total += len(queue[0].record) + 4
            if total > limits.frame_bytes_max and taken:
                break
            taken.append(queue.popleft())
        return taken

    def place(self, batch: Batch, time_ns: int) -> Sequence[Entry]:
        """Give the events of a durable batch their places; return them as entries."""
        seq = self.next_seq
        for entry in batch.admitted:
            entry.seq = seq
            entry.time_ns = time_ns
            seq += 1
        self.next_seq = seq
        return batch.admitted

    def settle(self, batch: Batch) -> None:
        """Forget a batch whose outcomes are known, or that will have none."""
        self._events_count -= len(batch.admitted)
        self._bytes_count -= batch.bytes_count - 4 * len(batch.admitted)
        self.forget_keys(batch)

    def drop(self, stays: Callable[[object], bool]) -> Batch:
        """Take out and forget what waits and is in no batch yet, but for the events that stay."""
        gone = [admitted for admitted in self._queue if not stays(admitted.event)]
        if gone:
            self._queue = deque(admitted for admitted in self._queue if stays(admitted.event))
        records = [admitted.record for admitted in gone]
        batch = Batch(gone, records, sum(map(len, records)) + 4 * len(records))
        self.settle(batch)
        return batch

    def forget_keys(self, batch: Batch) -> None:
        """Let nobody join the events of a batch any more."""
        if self._by_key:
            for admitted in batch.admitted:
                if admitted.key is not None:
                    self._by_key.pop(admitted.key, None)


def check_fingerprint(known: bytes | None, given: bytes | None) -> None:
    """Raise ``KeyReused`` when a key is used again for another request."""
    if known != given:
        raise KeyReused("this idempotency key was used for a different request; make a new one")
