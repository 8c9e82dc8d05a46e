"""The machine: the same events give the same state, outcomes and debts."""

from __future__ import annotations

import contextlib
import gc
import random
import weakref
from datetime import timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.app import App, definition_of, handles
from happy.apply import Machine
from happy.codec import encode
from happy.context import seed_of
from happy.effects import Outbox
from happy.errors import HandlerFailed, Refused, UnknownEvent
from happy.event import (
    CallEnded,
    Configured,
    Entry,
    FailedOutcome,
    MailDelayed,
    MailFailed,
    MailSent,
    RefusedOutcome,
    Reply,
    Scheduled,
    ScheduledWhen,
    ScheduleFired,
    TimerFired,
    event,
)
from happy.keys import Keys, Remembered
from happy.state import digest, state, table
from happy.table import Table

JOURNAL = bytes(range(16))


@event
class Add:
    """Add ``count``, do ``acts`` to rows, owe, draw; then end as ``end`` says."""

    count: int = 1
    acts: tuple[tuple[str, int], ...] = ()
    end: str = "reply"
    wake: str = "reply"


@event
class Wake:
    end: str = "reply"


@event
class Unhandled:
    pass


@attrs.frozen
class Row:
    owner: int
    note: int = 0


@attrs.frozen
class Settings:
    step: int = 1


@state
class Total:
    total: int = 0
    drawn: tuple[float, ...] = ()
    woken: int = 0
    ends: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    rows: Table[int, Row] = table(index=("owner",))


class WeakError(Exception):
    """One that can be watched."""


class Odd(BaseException):
    """Neither an error of the handler nor a refusal."""


ENDS = {
    "refuse": lambda: Refused("no", http_status=410, smtp=(550, "5.1.1")),
    "raise": lambda: ValueError("broken"),
    "key": lambda: KeyError("x"),
    "recurse": RecursionError,
    "happy": lambda: HandlerFailed("x"),
    "weak": WeakError,
}
ABORTS = {"memory": MemoryError, "interrupt": KeyboardInterrupt, "exit": SystemExit, "odd": Odd}


def finish(end):
    """End a handler by raising, when it is to end so."""
    make = {**ENDS, **ABORTS}.get(end)
    if make is not None:
        error = make()
        raise error


class Awaitable:
    def __await__(self):
        yield


class Counter(App):
    state = Total
    Settings = Settings

    @handles(Add)
    def add(state, event, context):
        for act, key in event.acts:
            match act:
                case "put":
                    state.rows[key] = Row(key % 2, context.seq)
                case "drop":
                    state.rows.pop(key, None)
                case "draw":
                    state.drawn = (*state.drawn[-5:], context.random.random())
                case "mail":
                    context.mail("a@x", b"\r\n", reverse_path="")
                case "call":
                    context.call("GET", "https://x.example/")
                case "timer":
                    context.after(timedelta(seconds=key), Wake(event.wake))
                case "cancel":
                    state.ends = (*state.ends[-5:], str(context.cancel((key, 0))))
        state.total += event.count
        finish(event.end)
        return Awaitable() if event.end == "awaitable" else (state.total, context.token(4))

    @handles(Wake)
    def wake(state, event, context):
        state.woken += 1
        finish(event.end)

    @handles(MailSent, MailFailed, CallEnded)
    def ended(state, event, context):
        state.ends = (*state.ends[-5:], f"{type(event).__name__} {event.event_seq}")
        if isinstance(event, MailFailed):
            raise WeakError

    @handles(Configured)
    def configured(state, event, context):
        state.steps = (*state.steps, 0 if context.settings is None else context.settings.step)
        if b"9" in event.settings:
            raise ValueError("no matter")


class Bare(App):
    state = Total

    @handles(Wake)
    def wake(state, event, context):
        return context.settings


def machine_of(app=Counter, journal_id=JOURNAL):
    return Machine(definition_of(app), journal_id, random.Random)


def entry_of(machine, event, key=None, fingerprint=None):
    seq = machine.seq + 1
    return Entry(seq, seq * 1_000_000_000, event, "test", key, fingerprint)


def apply(machine, event, key=None, fingerprint=None):
    """Apply one event; return its outcome."""
    (outcome,) = machine.apply([entry_of(machine, event, key, fingerprint)])
    return outcome


