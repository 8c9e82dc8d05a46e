"""Code that changes under an old journal: versions, upcasters, and what cannot be brought up."""

from __future__ import annotations

import random
import sys
import types

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

import happy
from happy import App, DefinitionError, Table, event, handles, row, state, table, upcast
from happy.app import definition_of
from happy.codec import EventDecoder, encode
from happy.errors import CannotUpcast, Nondeterministic, UnknownEvent
from happy.event import Retired
from happy.journal.names import segment_name
from happy.limits import Limits
from happy.opening import open_application
from happy.state import digest
from happy.testing import MemoryDisk
from happy.upcast import bring_up, check_upcasters, upcasters_of, version_of
from happy.world import World

CHANCE = random.Random(1)
LIMITS = Limits(segment_bytes_max=20_000)


# --- declaring -------------------------------------------------------------------------------


def three():
    """Return an event class of version 3 without upcasters."""

    @event(name="Step", version=3)
    class Step:
        number: int = 0

    return Step


def same(old):
    return old


def test_an_upcaster_is_known_by_the_version_it_begins_at():
    """The function stays a function, and its class knows it."""
    step = three()
    assert upcast(step, 2)(same) is same
    assert dict(upcasters_of(step)) == {2: same}
    assert dict(upcasters_of(three())) == {}


@pytest.mark.parametrize("version", [0, 3, 4, -1, "1", None])
def test_an_upcaster_begins_at_an_older_version(version):
    """Another version than an older one is refused, and the remedy is said."""
    with pytest.raises(DefinitionError, match=r"Step is version 3, .* 1 to 2; .*version=4"):
        upcast(three(), version)


def test_a_class_of_version_1_has_no_upcasters():
    """Whoever forgot to raise the version is told how, in the words of the class."""

    @event
    class Only:
        pass

    @state
    class Root:
        pass

    @attrs.frozen
    class Line:
        pass

    for cls, words in (
        (Only, "@event.version=2"),
        (Root, "@state.version=2"),
        (Line, "@row.version=2"),
    ):
        with pytest.raises(DefinitionError, match=f"{cls.__name__} is version 1 .*{words}"):
            upcast(cls, 1)


def test_what_has_no_version_has_no_upcasters():
    """Only events, states and rows are written down."""
    for thing in (int, None, "Step"):
        with pytest.raises(DefinitionError, match="@event, @state or @row"):
            upcast(thing, 1)


def test_two_upcasters_of_one_version_are_refused_with_their_places():
    """One of them would never run."""
    step = three()
    upcast(step, 1)(same)
    with pytest.raises(DefinitionError, match=r"Step version 1 is there twice, at .*:\d+ and at"):
        upcast(step, 1)(lambda old: old)


def test_an_upcaster_runs_at_once():
    """It cannot wait for anything: a replay does not."""

    async def later(old):
        return old

    with pytest.raises(DefinitionError, match="without await"):
        upcast(three(), 1)(later)


def test_a_gap_is_refused_by_name():
    """Promise 4: the versions between the oldest upcaster's and the class's all have one."""
    step = three()
    upcast(step, 1)(same)
    with pytest.raises(DefinitionError, match=r"Step is version 3 .* none from 2: .*@upcast.Step"):
        check_upcasters([step])
    upcast(step, 2)(same)
    check_upcasters([step])


def test_an_application_with_a_gap_is_refused_when_it_is_defined():
    """Not when the first old event is read."""
    step = three()
    upcast(step, 1)(same)
    with pytest.raises(DefinitionError, match="none from 2"):
        definition_of(app_of(step))


def test_rows_and_states_are_looked_at_too():
    """A gap in the history of a row or of a state is found at the same time."""

    @row(version=3)
    class Line:
        text: str = ""

    fields = {"__annotations__": {"lines": Table[int, Line]}, "lines": table()}
    root = state(version=3)(type("Root", (), fields))
    made = type("Made", (App,), {"state": root})
    upcast(Line, 1)(same)
    with pytest.raises(DefinitionError, match="Line is version 3"):
        definition_of(made)
    upcast(Line, 2)(same)
    upcast(root, 1)(same)
    with pytest.raises(DefinitionError, match="Root is version 3"):
        definition_of(made)


