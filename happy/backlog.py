"""What is durable and was not applied yet, as its stream counts it.

All of it counts as waiting until it is applied, so that the bounds of the queue are those of the
backlog, too. Where mail is accepted before it is applied, that may be much: a handler takes its
time, or the core is being started again. Events that a core had when it ended are told to be kept
at once, and count until another core has read them.
"""

from __future__ import annotations

from happy.answers import Answers, fail_batch, turn_away
from happy.errors import CoreLost, NotOpen
from happy.event import Mail, MailAcknowledged
from happy.inline_core import Core
from happy.order import Batch, Order
from happy.retransmission import Retransmissions


def is_early(event: object) -> bool:
    """Say whether an event is taken though nothing can be applied at present."""
    return event.early if isinstance(event, Mail) else isinstance(event, MailAcknowledged)


class Backlog:
    """The backlog of one stream; see the head of this module."""

    def __init__(self, order: Order, answers: Answers, mail: Retransmissions, core: Core) -> None:
        self._core = core
        self._order = order
        self._answers = answers
        self._mail = mail
        self._told: dict[Batch, int] = {}
        """How many events of a batch nobody waits for any more."""
        self._told_count = 0
        self._lost: list[Batch] = []

    @property
    def is_told(self) -> bool:
        """Whether nobody waits for any event that was admitted."""
        return len(self._order) == self._told_count

    def turn_away(self, why: str) -> None:
        """Tell who waits in the queue that there is no core now, unless that is no matter."""
        turn_away(self._order, NotOpen, why, is_early if self._core.ahead else None)

    def kept(self, batch: Batch) -> None:
        """Accept what need not be applied for that: it is durable."""
        told = self._answers.keep(batch) if self._core.ahead else 0
        if told:
            self._tell(batch, told)

    def applied(self, batch: Batch) -> None:
        """Forget a batch whose outcomes are known, or that is known to the machine."""
        self._order.settle(batch)
        self._told_count -= self._told.pop(batch, 0)

    def lost(self, batch: Batch, reason: str) -> None:
        """Tell who waits that the events are kept, and nobody knows yet what became of them."""
        self._order.forget_keys(batch)
        self._lost.append(batch)
        self._tell(batch, len(batch.admitted))
        fail_batch(batch, CoreLost, reason, placed=True)

    def back(self) -> None:
        """Go on with a core that has read all that was lost."""
        lost, self._lost = self._lost, []
        for batch in lost:
            self.applied(batch)
        self._mail.back()

    def _tell(self, batch: Batch, count: int) -> None:
        self._told_count += count - self._told.get(batch, 0)
        self._told[batch] = count
