"""What an operator does with messages of an application that runs: each act is an event."""

from __future__ import annotations

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed

from happy import App, MailRoutes, handles, state
from happy.dsn import read_report
from happy.errors import Busy
from happy.event import Mail, MailDelayed, MailFailed, MailSending, event
from happy.limits import Limits
from happy.mail_acts import (
    Act,
    give_back,
    give_up,
    handle_again,
    hold,
    put,
    release,
    send_now,
)
from happy.mail_again import NotDone
from happy.message import parse_header
from happy.system_events import MailUnsuppressed
from happy.testing import running

MAIL = Mail(
    "ann@x.example",
    ("help@app.example", "quiet@app.example"),
    b"Subject: trouble\r\n\r\n",
    b"Subject: trouble\r\n\r\nHelp.\r\n",
    options=("ENVID=a+2B1",),
    recipient_options=(("NOTIFY=FAILURE", "ORCPT=rfc822;h@x.example"), ("NOTIFY=NEVER",)),
)


@event
class Owe:
    pass


@state
class Papers:
    mended: bool = False


@event
class Mend:
    pass


class Desk(App):
    state = Papers
    mail = MailRoutes()

    @handles(Owe)
    def owe(state, event, context):
        context.mail("bob@x.example", b"\r\n", reverse_path="")

    @handles(Mend)
    def mend(state, event, context):
        state.mended = True

    @mail.to("quiet@")
    def quiet(state, mail, context):
        pass

    @mail.to("help@")
    def help(state, mail, context):
        if not state.mended:
            raise RuntimeError("broken")


class House:
    """A desk with one message owed and one that came in and failed; and an operator."""

    def __init__(self, desk, mail=MAIL):
        self.desk = desk
        self.stream = desk.stream
        self.stream.debts.runners = {}  # so what is owed stays so
        desk.submit(Owe())
        self.owed = self.stream.journaled().seq
        with pytest.raises(Exception, match="desk/"):
            desk.submit(mail)
        self.came = self.stream.journaled().seq
        self.mails = {self.came: mail}

    def mail_at(self, _name, seq):
        found = self.mails.get(seq)
        return succeed(found) if found else fail(NotDone(f"there is no seq {seq}"))

    def act(self, seq, n=None, reason=""):
        return Act("desk", self.stream, seq, n, "root", reason)

    def done(self, act):
        """Return the seq of an act; ``NotDone`` says why there is none."""
        return self.desk.result(act)

    @property
    def outbox(self):
        return self.stream.debts.outbox


@pytest.fixture
def house():
    with running(Desk) as desk:
        yield House(desk)


def test_a_message_that_is_owed_is_held_and_released(house):
    """Twice neither; who said so, and why, is told."""
    act = house.act(house.owed, 0, "wait for the lawyers")
    seq = house.done(hold(act, house.mail_at))
    assert house.outbox.get((house.owed, 0)).hold.seq == seq
    for again in (lambda: hold(act, house.mail_at), lambda: send_now(act)):
        with pytest.raises(NotDone, match=r"held at .* by root: wait for the lawyers"):
            again()
    house.done(release(act))
    assert house.outbox.get((house.owed, 0)).hold is None
    with pytest.raises(NotDone, match="it is not held"):
        release(act)


def test_what_is_held_can_be_given_up_with_a_reason(house):
    """That is an end; the application hears the reason."""
    act = house.act(house.owed, 0, "the address is wrong")
    house.done(hold(act, house.mail_at))
    house.done(give_up(act))
    assert len(house.outbox) == 0


def test_a_message_that_came_in_and_is_held_is_neither_handled_again_nor_returned(house):
    """It is to be released first; what is not there cannot be held."""
    act = house.act(house.came, reason="evidence")
    house.done(hold(act, house.mail_at))
    for again in (
        lambda: hold(act, house.mail_at),
        lambda: handle_again(act, house.mail_at),
        lambda: give_back(act, house.mail_at, "app.example"),
    ):
        with pytest.raises(NotDone, match=r"held at .* by root: evidence"):
            house.done(again())
    house.done(release(act))
    house.desk.submit(Mend())
    house.done(handle_again(act, house.mail_at))
    with pytest.raises(NotDone, match="no seq 99"):
        house.done(hold(house.act(99), house.mail_at))


