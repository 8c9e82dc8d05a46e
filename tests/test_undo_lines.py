"""Promise 3, line by line: an exception anywhere in a handler leaves everything as it was.

The exception comes out of the blue, at one line after the other of what runs while an event is
handled: the handlers' own lines, those of tables, indexes, lookups, context and outbox. The
event is applied again and again, each time a line further, until no line is left and it holds.
"""

from __future__ import annotations

import copy
import random
import re
import sys
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import happy
from happy.app import App, definition_of, handles
from happy.apply import Machine
from happy.codec import to_json
from happy.effects import Call, SendMail, Timer
from happy.errors import DuplicateKey, Refused
from happy.event import (
    Configured,
    Entry,
    FailedOutcome,
    Mail,
    MailFailed,
    MailSent,
    Reply,
    TimerFired,
)
from happy.event import event as declare_event
from happy.examples.lists import MailingLists
from happy.examples.lists.model import Ask, Confirm, Leave
from happy.examples.lists.model import Settings as ListSettings
from happy.examples.numbers import Next, NumberService
from happy.index import SortedIndex, UniqueIndex
from happy.state import digest, state, table
from happy.system_events import MailBounced
from happy.table import Table
from happy.testing import message
from happy.undo import fields_of

HOME = Path(happy.__file__).parent
WATCHED = (
    __file__,
    str(HOME / "examples"),
    "<put of",
    *(str(HOME / f"{name}.py") for name in ("table", "index", "lookup", "context", "effects")),
)
# Run by the machine when it takes back or goes on, or by this test; not by a handler.
MACHINES = {"restore", "sweep", "settle", "_sum_after", "rollback", "commit", "apply", "__exit__"}
SECOND = 1_000_000_000


class Breaking:
    """Raises once, at a line; ``which`` says whether it is to be that one."""

    def __init__(self, error, which):
        self.error = error
        self.which = which
        self.raised = False

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, what, _):
        code = frame.f_code
        if not code.co_filename.startswith(WATCHED) or code.co_name in MACHINES:
            return None
        if what == "line" and self.which((code.co_filename, frame.f_lineno)):
            self.raised = True
            raise self.error
        return self._trace


def nth(number):
    """Choose the line that comes so many lines after the first."""
    lines = iter(range(number + 1))
    return lambda _line: next(lines, None) == number


def once(done):
    """Choose the first line that is not among those ``done``; it is, then."""

    def which(line):
        new = line not in done
        done.add(line)
        return new

    return which


def seen(machine):
    """Return all that history determines, in plain values; check that it is one whole."""
    plain, tables = fields_of(type(machine.state))
    found = {name: getattr(machine.state, name) for name in plain}
    for name in tables:
        rows = getattr(machine.state, name)
        found[name] = (list(rows.stored()), rows.next_ordinal, len(rows), indexed(rows))
    assert machine._undo.digest() == digest(machine.state)
    return copy.deepcopy(
        (
            found,
            owing(machine.outbox),
            (list(machine.keys), machine.configured, machine.digest(), machine.outcomes.digest()),
            (machine.seq, machine.time_ns, machine.failed),
            (machine._context.settings, machine._context.domains),
        )
    )


def owing(outbox):
    """Return what an outbox says; the counts must be those of what is owed."""
    counts = {kind: outbox.count(kind) for kind in (SendMail, Call, Timer)}
    assert sum(counts.values()) == len(outbox)
    waiting = (outbox._timers._due_ns, outbox._others._due_ns)
    due = (outbox.next_due_ns(), outbox.next_timer_ns(), outbox.held)
    return (list(outbox), waiting, due, counts, outbox.digest())


