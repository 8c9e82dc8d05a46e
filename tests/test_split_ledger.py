"""The ledger: what a container knows of a machine elsewhere is what the machine says."""

import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, Refused, event, every, handles, state
from happy.app import definition_of
from happy.apply import Machine
from happy.codec import encode
from happy.effects import Outbox, SendMail, Timer
from happy.event import (
    Configured,
    Entry,
    FailedOutcome,
    Mail,
    MailAcknowledged,
    MailDelayed,
    MailFailed,
    MailSent,
    Scheduled,
    ScheduledWhen,
    ScheduleFired,
    TimerFired,
)
from happy.journal.frame import Kind
from happy.return_paths import ReturnPaths
from happy.split.ledger import Ledger, Replayed, Watcher, ready_of
from happy.split.outcome_frame import OutcomeFrame, Verdict, decode_outcomes
from happy.split.replies import ToldFailure, encode_each, resolve
from happy.system_events import (
    MailBounced,
    MailHeld,
    MailReleased,
    MailReturned,
    MailUnsuppressed,
)
from happy.unacknowledged import copy_of


@event
class Owe:
    mails: int = 0
    timers: int = 0
    cancels: tuple[int, int] | None = None
    end: str = ""


@state
class Owing:
    count: int = 0


class Ower(App):
    state = Owing

    @handles(Mail)
    def take(state, event, context):
        if "refused@x" in event.recipients:
            raise Refused("no")

    @every("0 6 * * *", Owe(mails=1))
    @handles(Owe)
    def owe(state, event, context):
        state.count += 1
        for _ in range(event.mails):
            context.mail("a@x", b"\r\n", reverse_path="")
        for n in range(event.timers):
            context.after(timedelta(seconds=n + 1), Owe())
        if event.cancels is not None:
            context.cancel(event.cancels)
        if event.end == "refuse":
            raise Refused("no")
        if event.end == "raise":
            raise ValueError("why")
        return random.Random if event.end == "odd" else state.count


def mail(recipients, sha256, acknowledged=()):
    return Mail(
        "ann@x", recipients, b"\r\n", b"\r\n", sha256=sha256, acknowledged=tuple(acknowledged)
    )


COPIES = [copy_of(mail((), digit * 32), name) for digit in (b"1", b"2") for name in ("a@x", "b@x")]
seqs = st.integers(1, 8)
PATHS = ReturnPaths.of(b"j" * 16)


def sent_under_our_path(seq):
    return MailSent(seq, 0, "a@x", PATHS.make((seq, 0), "x"))


places = st.tuples(seqs, st.integers(0, 1))
ROW = ScheduledWhen("owe", "0 6 * * *", "UTC")
EVENTS = st.one_of(
    st.builds(
        Owe,
        st.integers(0, 2),
        st.integers(0, 2),
        st.none() | places,
        st.sampled_from(["", "refuse", "raise", "odd"]),
    ),
    st.builds(TimerFired, seqs, st.integers(0, 1)),
    st.builds(MailSent, seqs, st.integers(0, 1), st.just("a@x")),
    st.builds(MailFailed, seqs, st.integers(0, 1), st.just("a@x"), hard=st.booleans()),
    st.builds(sent_under_our_path, seqs),
    st.builds(MailBounced, seqs, st.just(0), status=st.just("5.1.1"), hard=st.booleans()),
    st.builds(MailUnsuppressed, st.just("A@x")),
    st.builds(MailHeld, seqs, st.none() | st.integers(0, 1), st.just("root")),
    st.builds(MailReleased, seqs, st.none() | st.integers(0, 1)),
    st.builds(MailReturned, seqs, st.just("a@x"), st.just(b"\r\n"), st.just(b"")),
    st.builds(
        MailDelayed, seqs, st.integers(0, 1), st.just("a@x"), st.just(1), st.integers(10, 12)
    ),
    st.builds(
        Configured, st.just(b""), st.just(("x",)), st.integers(1, 3), *[st.integers(1, 3)] * 4
    ),
    st.builds(
        mail,
        st.sampled_from([("a@x",), ("a@x", "b@x"), ("refused@x",)]),
        st.sampled_from([b"1" * 32, b"2" * 32, b""]),
        st.lists(st.tuples(seqs, st.sampled_from(COPIES)), max_size=2),
    ),
    st.builds(MailAcknowledged, st.tuples(st.tuples(seqs, st.sampled_from(COPIES)))),
    st.sampled_from([Scheduled((ROW,)), Scheduled()]),
    st.builds(ScheduleFired, st.just("owe"), st.integers(5, 7), st.just(encode(Owe(mails=1)))),
)
BATCHES = st.lists(
    st.lists(st.tuples(EVENTS, st.none() | st.sampled_from("abcde")), min_size=1, max_size=4),
    max_size=8,
)


