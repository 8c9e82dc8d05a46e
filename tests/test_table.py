"""Tables: a dict that can be undone, with indexes (``happy.index``, ``happy.lookup``) in step."""

from __future__ import annotations

import copy
import datetime
import enum
import time

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from happy.errors import DefinitionError, DuplicateKey
from happy.index import SortedIndex
from happy.lookup import ABSENT
from happy.state import digest, state, table
from happy.table import Table
from happy.undo import Undo


@attrs.frozen
class Row:
    owner: str
    mail: int
    note: str = ""
    due: int = 0


@attrs.frozen
class Place:
    name: str = attrs.field(eq=str.lower)


@state
class Ledger:
    last: int = 0
    names: tuple[str, ...] = ()
    rows: Table[str, Row] = table(index=("owner", "note"), unique=("mail",), sorted=("due",))
    plain: Table[int | float | tuple[int, ...] | Place, int] = table()


def begun(root):
    """Return a state and its undo, saved."""
    undo = Undo(root)
    undo.save()
    return root, undo


def filled(count=3, **fields):
    """Return a ledger and its undo with rows a, b, c ... of one owner."""
    root, undo = begun(Ledger())
    for number, key in enumerate("abcdefghij"[:count]):
        root.rows[key] = Row("ann", number, **fields)
    undo.commit()
    undo.save()
    return root, undo


def seen(rows):
    """Return all that can be known of a table of rows, in plain values."""
    return (
        list(rows.stored()),
        rows.next_ordinal,
        [(owner, rows.where(owner=owner)) for owner in OWNERS],
        [(note, rows.where(note=note), rows.count(note=note)) for note in ("", "x")],
        [(mail, rows.one(mail=mail)) for mail in range(8)],
        list(rows.ordered("due")),
        list(rows.ordered("due", reverse=True)),
    )


# --- the model: what a table promises, said with lists -----------------------------------------


class Model:
    """Rows by key; within an event, a key that went and came back keeps its place."""

    def __init__(self):
        self.last = 0
        self.names = ()
        self.rows = {}
        self.plain = {}
        self.places = []
        self.next_ordinal = 0
        self.ordinals = {}

    def put(self, key, row):
        if key not in self.places:
            self.places.append(key)
            self.ordinals[key] = self.next_ordinal
            self.next_ordinal += 1
        self.rows[key] = row

    def commit(self):
        self.places = self.order()
        self.ordinals = {key: self.ordinals[key] for key in self.places}

    def order(self):
        return [key for key in self.places if key in self.rows]

    def having(self, **field):
        ((name, value),) = field.items()
        rows = [self.rows[key] for key in self.order()]
        return tuple(row for row in rows if getattr(row, name) == value)

    def refuses(self, key, row):
        return any(other.mail == row.mail for k, other in self.rows.items() if k != key)


OWNERS = ["ann", "bob", "cy"]
KEYS = st.sampled_from("abcdef")
ROWS = st.builds(
    Row, st.sampled_from(OWNERS), st.integers(0, 7), st.sampled_from(["", "x"]), st.integers(-2, 2)
)
NONSENSE = [
    None,
    5,
    Row(["unhashable"], 99),
    Row("ann", ["un"]),
    Row("ann", 99, ["un"]),
    Row("ann", 99, "", None),
    Row("ann", 99, "", "text"),
    Row("ann", 99, "", float("nan")),
]
# Some of them are equal and told apart by their type only.
ODD_KEYS = st.sampled_from(
    [0, False, 0.0, 1, True, 1.5, (1, 2), (True, 2), Place("x"), Place("X"), 2**70, float(2**70)]
)


