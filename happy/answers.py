"""Telling those who wait what became of their events: the only place that answers.

``Answers.release`` hands out an outcome, and nothing else in the program does; the stream calls
it when the event is durable and applied. So "answered means durable" is one function. Who wants
no outcome, for mail is accepted before it is applied, is told by ``keep`` of what is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.errors import HandlerFailed, HappyError, Refused
from happy.event import (
    Entry,
    Exchange,
    FailedOutcome,
    Outcome,
    RefusedOutcome,
    Reply,
    Waiting,
)
from happy.order import Batch, Order
from happy.split.replies import ToldFailure

log = Logger()

Soon = Callable[[Callable[[], None]], object]
"""Calls a function a little later."""


@define(eq=False)
class Waiter:
    """Somebody who waits by a Deferred, and the exchange that the event came by."""

    answer: Deferred[Any]
    exchange: Exchange

    def replied(self, seq: int, value: Any) -> None:
        """See ``Waiting``."""
        self.exchange.seqs.append(seq)
        self.answer.callback(value)

    def failed(self, seq: int, error: HappyError) -> None:
        """See ``Waiting``."""
        if self.answer.called:
            return
        if seq:
            self.exchange.seqs.append(seq)
        self.answer.errback(error)


class Early:
    """A ``Waiting`` that may be told that its event is durable before it is applied."""

    @property
    def early(self) -> bool:
        """Whether that is all it waits for."""
        raise NotImplementedError

    def kept(self, seq: int) -> None:
        """Take the place of the event, which is durable; its outcome comes all the same."""
        raise NotImplementedError


class Answers:
    """The answers of one application; see the head of this module."""

    def __init__(self, name: str, at_turn_end: Soon) -> None:
        self._name = name
        self._at_turn_end = at_turn_end
        self._at_batch_end: list[Callable[[], None]] | None = None

    def soon(self, act: Callable[[], None]) -> None:
        """Call ``act`` when all of a batch have been told; at the end of this turn if none is.

        So who is told of many events answers them at once, and as early as can be.
        """
        if self._at_batch_end is None:
            self._at_turn_end(act)
        else:
            self._at_batch_end.append(act)

    def settle(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Tell all who wait for a batch what became of its events."""
        acts: list[Callable[[], None]] = []
        self._at_batch_end = acts
        try:
            self._tell_all(batch, outcomes)
        finally:
            self._at_batch_end = None
            for act in acts:
                act()

    def _tell_all(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        for admitted, outcome in zip(batch.admitted, outcomes, strict=True):
            if type(outcome) is Reply:  # as in ``release``, for nearly all that happens
                for waiter in admitted.waiters:
                    waiter.replied(admitted.seq, outcome.value)
                continue
            if isinstance(outcome, FailedOutcome) and outcome.error is not None:
                self.report(admitted, outcome.error)
            for waiter in admitted.waiters:
                self.release(waiter, admitted.seq, outcome)

    def keep(self, batch: Batch) -> int:
        """Tell who waits for no outcome that a batch is durable; return of how many events."""
        count = 0
        for admitted in batch.admitted:
            for waiter in admitted.waiters:
                if isinstance(waiter, Early) and waiter.early:
                    waiter.kept(admitted.seq)
                    count += 1
        return count

    def release(self, waiter: Waiting, seq: int, outcome: Outcome) -> None:
        """Tell a waiter the outcome of the event that has this seq."""
        if isinstance(outcome, Reply):
            waiter.replied(seq, outcome.value)
        elif isinstance(outcome, RefusedOutcome):
            smtp = (outcome.smtp_code, outcome.smtp_status)
            waiter.failed(seq, Refused(outcome.reason, http_status=outcome.http_status, smtp=smtp))
        else:
            assert isinstance(outcome, FailedOutcome)
            waiter.failed(seq, HandlerFailed(f"{self._name}/{outcome.seq}"))

    def report(self, entry: Entry, error: BaseException) -> None:
        """Log what a handler raised; its waiters hear only where to look."""
        if isinstance(error, ToldFailure):
            log.error(
                "{name}/{seq}: {event}: {told}",
                name=self._name,
                seq=entry.seq,
                event=type(entry.event).__name__,
                told=str(error),
            )
            return
        log.failure(
            "{name}/{seq}: the handler of {event} failed; nothing was changed",
            Failure(error),
            name=self._name,
            seq=entry.seq,
            event=type(entry.event).__name__,
        )


def fail_batch(batch: Batch, error: type[HappyError], reason: str, *, placed: bool = False) -> None:
    """Tell all who wait for a batch that it has no outcome, but for those who were answered.

    With ``placed``, they hear the seqs of their events.
    """
    for admitted in batch.admitted:
        for waiter in admitted.waiters:
            waiter.failed(admitted.seq if placed else 0, error(reason))


def turn_away(
    order: Order,
    error: type[HappyError],
    reason: str,
    stays: Callable[[object], bool] | None = None,
) -> None:
    """Tell all who wait in a queue, and are in no batch yet, that their events are not kept.

    But for those of the events that ``stays`` says yes to.
    """
    fail_batch(order.drop(stays or _nothing), error, reason)


def _nothing(_event: object) -> bool:
    return False
