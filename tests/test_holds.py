"""What an operator says of messages, and what the machine makes of it."""

from __future__ import annotations

import random

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, MailRoutes, handles, state
from happy.app import definition_of
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.event import Configured, Entry, MailDelayed, MailSending, MailSent, event
from happy.holds import Holds
from happy.image import Image
from happy.system_events import MailHeld, MailReleased, MailReturned

JOURNAL = b"j" * 16
BOUNDS = evolve(Configured(b"", ("app.example",)), mail_held_max=2)
REPORT = ("ann@x.example", b"Subject: no\r\n\r\n", b"No.\r\n")


@event
class Owe:
    pass


@state
class Diary:
    seen: tuple[str, ...] = ()


class Writer(App):
    state = Diary
    mail = MailRoutes()

    @handles(Owe)
    def owe(state, event, context):
        context.mail("bob@x.example", b"\r\n", reverse_path="")

    @handles(MailReturned)
    def returned(state, event, context):
        state.seen += (f"{event.event_seq} {event.reason}",)
        context.mail("postmaster@app.example", b"\r\n", reverse_path="")
        if event.reason == "broken":
            raise RuntimeError("broken")


DEFINITION = definition_of(Writer)


def machine_of(*events):
    return after(Machine(DEFINITION, JOURNAL, random.Random), BOUNDS, *events)


def after(machine, *events):
    for one in events:
        machine.apply([Entry(machine.seq + 1, machine.seq * 1000, one)])
    return machine


def kept(machine):
    """Return what is held and what was returned."""
    return [(kind, seq) for kind, seq, _ in machine.holds]


def imaged(machine):
    """Return a machine that was made of another's image."""
    image = Image(DEFINITION)
    again = Machine(DEFINITION, JOURNAL, random.Random)
    again.seq, again.time_ns = machine.seq, machine.time_ns
    blocks = list(image.take(machine, {}))
    image.put(again, EventDecoder(DEFINITION.events), image.describe(machine, {}), blocks)
    return again


def test_a_message_that_is_owed_and_held_is_not_handed_out_until_it_is_released():
    """However long it is due; then it is as it was."""
    machine = machine_of(Owe(), MailHeld(2, 0, "root", "wait"))
    outbox = machine.outbox
    assert (list(outbox.due(10**18)), outbox.next_due_ns(), outbox.held) == ([], None, 1)
    held = outbox.get((2, 0))
    assert (held.state, held.hold.who, held.hold.reason, held.hold.seq) == (
        "held", "root", "wait", 3,
    )  # fmt: skip
    after(machine, MailReleased(2, 0, "root"))
    (owed,) = outbox.due(10**18)
    assert (owed.state, owed.hold, outbox.held) == ("pending", None, 0)


def test_a_message_that_was_handed_out_is_handed_out_again_when_it_was_held_and_released():
    """Whoever had it in hand has let go of it by then."""
    machine = machine_of(Owe())
    assert len(list(machine.outbox.due(10**18))) == 1
    after(machine, MailHeld(2, 0), MailReleased(2, 0))
    assert len(list(machine.outbox.due(10**18))) == 1


def test_the_order_says_whether_an_attempt_or_a_hold_came_first():
    """An attempt that comes after the hold is none; one before goes on, and the next does not."""
    late = machine_of(Owe(), MailHeld(2, 0), MailSending(2, 0, "bob@x.example", 1))
    assert late.outbox.get((2, 0)).state == "held"
    early = machine_of(Owe(), MailSending(2, 0, "bob@x.example", 1), MailHeld(2, 0))
    assert early.outbox.get((2, 0)).state == "sending"
    after(early, MailDelayed(2, 0, "bob@x.example", 1, 5))
    assert early.outbox.get((2, 0)).state == "held"
    assert list(early.outbox.due(10**18)) == []
    after(early, MailReleased(2, 0))
    assert [owed.attempts for owed in early.outbox.due(10**18)] == [1]
    sent = machine_of(Owe(), MailSending(2, 0, "bob@x.example", 1), MailHeld(2, 0))
    after(sent, MailSent(2, 0, "bob@x.example"))
    assert (len(sent.outbox), sent.outbox.held) == (0, 0)


