"""The image of a machine: all that history has made of it, and all of it back."""

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, Table, event, handles, row, state, table
from happy.app import definition_of
from happy.apply import Machine
from happy.codec import EventDecoder, encode
from happy.effects import Owed, SendMail
from happy.errors import UnfitSnapshot, UnknownEvent
from happy.event import (
    Configured,
    Entry,
    Mail,
    MailAcknowledged,
    MailDelayed,
    MailSending,
    MailSent,
    TimerFired,
)
from happy.image import Image, Kind
from happy.journal.snapshot_format import Description, Section
from happy.return_paths import ReturnPaths
from happy.system_events import MailBounced, MailHeld, MailReturned
from happy.unacknowledged import copy_of
from snapshot_kit import BEGIN_NS, STRANGE, Banking, Closed, Paid, Strange, told

DEFINITION = definition_of(Banking)
DECODER = EventDecoder(DEFINITION.events)
JOURNAL = b"j" * 16

PATHS = ReturnPaths.of(JOURNAL)
some_mail = Mail("a@s.example", ("x@d.example",), b"", b"", sha256=b"1" * 32)
acknowledged = st.tuples(st.integers(1, 20), st.just(copy_of(some_mail, "x@d.example")))
events = st.one_of(
    st.builds(Paid, st.sampled_from(["a1", "a2", "b1", "c1"]), st.integers(-2, 40)),
    st.builds(Closed, st.sampled_from(["a1", "b1", "c1"])),
    st.builds(Strange, st.sampled_from(list(STRANGE))),
    st.builds(TimerFired, st.integers(1, 20), st.integers(0, 1)),
    st.builds(
        Mail,
        st.just("a@s.example"),
        st.sampled_from([("x@d.example",), ("x@d.example", "y@d.example")]),
        st.just(b"\r\n"),
        st.just(b"\r\n"),
        sha256=st.sampled_from([b"", b"1" * 32, b"2" * 32]),
        acknowledged=st.lists(acknowledged, max_size=2).map(tuple),
    ),
    st.builds(MailAcknowledged, st.lists(acknowledged, max_size=2).map(tuple)),
    st.builds(
        MailSent,
        st.integers(1, 20),
        st.just(0),
        st.just("x@d.example"),
        st.integers(1, 20).map(lambda seq: PATHS.make((seq, 0), "example.org")),
    ),
    st.builds(MailBounced, st.integers(1, 20), st.just(0), hard=st.booleans()),
    st.builds(MailHeld, st.integers(1, 20), st.none() | st.just(0)),
    st.builds(MailReturned, st.integers(1, 20), st.just("a@x"), st.just(b"\r\n"), st.just(b"")),
    st.builds(
        Configured,
        st.just(b""),
        st.just(("example.org",)),
        st.integers(1, 3),
        *[st.integers(0, 3)] * 4,
    ),
)
entries = st.lists(st.tuples(events, st.one_of(st.none(), st.text("kl", max_size=2))), max_size=30)


def new_machine(definition=DEFINITION):
    return Machine(definition, JOURNAL, random.Random)


def applied(some, machine=None):
    machine = machine or new_machine()
    for given_event, key in some:
        seq = machine.seq + 1
        machine.apply([Entry(seq, BEGIN_NS + seq, given_event, "test", key)])
    return machine


def imaged(machine, kinds=None, definition=DEFINITION):
    """Return a machine made from the image of another, and the kinds that came with it."""
    image = Image(definition)
    kinds = kinds or {}
    description = image.describe(machine, kinds)
    blocks = list(image.take(machine, kinds))
    again = new_machine(definition)
    again.seq, again.time_ns = machine.seq, machine.time_ns
    return again, Image(definition).put(again, EventDecoder(definition.events), description, blocks)


@settings(deadline=None)
@given(entries, entries)
def test_an_image_is_all_that_history_made(before, after):
    """A machine from an image is the same, and stays the same with all that is applied to both."""
    one = applied(before)
    other, _ = imaged(one)
    assert told(other) == told(one)
    assert told(applied(after, other)) == told(applied(after, one))


def test_what_is_owed_falls_due_again():
    """A debt that was handed out before the image was taken is handed out after it, as by a
    start.
    """
    one = applied([(Paid("a1", 15), None)])
    assert [owed.id for owed in one.outbox.due(2 * BEGIN_NS)] == [(1, 1), (1, 0)]
    other, _ = imaged(one)
    assert [owed.id for owed in other.outbox.due(2 * BEGIN_NS)] == [(1, 1), (1, 0)]