def test_what_is_held_while_a_message_is_looked_for_counts(house):
    """The journal is read meanwhile; what was said by then is obeyed."""
    act, found = house.act(house.came), Deferred()
    handled = handle_again(act, lambda _name, _seq: found)
    house.done(hold(act, house.mail_at))
    found.callback(MAIL)
    with pytest.raises(NotDone, match="held"):
        house.done(handled)


def test_a_message_goes_back_once_to_who_sent_it(house):
    """With a report (RFC 3464) for whom it asked one, and the reason in any letters."""
    act = house.act(house.came, reason="Prüfung: unbekannt")
    seq = house.done(give_back(act, house.mail_at, "mx.app.example"))
    report = house.outbox.get((seq, 0)).effect
    assert (report.recipient, report.reverse_path) == ("ann@x.example", "")
    header = parse_header(report.header)
    assert header.get("auto-submitted") == "auto-replied"
    assert header.get("from") == "Mail system <mailer-daemon@mx.app.example>"
    came = Mail("", ("ann@x.example",), report.header, report.header + report.content)
    (fate,) = read_report(came)
    assert (fate.recipient, fate.action, fate.status) == ("help@app.example", "failed", "5.0.0")
    assert b"Original-Envelope-Id: a+1\r\n" in report.content
    assert b"Original-Recipient: rfc822;h@x.example\r\n" in report.content
    assert b"Subject: trouble\r\n" in report.content
    for again in (give_back(act, house.mail_at, "x"), handle_again(act, house.mail_at)):
        with pytest.raises(NotDone, match=r"returned at .* by root: Prüfung"):
            house.done(again)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"reverse_path": ""}, "it has no return path"),
        ({"recipient_options": (("NOTIFY=NEVER",),) * 2}, "its sender wants no report"),
    ],
)
def test_who_is_not_to_be_told_is_not_told(changed, why):
    """A null sender (RFC 5321, 4.5.5), or one who asked for none (RFC 3461)."""
    with running(Desk) as desk:
        house = House(desk, evolve(MAIL, **changed))
        with pytest.raises(NotDone, match=why):
            house.done(give_back(house.act(house.came), house.mail_at, "x"))
        assert len(house.outbox) == 1


def test_what_is_being_sent_can_be_held_and_nothing_else(house):
    """The attempt goes on."""
    house.desk.submit(MailSending(house.owed, 0, "bob@x.example", 1))
    act = house.act(house.owed, 0)
    for other in (send_now, give_up):
        with pytest.raises(NotDone, match="being sent just now"):
            other(act)
    house.done(hold(act, house.mail_at))
    assert house.outbox.get((house.owed, 0)).state == "sending"


def test_a_message_that_is_owed_is_sent_now(house):
    """It was delayed until now; how often it was tried stays as it is."""
    house.desk.submit(MailDelayed(house.owed, 0, "bob@x.example", 4, 10**18))
    house.done(send_now(house.act(house.owed, 0)))
    owed = house.outbox.get((house.owed, 0))
    assert (owed.attempts, owed.due_ns) == (4, house.stream.clock.now_ns())


def test_a_full_memory_of_holds_says_so():
    """And what is held of mail that is owed does not count."""
    with running(Desk, limits=Limits(segment_bytes_max=1024 * 1024, mail_held_max=1)) as desk:
        house = House(desk)
        house.mails[1] = MAIL
        house.done(hold(house.act(house.came), house.mail_at))
        with pytest.raises(NotDone, match="no more can be held"):
            hold(house.act(1), house.mail_at)
        house.done(hold(house.act(house.owed, 0), house.mail_at))


def test_an_act_in_vain_says_as_which_event_it_happened(house):
    """The handler that failed is to be mended first."""
    with pytest.raises(
        NotDone, match=r"it happened again as seq \d+, in vain: the application failed"
    ):
        house.done(handle_again(house.act(house.came), house.mail_at))


def test_a_stream_without_room_says_so(house):
    """Then nothing has changed."""
    house.stream.submit = lambda event, exchange: fail(Busy("the queue is full"))
    with pytest.raises(NotDone, match="desk: the queue is full"):
        house.done(put(house.stream, MailUnsuppressed("a@x"), "desk", "root"))


def test_what_is_owed_no_more_is_said_so(house):
    """It was sent, has failed, or never was."""
    house.desk.submit(MailFailed(house.owed, 0, "bob@x.example"))
    for act in (send_now, give_up, release):
        with pytest.raises(NotDone, match="no such message is owed"):
            act(house.act(house.owed, 0))
