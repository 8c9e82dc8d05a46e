"""State that can be undone: fields, tables, indexes, order."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import time

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from happy.errors import DefinitionError, DuplicateKey
from happy.state import Table, Undo, digest, is_state, state, table


@attrs.frozen
class Row:
    owner: str
    mail: int
    note: str = ""


@state
class Ledger:
    last: int = 0
    names: tuple[str, ...] = ()
    rows: Table[str, Row] = table(index=("owner",), unique=("mail",))
    plain: Table[int, int] = table()


@state
class Nothing:
    pass


class Color(enum.Enum):
    RED = "red"


@state
class Everything:
    number: int = 0
    text: str = ""
    data: bytes = b""
    ratio: float = 0.0
    truth: bool = False
    maybe: int | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    moment: datetime.datetime = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    span: datetime.timedelta = datetime.timedelta(0)
    color: Color = Color.RED
    pairs: tuple[tuple[str, int], ...] = ()


@state
class Stubborn:
    doubled: int = attrs.field(default=1, converter=lambda value: value * 2)
    fixed: int = attrs.field(default=7, on_setattr=attrs.setters.frozen)
    other: int = 0


def begun(root):
    """Return a state and its undo, saved."""
    undo = Undo(root)
    undo.save()
    return root, undo


# --- the model: what a table promises, said with lists -----------------------------------------


class Ordered:
    """Keys in order; within an event, a key that went and came back keeps its place."""

    def __init__(self):
        self.places = []
        self.gone = set()

    def add(self, key):
        if key not in self.places:
            self.places.append(key)
        self.gone.discard(key)

    def remove(self, key):
        self.gone.add(key)

    def commit(self):
        self.places = list(self)
        self.gone.clear()

    def __iter__(self):
        return (key for key in self.places if key not in self.gone)


class Model:
    def __init__(self):
        self.last = 0
        self.names = ()
        self.rows = {}
        self.order = Ordered()
        self.groups = {}
        self.plain = {}

    def put(self, key, row):
        old = self.rows.get(key)
        if old is not None and old.owner != row.owner:
            self.groups[old.owner].remove(key)
        self.groups.setdefault(row.owner, Ordered()).add(key)
        self.rows[key] = row
        self.order.add(key)

    def drop(self, key):
        self.groups[self.rows.pop(key).owner].remove(key)
        self.order.remove(key)

    def commit(self):
        self.order.commit()
        for group in self.groups.values():
            group.commit()

    def taken(self, key, mail):
        return any(row.mail == mail for k, row in self.rows.items() if k != key)


OWNERS = ["ann", "bob", "cy"]
KEYS = st.sampled_from("abcdef")
ROWS = st.builds(Row, st.sampled_from(OWNERS), st.integers(0, 5), st.sampled_from(["", "x"]))


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

    @rule(key=KEYS, row=ROWS)
    def put(self, key, row):
        if self.model.taken(key, row.mail):
            with pytest.raises(DuplicateKey):
                self.root.rows[key] = row
        else:
            self.root.rows[key] = row
            self.model.put(key, row)

    @rule(key=KEYS)
    def delete(self, key):
        if key in self.model.rows:
            del self.root.rows[key]
            self.model.drop(key)
        else:
            with pytest.raises(KeyError):
                del self.root.rows[key]

    @rule(key=KEYS)
    def pop(self, key):
        assert self.root.rows.pop(key, None) == self.model.rows.get(key)
        if key in self.model.rows:
            self.model.drop(key)

    @rule()
    def popitem(self):
        if self.model.rows:
            last = list(self.model.order)[-1]
            assert self.root.rows.popitem() == (last, self.model.rows[last])
            self.model.drop(last)
        else:
            with pytest.raises(KeyError):
                self.root.rows.popitem()

    @rule()
    def clear(self):
        self.root.rows.clear()
        for key in list(self.model.rows):
            self.model.drop(key)

    @rule(owner=st.sampled_from(OWNERS))
    def delete_while_iterating(self, owner):
        for key in self.root.rows:
            for mine in self.root.rows.where(owner=owner):
                if self.root.rows[key] is not mine:
                    continue
                del self.root.rows[key]
                self.model.drop(key)
                break

    @rule(key=KEYS, row=st.sampled_from([None, 5, Row(["unhashable"], 99), Row("ann", ["un"])]))
    def put_nonsense(self, key, row):
        with pytest.raises((AttributeError, TypeError)):
            self.root.rows[key] = row

    @rule(key=st.integers(0, 3), value=st.integers())
    def put_plain(self, key, value):
        self.root.plain[key] = value
        self.model.plain[key] = value

    @rule(key=st.integers(0, 3))
    def delete_plain(self, key):
        assert self.root.plain.pop(key, None) == self.model.plain.pop(key, None)

    @rule(last=st.integers(), names=st.lists(st.text(), max_size=2).map(tuple))
    def set_fields(self, last, names):
        self.root.last = self.model.last = last
        self.root.names = self.model.names = names

    @rule()
    def commit(self):
        self.undo.commit()
        self.model.commit()
        self._begin()

    @rule()
    def roll_back(self):
        self.undo.rollback()
        self.model = copy.deepcopy(self.before)
        assert digest(self.root) == self.digest

    @invariant()
    def fields_agree(self):
        assert (self.root.last, self.root.names) == (self.model.last, self.model.names)
        assert dict(self.root.plain) == self.model.plain

    @invariant()
    def rows_agree(self):
        rows, order = self.root.rows, list(self.model.order)
        assert list(rows) == order
        assert list(reversed(rows)) == order[::-1]
        assert list(rows.items()) == [(key, self.model.rows[key]) for key in order]
        assert len(rows) == len(order)
        assert bool(rows) == bool(order)
        assert [key in rows for key in "abcdef"] == [key in self.model.rows for key in "abcdef"]

    @invariant()
    def indexes_agree(self):
        rows = self.root.rows
        for owner in OWNERS:
            mine = [self.model.rows[key] for key in self.model.groups.get(owner, ())]
            assert rows.where(owner=owner) == tuple(mine)
            assert rows.count(owner=owner) == len(mine)
        for mail in range(6):
            found = [row for row in self.model.rows.values() if row.mail == mail]
            assert rows.one(mail=mail) == (found[0] if found else None)
            assert rows.where(mail=mail) == tuple(found)
            assert rows.count(mail=mail) == len(found)


TestUndoing = Undoing.TestCase
TestUndoing.__doc__ = "Promise 3: committed is as the model says, rolled back is as before."
TestUndoing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- tables ------------------------------------------------------------------------------------


def test_delete_and_put_back_in_one_event_keeps_the_place():
    """A row that one event deletes and puts back keeps its place; over two events it is last."""
    root, undo = begun(Ledger())
    for number, key in enumerate("abc"):
        root.rows[key] = Row("ann", number)
    undo.commit()
    undo.save()
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
    root, undo = begun(Ledger())
    for number, key in enumerate("abc"):
        root.rows[key] = Row("ann", number)
    undo.commit()
    before = digest(root)
    undo.save()
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


def test_iteration_passes_over_rows_deleted_meanwhile():
    """Deleting a row further on while iterating takes it out of the iteration."""
    root, _ = begun(Ledger())
    for number in range(4):
        root.plain[number] = number
    seen = []
    for key in root.plain:
        seen.append(key)
        root.plain.pop(key + 1, None)
    assert seen == [0, 2]


def test_inserting_while_iterating_is_an_error():
    """A new row under a running iteration raises, as a dict does."""
    root, _ = begun(Ledger())
    root.plain[0] = 0
    running = iter(root.plain)
    root.plain[1] = 0
    with pytest.raises(RuntimeError):
        list(running)


def test_index_forgets_values_that_nobody_has():
    """An index takes no memory for values that no row has any more."""
    root, undo = begun(Ledger())
    for number in range(1000):
        undo.save()
        root.rows["a"] = Row(f"owner {number}", number)
        undo.commit()
        undo.save()
        root.rows["b"] = Row(f"failed {number}", -1)
        undo.rollback()
    assert len(root.rows._index["owner"]) == 1
    assert len(root.rows._unique["mail"]) == 1


def test_clear_is_not_quadratic():
    """Clearing a large table takes a time in proportion to its rows."""
    root, undo = begun(Ledger())
    for number in range(20_000):
        root.plain[number] = number
    undo.commit()
    undo.save()
    began = time.process_time()
    root.plain.clear()
    assert time.process_time() - began < 2
    assert len(root.plain) == 0
    undo.rollback()
    assert len(root.plain) == 20_000


def test_a_table_alone_is_a_dict():
    """A table outside a state keeps rows, indexes and order without an undo."""
    rows = Table(index=("owner",), unique=("mail",))
    rows["a"] = Row("ann", 1)
    rows["b"] = Row("ann", 2)
    rows["a"] = Row("bob", 3)
    del rows["b"]
    rows.update({"c": Row("bob", 1)})
    assert rows == {"a": Row("bob", 3), "c": Row("bob", 1)}
    assert rows.where(owner="bob") == (Row("bob", 3), Row("bob", 1))
    assert rows.where(owner="ann") == ()
    assert rows.one(mail=2) is None
    assert "c" in repr(rows)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda rows: rows.where(note=""), DefinitionError),
        (lambda rows: rows.count(note=""), DefinitionError),
        (lambda rows: rows.one(owner="ann"), DefinitionError),
        (lambda rows: rows.where(), TypeError),
        (lambda rows: rows.where(owner="ann", mail=1), TypeError),
    ],
)
def test_asking_without_an_index_is_an_error(ask, error):
    """Only declared indexes can be asked, one at a time; the message says what to declare."""
    with pytest.raises(error):
        ask(Ledger().rows)


# --- undo --------------------------------------------------------------------------------------


def test_a_table_cannot_be_replaced():
    """Assigning to a table field raises: rows are changed in it, never around the undo."""
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        Ledger().rows = Table()


def test_misspelt_fields_are_errors():
    """Assigning to a field that was not declared raises."""
    with pytest.raises(AttributeError):
        Ledger().lst = 1


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
    _, undo = begun(Nothing())
    undo.rollback()
    undo.commit()


# --- digests -----------------------------------------------------------------------------------


def filled(*steps):
    root, undo = begun(Ledger())
    for step in steps:
        step(root)
        undo.commit()
        undo.save()
    return root


def put(key, row):
    return lambda root: root.rows.__setitem__(key, row)


def test_digest_tells_states_apart():
    """Promise 4: states that differ in a value, a row or an order have different digests."""
    a, b = put("a", Row("ann", 1)), put("b", Row("ann", 2))
    roots = [
        filled(),
        filled(lambda root: setattr(root, "last", 1)),
        filled(lambda root: setattr(root, "names", ("",))),
        filled(a),
        filled(a, b),
        filled(b, a),
        filled(put("a", Row("ann", 1, "x"))),
        filled(lambda root: root.plain.__setitem__(0, 0)),
    ]
    digests = [digest(root) for root in roots]
    assert len(set(digests)) == len(digests)


def test_digest_of_equal_states_is_equal():
    """Promise 4: the same rows in the same order have the same digest, however they came."""
    a, b = put("a", Row("ann", 1)), put("b", Row("ann", 2))
    assert digest(filled(a, b)) == digest(
        filled(put("a", Row("bob", 7)), b, put("c", Row("cy", 3)), lambda r: r.rows.pop("c"), a)
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("number", [0, 1, 2**63, 2**64, 2**64 + 1, -(2**63), -(2**63) - 1, 10**50]),
        ("text", ["", "a", "é", "\ud800", "\ud801", "a\ud800"]),
        ("data", [b"", b"a", b"\0"]),
        ("ratio", [0.0, 0.5, float("inf")]),
        ("maybe", [None, 0, 2**70]),
        ("price", [decimal.Decimal(0), decimal.Decimal("0.1")]),
        ("span", [datetime.timedelta(0), datetime.timedelta(microseconds=1)]),
        ("pairs", [(), (("a", 1),), (("a", 2**70),), (("\ud800", 1),)]),
    ],
)
def test_every_value_a_state_may_hold_has_a_digest(field, values):
    """Promise 4: no value is too large, or too odd a text, to be compared."""
    digests = []
    for value in values:
        root = Everything()
        setattr(root, field, value)
        digests.append(digest(root))
    assert len(set(digests)) == len(values)


def test_rows_with_large_values_have_a_digest():
    """Promise 4: a row's values count, even where msgpack has no word for them."""
    huge = [filled(put("a", Row("ann", 2**70 + n))) for n in range(2)]
    assert digest(huge[0]) != digest(huge[1])