def debts_of(machine):
    return [(o.id, o.effect, o.since_ns, o.due_ns, o.attempts) for o in machine.outbox]


def all_of(machine):
    """Return all that a machine is, to compare."""
    return (
        digest(machine.state),
        [machine.state.rows.where(owner=owner) for owner in range(2)],
        debts_of(machine),
        machine.outbox.next_due_ns(),
        list(machine.keys._known.items()),
        machine.keys.remembered_max,
        machine.configured,
        machine.schedules.places,
        machine.seq,
        machine.time_ns,
        machine.failed,
    )


def anew(items, kept):
    """Return the digest of what keys or an outbox hold, put into a new one."""
    new = Keys(100) if isinstance(kept, Keys) else Outbox()
    for item in items:
        new.add(*item) if isinstance(kept, Keys) else new.owe(item)
    return new.digest()


WAKE = encode(Wake())
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop", "draw", "mail", "call", "timer", "cancel"]),
        st.integers(0, 4),
    ),
    max_size=5,
).map(tuple)
EVENTS = st.one_of(
    st.builds(Add, st.integers(), ACTS, st.sampled_from(["reply", "awaitable", *ENDS])),
    st.builds(TimerFired, st.integers(0, 20), st.integers(0, 2)),
    st.builds(MailSent, st.integers(0, 20), st.integers(0, 2), st.just("a@x")),
    st.builds(MailFailed, st.integers(0, 20), st.integers(0, 2), st.just("a@x")),
    st.builds(MailDelayed, st.integers(0, 20), st.integers(0, 2), st.just("a@x"),
              st.integers(1, 3), st.integers(0, 10**12)),
    st.builds(CallEnded, st.integers(0, 20), st.integers(0, 2)),
    st.builds(lambda names: Scheduled(tuple(ScheduledWhen(n, "0 6 * * *") for n in names)),
              st.sampled_from(["", "a", "ab", "b"])),
    st.builds(ScheduleFired, st.sampled_from("abc"), st.integers(0, 3), st.just(WAKE)),
    st.builds(lambda step, keys: Configured(b'{"step": %d}' % step, ("d",), keys),
              st.integers(0, 10), st.integers(1, 4)),
)  # fmt: skip
HISTORY = st.lists(st.tuples(EVENTS, st.none() | st.sampled_from("abcde")), max_size=25)


@settings(max_examples=150, deadline=None)
@given(HISTORY, st.randoms(use_true_random=False))
def test_a_replay_comes_to_the_same(history, cut):
    """Promise 4: replayed one by one or in any batches, all comes out as in the first run."""
    first = machine_of()
    entries, outcomes = [], []
    for came, key in history:
        entry = entry_of(first, came, key)
        entries.append(entry)
        outcomes += first.apply([entry])
    again = machine_of()
    replayed = []
    rest = list(entries)
    while rest:
        size = cut.randint(1, len(rest))
        replayed += again.apply(rest[:size])
        rest = rest[size:]
        if cut.random() < 0.3:
            assert again._undo.digest() == digest(again.state)
    assert replayed == outcomes
    assert all_of(again) == all_of(first)
    assert again.digest() == first.digest()
    assert again.keys.digest() == anew(again.keys._known.items(), again.keys)
    assert again.outbox.digest() == anew(again.outbox, again.outbox)


@settings(max_examples=150, deadline=None)
@given(HISTORY, ACTS, st.sampled_from(sorted(ENDS)))
def test_what_fails_or_is_refused_changes_nothing(history, acts, end):
    """Promise 3: after any history, an event whose handler raises leaves all as it was."""
    machine = machine_of()
    for came, key in history:
        apply(machine, came, key)
    before = all_of(machine)[:-3]
    failed = machine.failed
    outcome = apply(machine, Add(7, (*acts, ("put", 3), ("mail", 0), ("draw", 0)), end))
    assert all_of(machine)[:-3] == before
    if end == "refuse":
        assert outcome == RefusedOutcome("no", 410, 550, "5.1.1")
        assert machine.failed == failed
    else:
        assert outcome == FailedOutcome(machine.seq)
        assert type(outcome.error) is type(ENDS[end]())
        assert machine.failed == failed + 1