class Undoing(RuleBasedStateMachine):
    """Random events, each committed or rolled back, against the model."""

    def __init__(self):
        super().__init__()
        self.root = Ledger()
        self.undo = Undo(self.root)
        self.model = Model()
        self._begin()

    def _begin(self):
        self.undo.save()
        self.before = copy.deepcopy(self.model)
        self.digest = digest(self.root)
        self.seen = seen(self.root.rows)

    @rule(key=KEYS, row=ROWS)
    def put(self, key, row):
        if self.model.refuses(key, row):
            with pytest.raises(DuplicateKey):
                self.root.rows[key] = row
        else:
            self.root.rows[key] = row
            self.model.put(key, row)

    @rule(key=KEYS, due=st.integers(-3, 3), owner=st.sampled_from(OWNERS))
    def evolve(self, key, due, owner):
        if key in self.root.rows:
            row = attrs.evolve(self.root.rows[key], due=due, owner=owner)
            self.root.rows[key] = row
            self.model.put(key, row)

    @rule(key=KEYS)
    def delete(self, key):
        if key in self.model.rows:
            del self.root.rows[key]
            del self.model.rows[key]
        else:
            with pytest.raises(KeyError):
                del self.root.rows[key]

    @rule(key=KEYS)
    def pop(self, key):
        assert self.root.rows.pop(key, None) == self.model.rows.pop(key, None)

    @rule(times=st.integers(1, 3))
    def popitem(self, times):
        for _ in range(times):
            if self.model.rows:
                last = self.model.order()[-1]
                assert self.root.rows.popitem() == (last, self.model.rows.pop(last))
            else:
                with pytest.raises(KeyError):
                    self.root.rows.popitem()

    @rule()
    def clear(self):
        self.root.rows.clear()
        self.model.rows.clear()

    @rule(key=KEYS, row=ROWS, how=st.sampled_from(["update", "ior", "setdefault"]))
    def put_otherwise(self, key, row, how):
        if self.model.refuses(key, row):
            return
        if how == "update":
            self.root.rows.update({key: row})
        elif how == "ior":
            self.root.rows |= {key: row}
        elif self.root.rows.setdefault(key, row) is not row:
            return
        self.model.put(key, row)

    @rule(key=KEYS, row=st.sampled_from(NONSENSE))
    def put_nonsense(self, key, row):
        if row is not None and len(set(self.model.rows) - {key}) == 0:
            return  # there is nothing it could be compared with
        with pytest.raises((AttributeError, TypeError)):
            self.root.rows[key] = row

    @rule(key=ODD_KEYS, value=st.integers())
    def put_plain(self, key, value):
        self.root.plain[key] = value
        self.model.plain[key] = value

    @rule(key=ODD_KEYS)
    def delete_plain(self, key):
        assert self.root.plain.pop(key, None) == self.model.plain.pop(key, None)

    @rule(last=st.integers(), names=st.lists(st.text(), max_size=2).map(tuple))
    def set_fields(self, last, names):
        self.root.last = self.model.last = last
        self.root.names = self.model.names = names

    @rule(settle=st.booleans())
    def commit(self, settle):
        self.undo.commit()
        self.model.commit()
        self.root.rows.put_in_order(anew=settle)
        if settle:
            assert self.undo.digest() == digest(self.root)
        self._begin()

    @rule(settle=st.booleans())
    def roll_back(self, settle):
        self.undo.rollback()
        self.model = copy.deepcopy(self.before)
        assert digest(self.root) == self.digest
        assert seen(self.root.rows) == self.seen
        if settle:
            assert self.undo.digest() == self.digest
            self._begin()

    @precondition(lambda self: self.root.rows)
    @rule()
    def iterate_and_change(self):
        """A dict says so, and so does a table."""
        running = iter(self.root.rows)
        key = next(running)
        row = self.root.rows.pop(key)
        with pytest.raises(RuntimeError):
            next(running)
        del self.model.rows[key]
        assert row not in self.root.rows.values()

    @invariant()
    def fields_agree(self):
        assert (self.root.last, self.root.names) == (self.model.last, self.model.names)
        assert dict(self.root.plain) == self.model.plain
        assert self.root.plain == self.model.plain

    @invariant()
    def rows_agree(self):
        rows, order = self.root.rows, self.model.order()
        assert list(rows) == order
        assert list(reversed(rows)) == order[::-1]
        assert list(rows.items()) == [(key, self.model.rows[key]) for key in order]
        assert list(reversed(rows.keys())) == order[::-1]
        assert list(reversed(rows.items())) == [(key, self.model.rows[key]) for key in order[::-1]]
        assert list(reversed(rows.values())) == [self.model.rows[key] for key in order[::-1]]
        assert list(rows.values()) == [self.model.rows[key] for key in order]
        assert len(rows) == len(order)
        assert bool(rows) == bool(order)
        assert [key in rows for key in "abcdef"] == [key in self.model.rows for key in "abcdef"]
        assert rows == self.model.rows
        assert rows.next_ordinal == self.model.next_ordinal

    @invariant()
    def indexes_agree(self):
        rows = self.root.rows
        for owner in OWNERS:
            assert rows.where(owner=owner) == self.model.having(owner=owner)
            assert rows.count(owner=owner) == len(self.model.having(owner=owner))
        for mail in range(8):
            found = self.model.having(mail=mail)
            assert rows.one(mail=mail) == (found[0] if found else None)
            assert rows.where(mail=mail) == found
            assert rows.count(mail=mail) == len(found)

    @rule(low=st.none() | st.integers(-3, 3), high=st.none() | st.integers(-3, 3))
    def ranges_agree(self, low, high):
        rows = self.root.rows
        mine = [self.model.rows[key] for key in self.model.order()]
        ordered = sorted(mine, key=lambda row: row.due)
        assert rows.between(due=(low, high)) == tuple(
            row
            for row in ordered
            if (low is None or row.due >= low) and (high is None or row.due <= high)
        )
        assert list(rows.ordered("due")) == ordered
        assert list(rows.ordered("due", reverse=True)) == ordered[::-1]
        assert rows.first("due") == (ordered[0] if ordered else None)
        assert rows.last("due") == (ordered[-1] if ordered else None)
        assert rows.where(due=0) == self.model.having(due=0)