def told(it):
    """Return what both have, for comparison."""
    return (
        list(it.outbox),
        it.outbox.digest(),
        it.outbox.next_due_ns(),
        it.schedules.places,
        [(key, known.fingerprint, known.seq) for key, known in it.keys],
        it.keys.remembered_max,
        it.configured,
        list(it.unacknowledged),
        it.unacknowledged.digest(),
        list(it.bounces),
        it.bounces.digest(),
        list(it.holds),
        it.holds.digest(),
        it.outbox.held,
        [it.outbox.count(kind) for kind in (SendMail, Timer)],
        it.seq,
        it.failed,
    )


def new_machine():
    return Machine(definition_of(Ower), b"j" * 16, random.Random)


def over(outcomes):
    """Return outcomes as they arrive, and what cannot."""
    body, untold = encode_each(outcomes)
    frame = OutcomeFrame(Kind.EVENTS, Verdict.NONE, 1, len(outcomes), b"", body)
    return decode_outcomes(frame, resolve), untold


@settings(deadline=None)
@given(BATCHES, st.integers(0, 8))
def test_a_ledger_has_what_the_machine_has(batches, until):
    """Debts, schedules, keys and the configuration, after each batch; and after another start."""
    machine, ledger = new_machine(), Ledger(b"j" * 16)
    watcher = Watcher(machine, lambda failed: f"why of {failed.seq}")
    for number, batch in enumerate(batches):
        if number == until:
            ready = ready_of(machine, "", None, Replayed("", 0, 0.0, ""), 0)
            fresh = Ledger(b"j" * 16)
            for one in (fresh, ledger):
                one.begin(ready, over([known.outcome for _, known in machine.keys])[0])
            assert told(fresh) == told(ledger) == told(machine)
        seq = machine.seq + 1
        entries = [
            Entry(n, number + 1, what, "test", key, b"f")
            for n, (what, key) in enumerate(batch, seq)
        ]
        outcomes = machine.apply(entries)
        arrived, untold = over(outcomes)
        found = ledger.fold(entries, arrived, watcher.changed(seq, outcomes, untold))
        assert told(ledger) == told(machine)
        for place, outcome in enumerate(outcomes):
            if place in untold:
                assert isinstance(found[place].error, ToldFailure)
            else:
                assert found[place] == outcome
            if isinstance(outcome, FailedOutcome) and outcome.error is not None:
                assert str(found[place].error) == f"why of {outcome.seq}"


def test_what_was_handed_out_is_not_handed_out_again():
    """A core that is started again owes the same, and who performs that has begun."""
    machine, ledger = new_machine(), Ledger(b"j" * 16)
    machine.apply([Entry(1, 1, Owe(mails=2))])
    ready = ready_of(machine, "", None, Replayed("", 0, 0.0, ""), 0)
    ledger.begin(ready, [])
    assert [owed.id for owed in ledger.outbox.due(5)] == [(1, 0), (1, 1)]
    machine.apply([Entry(2, 1, MailSent(1, 0, "a@x")), Entry(3, 1, Owe(mails=1))])
    ledger.begin(ready_of(machine, "", None, Replayed("", 0, 0.0, ""), 0), [])
    assert [owed.id for owed in ledger.outbox] == [(1, 1), (3, 0)]
    assert [owed.id for owed in ledger.outbox.due(5)] == [(3, 0)]
    assert isinstance(ledger.outbox.get((3, 0)).effect, SendMail)


def test_nothing_is_said_when_nothing_came_of_it():
    """Most frames change no debt, and nobody is told of them."""
    machine = new_machine()
    watcher = Watcher(machine, str)
    assert isinstance(machine.outbox, Outbox)
    outcomes = machine.apply([Entry(1, 1, Owe())])
    assert watcher.changed(1, outcomes, {}) is None
