"""Telling those who wait what became of their events."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from happy.answers import Answers, Waiter, fail_batch
from happy.errors import Halted, HandlerFailed, Refused
from happy.event import Entry, Exchange, FailedOutcome, RefusedOutcome, Reply
from happy.order import Admitted, Batch

ANSWERS = Answers("numbers", lambda act: act())


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
    ANSWERS.release(waiter, 7, outcome)
    assert told[0].check(error)
    assert words in told[0].getErrorMessage()
    assert waiter.exchange.seqs == [7]


def test_a_reply_is_handed_over_with_its_place():
    """The waiter gets what the handler returned, its exchange the seq."""
    waiter, told = waiting()
    ANSWERS.release(waiter, 3, Reply("first"))
    assert told == ["first"]
    assert waiter.exchange.seqs == [3]


def test_a_batch_that_failed_tells_those_who_were_not_answered():
    """Who has an answer keeps it; everybody else hears the reason."""
    (early, heard), (late, told) = waiting(), waiting()
    ANSWERS.release(early, 1, Reply(1))
    admitted = [Admitted(b"", Entry(0, 0, None), waiter) for waiter in (early, late)]
    fail_batch(Batch(admitted, [b"", b""], 0), Halted, "the disk is gone")
    assert heard == [1]
    assert told[0].check(Halted)
    assert told[0].getErrorMessage() == "the disk is gone"


class Teller:
    """Somebody who is told of many events and answers once, as the end of a front does."""

    def __init__(self, answers):
        self._answers = answers
        self.told = []
        self.answered = []

    def replied(self, seq, value):
        if len(self.told) == len(self.answered):
            self._answers.soon(lambda: self.answered.extend(self.told[len(self.answered) :]))
        self.told.append(value)

    def failed(self, seq, error):
        self.replied(seq, error)


def batch_of(*waiters):
    return Batch([Admitted(b"", Entry(0, 0, None), waiter) for waiter in waiters], [], 0)


def test_who_is_told_of_many_answers_when_the_batch_is_told():
    """All of a batch is answered at once, in the same turn; what belongs to none, at its end."""
    later = []
    answers = Answers("numbers", later.append)
    teller = Teller(answers)
    answers.settle(
        batch_of(teller, teller, teller),
        [Reply(1), RefusedOutcome("no", 409, 554, "5.7.1"), Reply(3)],
    )
    assert teller.answered == teller.told
    assert len(teller.told) == 3
    assert not later
    answers.release(teller, 4, Reply(4))
    assert len(teller.answered) == 3
    later.pop()()
    assert len(teller.answered) == 4


def test_who_was_told_is_answered_though_another_could_not_be():
    """What one waiter raises does not keep the answers of those before him."""
    answers = Answers("numbers", lambda act: act())
    teller = Teller(answers)
    with pytest.raises(AttributeError):
        answers.settle(batch_of(teller, None, teller), [Reply(1), Reply(2), Reply(3)])
    assert teller.answered == [1]