def test_a_version_that_is_handled_itself_has_no_upcaster():
    """An old class kept beside the new one and an upcaster cannot both be right."""
    step = three()
    upcast(step, 2)(same)

    @event(name="Step", version=2)
    class Older:
        pass

    with pytest.raises(DefinitionError, match="Step version 2 is handled itself and"):
        definition_of(app_of(step, Older))


def module_with(source, monkeypatch):
    """Return a module made of source text, as an author's file is."""
    made = types.ModuleType("authors_module")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(source, vars(made))
    return made


ORPHAN = """
import attrs
from happy import *

@event(version=2)
class Forgotten: pass

@upcast(Forgotten, 1)
def _(old): return old

@event
class Known: pass

@state
class Root: pass

class Application(App):
    state = Root
    @handles(Known)
    def known(state, event, context): pass
"""

OTHER = """
class Other(App):
    state = Root
    @handles(Forgotten)
    def forgotten(state, event, context): pass
"""


def test_upcasters_of_a_class_that_nobody_handles_are_refused(monkeypatch):
    """A handler was forgotten, or the upcaster: the start says so."""
    with pytest.raises(DefinitionError, match="upcasters of Forgotten, which Application neither"):
        definition_of(module_with(ORPHAN, monkeypatch).Application)


def test_another_application_of_the_module_may_handle_it(monkeypatch):
    """Two applications may share a module and not their events."""
    made = module_with(ORPHAN + OTHER, monkeypatch)
    assert ("Forgotten", 2) not in definition_of(made.Application).events
    assert ("Forgotten", 2) in definition_of(made.Other).events


# --- chains ----------------------------------------------------------------------------------


def chain(length):
    """Return an event class whose upcasters each leave their number."""

    @event(name="Chained", version=length)
    class Chained:
        path: tuple[int, ...] = ()

    for number in range(1, length):
        upcast(Chained, number)(lambda old, number=number: {"path": [*old["path"], number]})
    return Chained


@settings(deadline=None)
@given(st.integers(1, 12), st.data())
def test_a_chain_runs_each_step_once_and_in_order(length, data):
    """From every older version, the steps are those between it and the present one."""
    begin = data.draw(st.integers(1, length))
    cls = chain(length)
    steps = list(range(begin, length))
    assert list(bring_up(cls, begin, {"path": []})["path"]) == steps
    decoder = EventDecoder({("Chained", length): cls})
    record = encode(cls()).replace(
        b"\xa7Chained" + bytes([length]), b"\xa7Chained" + bytes([begin])
    )
    assert decoder.entry(1, 1, record).event == cls(tuple(steps))


@settings(deadline=None)
@given(st.integers(2, 12), st.data())
def test_what_is_older_than_the_chain_or_newer_than_the_class_is_refused(length, data):
    """Nothing is guessed: the version and the remedy are named."""

    @event(name="Cut", version=length)
    class Cut:
        pass

    oldest = data.draw(st.integers(1, length))
    for number in range(oldest, length):
        upcast(Cut, number)(same)
    version = data.draw(st.integers(1, length + 3))
    if oldest <= version <= length:
        assert bring_up(Cut, version, {}) == {}
        return
    words = f"@upcast.Cut, {version}" if version < oldest else "newer code"
    with pytest.raises(CannotUpcast, match=words):
        bring_up(Cut, version, {})


def raising(old):
    raise KeyError("n")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (raising, r"Step version 2 at .*test_upcast.py:\d+ raised KeyError: 'n'"),
        (lambda old: None, "returned None; it returns the fields of version 3"),
        (lambda old: three()(1), r"returned .*Step.*; it returns the fields of version 3"),
        (lambda old: {1: 2}, "a dict by name"),
    ],
)
def test_an_upcaster_that_fails_is_named(function, words):
    """Its place in the author's file, and what was wrong with it."""
    step = three()
    upcast(step, 2)(function)
    with pytest.raises(CannotUpcast, match=words):
        bring_up(step, 2, {})


