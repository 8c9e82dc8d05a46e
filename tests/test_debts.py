"""Handing out what is owed when it falls due."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from happy.agenda import Agenda
from happy.app import App, definition_of, handles
from happy.debts import Debts
from happy.effects import Call, Outbox, Owed, SendMail, Timer
from happy.errors import Busy, Halted, NoRoom, NotOpen
from happy.event import MailDelayed, MailSent, TimerFired, event
from happy.limits import Limits
from happy.schedule import Schedules, every
from happy.state import state
from happy.stream_clock import StreamClock
from happy.world import World

SECOND_NS = 10**9
MAIL = SendMail("a@x", "", b"\r\n")


@event
class Wake:
    pass


@state
class Nothing:
    pass


class Sleeper(App):
    state = Nothing

    @every(timedelta(seconds=10))
    @handles(Wake)
    def wake(state, event, context):
        """Take it."""


class Performing:
    """A runner that writes down what it is to perform."""

    def __init__(self):
        self.ids = []

    def perform(self, owed):
        self.ids.append(owed.id)


class Watch:
    """Debts over an outbox, a clock, and a place where events are submitted."""

    def __init__(self):
        self.clock = Clock()
        self.shift_ns = 0
        self.outbox = Outbox()
        self.submitted = []
        self.refusals = []
        self.answers = []
        self.mails = Performing()
        self.schedules = Schedules()
        self.time = StreamClock(self.now_ns, self.clock.seconds)
        agenda = Agenda(definition_of(Sleeper).schedules, self.schedules, self.time, Limits())
        world = World(self.clock, self.now_ns, None, None, random.randbytes, random.Random)
        self.debts = Debts("app", self.outbox, agenda, world, self.time, self.submit)
        self.debts.runners[SendMail] = self.mails

    def now_ns(self):
        return self.shift_ns + round(self.clock.seconds() * SECOND_NS)

    def submit(self, event, source):
        self.submitted.append(event)
        if self.refusals:
            return fail(self.refusals.pop(0))
        answer = Deferred()
        self.answers.append(answer)
        return answer

    def owe(self, effect, due_s, effect_id=None):
        effect_id = effect_id or (len(self.outbox) + 1, 0)
        self.outbox.owe(Owed(effect_id, effect, 0, due_s * SECOND_NS))
        self.debts.look()
        return effect_id


@pytest.fixture
def watch():
    return Watch()


def test_each_kind_goes_to_its_runner(watch):
    """Promise 6: mail to who sends it, calls to who makes them, timers back as events."""
    calls = watch.debts.runners[Call] = Performing()
    mail, timer = watch.owe(MAIL, 0), watch.owe(Timer(Wake()), 0)
    call = watch.owe(Call("GET", "https://x.example/"), 0)
    assert watch.mails.ids == [mail]
    assert calls.ids == [call]
    assert watch.submitted == [TimerFired(*timer)]


def test_what_is_not_due_waits(watch):
    """Debts come out in the order in which they fall due, each at its time."""
    late, soon = watch.owe(MAIL, 20), watch.owe(MAIL, 10)
    watch.clock.advance(9.999)
    assert watch.mails.ids == []
    watch.clock.advance(0.001)
    assert watch.mails.ids == [soon]
    watch.clock.advance(10)
    assert watch.mails.ids == [soon, late]


def test_a_debt_is_handed_out_once_until_it_is_delayed(watch):
    """Promise 6: looking again does not send again; a delay does, at its time."""
    mail = watch.owe(MAIL, 0)
    for _ in range(5):
        watch.debts.look()
        watch.clock.advance(100)
    assert watch.mails.ids == [mail]
    watch.outbox.settle(MailDelayed(*mail, "a@x", 1, watch.now_ns() + 5 * SECOND_NS))
    watch.debts.look()
    watch.clock.advance(5)
    assert watch.mails.ids == [mail, mail]


def test_one_alarm_at_a_time(watch):
    """Promise 8: however many debts there are, one call waits on the clock."""
    for due in range(50, 0, -1):
        watch.owe(MAIL, due, (due, 0))
    assert len(watch.clock.getDelayedCalls()) == 1
    watch.clock.advance(1)
    assert len(watch.clock.getDelayedCalls()) == 1
    watch.debts.stop()
    assert watch.clock.getDelayedCalls() == []


def test_the_clock_is_looked_at_every_minute(watch):
    """A clock that was set ahead is noticed within a minute, however far off the debt was."""
    mail = watch.owe(MAIL, 86_400)
    watch.shift_ns = 86_400 * SECOND_NS
    watch.clock.advance(60)
    assert watch.mails.ids == [mail]


def test_a_settled_debt_is_not_handed_out(watch):
    """What is done before it fell due is not performed."""
    mail = watch.owe(MAIL, 10)
    watch.outbox.settle(MailSent(*mail, "a@x"))
    watch.clock.advance(100)
    assert watch.mails.ids == []


@pytest.mark.parametrize("refusal", [Busy("full"), NoRoom("full"), NotOpen("not yet")])
def test_a_timer_that_is_not_admitted_tries_again(watch, refusal):
    """Promise 6: a firing that was refused for now is tried again a second later."""
    watch.refusals = [refusal, refusal]
    timer = watch.owe(Timer(Wake()), 0)
    assert len(watch.submitted) == 1
    watch.clock.advance(1)
    watch.clock.advance(1)
    assert watch.submitted == [TimerFired(*timer)] * 3
    watch.outbox.settle(TimerFired(*timer))
    watch.answers[0].callback(None)
    watch.clock.advance(100)
    assert len(watch.submitted) == 3


def test_a_timer_that_fired_meanwhile_is_not_tried_again(watch):
    """A second try of a timer that is done does nothing."""
    watch.refusals = [Busy("full")]
    timer = watch.owe(Timer(Wake()), 0)
    watch.outbox.settle(TimerFired(*timer))
    watch.clock.advance(1)
    assert len(watch.submitted) == 1


@pytest.mark.parametrize("when", ["before it is due", "while it is refused"])
def test_nothing_is_handed_out_after_the_stop(watch, when):
    """Stopped means stopped: no timer, no mail, no second try."""
    if when == "while it is refused":
        watch.refusals = [Busy("full")]
        watch.owe(Timer(Wake()), 0)
    watch.owe(Timer(Wake()), 5, (7, 0))
    watch.owe(MAIL, 5, (8, 0))
    before = len(watch.submitted)
    watch.debts.stop()
    watch.clock.advance(100)
    watch.debts.look()
    assert len(watch.submitted) == before
    assert watch.mails.ids == []


def test_a_runner_may_settle_at_once(watch):
    """A runner that is done before it returns, and owes anew, is no trouble."""
    watch.mails.perform = lambda owed: (
        watch.mails.ids.append(owed.id),
        watch.outbox.settle(MailSent(*owed.id, "a@x")),
        owed.id[0] < 3 and watch.owe(MAIL, 0, (owed.id[0] + 1, 0)),
    )
    watch.owe(MAIL, 0, (1, 0))
    assert watch.mails.ids == [(1, 0), (2, 0), (3, 0)]
    assert len(watch.outbox) == 0


def test_a_halt_is_no_reason_to_try_again(watch):
    """Promise 7: when the stream has halted, the firing stays owed for the next start."""
    watch.owe(Timer(Wake()), 0)
    watch.debts.stop()
    watch.answers[0].errback(Halted("the disk failed"))
    watch.clock.advance(100)
    assert len(watch.submitted) == 1
    assert len(watch.outbox) == 1


def test_errors_of_our_own_are_not_swallowed(watch):
    """What is neither a refusal nor a halt comes out, to be logged as what it is."""
    failed = fail(ZeroDivisionError())
    watch.submit = lambda event, source: failed
    watch.debts._firings._submit = watch.submit
    watch.owe(Timer(Wake()), 0)
    caught = []
    failed.addErrback(caught.append)
    assert caught[0].check(ZeroDivisionError)


def test_the_status_tells_timers_and_when_the_next_is_due(watch):
    """Mail is owed and no timer; what is due already is due in no time."""
    watch.owe(MAIL, 3)
    assert watch.debts.status() == {
        "owed": 1, "held": 0, "timers": 0, "schedules": 1, "next_due_s": None,
    }  # fmt: skip
    watch.owe(Timer(Wake()), 20)
    watch.owe(Timer(Wake()), 30)
    watch.clock.advance(5)
    told = watch.debts.status()
    assert (told["owed"], told["timers"], told["next_due_s"]) == (3, 2, 15)
    watch.clock.advance(16)  # the first is handed out, and nobody has taken it
    told = watch.debts.status()
    assert (told["timers"], told["next_due_s"]) == (2, 0)


def test_the_status_walks_over_nothing_that_is_owed(watch, monkeypatch):
    """However much it is, a look costs the same."""
    watch.owe(Timer(Wake()), 20)
    monkeypatch.delattr(Outbox, "__iter__")
    assert watch.debts.status()["timers"] == 1
