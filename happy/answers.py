"""Telling those who wait what became of their events: the only place that answers.

``Answers.release`` hands out an outcome, and nothing else in the program does; the stream calls
it when the event is durable and applied. So "answered means durable" is one function.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.errors import HandlerFailed, HappyError, Refused
from happy.event import Entry, Exchange, FailedOutcome, Outcome, RefusedOutcome, Reply
from happy.order import Batch

log = Logger()


@define(eq=False)
class Waiter:
    """Somebody who waits for the outcome of an event, and the exchange it came by."""

    answer: Deferred[Any]
    exchange: Exchange


class Answers:
    """The answers of one application; see the head of this module."""

    def __init__(self, name: str) -> None:
        self._name = name

    def release(self, waiter: Waiter, seq: int, outcome: Outcome) -> None:
        """Tell a waiter the outcome of the event that has this seq."""
        waiter.exchange.seqs.append(seq)
        match outcome:
            case Reply(value):
                waiter.answer.callback(value)
            case RefusedOutcome(reason, http_status, smtp_code, smtp_status):
                waiter.answer.errback(
                    Refused(reason, http_status=http_status, smtp=(smtp_code, smtp_status))
                )
            case FailedOutcome(failed_seq):
                waiter.answer.errback(HandlerFailed(f"{self._name}/{failed_seq}"))

    def report(self, entry: Entry, error: BaseException) -> None:
        """Log what a handler raised; its waiters hear only where to look."""
        log.failure(
            "{name}/{seq}: the handler of {event} failed; nothing was changed",
            Failure(error),
            name=self._name,
            seq=entry.seq,
            event=type(entry.event).__name__,
        )


def fail_batch(batch: Batch, error: type[HappyError], reason: str) -> None:
    """Tell all who wait for a batch that it has no outcome, but for those who were answered."""
    for admitted in batch.admitted:
        for waiter in admitted.waiters:
            if not waiter.answer.called:
                waiter.answer.errback(error(reason))
