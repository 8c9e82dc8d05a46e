"""Telling those who wait what became of their events."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from happy.answers import Answers, Waiter, fail_batch
from happy.errors import Halted, HandlerFailed, Refused
from happy.event import Entry, Exchange, FailedOutcome, RefusedOutcome, Reply
from happy.order import Admitted, Batch


def waiting():
    answer = Deferred()
    told = []
    answer.addBoth(told.append)
    return Waiter(answer, Exchange("test")), told


@pytest.mark.parametrize(
    ("outcome", "error", "words"),
    [
        (RefusedOutcome("no seats", 409, 554, "5.7.1"), Refused, "no seats"),
        (FailedOutcome(7), HandlerFailed, "numbers/7"),
    ],
)
def test_a_no_is_an_error_that_a_door_can_put(outcome, error, words):
    """What was refused or failed is raised at the door, with the words for the peer."""
    waiter, told = waiting()
    Answers("numbers").release(waiter, 7, outcome)
    assert told[0].check(error)
    assert words in told[0].getErrorMessage()
    assert waiter.exchange.seqs == [7]


def test_a_reply_is_handed_over_with_its_place():
    """The waiter gets what the handler returned, its exchange the seq."""
    waiter, told = waiting()
    Answers("numbers").release(waiter, 3, Reply("first"))
    assert told == ["first"]
    assert waiter.exchange.seqs == [3]


def test_a_batch_that_failed_tells_those_who_were_not_answered():
    """Who has an answer keeps it; everybody else hears the reason."""
    (early, heard), (late, told) = waiting(), waiting()
    Answers("numbers").release(early, 1, Reply(1))
    admitted = [Admitted(b"", Entry(0, 0, None), waiter) for waiter in (early, late)]
    fail_batch(Batch(admitted, [b"", b""], 0), Halted, "the disk is gone")
    assert heard == [1]
    assert told[0].check(Halted)
    assert told[0].getErrorMessage() == "the disk is gone"
