"""The outbox: owed, tried, done."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from happy.effects import Call, Hold, Outbox, Owed, SendMail, Timer
from happy.event import (
    CallEnded,
    MailDelayed,
    MailFailed,
    MailSending,
    MailSent,
    TimerFired,
    event,
)


@event
class Wake:
    pass


MAIL = SendMail("a@x", "r@x", b"\r\n")
CALL = Call("GET", "https://x.example/")
TIMER = Timer(Wake())
EFFECTS = [MAIL, CALL, TIMER]
ENDS = {
    MailSent: lambda seq, n: MailSent(seq, n, "a@x"),
    MailFailed: lambda seq, n: MailFailed(seq, n, "a@x"),
    TimerFired: TimerFired,
    CallEnded: CallEnded,
}
SETTLES = {MailSent: SendMail, MailFailed: SendMail, TimerFired: Timer, CallEnded: Call}


class Owing(RuleBasedStateMachine):
    """Debts taken on, handed out, delayed and settled, against a plain dict."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox()
        self.owed = {}
        self.waiting = {}
        self.now = 0
        self.seq = 0
        self.holding = set()
        self.before = ({}, {}, set())
        self.handed = False

    ids = st.tuples(st.integers(1, 12), st.integers(0, 1))

    @rule(effect=st.sampled_from(EFFECTS), due=st.integers(0, 20))
    def owe(self, effect, due):
        self.seq += 1
        effect_id = (self.seq, 0)
        self.outbox.owe(Owed(effect_id, effect, 0, due))
        self.owed[effect_id] = effect
        self.waiting[effect_id] = due

    @rule(effect_id=ids, end=st.sampled_from(list(ENDS)))
    def settle(self, effect_id, end):
        done = self.outbox.settle(ENDS[end](*effect_id))
        if isinstance(self.owed.get(effect_id), SETTLES[end]):
            assert done.id == effect_id
            self.forget(effect_id)
        else:
            assert done is None

    def forget(self, effect_id):
        self.owed.pop(effect_id, None)
        self.waiting.pop(effect_id, None)
        self.holding.discard(effect_id)

    @rule(effect_id=ids)
    def hold(self, effect_id):
        """What is held is not handed out, and is told so."""
        if isinstance(self.owed.get(effect_id), SendMail):
            self.outbox.hold(effect_id, Hold(9, 9, "root", "wait"))
            self.holding.add(effect_id)
            self.waiting.pop(effect_id, None)

    @rule(effect_id=ids)
    def release(self, effect_id):
        """It is handed out when it is due, though it was before."""
        if effect_id in self.holding:
            self.outbox.hold(effect_id, None)
            self.holding.discard(effect_id)
            self.waiting[effect_id] = self.outbox.get(effect_id).due_ns

    @rule(effect_id=ids, attempts=st.integers(1, 3), retry=st.integers(0, 20), twice=st.booleans())
    def delay(self, effect_id, attempts, retry, twice):
        for _ in range(1 + twice):
            delayed = MailDelayed(effect_id[0], effect_id[1], "a@x", attempts, retry)
            assert self.outbox.settle(delayed) is None
        if isinstance(self.owed.get(effect_id), SendMail):
            if effect_id not in self.holding:
                self.waiting[effect_id] = retry
            owed = self.outbox.get(effect_id)
            assert (owed.attempts, owed.due_ns) == (attempts, retry)

    @rule(effect_id=ids)
    def begin(self, effect_id):
        """An attempt that begins hands nothing out again, and forgets no moment."""
        assert self.outbox.settle(MailSending(*effect_id, "a@x", 1)) is None
        if isinstance(self.owed.get(effect_id), SendMail):
            begun = effect_id not in self.holding or self.outbox.get(effect_id).sending
            assert self.outbox.get(effect_id).state == ("sending" if begun else "held")

    @rule(effect_id=ids)
    def cancel(self, effect_id):
        self.outbox.cancel(effect_id)
        self.forget(effect_id)

    @rule()
    def commit(self):
        self.outbox.commit()
        self.handed = False
        self.before = (dict(self.owed), dict(self.waiting), set(self.holding))

    @rule()
    def roll_back(self):
        """Take back all since the commit, what was handed out meanwhile apart."""
        if self.handed:
            return
        self.outbox.rollback()
        self.owed, self.waiting, self.holding = (part.copy() for part in self.before)

    @rule(passed=st.integers(0, 8))
    def hand_out(self, passed):
        self.now += passed
        due = sorted((when, i) for i, when in self.waiting.items() if when <= self.now)
        assert [owed.id for owed in self.outbox.due(self.now)] == [i for _, i in due]
        for _, effect_id in due:
            del self.waiting[effect_id]
            self.handed = True  # nothing is handed out in the middle of an event

    @invariant()
    def agrees(self):
        assert {owed.id: owed.effect for owed in self.outbox} == self.owed
        assert [owed.id for owed in self.outbox] == sorted(self.owed)
        assert len(self.outbox) == len(self.owed)
        assert all(effect_id in self.outbox for effect_id in self.owed)
        assert self.outbox.next_due_ns() == min(self.waiting.values(), default=None)
        for kind in (SendMail, Call, Timer):
            count = sum(isinstance(effect, kind) for effect in self.owed.values())
            assert self.outbox.count(kind) == count
        held = [owed for owed in self.outbox if owed.hold is not None]
        assert (len(held), self.outbox.held) == (len(self.holding), len(self.holding))
        timers = {i for i, effect in self.owed.items() if isinstance(effect, Timer)}
        waiting = [self.waiting.get(i, 0) for i in timers]  # 0 where it was handed out
        assert self.outbox.next_timer_ns() == min(waiting, default=None)