TestUndoing = Undoing.TestCase
TestUndoing.__doc__ = "Promise 3: committed is as the model says, rolled back is as before."
TestUndoing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- a dict, and how it is undone ---------------------------------------------------------------


def test_delete_and_put_back_in_one_event_keeps_the_place():
    """A row that one event deletes and puts back keeps its place; over two events it is last."""
    root, undo = filled()
    row = root.rows.pop("a")
    root.rows["a"] = row
    undo.commit()
    assert list(root.rows) == ["a", "b", "c"]
    undo.save()
    del root.rows["a"]
    undo.commit()
    undo.save()
    root.rows["a"] = row
    undo.commit()
    assert list(root.rows) == ["b", "c", "a"]


def test_rollback_after_delete_and_put_back_restores_the_old_row():
    """Deleting, putting back another row and failing leaves the first one, where it stood."""
    root, undo = filled()
    before = digest(root)
    del root.rows["a"]
    root.rows["a"] = Row("bob", 9)
    root.rows["d"] = Row("bob", 0)
    undo.rollback()
    assert digest(root) == before
    assert root.rows.where(owner="bob") == ()
    assert root.rows.one(mail=9) is None
    assert root.rows.one(mail=0) == Row("ann", 0)


def test_unique_value_moves_between_rows():
    """A unique value that its row gave up is free at once, and taken back when that fails."""
    root, undo = begun(Ledger())
    root.rows["a"] = Row("ann", 1)
    undo.commit()
    undo.save()
    root.rows["a"] = Row("ann", 2)
    root.rows["b"] = Row("bob", 1)
    assert root.rows.one(mail=1) == Row("bob", 1)
    undo.rollback()
    assert root.rows.one(mail=1) == Row("ann", 1)
    assert root.rows.one(mail=2) is None


def test_duplicate_key_names_the_row_that_has_it():
    """A refused duplicate says which field, which value and whose, and changes nothing."""
    root, _ = begun(Ledger())
    root.rows["a"] = Row("ann", 1)
    before = digest(root)
    with pytest.raises(DuplicateKey, match="mail 1 is taken by the row 'a'"):
        root.rows["b"] = Row("bob", 1)
    assert digest(root) == before
    assert root.rows.where(owner="bob") == ()