@pytest.mark.parametrize("end", sorted(ABORTS))
def test_what_might_not_repeat_itself_is_taken_back_and_raised(end):
    """Promise 4: want of memory and Ctrl-C are no outcomes: all is as before, seq included."""
    machine = machine_of()
    apply(machine, Add(1, (("put", 1), ("put", 2))))
    before = all_of(machine)
    acts = (("drop", 1), ("put", 3), ("mail", 0))
    with pytest.raises(ABORTS[end]):
        apply(machine, Add(1, acts, end), "k")
    assert all_of(machine) == before
    assert apply(machine, Add(1, acts), "k").value[0] == 2


def test_a_batch_that_aborts_keeps_what_was_applied_before():
    """The events before the one that aborted are applied; the machine waits for that one."""
    machine = machine_of()
    entries = [
        Entry(1, 1, Add()), Entry(2, 1, Add(1, (), "memory")), Entry(3, 1, Add()),
    ]  # fmt: skip
    with pytest.raises(MemoryError):
        machine.apply(entries)
    assert (machine.seq, machine.state.total) == (1, 1)


@pytest.mark.parametrize("seq", [0, 1, 3, 4])
def test_only_the_next_entry_is_applied(seq):
    """Promise 2: an entry out of its place is an error, and changes nothing."""
    machine = machine_of()
    apply(machine, Add())
    before = all_of(machine)
    with pytest.raises(ValueError, match=f"entry {seq} after 1"):
        machine.apply([Entry(seq, 1, Add())])
    assert all_of(machine) == before


def test_an_awaitable_is_no_reply():
    """Promise 3: a handler that returns something to wait for has failed, and changed nothing."""
    machine = machine_of()
    outcome = apply(machine, Add(5, (("mail", 0),), "awaitable"))
    assert isinstance(outcome.error, TypeError)
    assert (machine.state.total, len(machine.outbox)) == (0, 0)


def test_an_event_nobody_handles_is_answered_with_nothing():
    """A system event without a handler of its own moves the seq and nothing else."""
    machine = machine_of(Bare)
    assert apply(machine, MailSent(1, 0, "a@x")) == Reply(None)
    assert machine.seq == 1


# --- chance ------------------------------------------------------------------------------------


def test_random_numbers_are_of_the_journal_and_the_event():
    """Promise 4: the same on every replay, another for every event and for every journal."""

    def tokens(journal_id):
        machine = machine_of(journal_id=journal_id)
        return [apply(machine, Add()).value[1] for _ in range(20)]

    assert tokens(JOURNAL) == tokens(JOURNAL)
    assert len(set(tokens(JOURNAL)) | set(tokens(bytes(16)))) == 40
    assert len({seed_of(JOURNAL, seq) for seq in range(1000)}) == 1000


def test_a_failed_event_does_not_move_the_next_ones_chance():
    """Promise 3: the random position of an event is its own."""
    tokens = []
    for first in (Add(), Add(1, (("draw", 0),), "raise"), Wake()):
        machine = machine_of()
        apply(machine, first)
        tokens.append(apply(machine, Add()).value[1])
    assert len(set(tokens)) == 1


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["reply", "refuse", "raise"])
def test_a_key_that_comes_twice_has_one_outcome(end):
    """Promise 5: the second event with a key is not applied, and has the first one's outcome."""
    machine = machine_of()
    first = apply(machine, Add(1, (("mail", 0),), end), "k", b"f")
    apply(machine, Add(10))
    assert apply(machine, Add(100), "k", b"f") == first
    assert machine.keys.get("k") == Remembered(b"f", 1, first)
    assert machine.state.total == (11 if end == "reply" else 10)
    assert len(machine.outbox) == (1 if end == "reply" else 0)


def test_the_number_of_keys_is_part_of_history():
    """Promise 4: a key that was forgotten under an older configuration is so in a replay."""
    machine = machine_of()
    few, many = Configured(b"", (), 1), Configured(b"", (), 100)
    history = [few, "a", "b", "a", many, "c", "b", "a"]
    outcomes = [
        apply(machine, Add(), came) if isinstance(came, str) else apply(machine, came)
        for came in history
    ]
    assert machine.state.total == 5  # the second "a" was new again, and so was the second "b"
    assert outcomes[7] == outcomes[3]