def test_a_message_that_came_in_is_held_with_who_and_why_and_released():
    """As long as it is, nothing is done with it; the sentence says who to ask."""
    machine = machine_of(MailHeld(7, who="root", reason="evidence"))
    assert kept(machine) == [("held", 7)]
    assert machine.holds.why_left_alone(7) == (
        "it was held at 1970-01-01 00:00:00 UTC by root: evidence; release it first"
    )
    assert machine.holds.why_left_alone(8) is None
    assert kept(after(machine, MailReleased(7))) == []


def test_so_many_are_held_and_no_more():
    """What is one too many is not held; those of another kind do not count."""
    machine = machine_of(Owe(), MailHeld(2, 0), MailHeld(7), MailHeld(8), MailHeld(9))
    assert kept(machine) == [("held", 7), ("held", 8)]
    assert machine.holds.is_full()
    assert kept(after(machine, MailReleased(7), MailHeld(9))) == [("held", 8), ("held", 9)]


def test_of_those_that_were_returned_the_oldest_is_forgotten():
    """Those that are held stay."""
    machine = machine_of(MailHeld(6), *(MailReturned(seq, *REPORT) for seq in (7, 8, 9)))
    assert kept(machine) == [("held", 6), ("returned", 8), ("returned", 9)]


@pytest.mark.parametrize("reason", ["", "broken"])
def test_a_message_is_returned_once_whatever_a_handler_makes_of_it(reason):
    """The report is owed beside what the handler owes; one that raises owes nothing."""
    machine = machine_of(MailReturned(7, *REPORT, reason=reason))
    reports = [o for o in machine.outbox if o.effect.recipient == "ann@x.example"]
    assert [(o.effect.reverse_path, o.effect.header) for o in reports] == [("", REPORT[1])]
    assert len(machine.outbox) == (1 if reason else 2)
    assert len({owed.id for owed in machine.outbox}) == len(machine.outbox)
    assert "returned" in machine.holds.why_left_alone(7)
    count, seen = len(machine.outbox), machine.state.seen
    after(machine, MailReturned(7, *REPORT))
    assert (len(machine.outbox), machine.state.seen) == (count, seen)


def test_what_is_held_is_not_returned():
    """It is to be released first."""
    machine = machine_of(MailHeld(7), MailReturned(7, *REPORT))
    assert (kept(machine), len(machine.outbox)) == ([("held", 7)], 0)


def test_a_machine_of_which_nothing_was_said_has_the_digest_of_old():
    """Marks in old journals know nothing of holds."""
    machine = machine_of(Owe())
    digest = machine.digest()
    after(machine, MailHeld(7), MailReleased(7))
    machine.seq, machine.time_ns = 2, 1000
    assert machine.digest() == digest


seqs = st.integers(1, 6)
SAID = st.one_of(
    st.just(Owe()),
    st.builds(MailHeld, seqs, st.none() | st.just(0), st.just("root"), st.text("ab", max_size=2)),
    st.builds(MailReleased, seqs, st.none() | st.just(0)),
    st.builds(MailReturned, seqs, *map(st.just, REPORT)),
    st.builds(MailSending, seqs, st.just(0), st.just("bob@x.example"), st.integers(1, 2)),
    st.builds(MailDelayed, seqs, st.just(0), st.just("bob@x.example"), st.just(1), st.just(9)),
    st.builds(MailSent, seqs, st.just(0), st.just("bob@x.example")),
)


@settings(deadline=None)
@given(st.lists(SAID, max_size=12), st.lists(SAID, max_size=6))
def test_an_image_has_what_is_held_and_goes_on_the_same(before, later):
    """State, digest, counts and what falls due, whatever was said before and after."""
    one = machine_of(*before)
    other = imaged(one)
    for machine in (one, other):
        assert machine.outbox.held == sum(o.hold is not None for o in machine.outbox)
    for events in ((), later):
        after(one, *events)
        after(other, *events)
        assert other.digest() == one.digest()
        assert list(other.holds) == list(one.holds)
        assert list(other.outbox) == list(one.outbox)


def test_a_new_fold_is_empty():
    """Nothing is held, and nothing is known."""
    holds = Holds()
    assert (len(holds), list(holds.held()), holds.is_full()) == (0, [], False)
