"""Decoding a frame at once gives what decoding one by one gives, and never more."""

from __future__ import annotations

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.app import App, definition_of, handles
from happy.bulk import BulkReader
from happy.codec import EventDecoder, encode
from happy.errors import UnknownEvent
from happy.event import Configured, TimerFired, event
from happy.state import state
from happy.upcast import upcast


@attrs.frozen
class Part:
    name: str
    size: int = 0


@event(name="Made")
class Made:
    text: str = ""
    parts: tuple[Part, ...] = ()
    number: int | None = None


@event(name="Sold", version=2)
class Sold:
    amount: int = 0


@upcast(Sold, 1)
def sold_1(fields):
    return {"amount": fields["price"]}


@event(name="Both")
class First:
    one: int = 0


@event(name="Both", version=2)
class Second:
    two: int = 0


@event(name="Paid", version=3)
class Paid:
    who: str
    amount: int
    notes: tuple[str, ...]


@event(name="Empty")
class Empty:
    pass


@state
class Nothing:
    pass


class Shop(App):
    state = Nothing
    retired = ("Gone",)

    @handles(Made, Sold, First, Second, Paid, Empty)
    def handle(state, event, context):
        pass


EVENTS = definition_of(Shop).events
PARTS = st.lists(st.builds(Part, st.text(max_size=3), st.integers(0, 2**40)), max_size=3)
MADE = st.builds(Made, st.text(max_size=3), PARTS.map(tuple), st.none() | st.integers(0, 9))
RECORDS = st.builds(
    encode,
    MADE
    | st.builds(Sold, st.integers(0, 3))
    | st.builds(Paid, st.text(max_size=40), st.integers(-9, 9), st.just(("x",)))
    | st.just(Empty())
    | st.just(TimerFired(1, 2))
    | st.just(Configured(b"x")),
    st.sampled_from(["", "http POST /next"]),
    st.none() | st.just("key"),
    st.none() | st.binary(max_size=2),
)


def plain(one):
    return one.event, one.source, one.key, one.fingerprint


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=8))
def test_together_they_say_what_they_say_alone(records):
    """Promise 4: decoding a frame at once makes the same events, in the same order."""
    decoder = EventDecoder(EVENTS)
    together = decoder.together(records)
    alone = [decoder.entry(1, 1, record) for record in records]
    assert [plain(one) for one in together] == [plain(one) for one in alone]


def raw(*parts):
    return msgspec.msgpack.encode(parts)


GOOD = encode(Made("a"), "x")
PAID = {"who": "a", "amount": 5, "notes": ()}


@pytest.mark.parametrize(
    "record",
    [
        raw("Sold", 1, {"price": 5}, ""),
        raw("Both", 1, {"one": 5}, ""),
        raw("Both", 2, {"two": 5}, ""),
        raw("Gone", 1, {}, ""),
    ],
)
def test_what_needs_a_look_of_its_own_is_left_to_it(record):
    """Older versions, several versions and retired events are read one by one."""
    assert BulkReader(EVENTS).read([GOOD, record]) is None
    assert EventDecoder(EVENTS).entry(1, 1, record).event is not None


@pytest.mark.parametrize(
    "record",
    [
        raw("Nobody", 1, {}, ""),
        raw("Made", 2, {}, ""),
        raw("Made", True, {}, ""),
        raw("Made", 1, {"text": 5}, ""),
        raw("Made", 1, {"unknown": 5}, ""),
        raw("Made", 1, {"parts": [{"name": "a", "unknown": 1}]}, ""),
        raw("Made", 1, {"parts": [{}]}, ""),
        raw("Made", 1, [], ""),
        raw("Made", 1, {}, 5),
        raw("Made", 1, {}, "", 5),
        raw("Made", 1, {}, "", "", "text"),
        raw("Paid", 3, {**PAID, "unknown": 5}, ""),
        raw("Paid", 3, {**PAID, "unknown": 5}, "", "key", None),
        raw("Paid", 3, {"who": "a", "unknown": 5, "notes": ()}, ""),
        raw("Paid", 3, {"who": "a", "amount": 5}, ""),
        raw("Paid", 2, PAID, ""),
        raw("Empty", 1, {"unknown": 5}, ""),
        raw("Made", 1),
        raw("Made"),
        raw(),
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        GOOD + GOOD,
        b"\xc1",
    ],
)
def test_what_cannot_be_read_alone_cannot_be_read_together(record):
    """A record with another type, an unknown field, or a byte too many is not let through."""
    assert BulkReader(EVENTS).read([GOOD, record]) is None
    assert BulkReader(EVENTS).read([record, GOOD]) is None
    with pytest.raises((UnknownEvent, ValueError, msgspec.MsgspecError)):
        EventDecoder(EVENTS).entry(1, 1, record)


def test_records_whose_ends_are_shifted_are_not_records():
    """Bytes that make records together, and not each for itself, are no records."""
    assert BulkReader(EVENTS).read([GOOD + GOOD[:3], GOOD[3:]]) is None
    assert BulkReader(EVENTS).read([GOOD[:-1], GOOD[-1:] + GOOD]) is None