@pytest.mark.parametrize(
    "walk", [iter, reversed, lambda t: iter(t.items()), lambda t: t.ordered("due")]
)
@pytest.mark.parametrize(
    "change", [lambda t: t.popitem(), lambda t: t.update({str(len(t)): Row("bob", len(t))})]
)
def test_changing_while_iterating_is_an_error(walk, change):
    """A row that comes or goes under a running iteration raises, as a dict does."""
    root, _ = filled()
    running = walk(root.rows)
    change(root.rows)
    with pytest.raises(RuntimeError):
        list(running)
    running = walk(root.rows)
    next(running)
    root.rows["a"] = attrs.evolve(root.rows["a"], note="replaced")
    change(root.rows)
    with pytest.raises(RuntimeError):
        next(running)


def test_replacing_rows_while_iterating_is_fine():
    """Other rows in the places of the old ones do not disturb an iteration, as in a dict."""
    root, _ = filled()
    for key, row in root.rows.items():
        root.rows[key] = attrs.evolve(row, owner="bob")
    assert [row.owner for row in root.rows.values()] == ["bob"] * 3


def test_rows_found_may_be_deleted_while_going_through_them():
    """What an index found is a tuple, so that the rows may go meanwhile."""
    root, _ = filled()
    for row in root.rows.where(owner="ann"):
        del root.rows["abc"[row.mail]]
    assert not root.rows


def test_index_forgets_values_that_nobody_has():
    """An index takes no memory for values that no row has any more."""
    root, undo = begun(Ledger())
    for number in range(1000):
        undo.save()
        root.rows["a"] = Row(f"owner {number}", number, due=number)
        undo.commit()
        undo.save()
        root.rows["b"] = Row(f"failed {number}", -1, due=-1)
        undo.rollback()
    owners, mails, dues = (root.rows._names[name] for name in ("owner", "mail", "due"))
    assert (len(owners.groups), len(mails.holders), len(dues.groups)) == (1, 1, 1)


@pytest.mark.parametrize(
    "drain", [lambda t: t.clear(), lambda t: [t.popitem() for _ in range(20_000)]]
)
def test_emptying_is_not_quadratic(drain):
    """Emptying a large table in one event takes a time in proportion to its rows."""
    root, undo = begun(Ledger())
    for number in range(20_000):
        root.plain[number] = number
    undo.commit()
    undo.save()
    began = time.process_time()
    drain(root.plain)
    assert time.process_time() - began < 30
    assert len(root.plain) == 0
    undo.rollback()
    assert len(root.plain) == 20_000


def test_a_table_alone_is_a_dict():
    """A table outside a state keeps rows, indexes and order without an undo."""
    rows = Table(index=("owner",), unique=("mail",), sorted=("due",))
    rows["a"] = Row("ann", 1)
    rows["b"] = Row("ann", 2)
    rows["a"] = Row("bob", 3)
    del rows["b"]
    rows.update({"c": Row("bob", 1)})
    assert rows == {"a": Row("bob", 3), "c": Row("bob", 1)}
    assert rows | {"d": 1} == {"a": Row("bob", 3), "c": Row("bob", 1), "d": 1}
    assert {"a": 1, "d": 1} | rows == {"a": Row("bob", 3), "d": 1, "c": Row("bob", 1)}
    assert rows.where(owner="bob") == (Row("bob", 3), Row("bob", 1))
    assert rows.where(owner="ann") == ()
    assert rows.one(mail=2) is None
    assert "c" in repr(rows)
    assert rows.popitem() == ("c", Row("bob", 1))
    assert rows.popitem() == ("a", Row("bob", 3))
    with pytest.raises(KeyError):
        rows.popitem()


