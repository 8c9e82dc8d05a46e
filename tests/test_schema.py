"""The schema of a type: the same where one can be read as the other, another elsewhere."""

import enum
from typing import Literal, Optional

import attrs

from happy import Table, state, table
from happy.schema import schema_of


@attrs.frozen
class Row:
    name: str
    size: int | None = None


@attrs.frozen
class Renamed:
    name: str
    size: Optional[int] = 5  # noqa: UP045 - as others write it


@attrs.frozen
class Wider:
    name: str
    size: int | str | None = None


@attrs.frozen
class Tree:
    name: str
    inner: tuple["Tree", ...] = ()


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Less(enum.Enum):
    RED = "red"


def shape(hint, **more):
    """Return the shape of a state with a table of these rows and these fields."""
    annotations = {"rows": Table[str, hint], **more}
    fields = dict.fromkeys(more)
    return schema_of(
        state(type("S", (), {"__annotations__": annotations, "rows": table(), **fields}))
    )


def test_names_of_classes_and_defaults_do_not_count():
    """A row class that was renamed, or has another default, has the same shape."""
    assert shape(Row) == shape(Renamed)


def test_fields_and_their_types_count():
    """Another field, another name of one, another type, another key: another shape."""
    shapes = [
        shape(Row),
        shape(Wider),
        shape(Tree),
        shape(Colour),
        shape(Less),
        shape(Literal["red"]),
        shape(Literal["blue"]),
        shape(tuple[int, ...]),
        shape(tuple[int]),
        shape(Row, more=int | None),
        shape(Row, most=int | None),
    ]
    assert len(set(shapes)) == len(shapes)
