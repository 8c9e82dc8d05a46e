"""Digest marks: a machine says what it is, and every replay is compared."""

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.apply import Machine
from happy.errors import Corrupt, Diverged
from happy.event import Entry
from happy.inline_core import InlineCore
from happy.journal.frame import Frame, Kind
from happy.marks import DigestMark, Marker, compare, mark_in, mark_of


@event
class Add:
    number: int = 1


@attrs.frozen
class Row:
    number: int


@state
class Sum:
    total: int = 0
    rows: Table[int, Row] = table()


class Adder(App):
    state = Sum

    @handles(Add)
    def add(state, event, context):
        if event.number < 0:
            raise Refused("too small")
        state.total += event.number
        state.rows[context.seq] = Row(event.number)
        return state.total


class Doubling(Adder):
    """A changed handler: the state is another, the outcomes are the same."""

    @handles(Add)
    def add(state, event, context):
        state.total += event.number
        state.rows[context.seq] = Row(2 * event.number)
        return state.total


class Talking(Adder):
    """A changed handler: the state is the same, the outcomes are others."""

    @handles(Add)
    def add(state, event, context):
        state.total += event.number
        state.rows[context.seq] = Row(event.number)
        return f"it is {state.total}"


def machine_of(app, *numbers, batch=100):
    made = Machine(definition_of(app), b"j" * 16, random.Random)
    entries = [Entry(seq, seq, Add(number)) for seq, number in enumerate(numbers, 1)]
    for start in range(0, len(entries), batch):
        made.apply(entries[start : start + batch])
    return made


def frame_of(body, first_seq=4, count=0):
    return Frame(Kind.DIGEST_MARK, first_seq, count, 0, 0, b"", body, 4096, 4096 + 72 + len(body))


hexes = st.binary(min_size=16, max_size=16).map(bytes.hex)
MARKS = st.builds(
    DigestMark,
    st.integers(0, 2**40),
    hexes,
    hexes,
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.booleans(),
    st.integers(0, 65_535),
)


@given(MARKS)
def test_a_mark_comes_back_from_its_body(mark):
    """What a mark says is in its body, and its seq is the one before its place."""
    assert mark_in(frame_of(mark.body(), mark.seq + 1)) == mark


@pytest.mark.parametrize("body", [b"", bytes(47), bytes(49)])
def test_a_body_that_is_no_mark_is_damage(body):
    """A mark of another length is refused with its seq."""
    with pytest.raises(Corrupt, match="seq 3: the digest mark"):
        mark_in(frame_of(body))


def test_a_mark_with_records_is_damage():
    """A mark takes no seq, so it can have no records."""
    with pytest.raises(Corrupt):
        mark_in(frame_of(mark_of(machine_of(Adder)).body(), count=1))


def test_the_same_history_agrees():
    """Promise 4: two machines that applied the same events say the same, however batched."""
    first, second = machine_of(Adder, 1, 2, -1, 3), machine_of(Adder, 1, 2, -1, 3, batch=1)
    assert compare(second, mark_of(first))
    assert second.agreed == mark_of(first)


@pytest.mark.parametrize(
    ("app", "what"), [(Doubling, "the state (digest"), (Talking, "the outcomes (digest")]
)
def test_what_differs_is_said(app, what):
    """Promise 4: the first mark that differs stops, naming its range, and what differs."""
    first, other = machine_of(Adder, 1, 2, 3), machine_of(app, 1, 2, 3)
    other.agreed = attrs.evolve(mark_of(first), seq=2)
    with pytest.raises(Diverged) as caught:
        compare(other, mark_of(first))
    said = str(caught.value)
    assert said.startswith("seq 3 to 3: ")
    assert what in said
    assert " and the outcomes" not in said
    assert "up to seq 2 all agrees" in said
    assert (caught.value.first_seq, caught.value.last_seq) == (3, 3)


def test_what_is_accepted_does_not_agree():
    """A replay may go on past a divergence, but remembers no agreement."""
    asked = []

    def accepts(said, diverged):
        asked.append((said.seq, diverged.first_seq))
        return True

    other = machine_of(Doubling, 1, 2)
    assert not compare(other, mark_of(machine_of(Adder, 1, 2)), accepts)
    assert asked == [(2, 1)]
    assert other.agreed is None


def test_a_mark_of_another_scheme_is_passed_over():
    """Digests that are made in another way say nothing of these."""
    mark = attrs.evolve(mark_of(machine_of(Adder, 1)), scheme=77)
    assert not compare(machine_of(Doubling, 1), mark)


def test_a_mark_in_another_place_is_a_mistake_of_the_caller():
    """Who compares a machine with a mark of another seq has lost its place."""
    with pytest.raises(ValueError, match="after seq 1, the machine is at 2"):
        compare(machine_of(Adder, 1, 2), mark_of(machine_of(Adder, 1)))


def test_a_state_of_another_shape_is_not_compared_but_its_outcomes_are():
    """A field that is new today is no divergence; what was answered still is compared."""

    @state
    class Wider(Sum):
        count: int = 0

    class Counting(Adder):
        state = Wider

    class CountingAndTalking(Talking):
        state = Wider

    mark = mark_of(machine_of(Adder, 1, 2))
    assert compare(machine_of(Counting, 1, 2), mark)
    with pytest.raises(Diverged, match="the outcomes"):
        compare(machine_of(CountingAndTalking, 1, 2), mark)


def test_the_shape_knows_the_rows():
    """A row with another field is another shape."""

    @attrs.frozen
    class Row:
        number: int
        more: int = 0

    @state
    class Sum:
        total: int = 0
        rows: Table[int, Row] = table()

    class Other(Adder):
        state = Sum

    assert mark_of(machine_of(Other)).shape != mark_of(machine_of(Adder)).shape


# --- when marks are written ---------------------------------------------------------------------


def test_a_mark_is_due_after_so_many_events():
    """Counted from the last mark, whichever way that came."""
    machine = machine_of(Adder, 1, 2, 3)
    marker = Marker(InlineCore(machine, None), 3, 10**18)
    assert not marker.due(2)
    assert marker.due(3)
    mark = marker.due_mark()
    assert mark == mark_of(machine)
    marker.written(mark, 10**18)
    assert marker.due_mark() is None
    assert not marker.due(5)
    assert marker.due(6)


def test_the_last_mark_is_left_away_when_it_says_nothing_new():
    """A stream that stops twice without an event between writes one mark."""
    machine = machine_of(Adder, 1)
    marker = Marker(InlineCore(machine, None), 100, 10**18)
    assert marker.last_mark() == mark_of(machine)
    marker.written(mark_of(machine), 10**18)
    assert marker.last_mark() is None


def test_an_accepting_mark_is_due_at_once_and_once():
    """After an accepted divergence a fresh mark says so, before anything else is written."""
    machine = machine_of(Adder, 1)
    marker = Marker(InlineCore(machine, None), 100, 10**18, accepting=True)
    mark = marker.due_mark()
    assert mark.accepting
    assert marker.last_mark() == mark
    marker.written(mark, 10**18)
    assert marker.due_mark() is None


def test_the_status_is_that_of_the_last_mark():
    """People see up to where the machine is vouched for, and since when."""
    machine = machine_of(Adder, 1)
    marker = Marker(InlineCore(machine, None), 100, 0)
    assert marker.status() is None
    marker.written(mark_of(machine), 10**18)
    assert marker.status() == {
        "seq": 1,
        "state": machine.digest(),
        "outcomes": machine.outcomes.digest(),
        "time": "2001-09-09T01:46:40Z",
    }