def test_an_upcaster_touches_no_files(tmp_path):
    """Promise 4: it is closed in as a handler is; what it made yesterday it makes for ever."""
    step = three()
    upcast(step, 2)(lambda old: {"number": tmp_path.joinpath("number").write_text("1")})
    with pytest.raises(CannotUpcast, match=r"Step version 2 .* raised Nondeterministic: .*files"):
        bring_up(step, 2, {})
    assert not tmp_path.joinpath("number").exists()


def test_an_upcaster_that_reads_the_clock_is_refused_when_it_is_defined(monkeypatch):
    """Promise 4: its code is read as that of handlers is."""
    source = ORPHAN.replace("return old", "return {**old, 'at': time.time()}") + OTHER
    with pytest.raises(Nondeterministic, match=r"time.time .*reads the clock"):
        definition_of(module_with("import time\n" + source, monkeypatch).Other)


def test_an_upcaster_that_runs_out_of_memory_is_no_fault_of_the_journal():
    """What does not repeat itself is not told as if it did."""

    def hungry(old):
        raise MemoryError

    step = three()
    upcast(step, 2)(hungry)
    with pytest.raises(MemoryError):
        bring_up(step, 2, {})


def test_the_versions_of_everything():
    """Events, states and rows say theirs; a plain row is version 1."""

    @attrs.frozen
    class Plain:
        pass

    assert version_of(three()) == 3
    assert version_of(state(version=4)(type("Root", (), {}))) == 4
    assert version_of(row(version=5)(type("Line", (), {}))) == 5
    assert version_of(Plain) == 1


# --- an old journal under new code -----------------------------------------------------------


@attrs.frozen
class FirstPlace:
    town: str


@event(name="Pay")
class FirstPay:
    """Version 1: one amount in euros, a name and a nested value."""

    euros: int
    who: str = ""
    place: FirstPlace | None = None


@event
class Plain:
    number: int = 0


@attrs.frozen
class Place:
    town: str
    country: str


@event(version=3)
class Pay:
    """Version 3: cents, and a place in two parts."""

    cents: int
    payer: str = ""
    place: Place | None = None


@upcast(Pay, 1)
def _(old):
    old["cents"] = old.pop("euros") * 100
    return old


@upcast(Pay, 2)
def _(old):
    place = old["place"] and Place(old["place"]["town"], "?")
    return {"cents": old["cents"], "payer": old["who"], "place": place}


@state
class Sums:
    cents: int = 0
    names: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


class Old(App):
    state = Sums

    @handles(FirstPay)
    def pay(state, event, context):
        state.cents += event.euros * 100
        state.names += (event.who,)
        if event.place:
            state.places += (Place(event.place.town, "?"),)

    @handles(Plain)
    def plain(state, event, context):
        state.cents += event.number


class New(App):
    state = Sums

    @handles(Pay)
    def pay(state, event, context):
        state.cents += event.cents
        state.names += (event.payer,)
        if event.place:
            state.places += (event.place,)

    @handles(Plain)
    def plain(state, event, context):
        state.cents += event.number


def app_of(*events, **declared):
    """Return an application that handles these events and does nothing."""
    nothing = handles(*events)(lambda state, event, context: None) if events else None
    return type("Made", (App,), {"state": Sums, "nothing": nothing, **declared})


def open_(disk, app):
    world = World(
        Clock(), lambda: 1000, maybeDeferred, maybeDeferred, CHANCE.randbytes, random.Random
    )
    definition = definition_of(app)
    return open_application(
        "sums", definition, EventDecoder(definition.events), disk, world, LIMITS
    )


def journal(*events, app=Old):
    """Return a disk with a journal of these events, one frame each."""
    disk = MemoryDisk()
    disk.lock()
    opened = open_(disk, app)
    for number, made in enumerate(events):
        opened.appender.append([encode(made, "test")], 2000 + number)
    return disk


PLACES = st.none() | st.builds(FirstPlace, st.text(max_size=5))
OLD_EVENTS = st.builds(FirstPay, st.integers(0, 1000), st.text(max_size=5), PLACES) | st.builds(
    Plain, st.integers(0, 9)
)