def test_a_remembered_failure_holds_nothing_but_its_seq():
    """Promise 8: what a failed handler had in hand is not kept with its key."""
    machine = machine_of()
    failed = Add(1, (), "weak")
    outcome = apply(machine, failed, "k")
    error = weakref.ref(outcome.error)
    assert machine.keys.get("k").outcome == outcome
    del outcome
    gc.collect()
    assert error() is None


# --- debts -------------------------------------------------------------------------------------


def test_debts_have_the_id_of_their_event():
    """Promise 6: each debt is known by the seq of its event and its number, for ever."""
    machine = machine_of()
    apply(machine, Add())
    apply(machine, Add(1, (("mail", 0), ("call", 0), ("timer", 3))))
    assert [owed.id for owed in machine.outbox] == [(2, 0), (2, 1), (2, 2)]
    assert machine.outbox.get((2, 2)).due_ns == 5_000_000_000


def test_a_timer_fires_once():
    """A timer's event is handled when it fires; a second firing finds nothing to do."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3),)))
    apply(machine, TimerFired(1, 0))
    assert apply(machine, TimerFired(1, 0)) == Reply(None)
    assert machine.state.woken == 1
    assert len(machine.outbox) == 0


@pytest.mark.parametrize("end", ["refuse", "raise"])
def test_a_timer_whose_handler_raises_has_fired(end):
    """The firing is a fact: the state is as before, and the timer does not fire for ever."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3),), wake=end))
    assert not isinstance(apply(machine, TimerFired(1, 0)), Reply)
    assert machine.state.woken == 0
    assert len(machine.outbox) == 0


@pytest.mark.parametrize("forged", [TimerFired(2, 0), TimerFired(9, 9), MailSent(2, 1, "a@x")])
def test_an_end_of_another_kind_settles_nothing(forged):
    """An end that belongs to no debt of its kind leaves the outbox as it was."""
    machine = machine_of()
    apply(machine, Add())
    apply(machine, Add(1, (("mail", 0), ("call", 0))))
    apply(machine, forged)
    assert [owed.id for owed in machine.outbox] == [(2, 0), (2, 1)]


def test_the_end_of_mail_settles_it_even_when_its_handler_fails():
    """What was sent was sent: the debt is done whatever the handler makes of it."""
    machine = machine_of()
    apply(machine, Add(1, (("mail", 0), ("mail", 0))))
    apply(machine, MailSent(1, 0, "a@x"))
    assert isinstance(apply(machine, MailFailed(1, 1, "a@x")), FailedOutcome)
    assert len(machine.outbox) == 0
    assert machine.state.ends == ("MailSent 1",)


def test_a_cancelled_timer_is_owed_no_more():
    """The handler hears that it was owed; its firing, should it come, finds nothing to do."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3),)))
    apply(machine, Add(1, (("cancel", 1), ("cancel", 1), ("cancel", 9))))
    assert machine.state.ends == ("True", "False", "False")
    assert len(machine.outbox) == 0
    assert apply(machine, TimerFired(1, 0)) == Reply(None)
    assert machine.state.woken == 0


def test_a_handler_may_set_a_timer_and_cancel_it():
    """What is owed and cancelled by one event was never owed."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3), ("cancel", 1))))
    assert len(machine.outbox) == 0


@pytest.mark.parametrize("end", sorted({*ENDS, *ABORTS}))
def test_a_timer_is_cancelled_only_by_a_handler_that_returns(end):
    """Promise 3: what raises after it cancelled has cancelled nothing."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3),)))
    before = debts_of(machine)
    with contextlib.suppress(*ABORTS.values()):
        apply(machine, Add(1, (("cancel", 1), ("mail", 0)), end))
    assert debts_of(machine) == before


@pytest.mark.parametrize("abort", sorted(ABORTS))
def test_a_firing_that_is_aborted_is_taken_back(abort):
    """Promise 4: want of memory and Ctrl-C leave the timer owed, in its place, as it was."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3), ("mail", 0)), wake=abort))
    before = all_of(machine)
    with pytest.raises(ABORTS[abort]):
        apply(machine, TimerFired(1, 0))
    assert all_of(machine) == before


