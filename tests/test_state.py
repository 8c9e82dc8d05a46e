"""State that can be undone: fields, tables, indexes, order."""

from __future__ import annotations

import datetime
import decimal
import enum

import attrs
import pytest

from happy.errors import DefinitionError
from happy.state import digest, is_state, state, table
from happy.table import Table
from happy.undo import Undo


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


def begun(root):
    """Return a state and its undo, saved."""
    undo = Undo(root)
    undo.save()
    return root, undo


# --- fields ------------------------------------------------------------------------------------


def test_a_table_cannot_be_replaced():
    """Assigning to a table field raises: rows are changed in it, never around the undo."""
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        Ledger().rows = Table()


def test_misspelt_fields_are_errors():
    """Assigning to a field that was not declared raises."""
    with pytest.raises(AttributeError):
        Ledger().lst = 1


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
    """Promise 4: the same rows that came in the same order have the same digest."""
    a, b = put("a", Row("ann", 1)), put("b", Row("ann", 2))
    assert digest(filled(a, b)) == digest(filled(put("a", Row("bob", 7)), b, a))


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
