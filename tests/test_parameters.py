"""Reading what a request says into typed values."""

from __future__ import annotations

import datetime
import enum
import uuid

import attrs
import pytest
from attrs.validators import ge
from hypothesis import given
from hypothesis import strategies as st

from happy import BadRequest, DefinitionError, event, query
from happy.parameters import make_event, of_event, of_query


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@event
class Paint:
    wall: str
    color: Color = Color.RED
    coats: int = attrs.field(default=1, validator=ge(1))
    gloss: bool = False
    day: datetime.date | None = None
    tags: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()


PAINT = of_event(Paint)


def read(*texts):
    return make_event(Paint, PAINT.read(texts))


def test_each_type_is_read_by_its_own_rules():
    """Texts become whole numbers, truths, dates, members of an enum, and runs of a name."""
    made = read(
        ("wall", "north"), ("color", "blue"), ("coats", "2"), ("gloss", "true"),
        ("day", "2001-09-09"), ("tags", "a"), ("tags", "b"), ("sizes", "3"),
    )  # fmt: skip
    assert made == Paint("north", Color.BLUE, 2, True, datetime.date(2001, 9, 9), ("a", "b"), (3,))


def test_what_is_left_away_has_its_default():
    """Only what has no default must be there."""
    assert read(("wall", "north")) == Paint("north")


@pytest.mark.parametrize(
    ("texts", "faults"),
    [
        ([], ["wall is missing"]),
        ([("wall", "n"), ("wall", "s")], ["wall is there twice"]),
        ([("wall", "n"), ("door", "d")], ["door is not known here"]),
        ([("wall", "n"), ("coats", "1.0")], ["coats is not a whole number"]),
        ([("wall", "n"), ("coats", "1e2")], ["coats is not a whole number"]),
        ([("wall", "n"), ("coats", " 1")], ["coats is not a whole number"]),
        ([("wall", "n"), ("coats", "\u0661")], ["coats is not a whole number"]),
        ([("wall", "n"), ("coats", "9" * 5000)], ["coats is not a whole number"]),
        ([("wall", "n"), ("coats", "9" * 20)], ["coats is not a whole number of at most 64 bits"]),
        ([("wall", "n"), ("gloss", "yes")], ["gloss is neither true nor false"]),
        ([("wall", "n"), ("color", "green")], ["color is not a valid Color"]),
        ([("wall", "n"), ("sizes", "1"), ("sizes", "x")], ["sizes is not a whole number"]),
        ([("wall", "n"), ("coats", "0")], ["'coats' must be >= 1: 0"]),
        ([("gloss", "x"), ("coats", "x")],
         ["gloss is neither true nor false", "coats is not a whole number", "wall is missing"]),
    ],
    ids=range(14),
)  # fmt: skip
def test_every_fault_is_named(texts, faults):
    """A request that does not spell an event hears all that is wrong with it."""
    with pytest.raises(BadRequest) as refused:
        read(*texts)
    assert list(refused.value.errors) == faults


@given(st.integers(-(2**63), 2**64 - 1), st.text(), st.booleans(), st.uuids())
def test_what_is_written_is_read(number, text, truth, ident):
    """Any value of a plain type is read back from its text."""

    @query
    def look(state, number: int, text: str, truth: bool, ident: uuid.UUID):
        return None

    texts = [
        ("number", str(number)),
        ("text", text),
        ("truth", str(truth).lower()),
        ("ident", str(ident)),
    ]
    assert of_query(look).read(texts) == {
        "number": number, "text": text, "truth": truth, "ident": ident,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda state, key: None, "say what type key has"),
        (lambda state, *keys: None, "name the arguments"),
        (lambda state, **keys: None, "name the arguments"),
    ],
    ids=range(3),
)
def test_a_query_that_cannot_be_asked_so_is_the_authors_error(function, words):
    """The types of a query's arguments are needed to read them."""
    with pytest.raises(DefinitionError, match=words):
        of_query(function)
