"""Items as blocks: fast where that is exact, and exact everywhere."""

import enum
import itertools
from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest

from happy.errors import UnfitSnapshot
from happy.event import Blob
from happy.items import BLOCK_SIZE, Items
from happy.journal.snapshot_format import Block, Form


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Cat:
    name: str
    weight: float = 1.0
    born: datetime | None = None
    colour: Colour = Colour.RED


@attrs.frozen
class Dog:
    name: str


def there_and_back(items, hint=None):
    """Return the items that come back, and in which forms they were written."""
    codec = Items(hint)
    blocks = list(codec.blocks(5, items))
    assert {block.section for block in blocks} <= {5}
    back = list(itertools.chain.from_iterable(map(codec.read, blocks)))
    assert sum(block.count for block in blocks) == len(back)
    return back, {block.form for block in blocks}


BERLIN = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Cat("a"), Form.DECLARED),
        (Cat("a", born=datetime(2020, 1, 1, tzinfo=UTC)), Form.DECLARED),
        (Cat("a", born=datetime(2020, 1, 1)), Form.DECLARED),  # noqa: DTZ001 - such values are kept too
        (Cat("a", 1), Form.EXACT),
        (Cat("a", born=datetime(2020, 1, 1, tzinfo=BERLIN)), Form.EXACT),
        (Cat("a", born=datetime(2020, 1, 1, fold=1)), Form.EXACT),  # noqa: DTZ001 - such values are kept too
        (Cat(2**70), Form.EXACT),
        (Cat("\ud800"), Form.EXACT),
        (Cat(None), Form.EXACT),
        (Dog("a"), Form.EXACT),
    ],
)
def test_a_row_comes_back_exactly(value, form):
    """What a class declares is written as declared where nothing is lost by it, else exactly."""
    back, forms = there_and_back([("key", value)], tuple[str, Cat])
    assert repr(back) == repr([("key", value)])
    assert forms == {form}


def test_a_union_of_classes_comes_back():
    """Rows of several classes are told apart, though the fast form cannot."""
    rows = [(1, Cat("a")), (2, Dog("b"))]
    assert there_and_back(rows, tuple[int, Cat | Dog]) == (rows, {Form.EXACT})


def test_without_a_type_everything_comes_back():
    """Items of which no type is known: replies, say."""
    items = [("key", None, 3, [Cat("a"), (1, 2)]), ("other", b"f", 4, Blob("ab", 3))]
    assert there_and_back(items) == (items, {Form.EXACT})


def test_blocks_have_about_one_size():
    """However small or large the rows are, a block is near what it should be, or one row."""
    sizes = [1] * 3000 + [1000] * 600 + [3 * BLOCK_SIZE] * 3 + [1] * 5
    blocks = list(Items(tuple[int, str]).blocks(0, ((n, "x" * n) for n in sizes)))
    assert sum(block.count for block in blocks) == len(sizes)
    assert all(len(b.body) <= 2 * BLOCK_SIZE or b.count == 1 for b in blocks)
    assert len(blocks) < 40


def test_no_items_are_no_blocks():
    """An empty section takes no room."""
    assert list(Items(tuple[int, str]).blocks(0, [])) == []


def test_what_a_class_does_not_fit_any_more_is_told():
    """Items of other types, or of a class that is gone, are refused in our own words."""
    (block,) = Items(tuple[str, Cat]).blocks(0, [("a", Cat("x"))])
    with pytest.raises(UnfitSnapshot, match="does not know"):
        Items(tuple[str, Dog | int]).read(Block(0, Form.EXACT, 1, b"\x91\xd4\x63\x00"))
    with pytest.raises(UnfitSnapshot):
        Items(tuple[int, Cat]).read(block)
    gone = Items().blocks(0, [type("Gone", (), {"__attrs_attrs__": ()})])
    with pytest.raises(TypeError):
        list(gone)
    for name in (b"no.module:X", b"happy.items:nothing", b"happy.items:BLOCK_SIZE", b"x"):
        body = b"\x91\xc7" + bytes([len(name) + 3, 4, 0x92, 0xA0 + len(name)]) + name + b"\x01"
        with pytest.raises(UnfitSnapshot, match="does not know"):
            Items().read(Block(0, Form.EXACT, 1, body))