def test_rows_come_in_the_order_of_the_table_whenever_they_got_the_value():
    """What an index finds has the table's order, not that in which rows joined a group."""
    root, _ = filled()
    root.rows["c"] = attrs.evolve(root.rows["c"], owner="bob")
    root.rows["a"] = attrs.evolve(root.rows["a"], owner="bob")
    assert [row.mail for row in root.rows.where(owner="bob")] == [0, 2]


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda rows: rows.where(nothing=""), DefinitionError, "no index 'nothing'"),
        (lambda rows: rows.count(nothing=""), DefinitionError, "no index 'nothing'"),
        (lambda rows: rows.one(owner="ann"), DefinitionError, "no unique index 'owner'"),
        (lambda rows: rows.between(owner=("a", "b")), DefinitionError, "no sorted index 'owner'"),
        (lambda rows: rows.first("owner"), DefinitionError, "no sorted index 'owner'"),
        (lambda rows: rows.last("owner"), DefinitionError, "no sorted index 'owner'"),
        (lambda rows: rows.ordered("owner"), DefinitionError, "no sorted index 'owner'"),
        (lambda rows: rows.between(due=1), TypeError, r"due=\(low, high\)"),
        (lambda rows: rows.between(due=("a", None)), TypeError, "compared with 'a'"),
        (lambda rows: rows.where(), TypeError, "name one"),
        (lambda rows: rows.where(owner="ann", mail=1), TypeError, "name one"),
    ],
)
def test_asking_without_an_index_is_an_error(ask, error, words):
    """Only declared indexes can be asked, one at a time; the message says what to declare."""
    with pytest.raises(error, match=words):
        ask(filled()[0].rows)


# --- sorted -------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


NAIVE = datetime.datetime(2001, 1, 1)  # noqa: DTZ001 - what is refused
AWARE = NAIVE.replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("there", "value", "words"),
    [
        (1, None, "due None: None has no place"),
        (1, "one", "due 'one': text, and the other rows have a number"),
        (1, float("nan"), "not a number"),
        (1, Color.RED, "Color has no order"),
        (AWARE, NAIVE, "without timezone"),
        ((1, "a"), (1, 2), r"\(a number, a number\), and the other rows have \(a number, text\)"),
        ((1, "a"), (1, None), "None has no place"),
        (b"a", "a", "text"),
    ],
)
def test_what_cannot_be_sorted_is_refused_before_anything_changes(there, value, words):
    """A value without a place in the order is a sentence, and changes nothing."""
    root, _ = begun(Ledger())
    root.rows["a"] = Row("ann", 1, due=there)
    before = seen(root.rows)
    for key in ("a", "b"):
        with pytest.raises(TypeError, match=words):
            root.rows[key] = Row("bob", 2, due=value)
    assert seen(root.rows) == before


def test_numbers_of_all_kinds_are_sorted_together():
    """Whole numbers, fractions and numbers with names have one order; an empty table any."""
    root, undo = begun(Ledger())
    for number, due in enumerate([2.5, Level.LOW, True, 2, -1]):
        root.rows[str(number)] = Row("ann", number, due=due)
    assert [row.due for row in root.rows.ordered("due")] == [-1, 1, 1, 2, 2.5]
    undo.rollback()
    root.rows["a"] = Row("ann", 1, due="text")
    assert root.rows.between(due=("a", None)) == (Row("ann", 1, due="text"),)


def test_a_sorted_index_mends_itself():
    """An order whose making broke off is made anew, and nothing is lost."""
    index = SortedIndex("due")
    values = list(range(0, 40, 2))
    index.fill(values, values)
    assert [list(keys) for keys in index.between(None, None)] == [[value] for value in values]
    index.add(1, 1)
    index.discard(38, 38)
    index._touched.append([])  # cannot be looked up
    with pytest.raises(TypeError):
        index.between(None, None)
    assert [list(keys) for keys in index.between(None, 4)] == [[0], [1], [2], [4]]


def test_a_sorted_index_is_a_queue():
    """Taking the first again and again, with others coming, keeps up with a large table."""
    root, undo = begun(Ledger())
    for number in range(2000):
        root.rows[str(number)] = Row("ann", number, due=number)
    undo.commit()
    for number in range(2000, 4000):
        undo.save()
        first = root.rows.first("due")
        assert first.due == number - 2000
        del root.rows[str(first.mail)]
        root.rows[str(number)] = Row("ann", number, due=number)
        undo.commit()
    assert len(root.rows._names["due"]._touched) < 10


