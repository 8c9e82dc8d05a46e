"""Telling of all that cannot be read."""

from __future__ import annotations

import pytest

from happy.codec import EventDecoder, encode
from happy.errors import Corrupt, UnknownEvent
from happy.event import ANY_VERSION, Mail, Retired, event
from happy.journal.frame import Frame, Kind
from happy.unreadable import Faults, Span, all_unknown, unknown_kind


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


def faults_of(events, *kinds):
    """Return what an application with these events says of records of these kinds."""
    faults = Faults()
    for seq, kind in enumerate(kinds, 1):
        EventDecoder(events).faults(seq, [RECORDS[kind]], faults)
    return faults


def test_all_that_cannot_be_read_is_one_error():
    """Promise 4: each fault once, with its places."""
    kinds = [("Open", 1), ("Open", 1), ("Close", 3), ("Close", 1), ("Close", 1)]
    assert not faults_of({**EVENTS, ("Close", 1): FirstClose}, *kinds).spans
    opened, closed = str(faults_of({("Close", 3): Close}, *kinds).error()).splitlines()
    assert opened.startswith("seq 1 to 2, 2 events: the journal holds an event 'Open'")
    assert closed.startswith("seq 4 to 5, 2 events: event Close has version 1 in the journal")
    assert "@upcast(Close, 1)" in closed


def test_retired_kinds_can_be_read():
    """Whatever their version."""
    events = {("Open", ANY_VERSION): Retired, ("Close", ANY_VERSION): Retired}
    events["happy.Mail", 1] = Mail  # every application has the events of happy itself
    assert not faults_of(events, *RECORDS).spans


def test_what_is_no_record_is_passed_over():
    """It is damage, and others tell of that."""
    faults = Faults()
    EventDecoder(EVENTS).faults(1, [b"\x93\x01", RECORDS["Close", 1]], faults)
    assert [span.first_seq for span in faults.spans.values()] == [2]


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
    assert lines[-1] == "seq 21 to 30, 10 events: other faults"
    assert faults.spans["fault 1"] == Span(2, 1, 31)


def test_what_else_was_refused_stays_as_it_is():
    """Where every record can be read, the error was another one."""
    error = UnknownEvent("seq 1: the settings of that time do not fit")

    def frames():
        body = b"".join(len(r).to_bytes(4, "little") + r for r in [RECORDS["Open", 1]])
        yield Frame(Kind.EVENTS, 1, 1, 0, 0, b"", body, 0, 0)
        raise Corrupt("damage")

    assert all_unknown(error, EventDecoder(EVENTS), frames()) is error