@pytest.mark.parametrize(
    "told_of_it",
    [MailSending(7, 0, "a@x", 3), MailDelayed(7, 0, "a@x", 3, 9, "lost", ambiguous=True)],
    ids=["sending", "ambiguous"],
)
def test_how_far_a_message_is_on_its_way_is_in_the_image(told_of_it):
    """A start from a snapshot knows what was being sent, and what may have been taken."""
    one = new_machine()
    one.outbox.owe(Owed((7, 0), SendMail("a@x", "", b"\r\n"), 5, 5))
    one.outbox.settle(told_of_it)
    one.outbox.commit()
    other, _ = imaged(one)
    assert list(other.outbox) == list(one.outbox)
    assert other.digest() == one.digest()


def kind_of(made, name=None):
    record = encode(made)
    meta = type(made).__happy_event__
    return Kind(name or meta.name, meta.version, 3, BEGIN_NS, record)


def test_the_kinds_of_events_are_kept():
    """An image tells which kinds of events stand in the history, with a record of each."""
    kinds = {("Paid", 1): kind_of(Paid("a")), ("Closed", 1): kind_of(Closed("a"))}
    assert imaged(new_machine(), kinds)[1] == kinds


def test_an_event_that_nobody_handles_any_more_is_told_by_name():
    """History may not hold an event that the application does not know, be it long ago."""

    @event(name="Renamed")
    class Renamed:
        number: int = 1

    kinds = {("Renamed", 1): kind_of(Renamed())}
    with pytest.raises(UnknownEvent, match="Renamed"):
        imaged(new_machine(), kinds)


@event
class Put:
    key: str


def application(row_type, version=1, **fields):
    """Return the definition of an application with one table of these rows."""
    annotations = {"rows": Table[str, row_type], **dict.fromkeys(fields, int)}
    cls = type("S", (), {"__annotations__": annotations, "rows": table(), **fields})
    app = type("A", (App,), {"state": state(version=version)(cls)})
    return definition_of(app)


@attrs.frozen
class Row:
    name: str


@row(version=2)
class Newer:
    name: str


@attrs.frozen
class Wider:
    name: str
    size: int = 0


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (application(Wider), "other fields"),
        (application(Row, more=3), "other fields"),
        (application(Row, version=2), "state is of version 1, the application has 2"),
        (application(Newer), "table rows is of version 1, the application has 2"),
    ],
    ids=["row", "field", "version", "row version"],
)
def test_an_image_of_another_state_is_not_put_in(other, why):
    """Another shape or version of the state, or of its rows, is told and not guessed at."""
    one = application(Row)
    image = Image(one)
    machine = new_machine(one)
    machine.state.rows["a"] = Row("x")
    description, blocks = image.describe(machine, {}), list(image.take(machine, {}))
    with pytest.raises(UnfitSnapshot, match=why):
        Image(other).put(new_machine(other), DECODER, description, blocks)


def test_a_section_of_a_later_version_is_not_passed_over():
    """What this version does not know of would be lost: such an image is not used."""
    image = Image(DEFINITION)
    description = image.describe(new_machine(), {})
    sections = (*description.sections, Section("moods", 0))
    changed = Description(state="Bank", digest="", sections=sections)
    with pytest.raises(UnfitSnapshot, match="'moods' that is not known here"):
        Image(DEFINITION).put(new_machine(), DECODER, changed, [])


def test_a_section_that_is_missing_is_left_as_it_begins():
    """An image that was written before something was kept leaves that as in a new machine."""
    image = Image(DEFINITION)
    machine = applied([(Paid("a1", 5), "key")])
    description = image.describe(machine, {})
    blocks = list(image.take(machine, {}))
    number = [section.name for section in description.sections].index("keys")
    assert any(block.section == number for block in blocks)
    again = new_machine()
    image.put(again, DECODER, description, [b for b in blocks if b.section != number])
    assert len(again.keys) == 0
    assert again.state.total == 5


class Odd(App):
    state = DEFINITION.state

    @handles(Put)
    def put(state, event, context):
        return {1, 2}


def test_a_reply_without_a_form_is_told():
    """A reply that is remembered and cannot be written is an error that names it."""
    odd = definition_of(Odd)
    machine = new_machine(odd)
    machine.apply([Entry(1, BEGIN_NS, Put("a"), "test", "key")])
    with pytest.raises(TypeError, match="a value of set has no form"):
        list(Image(odd).take(machine, {}))