@settings(deadline=None)
@given(st.lists(OLD_EVENTS, max_size=12))
def test_an_upcast_journal_replays_to_the_same_state(events):
    """Promise 4: new code with upcasters comes to the digest of the old code, again and again."""
    disk = journal(*events)
    expected = digest(open_(disk, Old).core.machine.state)
    assert digest(open_(disk, New).core.machine.state) == expected
    assert digest(open_(disk, New).core.machine.state) == expected


def test_new_events_follow_the_old_ones():
    """Versions stand in one journal beside each other."""
    disk = journal(FirstPay(3, "ann"))
    open_(disk, New).appender.append([encode(Pay(5, "bob", Place("Bonn", "DE")))], 3000)
    sums = open_(disk, New).core.machine.state
    assert (sums.cents, sums.names, sums.places) == (305, ("ann", "bob"), (Place("Bonn", "DE"),))


def test_older_code_refuses_what_newer_code_wrote():
    """Promise 4: going back is noticed."""
    disk = journal(FirstPay(3, "ann"))
    open_(disk, New).appender.append([encode(Pay(5))], 3000)
    with pytest.raises(UnknownEvent, match=r"seq 2: event Pay has version 3 .*newer code wrote it"):
        open_(disk, Old)


def test_an_upcaster_whose_fields_do_not_fit_is_refused_by_name():
    """What an upcaster makes is read as strictly as what was written."""
    for made, words in (({"c": 1}, "required field `cents`"), ({"cents": 1, "x": 2}, "`x`")):

        @event(name="Pay", version=2)
        class Wrong:
            cents: int

        upcast(Wrong, 1)(lambda old, made=made: made)
        with pytest.raises(UnknownEvent, match=f"seq 1: event Pay version 1 .*upcasters .*{words}"):
            open_(journal(FirstPay(1)), app_of(Wrong, Plain))


def test_an_upcaster_that_makes_what_cannot_be_written_is_refused():
    """The sentence names the class and what is wrong."""

    @event(name="Pay", version=2)
    class Wrong:
        cents: int

    upcast(Wrong, 1)(lambda old: {"cents": complex(1)})
    with pytest.raises(UnknownEvent, match=r"seq 1: .*upcasters of .*Wrong made what cannot be"):
        open_(journal(FirstPay(1)), app_of(Wrong))


# --- what was forgotten ----------------------------------------------------------------------


@pytest.mark.parametrize("default", [True, False])
def test_a_renamed_field_is_never_lost_without_a_word(default):
    """Promise 4: a field that the class does not know is refused with all that is needed."""

    @event(name="Plain")
    class Renamed:
        count: int = attrs.field(default=0) if default else attrs.field()

    disk = journal(Plain(1), Plain(2))
    with pytest.raises(UnknownEvent) as refused:
        open_(disk, app_of(Renamed))
    said = str(refused.value)
    assert said.startswith("seq 1 to 2, 2 events: event Plain version 1 does not fit its class")
    assert ("`number`" if default else "`count`") in said
    assert "@event(version=2) and @upcast(Renamed, 1)" in said


def test_a_field_that_is_gone_from_a_nested_class_is_refused():
    """On every level."""

    @attrs.frozen
    class Bare:
        pass

    cls = event(name="Pay")(
        attrs.make_class(
            "Narrow",
            {
                "euros": attrs.field(type=int),
                "who": attrs.field(type=str),
                "place": attrs.field(type=Bare | None),
            },
        )
    )
    assert open_(journal(FirstPay(1)), app_of(cls)).core.machine.seq == 1
    with pytest.raises(UnknownEvent, match=r"seq 1: .*`town` - at `\$.place`"):
        open_(journal(FirstPay(1, "", FirstPlace("Bonn"))), app_of(cls))


def test_a_new_field_with_a_default_needs_no_version():
    """Old events have the default."""

    @event(name="Plain")
    class Wider:
        number: int = 0
        more: str = "x"

    assert open_(journal(Plain(1)), app_of(Wider)).core.machine.seq == 1


