"""Digests: kept up or computed from everything, in whatever batches, they are the same."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import subprocess
import sys
import uuid

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import happy.digest
from happy.digest import Sum, changed, comparable_keys, packed, packed_reply, sum_of
from happy.event import Reply


class Color(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


@attrs.frozen
class Place:
    name: str = attrs.field(eq=str.lower)
    size: float = 0


@dataclasses.dataclass
class Data:
    value: int


class Plain:
    def __init__(self, value):
        self.value = value


EAST = datetime.timezone(datetime.timedelta(hours=2))
NOON = datetime.datetime(2001, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "equal",
    [
        (1, True, 1.0, decimal.Decimal(1), decimal.Decimal("1.00")),
        (0, False, 0.0, -0.0),
        (0.5, decimal.Decimal("0.5"), decimal.Decimal("0.50")),
        (2**70, float(2**70)),
        (("a", 1), ("a", True)),
        (NOON, NOON.astimezone(EAST)),
        (NOON.timetz(), NOON.astimezone(EAST).timetz()),
        (Place("Bern", 1), Place("BERN", True)),
        ("dark", Shade.DARK),
        (float("inf"), decimal.Decimal("inf")),
    ],
    ids=str,
)
def test_equal_keys_are_packed_alike(equal):
    """Keys that a table cannot tell apart have one form, whichever of them came first."""
    assert len(set(equal)) == 1
    assert len({packed(*comparable_keys([key])) for key in equal}) == 1
    assert len({packed(*list(comparable_keys([key, 1.5]))[:1]) for key in equal}) == 1


def test_different_keys_are_packed_differently():
    """Keys that differ have forms that differ, of all types a key may have."""
    keys = [
        *(None, 0, 1, 0.5, 0.25, 2**70, -(2**70), "", "a", b"a", "\ud800", ("a",), ("a", 1), ()),
        *(NOON, NOON.replace(tzinfo=None), NOON.date(), NOON.timetz(), NOON.time()),
        *(datetime.timedelta(1), uuid.UUID(int=1), Color.RED, Place("a"), Place("a", 1)),
        *(float("inf"), float("-inf"), decimal.Decimal("0.1")),
    ]
    assert len({packed(key) for key in comparable_keys(keys)}) == len(keys)


THINGS = st.lists(st.tuples(st.integers(0, 3), st.text(max_size=2) | st.integers()), max_size=20)


def sum_of_all(things):
    """Return the sum of things that are there one by one."""
    return sum_of(*zip(*things, strict=True))


@given(THINGS, THINGS)
def test_a_sum_forgets_what_was_taken_out(there, gone):
    """Promise 4: what came and went leaves no trace, and the order does not matter."""
    one, other = Sum(), Sum()
    for thing in gone + there:
        one.add(*thing)
    one.value()
    for thing in reversed(gone):
        one.remove(*thing)
    for thing in reversed(there):
        other.add(*thing)
    assert one.value() == other.value()
    assert int(one.value(), 16) == sum_of_all(there)
    assert changed(sum_of_all(there + gone), 0, sum_of_all(gone)) == sum_of_all(there)


def test_a_sum_keeps_little_waiting():
    """Things wait to be packed in bulk, and not for ever."""
    total = Sum()
    for number in range(20_000):
        total.add(number)
        total.remove(number)
    assert len(total._added) + len(total._removed) < 10_000
    assert total.value() == Sum().value()


def test_one_odd_thing_changes_no_other():
    """Promise 4: a thing that msgpack has no word for is packed apart from its neighbours."""
    things = [(1, "a"), (2, 2**70), (3, "b")]
    assert sum_of_all(things) == sum(sum_of_all([thing]) for thing in things) % 2**128


@pytest.mark.parametrize("make", [
    lambda: {"b", "a", "c"}, lambda: {"b": 1, "a": 2}, lambda: Plain(Plain({"x", "y"})),
    lambda: [2**70, {"b", "a"}, "\ud800"], lambda: Plain, lambda: NOON, lambda: Place("a"),
    lambda: Reply((2**70, "\ud800")), lambda: Data(2**70),
    object, lambda: {"a": {2**70: {"x", "y"}}}, lambda: (Color.RED, Shade.DARK),
    lambda: Reply(Plain(10**5000)),
], ids=range(13))  # fmt: skip
def test_whatever_a_handler_replies_can_be_packed(make):
    """Promise 4: every reply has a form, the same for equal ones."""
    assert packed_reply(make()) == packed_reply(make())


def test_a_reply_that_holds_itself_can_be_packed():
    """A reply without end has a form, too."""
    loop = []
    loop.append(loop)
    assert packed_reply(loop)


def test_replies_are_packed_the_same_under_every_hash_seed():
    """Promise 4: the order of sets, which no two processes share, is no part of a form."""
    code = (
        "from happy.digest import packed_reply as p;"
        "print(p(set('abcdef')), p([set('abcdef'), 2**70]), p({'a': set('xyz'), 'b': 2**80}))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(said) == 1


def test_a_sum_lets_few_things_wait(monkeypatch):
    """Who adds something that is one too many waits until all are packed: so there are never many.

    The sum is that of what is in it, whenever they were packed.
    """
    packed_at_once, sum_odd = [], happy.digest._sum_odd

    def counting(things):
        packed_at_once.append(len(things))
        return sum_odd(things)

    monkeypatch.setattr("happy.digest._sum_odd", counting)
    kept, other = Sum(), Sum()
    for number in range(5000):
        kept.add(number, "thing")
        if number % 2:
            kept.remove(number, "thing")
        else:
            other.add(number, "thing")
            other.value()
    assert kept.value() == other.value()
    assert max(packed_at_once) <= 1000
