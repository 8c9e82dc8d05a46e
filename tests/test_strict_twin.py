"""Strict twins: what they take, and what they refuse, on every level."""

from __future__ import annotations

import datetime
import enum

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.strict_twin import strict_twin


class Color(enum.Enum):
    RED = "red"


@attrs.frozen
class Leaf:
    name: str
    size: int | None = None


@attrs.frozen
class Node:
    leaf: Leaf = Leaf("")
    nodes: tuple[Node, ...] = ()
    other: Other | None = None


@attrs.frozen
class Other:
    node: Node | None = None
    pair: tuple[str, Leaf] = ("", Leaf(""))
    either: bytes | Leaf = b""
    many: tuple[Leaf, ...] | None = None
    color: Color = Color.RED
    when: datetime.datetime | None = None
    numbers: tuple[int, ...] = ()


LEAVES = st.builds(Leaf, st.text(max_size=3), st.none() | st.integers(0, 9))
NODES = st.deferred(lambda: st.builds(Node, LEAVES, st.lists(NODES, max_size=2).map(tuple), OTHERS))
OTHERS = st.deferred(
    lambda: (
        st.none()
        | st.builds(
            Other,
            st.none() | NODES,
            st.tuples(st.text(max_size=2), LEAVES),
            st.binary(max_size=2) | LEAVES,
            st.none() | st.lists(LEAVES, max_size=2).map(tuple),
            when=st.none() | st.datetimes(timezones=st.just(datetime.UTC)),
            numbers=st.lists(st.integers(0, 9), max_size=2).map(tuple),
        )
    )
)

encode = msgspec.msgpack.encode
check = msgspec.msgpack.Decoder(strict_twin(Node)).decode


def maps_in(plain):
    """Yield all maps in a plain value that stand for instances."""
    if isinstance(plain, dict):
        yield plain
        plain = list(plain.values())
    if isinstance(plain, list):
        for item in plain:
            yield from maps_in(item)


@settings(deadline=None, max_examples=60)
@given(NODES, st.data())
def test_a_twin_takes_what_the_class_writes_and_not_one_name_more(node, data):
    """Whatever an instance holds is taken; a name too many is refused, however deep it stands."""
    written = encode(node)
    check(written)
    plain = msgspec.msgpack.decode(written)
    places = list(maps_in(plain))
    data.draw(st.sampled_from(places))["unheard"] = 1
    with pytest.raises(msgspec.ValidationError, match="unheard"):
        check(encode(plain))


def test_what_has_a_default_may_be_missing():
    """A record from before a field was added is taken."""
    check(encode({}))
    check(encode({"other": {"pair": ["", {"name": ""}]}}))
    with pytest.raises(msgspec.ValidationError, match="name"):
        check(encode({"leaf": {}}))


def test_two_names_may_be_swapped():
    """The order of the fields means nothing."""
    check(encode({"nodes": [], "leaf": {"size": 1, "name": ""}}))