@pytest.mark.parametrize("step", range(6))
def test_taking_on_debts_is_all_or_nothing(step, monkeypatch):
    """Promise 3: when memory runs out between two debts, all is as before."""
    machine = machine_of()
    apply(machine, Add(1, (("timer", 3), ("put", 1))))
    before = all_of(machine)
    real, steps = Outbox._take_out, iter(range(6))

    def take_out(outbox, effect_id):
        if next(steps) == step:
            raise MemoryError
        return real(outbox, effect_id)

    monkeypatch.setattr(Outbox, "_take_out", take_out)
    acts = (("put", 2), ("drop", 1), ("mail", 0), ("timer", 1), ("call", 0), ("cancel", 1))
    debts = 4
    if step < debts:
        with pytest.raises(MemoryError):
            apply(machine, Add(1, acts))
        assert all_of(machine) == before
    else:
        apply(machine, Add(1, acts))
        assert [owed.id for owed in machine.outbox] == [(2, 0), (2, 1), (2, 2)]


# --- schedules ---------------------------------------------------------------------------------

DAILY = Scheduled((ScheduledWhen("daily", "0 6 * * *"),))


def test_a_schedule_brings_the_event_that_stands_in_its_firing():
    """Whatever is declared today: the handler gets it once, with the moment it was due."""
    machine = machine_of()
    apply(machine, DAILY)
    fired = ScheduleFired("daily", 7_000, encode(Wake()))
    apply(machine, fired)
    assert machine.state.woken == 1
    assert apply(machine, fired) == Reply(None)
    assert apply(machine, ScheduleFired("gone", 7_000, encode(Wake()))) == Reply(None)
    assert machine.state.woken == 1


@pytest.mark.parametrize("end", ["raise", "refuse", *sorted(ABORTS)])
def test_a_firing_is_a_fact_unless_it_is_aborted(end):
    """A handler that raises has had its turn; what is no outcome leaves the schedule's place."""
    machine = machine_of()
    apply(machine, DAILY)
    before = all_of(machine)
    fired = ScheduleFired("daily", 7_000, encode(Wake(end)))
    if end in ABORTS:
        with pytest.raises(ABORTS[end]):
            apply(machine, fired)
        assert all_of(machine) == before
    else:
        assert not isinstance(apply(machine, fired), Reply)
        assert machine.schedules.places["daily"].last_ns == 7_000
        assert machine.state.woken == 0


@pytest.mark.parametrize(
    ("record", "complaint"),
    [(encode(Unhandled()), "Unhandled"), (b"", "daily"), (bytes([0xC1]), "daily")],
)
def test_a_firing_that_cannot_be_read_is_refused_by_its_seq(record, complaint):
    """Promise 4: an event in a firing that nobody handles stops the replay, changing nothing."""
    machine = machine_of()
    apply(machine, DAILY)
    before = all_of(machine)
    with pytest.raises(UnknownEvent, match=f"seq 2.*{complaint}"):
        apply(machine, ScheduleFired("daily", 7_000, record))
    assert all_of(machine) == before


# --- settings ----------------------------------------------------------------------------------


def test_handlers_see_the_settings_of_their_time():
    """Promise 4: the settings are what the journal said, and change with ``Configured``."""
    machine = machine_of()
    apply(machine, Configured(b'{"step": 3}', ("a",)))
    apply(machine, Configured(b""))
    apply(machine, Configured(b'{"gone": 1}'))
    assert machine.state.steps == (3, 0, 1)
    assert machine.configured == Configured(b'{"gone": 1}')


def test_settings_hold_even_when_their_handler_fails():
    """The configuration is a fact: a handler of ``Configured`` that raises cannot undo it."""
    machine = machine_of()
    assert isinstance(apply(machine, Configured(b'{"step": 9}')), FailedOutcome)
    assert machine.configured.settings == b'{"step": 9}'
    apply(machine, Configured(b'{"step": 4}'))
    assert machine.state.steps == (4,)


def test_settings_that_do_not_fit_any_more_are_explained():
    """Promise 4: where a replay cannot be sure it refuses, and says what to do."""
    machine = machine_of()
    with pytest.raises(UnknownEvent, match=r"seq 1: the settings .* Settings .*\$\.step.*default"):
        apply(machine, Configured(b'{"step": "three"}'))


def test_an_application_without_settings_has_none():
    """Settings in the journal of an application that declares none are passed over."""
    machine = machine_of(Bare)
    apply(machine, Configured(b'{"step": 3}'))
    assert apply(machine, Wake()) == Reply(None)