def indexed(rows):
    """Return what the indexes of a table say; it must be what the rows say."""
    found = []
    for index in rows._indexes:
        values = {}
        for key, row in rows.items():
            values.setdefault(getattr(row, index.name), []).append(key)
        if isinstance(index, UniqueIndex):
            assert index.holders == {value: key for value, (key,) in values.items()}
        else:
            assert {v: sorted(group) for v, group in index.groups.items()} == {
                value: sorted(keys) for value, keys in values.items()
            }
        for value, keys in values.items():
            assert rows.where(**{index.name: value}) == tuple(rows[key] for key in keys)
        if isinstance(index, SortedIndex):
            expected = sorted(rows.values(), key=lambda row: getattr(row, index.name))
            assert list(rows.ordered(index.name)) == expected
        found.append((index.name, values))
    return found


def apply(machine, event, **more):
    entry = Entry(machine.seq + 1, machine.time_ns + SECOND, event, "test", **more)
    (outcome,) = machine.apply([entry])
    return outcome


def break_everywhere(machine, event, lines=None):
    """Apply an event with an interrupt at each line, then without; return the outcome.

    With ``lines``, those that are in it are passed over, and all others come into it.
    """
    before = seen(machine)
    broken = 0
    while True:
        which = nth(broken) if lines is None else once(lines)
        with Breaking(KeyboardInterrupt(), which) as breaking:
            try:
                outcome = apply(machine, event)
            except KeyboardInterrupt:
                outcome = None
        if not breaking.raised:
            return outcome
        broken += 1
        assert outcome is None
        assert seen(machine) == before


def new_machine(app):
    return Machine(definition_of(app), bytes(16), random.Random)


# --- an application that uses all there is -------------------------------------------------------


@attrs.frozen
class Ticket:
    owner: str
    tag: str
    code: int
    due: int
    timer: tuple[int, int] | None = None


@declare_event
class Open:
    key: str
    owner: str = "ann"
    tag: str = ""
    code: int = 0
    due: int = 0


@declare_event
class Shift:
    owner: str
    by: int


@declare_event
class Swap:
    one: str
    other: str


@declare_event
class Shuffle:
    how: str


@declare_event
class Remind:
    key: str


@state
class Desk:
    opened: int = 0
    last: tuple[str, ...] = ()
    tickets: Table[str, Ticket] = table(index=("owner", "tag"), unique=("code",), sorted=("due",))
    archive: Table[int, str] = table()


class Helpdesk(App):
    state = Desk

    @handles(Open)
    def open(state, event, context):
        state.opened += 1
        timer = context.after(timedelta(seconds=event.due), Remind(event.key))
        ticket = Ticket(event.owner, event.tag, event.code, event.due, timer)
        old = state.tickets.get(event.key)
        if old is not None and old.timer is not None:
            context.cancel(old.timer)
        try:
            state.tickets[event.key] = ticket
        except DuplicateKey:
            state.archive[context.seq] = f"{event.key}: code {event.code} is taken"
            state.tickets[event.key] = attrs.evolve(ticket, code=1000 + context.seq)
        state.last = (*state.last[-2:], event.key)
        return len(state.tickets)

    @handles(Shift)
    def shift(state, event, context):
        rows = state.tickets
        for key, row in list(rows.items()):
            if row.owner == event.owner:
                rows[key] = attrs.evolve(row, due=row.due + event.by, tag=row.tag[:1] + "x")
        late = rows.between(due=(None, 2))
        context.mail([row.owner + "@x" for row in late], b"\r\n", reverse_path="")
        if event.by < 0:
            raise Refused("not backwards")

    @handles(Swap)
    def swap(state, event, context):
        rows = state.tickets
        one, other = rows.pop(event.one, None), rows.pop(event.other, None)
        if one is not None:
            rows[event.other] = attrs.evolve(one, tag="swapped")
        if other is not None:
            rows |= {event.one: other}

    @handles(Shuffle)
    def shuffle(state, event, context):
        rows = state.tickets
        match event.how:
            case "clear":
                rows.clear()
            case "last":
                key, row = rows.popitem()
                rows.setdefault(key + "'", row)
                state.archive[context.seq] = key
            case "first":
                first = rows.first("due")
                for key in [key for key, row in rows.items() if row is first]:
                    del rows[key]
            case "again":
                kept = dict(rows)
                rows.clear()
                rows.update(reversed(kept.items()))
                state.archive.update(enumerate(kept))
            case "fail":
                rows.clear()
                state.opened = -1
                context.call("GET", "https://x.example/")
                raise ValueError(event.how)

    @handles(Remind)
    def remind(state, event, context):
        row = state.tickets.pop(event.key, None)
        if row is not None:
            state.archive[context.seq] = event.key
            context.mail(f"{row.owner}@x", b"\r\n", reverse_path="")


