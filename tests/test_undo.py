"""Undo: whatever a handler did, and wherever it broke off, is taken back."""

from __future__ import annotations

from unittest import mock

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedList

from happy.state import digest, state, table
from happy.table import Table
from happy.undo import Undo, fields_of, writes_in


@state
class Nothing:
    pass


@state
class Stubborn:
    doubled: int = attrs.field(default=1, converter=lambda value: value * 2)
    fixed: int = attrs.field(default=7, on_setattr=attrs.setters.frozen)
    other: int = 0


@state
class Numbers:
    last: int = 0
    rows: Table[int, int] = table()


@state
class Pair:
    rows: Table[int, int] = table()
    more: Table[int, int] = table()


@attrs.frozen
class Day:
    due: int


@state
class Calendar:
    rows: Table[int, Day] = table(sorted=("due",))


@pytest.fixture
def hashed(monkeypatch):
    """How many changed rows were hashed, each time that some were."""
    counts, settle = [], Table.settle

    def counting(rows, count):
        counts.append(count)
        return settle(rows, count)

    monkeypatch.setattr(Table, "settle", counting)
    return counts


def change(undo, root, key, *, replaying=False):
    """Let one event change one row."""
    undo.save()
    root.rows[key] = root.rows.get(key, 0) + 1
    undo.commit()
    undo.tidy(replaying=replaying)


def begun(root):
    """Return a state and its undo, saved."""
    undo = Undo(root)
    undo.save()
    return root, undo


def test_rollback_restores_what_converters_and_frozen_fields_would_not():
    """Promise 3: rolling back puts the saved values back, past converters and frozen fields."""
    root, undo = begun(Stubborn())
    before = (root.doubled, root.fixed, root.other)
    root.doubled = 5
    root.other = 5
    undo.rollback()
    assert (root.doubled, root.fixed, root.other) == before


def test_a_state_without_fields_can_be_undone():
    """A state may be empty."""
    root, undo = begun(Nothing())
    before = digest(root)
    undo.rollback()
    undo.commit()
    assert undo.digest() == digest(root) == before


def test_a_rollback_that_is_broken_off_is_finished_all_the_same(monkeypatch):
    """Promise 3: what breaks off a rollback is raised when everything is back."""
    root, undo = begun(Numbers())
    for number in range(5):
        root.rows[number] = number
    undo.commit()
    before = digest(root)
    undo.save()
    for number in range(5):
        del root.rows[number]
    restore, calls = Table.restore, []

    def breaking(self, key, old):
        calls.append(key)
        if len(calls) == 3:
            raise MemoryError
        restore(self, key, old)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "restore", breaking)
        with pytest.raises(MemoryError):
            undo.rollback()
    assert digest(root) == before == undo.digest()


@pytest.mark.parametrize("replaying", [False, True])
@pytest.mark.parametrize("keys", [1, 100_000])
def test_old_rows_are_let_go_when_there_are_many(replaying, keys):
    """What rows were is not kept for ever: a long run takes no more memory than a short one."""
    root, undo = begun(Numbers())
    kept = []
    for number in range(40_000):
        undo.save()
        root.rows[number % keys] = number
        undo.commit()
        undo.tidy(replaying=replaying)
        kept.append(len(undo.log) + len(root.rows.before))
    assert max(kept) < (20_000 if replaying else 5000)
    assert kept[-1] < keys + 5000
    assert undo.digest() == digest(root)


def test_a_row_that_changes_again_and_again_in_a_replay_is_hashed_once(hashed):
    """While nobody waits for an event, the digest is brought up to date when it is asked for."""
    root, undo = begun(Numbers())
    for number in range(20_000):
        change(undo, root, number % 10, replaying=True)
    assert hashed == []
    undo.settle()
    assert hashed == [10]


def test_no_event_waits_for_many_rows_to_be_hashed(hashed):
    """A turn hashes about as many rows as were changed in it, and a digest not many more."""
    root, undo = begun(Numbers())
    for number in range(20_000):
        change(undo, root, number)
    assert sum(hashed) > 18_000
    assert max(hashed) <= 300
    undo.digest()
    assert hashed[-1] < 1500


def test_few_rows_that_change_in_turn_are_hashed_for_a_digest_only(hashed):
    """What changes again and again is not hashed again and again, live neither."""
    root, undo = begun(Numbers())
    for number in range(20_000):
        change(undo, root, number % 800)
    assert hashed == []


def test_who_asks_for_an_order_does_not_wait_for_all_of_it(monkeypatch):
    """A sorted index is sorted before an application serves, and kept in order as rows change."""
    root, undo = begun(Calendar())
    for key in range(2000):
        root.rows[key] = Day(key)
    undo.tidy(replaying=True)
    undo.put_in_order(anew=True)
    sorted_anew, put_in = [], []
    monkeypatch.setattr("happy.index.SortedList", sorted_anew.append)
    add = SortedList.add
    monkeypatch.setattr(SortedList, "add", lambda self, one: put_in.append(one) or add(self, one))
    for key in range(1900):
        undo.save()
        root.rows[key] = Day(5000 - key)
        undo.commit()
        undo.tidy()
    before = len(put_in)
    assert root.rows.first("due") == Day(1900)
    assert root.rows.last("due") == Day(5000)
    assert sorted_anew == []
    assert len(put_in) - before < 300
    assert [day.due for day in root.rows.ordered("due")] == [
        *range(1900, 2000),
        *range(3101, 5001),
    ]


CHANGES = st.lists(
    st.tuples(st.sampled_from(["rows", "more"]), st.integers(0, 7), st.none() | st.integers(0, 3)),
    max_size=4,
)
"""What one event does: in which table, to which key; None removes the row."""


@settings(deadline=None)
@given(
    events=st.lists(st.tuples(CHANGES, st.sampled_from(["keep", "fail", "ask"])), max_size=20),
    bounds=st.tuples(st.integers(1, 5), st.integers(0, 5)),
    replaying=st.booleans(),
)
def test_the_digest_is_that_of_the_state_whenever_rows_are_hashed(events, bounds, replaying):
    """Promise 4: in whatever parts and turns the digest is kept up, it says what the state is."""
    root, undo = begun(Pair())
    log_max, changed_max = bounds
    with mock.patch.multiple(
        "happy.undo",
        _LOG_MAX=log_max,
        _CHANGED_MAX=changed_max,
        _CHANGED_MAX_IN_REPLAY=changed_max,
    ):
        for changes, then in events:
            undo.save()
            for name, key, row in changes:
                rows = getattr(root, name)
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
            undo.rollback() if then == "fail" else undo.commit()
            undo.tidy(replaying=replaying)
            if then == "ask":
                assert undo.digest() == digest(root)
    assert undo.digest() == digest(root)


def test_what_the_running_handler_wrote_can_be_told():
    """Rows that this event wrote are named, with what stood there before; others are not."""
    root, undo = begun(Numbers())
    root.rows[1] = 10
    undo.commit()
    undo.save()
    root.rows[1] = 11
    root.rows[2] = 20
    del root.rows[1]
    tables = fields_of(Numbers)[1]
    assert list(writes_in(root, tables, None)) == [
        ("rows", 1, 10),
        ("rows", 2, None),
        ("rows", 1, 11),
    ]