TestOwing = Owing.TestCase
TestOwing.__doc__ = "Promise 6: each debt is handed out when due, once, until it is settled."
TestOwing.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def owing(effect, due_ns=5):
    outbox = Outbox()
    outbox.owe(Owed((1, 0), effect, 0, due_ns))
    return outbox


def test_a_debt_is_handed_out_once_and_stays_owed():
    """Promise 6: what is handed out is still owed; only a restart hands it out again."""
    outbox = owing(MAIL)
    assert list(outbox.due(4)) == []
    assert [owed.id for owed in outbox.due(5)] == [(1, 0)]
    assert list(outbox.due(10**18)) == []
    assert (1, 0) in outbox
    assert outbox.next_due_ns() is None


def test_a_delayed_mail_is_handed_out_once_more():
    """Promise 6: a delay told twice means one more attempt, not two at once."""
    outbox = owing(MAIL)
    assert len(list(outbox.due(5))) == 1
    for _ in range(2):
        outbox.settle(MailDelayed(1, 0, "a@x", 1, 9))
    assert outbox.next_due_ns() == 9
    assert len(list(outbox.due(9))) == 1
    assert len(list(outbox.due(9))) == 0


def test_a_debt_that_is_told_anew_while_it_is_performed_is_not_handed_out_again():
    """A machine elsewhere tells the whole debt when an attempt begins; that is no second debt."""
    outbox = owing(MAIL)
    (owed,) = outbox.due(5)
    outbox.owe(attrs.evolve(owed, sending=True))
    assert outbox.get((1, 0)).state == "sending"
    assert list(outbox.due(10**18)) == []
    outbox.owe(attrs.evolve(owed, attempts=1, due_ns=9))
    assert len(list(outbox.due(9))) == 1


def test_debts_taken_on_while_handing_out_are_handed_out_too():
    """What falls due because of what was handed out is not forgotten."""
    outbox = owing(MAIL)
    seen = []
    for owed in outbox.due(5):
        seen.append(owed.id)
        if len(seen) < 3:
            outbox.owe(Owed((1, len(seen)), MAIL, 0, 5))
    assert seen == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: type(effect).__name__)
@pytest.mark.parametrize("end", list(ENDS), ids=lambda end: end.__name__)
def test_only_an_end_of_its_kind_settles_a_debt(effect, end):
    """An end that speaks of another kind of debt changes nothing, and breaks nothing."""
    outbox = owing(effect)
    done = outbox.settle(ENDS[end](1, 0))
    assert (done is not None) == isinstance(effect, SETTLES[end])
    assert ((1, 0) in outbox) == (done is None)


def test_an_end_that_comes_twice_changes_nothing():
    """The second end of a debt is as if it had not come, and so is one of an unknown debt."""
    outbox = owing(MAIL)
    assert outbox.settle(MailSent(1, 0, "a@x")) is not None
    assert outbox.settle(MailSent(1, 0, "a@x")) is None
    assert outbox.settle(MailDelayed(9, 9, "a@x", 1, 1)) is None
    assert len(outbox) == 0
    assert outbox.get((1, 0)) is None


BEGUN = MailSending(1, 0, "a@x", 1)
LATER = MailDelayed(1, 0, "a@x", 1, 9)
LOST = MailDelayed(1, 0, "a@x", 1, 9, ambiguous=True)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "pending"),
        ([BEGUN], "sending"),
        ([LATER], "retry"),
        ([BEGUN, LATER], "retry"),
        ([BEGUN, LOST], "ambiguous"),
        ([BEGUN, LOST, BEGUN], "sending"),
        ([BEGUN, LOST, BEGUN, LATER], "ambiguous"),
        ([BEGUN, BEGUN, LATER], "ambiguous"),
    ],
)
def test_the_state_of_a_message_is_a_fold_over_its_attempts(events, state):
    """An attempt that begins while one is on its way: the program ended, and nobody knows."""
    outbox = owing(MAIL)
    for each in events:
        outbox.settle(each)
    assert outbox.get((1, 0)).state == state


def test_what_was_being_sent_when_the_program_ended_counts_as_an_attempt():
    """The next attempt has the next number."""
    outbox = owing(MAIL)
    outbox.settle(BEGUN)
    outbox.settle(MailSending(1, 0, "a@x", 2))
    assert outbox.get((1, 0)).attempts == 1


@pytest.mark.parametrize("told", [BEGUN, LOST], ids=["sending", "ambiguous"])
def test_how_far_a_message_is_belongs_to_the_digest_and_can_be_taken_back(told):
    """What history says of an attempt is in the digest; a rollback leaves no trace of it."""
    outbox = owing(MAIL)
    outbox.commit()
    before = outbox.digest()
    outbox.settle(told)
    assert outbox.digest() != before
    outbox.rollback()
    assert outbox.digest() == before
    assert outbox.get((1, 0)).state == "pending"


def test_timers_that_are_cancelled_leave_nothing_behind():
    """However many are set for a far day and cancelled, what is kept is about what is owed."""
    outbox = owing(TIMER)
    for seq in range(2, 2_000):
        outbox.owe(Owed((seq, 0), TIMER, 0, 10**18))
        outbox.cancel((seq, 0))
    outbox.commit()
    assert len(outbox._timers._heap) < 200
    assert outbox.next_due_ns() == outbox.next_timer_ns() == 5