BEGIN = [Open("a", "ann", "", 1, 1), Open("b", "bob", "t", 2, 2)]
KEYS = st.sampled_from("abcd")
OPENS = st.builds(
    Open, KEYS, st.sampled_from(["ann", "bob"]), st.sampled_from(["", "t"]), st.integers(0, 3),
    st.integers(0, 3),
)  # fmt: skip
EVENTS = st.lists(
    OPENS
    | OPENS
    | st.builds(Shift, st.sampled_from(["ann", "bob"]), st.integers(-1, 2))
    | st.builds(Swap, KEYS, KEYS)
    | st.builds(Shuffle, st.sampled_from(["clear", "last", "first", "again", "fail"]))
    | st.just("timer"),
    min_size=1,
    max_size=5,
)


def due_timer(machine, event):
    """Return what fires the first timer that is owed, for the word; events as they are."""
    if event != "timer":
        return event
    owed = next((owed for owed in machine.outbox if isinstance(owed.effect, Timer)), None)
    return TimerFired(*owed.id) if owed is not None else TimerFired(0, 0)


@settings(max_examples=12, deadline=None)
@given(EVENTS)
def test_an_interrupt_at_any_line_leaves_everything_as_it_was(events):
    """Promise 3: rows, order, indexes, digest, timers, outbox and counters, at every line."""
    machine, twin = new_machine(Helpdesk), new_machine(Helpdesk)
    for drawn in [*BEGIN, *events]:
        event = due_timer(twin, drawn)
        outcome = break_everywhere(machine, event)
        assert outcome == apply(twin, event)
        assert seen(machine) == seen(twin)


@settings(max_examples=12, deadline=None)
@given(EVENTS, st.sampled_from([RecursionError, ValueError, DuplicateKey]), st.data())
def test_an_error_at_any_line_changes_nothing_but_the_count_of_failures(events, error, data):
    """Promise 3: where it fails the event, nothing else is left of the event."""
    machine = new_machine(Helpdesk)
    for drawn in [*BEGIN, *events]:
        event = due_timer(machine, drawn)
        fact = isinstance(event, TimerFired)
        before = seen(machine)
        with Breaking(error(), nth(data.draw(st.integers(0, 60)))):
            try:
                outcome = apply(machine, event)
            except error:  # not the handler's: the machine was taking a fact in
                outcome = None
        after = seen(machine)
        if outcome is None:
            assert fact
            assert after == before
        if isinstance(outcome, FailedOutcome):
            assert after[0] == before[0]
            assert fact or after[1] == before[1]
            assert machine.failed == before[3][2] + 1


@declare_event
class Swallow:
    """Do everything, and go on whatever happens."""


class Careless(App):
    state = Desk

    @handles(Open)
    def open(state, event, context):
        row = Ticket(event.owner, event.tag, event.code, event.due)
        state.tickets[event.key] = row

    @handles(Swallow)
    def swallow(state, event, context):
        rows = state.tickets
        row = Ticket("cy", "new", 77, 7)
        for change in (
            lambda: rows.__setitem__("a", row),
            lambda: rows.__delitem__("b"),
            lambda: rows.__setitem__("z", attrs.evolve(row, code=78)),
            lambda: rows.__setitem__("b", attrs.evolve(row, code=79)),
            lambda: rows.__setitem__("c", attrs.evolve(rows["c"], tag="u", due=0)),
            rows.popitem,
            lambda: rows.first("due"),
        ):
            try:
                change()
            except BaseException:  # noqa: BLE001 - as careless as can be
                state.opened += 1