# --- storing and filling ------------------------------------------------------------------------


def test_what_was_stored_fills_a_table_exactly():
    """Promise 4: rows, order, ordinals, indexes and digest are as they were, block by block."""
    root, undo = filled(10, note="x")
    del root.rows["d"], root.rows["j"]
    root.plain[True] = 1
    undo.commit()
    again = Ledger()
    both = Undo(again)
    stored = list(root.rows.stored())
    again.rows.fill(stored[:4], root.rows.next_ordinal)
    again.rows.fill(stored[4:], root.rows.next_ordinal)
    again.plain.fill(root.plain.stored(), root.plain.next_ordinal)
    assert seen(again.rows) == seen(root.rows)
    assert both.digest() == undo.digest() == digest(again)


@pytest.mark.parametrize(
    ("stored", "next_ordinal", "error"),
    [
        ([(0, "a", Row("ann", 1)), (0, "b", Row("ann", 2))], 5, ValueError),
        ([(1, "a", Row("ann", 1)), (0, "b", Row("ann", 2))], 5, ValueError),
        ([(0, "a", Row("ann", 1)), (1, "a", Row("ann", 2))], 5, ValueError),
        ([(0, "a", Row("ann", 1)), (1, "b", Row("ann", 1))], 5, DuplicateKey),
        ([(0, "a", Row("ann", 1, due=None))], 5, TypeError),
        ([(5, "a", Row("ann", 1))], 5, ValueError),
    ],
)
def test_rows_that_no_table_stored_are_refused(stored, next_ordinal, error):
    """What is out of order, or twice, does not fill a table."""
    with pytest.raises(error):
        Ledger().rows.fill(stored, next_ordinal)


# --- breaking off -------------------------------------------------------------------------------


class Breaks(Exception):
    """Out of the blue."""


@pytest.mark.parametrize("change", [
    lambda rows: rows.__setitem__("a", Row("bob", 9, "x", 5)),
    lambda rows: rows.__setitem__("z", Row("bob", 9, "x", 5)),
    lambda rows: rows.__delitem__("b"),
], ids=["replace", "insert", "delete"])  # fmt: skip
@pytest.mark.parametrize("caught", [True, False])
def test_a_change_that_breaks_off_is_taken_back_at_once(change, caught, monkeypatch):
    """Promise 3: a handler that catches what broke a change off goes on with a whole table."""
    for method in ("add", "discard"):
        for owner in (SortedIndex,):
            root, undo = filled()
            before, known = seen(root.rows), undo.digest()
            whole = getattr(owner, method)
            calls = []

            def breaking(self, value, key, whole=whole, calls=calls):
                calls.append(key)
                if len(calls) == 1:
                    raise Breaks
                whole(self, value, key)

            undo.save()
            with monkeypatch.context() as patched:
                patched.setattr(owner, method, breaking)
                try:
                    change(root.rows)
                    broke = False
                except Breaks:
                    broke = True
            assert broke == bool(calls)
            if not broke:
                continue
            if caught:
                undo.commit()
            else:
                undo.rollback()
            assert seen(root.rows) == before
            assert undo.digest() == digest(root) == known


def test_a_change_that_cannot_be_taken_back_at_once_fails_its_event(monkeypatch):
    """Promise 3: a handler that swallows what broke off a change half done is rolled back."""
    root, undo = filled()
    before = seen(root.rows)

    def breaking(self, value, key):
        raise Breaks

    with monkeypatch.context() as patched:
        patched.setattr(SortedIndex, "add", breaking)
        with pytest.raises(Breaks):
            root.rows["a"] = Row("bob", 9, "x", 5)
    with pytest.raises(Breaks):
        undo.commit()
    assert seen(root.rows) == before
    undo.save()
    root.rows["a"] = Row("bob", 9, "x", 5)
    undo.commit()
    assert ABSENT not in root.rows.values()