# --- declaring ---------------------------------------------------------------------------------


def declare(name, annotations, **values):
    return state(type(name, (), {"__annotations__": annotations, "__module__": __name__, **values}))


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (list[int], (), "tuple"),
        (dict[str, int], (), "Table"),
        (set[int], (), "Table"),
        (frozenset[int], (), "order"),
        (bytearray, b"", "bytes"),
        (int, attrs.NOTHING, "default"),
        (Table[str, Row], attrs.NOTHING, "default"),
        (Table[str, Row], None, r"table\(\)"),
        (int, table(), "Table"),
        (Table, table(), "Table"),
        (Table[str, list[int]], table(), "tuple"),
        (Table[str, Row], table(index=("missing",)), "missing"),
        (Table[str, int], table(unique=("missing",)), "missing"),
        (object, 0, "immutable"),
    ],
)
def test_a_field_that_cannot_be_undone_is_refused(hint, value, words):
    """A state that could change without being undone is refused, with the remedy."""
    values = {} if value is attrs.NOTHING else {"field": value}
    with pytest.raises(DefinitionError, match=words) as refused:
        declare("Wrong", {"field": hint}, **values)
    assert "Wrong, field field" in str(refused.value)


def test_index_names_are_tuples():
    """One name without a comma is a mistake that is named, not an index per letter."""
    with pytest.raises(DefinitionError, match="tuple"):
        table(index="owner")


def test_versions_begin_at_one():
    """A state's version is 1 or more."""
    with pytest.raises(DefinitionError, match="version"):
        state(version=0)(type("Old", (), {"__annotations__": {}, "__module__": __name__}))


def test_is_state_means_declared_with_state():
    """Only the class that was declared is a state, not what derives from it."""
    assert is_state(Ledger)
    assert not is_state(type("Derived", (Ledger,), {}))
    assert not is_state(Ledger())
    assert not is_state(int)
