"""Which kinds of events a journal has, and telling of those that cannot be read."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.codec import EventDecoder, encode
from happy.errors import Corrupt, UnknownEvent
from happy.event import ANY_VERSION, Retired, event
from happy.journal.frame import Frame, Kind
from happy.kinds import Faults, Kinds, Span, all_unknown, unknown_kind


@event
class Open:
    name: str = ""


@event(version=3)
class Close:
    reason: str


@event(name="Close", version=1)
class FirstClose:
    pass


RECORDS = {
    ("Open", 1): encode(Open("a")),
    ("Close", 3): encode(Close("b"), "test", "key", b"f"),
    ("Close", 1): encode(FirstClose()),
}
EVENTS = {("Open", 1): Open, ("Close", 3): Close}


@given(st.lists(st.lists(st.sampled_from(list(RECORDS)), max_size=4), max_size=6))
def test_each_kind_is_counted_with_its_first_and_last_seq(frames):
    """Folded over frames, or read back from what was written of it."""
    kinds = Kinds()
    order = []
    for frame in frames:
        kinds.fold(len(order) + 1, [RECORDS[kind] for kind in frame])
        order += frame
    assert {kind: kinds[kind].count for kind in kinds} == Counter(order)
    for kind in kinds:
        assert kinds[kind].first_seq == order.index(kind) + 1
        assert kinds[kind].last_seq == len(order) - order[::-1].index(kind)
    written = msgspec.msgpack.encode(kinds.plain())
    assert Kinds.from_plain(msgspec.msgpack.decode(written)) == kinds
    assert len(kinds) == len(set(order))


def test_what_is_no_record_is_no_kind():
    """Bytes that are none are an error, not a kind of their own."""
    with pytest.raises(msgspec.MsgspecError):
        Kinds().fold(1, [b"\x93\x01"])


def test_kinds_that_nobody_knows_are_refused_all_at_once():
    """Promise 4: a snapshot whose events the code does not know is noticed without reading them."""
    kinds = Kinds()
    kinds.fold(1, [RECORDS["Open", 1]] * 2 + [RECORDS["Close", 3]] + [RECORDS["Close", 1]] * 3)
    kinds.check(EventDecoder({**EVENTS, ("Close", 1): FirstClose}))
    with pytest.raises(UnknownEvent) as refused:
        kinds.check(EventDecoder({("Close", 3): Close}))
    opened, closed = str(refused.value).splitlines()
    assert opened.startswith("seq 1 to 2, 2 events: the journal holds an event 'Open'")
    assert closed.startswith("seq 4 to 6, 3 events: event Close has version 1 in the journal")
    assert "@upcast(Close, 1)" in closed


def test_retired_kinds_are_known():
    """Whatever their version."""
    kinds = Kinds()
    kinds.fold(1, RECORDS.values())
    kinds.check(EventDecoder({("Open", ANY_VERSION): Retired, ("Close", ANY_VERSION): Retired}))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (("Opne", 1), (), "did you mean Open?"),
        (("Shut", 1), ("reason",), "; Close has the same fields;"),
        (("Shut", 1), ("other",), "(known: Close, Open); if its class"),
        (("Close", 2), (), "the application knows 3; declare @upcast(Close, 2)"),
        (("Close", 4), (), "newer code wrote it"),
    ],
)
def test_what_may_be_meant_is_said(kind, fields, words):
    """A name that is alike, a class with the same fields, or the version that is missing."""
    assert words in unknown_kind(kind, EVENTS, fields)


def test_a_retired_name_is_not_offered():
    """What does nothing any more is not what was meant, and its class has no fields."""
    events = {**EVENTS, ("Opened", ANY_VERSION): Retired}
    assert "(known: Close, Open); did you mean Open?" in unknown_kind(("Openend", 1), events, ())


def test_many_faults_are_told_in_part():
    """The wrong code for a journal does not fill a screen."""
    faults = Faults()
    for seq in range(1, 31):
        faults.add(seq, f"fault {seq}")
    faults.add(31, "fault 1")
    lines = str(faults.error()).splitlines()
    assert lines[0] == "seq 1 to 31, 2 events: fault 1"
    assert lines[1] == "seq 2: fault 2"
    assert len(lines) == 21
    assert lines[-1] == "and 10 other faults"
    assert faults.spans["fault 1"] == Span(2, 1, 31)


def test_what_else_was_refused_stays_as_it_is():
    """Where every record can be read, the error was another one."""
    error = UnknownEvent("seq 1: the settings of that time do not fit")

    def frames():
        body = b"".join(len(r).to_bytes(4, "little") + r for r in [RECORDS["Open", 1]])
        yield Frame(Kind.EVENTS, 1, 1, 0, 0, b"", body, 0, 0)
        raise Corrupt("damage")

    assert all_unknown(error, EventDecoder(EVENTS), frames()) is error
