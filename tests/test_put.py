"""Putting a row in the place of another, written out for what a table has indexed."""

from __future__ import annotations

import copy
import itertools
import sys
import traceback

import attrs
import pytest

from happy.errors import DefinitionError, DuplicateKey
from happy.index import Index
from happy.put import put_of
from happy.table import Table

VALUES = {"owner": "bob", "number": 3, "due": 7}
CHANGES = [names for n in range(4) for names in itertools.combinations(VALUES, n)]


@attrs.frozen
class Row:
    owner: object = "ann"
    number: object = 0
    due: int = 0


def filled():
    """Return a table with each kind of index and two rows."""
    rows = Table(index=("owner",), unique=("number",), sorted=("due",))
    rows["a"] = Row()
    rows["b"] = Row(number=1)
    return rows


def found(rows):
    """Return what the indexes say of the values that a test uses."""
    owners = [rows.where(owner=owner) for owner in ("ann", "bob")]
    return owners, [rows.one(number=number) for number in range(4)], list(rows.ordered("due"))


@pytest.mark.parametrize(
    "row", [Row(), Row("bob"), Row(number=2), Row(due=5), Row("bob", 3, 7), Row("bob", 3)]
)
def test_a_row_is_found_by_its_new_values_whichever_of_them_changed(row):
    """However many indexed fields change at once, all indexes say what the rows say."""
    rows = filled()
    rows["a"] = row
    other = Row(number=1)
    assert rows == {"a": row, "b": other}
    assert list(rows) == ["a", "b"]
    anns = (row, other) if row.owner == "ann" else (other,)
    assert found(rows) == (
        [anns, (row,) if row.owner == "bob" else ()],
        [{0: None, 1: other, row.number: row}.get(number) for number in range(4)]
        if row.number
        else [row, other, None, None],
        sorted([row, other], key=lambda one: one.due),
    )


@pytest.mark.parametrize(
    ("row", "error"),
    [(Row("bob", 1), DuplicateKey), (Row([]), TypeError), (Row("bob", []), TypeError)],
)
def test_a_row_that_cannot_be_put_leaves_all_as_it_was(row, error):
    """A value that another row has, or that cannot be looked up, is refused; nothing changes."""
    rows = filled()
    before = found(rows)
    with pytest.raises(error):
        rows["a"] = row
    assert (rows, found(rows)) == ({"a": Row(), "b": Row(number=1)}, before)


def test_an_index_whose_field_keeps_its_value_is_left_alone():
    """Only the indexes of fields that changed are asked, also by a value equal to the old."""
    asked = []

    class Owner(str):
        __slots__ = ()

        def __hash__(self):
            asked.append(str(self))
            return hash(str(self))

    rows = filled()
    rows["a"] = Row(Owner("ann"), 0.0)
    assert asked == []
    rows["a"] = Row(Owner("ann"), 3, 7)
    assert asked == []
    rows["a"] = Row("bob", 3, 7)
    assert asked


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("there", [True, False])
def test_a_put_that_breaks_off_at_any_line_is_taken_back(changed, there):
    """Whichever line an exception comes from, rows and indexes are as before, or all is done."""
    new = attrs.evolve(Row(), **{name: VALUES[name] for name in (changed if there else VALUES)})
    key = "a" if there else "c"
    before, done = filled(), filled()
    done[key] = new
    line = 1
    rows = filled()
    while break_off(lambda rows=rows: rows.__setitem__(key, new), line):
        assert (dict(rows), found(rows)) in [(dict(one), found(one)) for one in (before, done)]
        rows = filled()
        line += 1
    assert line > 5
    assert (dict(rows), found(rows)) == (dict(done), found(done))
    assert new in rows.where(owner=new.owner)


def break_off(put, line):
    """Put, and raise before the so-many-th line of what was written out; say if it came to it."""
    passed = 0

    def trace(frame, what, _argument):
        nonlocal passed
        if not frame.f_code.co_filename.startswith("<put of"):
            return None
        if what == "line" and "error" not in frame.f_locals:
            passed += 1
            if passed == line:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        put()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_what_is_written_out_is_a_table_still():
    """It is called a table, copied as one, and made once for the same fields."""
    rows = filled()
    twin = copy.deepcopy(rows)
    twin["a"] = Row("bob", 3)
    assert isinstance(twin, Table)
    assert (type(twin), type(twin).__name__) == (type(rows), "Table")
    assert type(Table(index=("owner",), unique=("number",), sorted=("due",))) is type(rows)
    assert (rows.where(owner="bob"), twin.where(owner="bob")) == ((), (Row("bob", 3),))


def test_a_traceback_shows_the_line_that_was_written_out():
    """Who looks for a mistake reads code, not the name of a file that is not there."""
    rows = filled()
    try:
        rows["a"] = None
    except AttributeError as error:
        told = "".join(traceback.format_exception(error))
    assert "row.due" in told


@pytest.mark.parametrize("name", ["a b", "owner.name", "x=1", "", "class"])
def test_what_is_no_name_of_a_field_is_refused(name):
    """No code is made of anything but names."""
    with pytest.raises(DefinitionError, match="no name of a field"):
        put_of(((name, Index),))