def test_one_record_among_many_is_noticed():
    """Each record is looked at, not a sample of them."""

    @event(name="Plain")
    class Wider:
        number: int = 0
        more: str = "x"

    disk = journal(*[Plain(n) for n in range(5)])
    open_(disk, app_of(Wider)).appender.append([encode(Wider(1)), encode(Plain(2))], 3000)
    with pytest.raises(UnknownEvent, match=r"^seq 6: .*`more`.*lost"):
        open_(disk, Old)


def test_all_that_cannot_be_read_is_told_at_once():
    """Promise 4: every kind by its name, how many, from where to where, and what may be meant."""
    disk = journal(Plain(1), FirstPay(1), Plain(2), FirstPay(2), FirstPay(3))
    before = disk.read(segment_name(1))

    @event
    class Plane:
        pass

    @event
    class Other:
        euros: int
        who: str
        place: int

    with pytest.raises(UnknownEvent) as refused:
        open_(disk, app_of(Plane, Other))
    plain, pay = str(refused.value).splitlines()
    assert plain.startswith("seq 1 to 3, 2 events: the journal holds an event 'Plain' that nobody")
    assert "did you mean Plane?" in plain
    assert pay.startswith("seq 2 to 5, 3 events: the journal holds an event 'Pay' that nobody")
    assert "Other has the same fields" in pay
    assert "@event(name='Pay')" in pay
    assert "retired = ('Pay',)" in pay
    assert disk.read(segment_name(1)) == before


def test_looking_for_more_cuts_nothing_off():
    """A journal that is refused is not changed, though its end is torn."""
    disk = journal(Plain(1), FirstPay(1), Plain(2))
    whole = disk.read(segment_name(1)).rstrip(b"\0")
    disk.truncate(segment_name(1), len(whole) - 5)
    with pytest.raises(UnknownEvent, match=r"^seq 2: .*'Pay'"):
        open_(disk, app_of(Plain))
    assert disk.read(segment_name(1)) == whole[:-5]
    assert open_(disk, Old).core.machine.seq == 2


def test_damage_behind_does_not_hide_what_was_found():
    """What is known of the code is told first; the damage comes up when that is mended."""
    disk = journal(FirstPay(1), Plain(1), Plain(2))
    size = len(disk.read(segment_name(1)).rstrip(b"\0"))
    disk.write(segment_name(1), size - 150, b"\xff" * 20)
    with pytest.raises(UnknownEvent, match=r"^seq 1: .*'Pay'"):
        open_(disk, app_of(Plain))


# --- what once was ---------------------------------------------------------------------------


def test_a_retired_event_does_nothing_any_more():
    """All its versions are passed over, and the others keep their places."""
    disk = journal(Plain(1), FirstPay(1), Plain(2))
    open_(disk, New).appender.append([encode(Pay(1)), encode(Plain(3))], 3000)
    opened = open_(disk, app_of(Plain, retired=("Pay",)))
    assert opened.core.machine.seq == 5
    assert opened.core.machine.failed == 0


def test_a_retired_event_is_told_as_such():
    """Who reads entries sees what it was."""
    definition = definition_of(app_of(Plain, retired=("Pay",)))
    entry = EventDecoder(definition.events).entry(7, 1, encode(Pay(1)))
    assert entry.event == Retired("Pay", 3)


def test_a_retired_event_cannot_be_submitted():
    """It is history."""
    decoder = EventDecoder(definition_of(app_of(Plain, retired=("Pay",))).events)
    with pytest.raises(DefinitionError, match="event Pay version 3 has no handler"):
        decoder.read_back(encode(Pay(1)))


@pytest.mark.parametrize(
    ("retired", "words"),
    [("Pay", "a tuple of names"), ((Pay,), "a tuple of names"), (("Plain",), "Plain is retired")],
)
def test_retired_names_are_checked(retired, words):
    """A text is no tuple, and what is handled is not retired."""
    with pytest.raises(DefinitionError, match=words):
        definition_of(app_of(Plain, retired=retired))


def test_upcast_is_at_the_front_door():
    """Authors import it from ``happy``."""
    assert happy.upcast is upcast
