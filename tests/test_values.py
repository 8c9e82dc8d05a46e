"""What may stand in an event, a row or a state."""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid

import attrs
import pytest

from happy.errors import DefinitionError
from happy.event import event
from happy.values import check_immutable, complain, hints_of


class Size(enum.IntEnum):
    SMALL = 1


class Word(enum.Enum):
    YES = "yes"


class Pair(enum.Enum):
    BOTH = (1, 2)


class Half(enum.Enum):
    ONE = 1
    TWO = "two"


@attrs.frozen
class Point:
    x: int
    y: int | None = None


@attrs.frozen
class Tree:
    left: Tree | None = None
    children: tuple[Tree, ...] = ()


@attrs.frozen
class Egg:
    hen: Hen | None = None


@attrs.frozen
class Hen:
    eggs: tuple[Egg, ...] = ()


@attrs.define
class Loose:
    x: int = 0


@attrs.frozen
class Deep:
    inner: tuple[Loose, ...] = ()


@attrs.frozen
class Hidden:
    _secret: int = 0


@attrs.frozen
class Holder:
    hidden: Hidden | None = None


@attrs.frozen
class Untyped:
    x = attrs.field(default=0)


@attrs.frozen
class Lost:
    x: NotImported = 0  # noqa: F821 - which is what is tested


@pytest.mark.parametrize(
    "hint",
    [
        int, str, bytes, float, bool, None.__class__, decimal.Decimal, datetime.datetime,
        datetime.date, datetime.time, datetime.timedelta, uuid.UUID, int | None, int | str,
        tuple[int, ...], tuple[str, int],
        tuple[tuple[Point, ...], ...], typing.Literal["a", 1], Size, Word, Point, Tree, Egg,
    ],
    ids=str,
)  # fmt: skip
def test_values_that_cannot_change_are_taken(hint):
    """Plain values, tuples, enums and frozen attrs classes may stand anywhere, trees too."""
    assert complain(hint) is None


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (list, "tuple"),
        (list[int], "tuple"),
        (dict[str, int], "Table"),
        (set[int], "Table"),
        (frozenset[int], "order"),
        (bytearray, "bytes"),
        (tuple, "item type"),
        (tuple[list[int], ...], "tuple"),
        (int | list[int], "tuple"),
        (object, "immutable"),
        (typing.Any, "immutable"),
        (typing.Callable, "immutable"),
        (complex, "immutable"),
        (Loose, "frozen"),
        (Deep, "frozen"),
        (Hidden, "_secret"),
        (Holder, "_secret"),
        (Untyped, "immutable"),
        (Pair, "text"),
        (Half, "text"),
    ],
    ids=str,
)
def test_values_that_could_change_are_refused(hint, words):
    """What can change, has no order or cannot be written is refused, with the remedy."""
    assert words in complain(hint)


def test_the_complaint_names_class_and_field():
    """The author hears which field of which class is meant."""
    with pytest.raises(DefinitionError, match=r"event Deep, field inner: Loose is not frozen"):
        check_immutable(Deep, "event")


def test_unknown_names_are_explained():
    """A type that cannot be resolved is an author's error with a remedy."""
    with pytest.raises(DefinitionError, match=r"NotImported.*module level"):
        hints_of(Lost)


def test_an_event_may_hold_itself():
    """A class may speak of itself in its own fields."""

    @event
    class Reply:
        to: Reply | None = None

    assert Reply(Reply()).to == Reply()


def test_a_private_field_of_an_event_is_refused():
    """A field that the journal would lose without a word is refused when it is declared."""
    with pytest.raises(DefinitionError, match="_x would not be written"):

        @event
        class Private:
            _x: int = 0