def test_a_handler_that_swallows_everything_keeps_whole_tables():
    """Promise 3: what broke a change off is caught; rows and indexes agree all the same."""
    broken = 0
    while True:
        machine = new_machine(Careless)
        for number, key in enumerate("abc"):
            apply(machine, Open(key, "ann", "t", number, number))
        with Breaking(MemoryError(), nth(broken)) as breaking:
            try:
                apply(machine, Swallow())
            except MemoryError:
                assert machine.seq == 3
        seen(machine)
        broken += 1
        if not breaking.raised:
            break
    assert broken > 150


# --- the examples --------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Next(), Next(7), Next(0)])
def test_no_number_is_lost_or_given_twice(event):
    """Promise 3: the number service, interrupted at every line."""
    machine = new_machine(NumberService)
    assert apply(machine, Next(5)) == Reply(1)
    break_everywhere(machine, event)
    assert machine.state.last == 5 + max(event.count, 0)


def mail(sender, local, subject="Hello", text="A line.", **fields):
    content = message(subject, text, From_=sender, To=f"{local}@lists.example", **fields)
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    header = content[: content.index(b"\r\n\r\n") + 4]
    return Mail(sender, (f"{local}@lists.example",), header, content)


def token_in(machine, table_name):
    """Return the token of the row that came last."""
    return next(reversed(getattr(machine.state, table_name).values())).token


def envelope_of_copy(machine):
    """Return which copy of a message is owed last, and its envelope, as its end tells them."""
    copies = [owed for owed in machine.outbox if isinstance(owed.effect, SendMail)]
    copy = [owed for owed in copies if owed.effect.reverse_path][-1]
    return (*copy.id, copy.effect.recipient, copy.effect.reverse_path, copy.effect.tag)


def test_the_mailing_lists_are_never_half_done():
    """Promise 3: joining, posting, bouncing, leaving; interrupted at every line of the example."""
    machine = new_machine(MailingLists)
    lines = set()
    settings = to_json(ListSettings(lists=("dev", "ops"), bounces_max=1, owner="own@er.example"))

    def tell(event):
        return break_everywhere(machine, event, lines)

    tell(Configured(settings, ("lists.example",)))
    for address in ("ann@a.example", "bob@b.example", "cy@c.example"):
        tell(Ask("dev", address, "subscribe"))
        tell(Confirm(token_in(machine, "requests")))
    tell(mail("dan@d.example", "dev-subscribe"))
    tell(mail("dan@d.example", f"dev-confirm-{token_in(machine, 'requests')}", "Re: yes"))
    tell(mail("eve@e.example", "dev-unsubscribe"))
    tell(Ask("ops", "eve@e.example", "subscribe"))
    timer = next(owed for owed in reversed(list(machine.outbox)) if isinstance(owed.effect, Timer))
    tell(TimerFired(*timer.id))
    tell(Confirm("nothing"))
    tell(mail("ann@a.example", "dev", "A topic", Message_ID="<1@a>"))
    tell(mail("bob@b.example", "dev", "Re: A topic", In_Reply_To="<1@a>", Message_ID="<2@b>"))
    tell(mail("ann@a.example", "dev-owner"))
    tell(MailFailed(*envelope_of_copy(machine), "552 full"))
    sent = MailSent(*envelope_of_copy(machine))
    tell(sent)
    tell(MailBounced(sent.event_seq, sent.n, status="5.2.2"))
    tell(Leave(token_in(machine, "subscribers")))
    assert len(machine.state.messages) == 2
    assert len(machine.state.subscribers) == 1
    assert machine.failed == 0
    assert len({line for line in lines if re.search("examples.lists", line[0])}) > 150
