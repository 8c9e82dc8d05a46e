"""A core as a filter: the outcomes, and the state, that the application has inline."""

from __future__ import annotations

import random
import re
from datetime import timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.codec import encode
from happy.errors import Corrupt, Diverged, NotAJournal, UnknownEvent
from happy.event import Configured
from happy.examples.lists import MailingLists, Settings
from happy.examples.numbers import Next, NumberService
from happy.journal.frame import Kind
from happy.journal.quarantine import Quarantined
from happy.limits import Limits
from happy.split.filter import Filter
from happy.split.outcome_frame import Verdict
from happy.testing import message, running
from split_kit import frames_said, inline, journal, said, stream_of, through


@event
class Put:
    """Put a thing on the shelf."""

    name: str
    size: int = 1


@event
class Grow:
    """Let a thing grow."""

    name: str


@attrs.frozen
class Item:
    """A thing, which is a reply too."""

    name: str
    size: int


@state
class Shelf:
    """Things by name."""

    items: Table[str, Item] = table()
    puts: int = 0


class Shop(App):
    """Replies of every sort, refusals and failures."""

    state = Shelf

    @handles(Put)
    def put(state, event, context):
        """Put it there."""
        state.puts += 1
        if event.size > 90:
            raise Refused("too large", http_status=413, smtp=(552, "5.3.4"))
        if event.size < 0:
            raise ValueError(event.size)
        item = state.items[event.name] = Item(event.name, event.size)
        if event.size == 7:
            context.after(timedelta(seconds=60), Grow(event.name))
        return (item, "one", None, 2**70, context.random.random())[event.size % 5]

    @handles(Grow)
    def grow(state, event, context):
        """Let it grow."""
        item = state.items[event.name]
        state.items[event.name] = attrs.evolve(item, size=item.size + 1)


SHOP = definition_of(Shop)
NUMBERS = definition_of(NumberService)

RECORDS = st.builds(
    encode,
    st.builds(Put, st.sampled_from("abc"), st.integers(-2, 99))
    | st.builds(Grow, st.sampled_from("abc"))
    | st.builds(Configured, st.just(b""), st.just(()), st.integers(1, 3)),
    st.just("test"),
    st.none() | st.sampled_from(["k1", "k2", "k3", "k4"]),
    st.just(b"f"),
)
FRAMES = st.lists(
    st.lists(RECORDS, min_size=1, max_size=5) | st.sampled_from([Kind.IDLE_MARK]), max_size=8
)


def told(outcomes):
    """Return outcomes with the types of their values, which equality passes over."""
    return [(o, type(getattr(o, "value", None))) for o in outcomes]


@settings(max_examples=60, deadline=None)
@given(FRAMES, st.lists(st.integers(0, 10**6), max_size=8))
def test_a_core_comes_to_what_the_machine_does_inline(frames, cuts):
    """Promise 4: outcomes of all sorts, the state and its digest; over segments, keys and marks."""
    data = stream_of(journal(frames))
    wrote, station = through(SHOP, data, cuts)
    outcomes, machine = inline(SHOP, data)
    assert told(said(wrote)) == told(outcomes)
    assert station.machine.digest() == machine.digest()
    assert station.machine.outcomes.digest() == machine.outcomes.digest()
    kinds = [Kind.EVENTS if isinstance(frame, list) else frame for frame in frames]
    assert [frame.kind for frame in frames_said(wrote)] == [*kinds, Kind.CLOSE_MARK]


def live_numbers():
    """Return the stream of a number service that ran, with digest marks."""
    with running(NumberService, limits=Limits(digest_events_max=3)) as app:
        for count in (1, 10, 0, 2_000_000, 5):
            app.post(f"/next?count={count}", headers={"Idempotency-Key": f"k{count}"})
            app.post("/next", headers={"Idempotency-Key": "k1"})
        app.close()
        return stream_of(app.disk)


def live_lists():
    """Return the stream of mailing lists that ran: mails, timers, joining and posting."""
    options = Settings(lists=("dev",), url="https://lists.example/")
    with running(MailingLists, settings=options, domains=("lists.example",)) as app:
        for person in ("ann@a.example", "bob@b.example"):
            app.mail(person, "dev-subscribe@lists.example", message("", From_=person))
            confirm = re.search(rb"/confirm/([0-9a-f]{20})", app.sent[-1].header)[1].decode()
            app.post(f"/confirm/{confirm}")
        app.mail(
            "ann@a.example", "dev@lists.example", message("Hi", "Hello.", From_="ann@a.example")
        )
        app.advance(100_000)
        app.close()
        return stream_of(app.disk)


@pytest.mark.parametrize(
    ("application", "live"), [(NumberService, live_numbers), (MailingLists, live_lists)]
)
def test_a_core_agrees_with_what_ran(application, live):
    """Each digest mark that the running application wrote is what its replay as a filter has."""
    data = live()
    wrote, station = through(definition_of(application), data, range(0, len(data), 999))
    marks = [f.verdict for f in frames_said(wrote) if f.kind is Kind.DIGEST_MARK]
    assert marks
    assert set(marks) == {Verdict.AGREES}
    outcomes, machine = inline(definition_of(application), data)
    assert told(said(wrote)) == told(outcomes)
    assert station.machine.digest() == machine.digest()


class OtherNumbers(App):
    """The number service with a fault."""

    state = NumberService.state

    @handles(Next)
    def take(state, event, _context):
        """Count by one too many."""
        state.last += event.count + 1
        return state.last


def test_a_digest_that_differs_ends_it_unless_accepted():
    """What is before the mark was answered; when accepted, the mark's answer says it."""
    data = live_numbers()
    station = Filter(definition_of(OtherNumbers), random.Random)
    wrote = []
    with pytest.raises(Diverged, match="this replay is not what was answered"):
        wrote.extend(station.feed(data))
    answered = frames_said(b"".join(wrote))
    assert answered
    assert all(frame.kind is Kind.EVENTS for frame in answered)
    wrote, _ = through(definition_of(OtherNumbers), data, accepts=lambda _said, _diverged: True)
    verdicts = {f.verdict for f in frames_said(wrote) if f.kind is Kind.DIGEST_MARK}
    assert verdicts == {Verdict.DIFFERS}


def test_a_live_frame_is_answered_before_the_next_has_come():
    """From the seq on that is said to be live, a lone frame waits for nobody."""
    data = stream_of(journal([[Next()], [Next(5)], [Next()]]))
    station = Filter(NUMBERS, random.Random, live_from=1)
    answered = []
    come = 0
    while len(answered) < 2:  # the header, and the first frame's
        answered += station.feed(data[come : come + 1])
        come += 1
    assert [o.value for o in said(b"".join(answered))] == [1]
    assert data[come:].startswith(b"HFRM")


@pytest.mark.parametrize("cuts", [(), range(0, 99_999, 7)])
def test_a_quarantined_event_is_passed_over(cuts):
    """Promise 3: its mark comes behind it, and it is not tried: it failed, as in every replay."""
    frames = [[Next()] * 3, [Next(5)], [Next()], Quarantined(4, 3), [Next()], [Next()]]
    data = stream_of(journal(frames))
    wrote, station = through(NUMBERS, data, cuts)
    outcomes, machine = inline(NUMBERS, data)
    assert said(wrote) == outcomes
    assert [getattr(outcome, "value", None) for outcome in outcomes] == [1, 2, 3, None, 4, 5, 6]
    assert station.machine.digest() == machine.digest()
    assert [frame.count for frame in frames_said(wrote)] == [3, 1, 1, 0, 1, 1, 0]
    assert through(NUMBERS, data, cuts, live_from=6)[0] == wrote


def test_what_may_be_quarantined_yet_waits():
    """For two batches, for a mark that the journal was at rest, or for the end of the stream."""
    frames = [[Next()], [Next()], [Next()], Kind.IDLE_MARK, [Next()], [Next()]]
    data = stream_of(journal(frames, 1 << 20, close=False))
    station = Filter(NUMBERS, random.Random)
    ends = [*[found.start() for found in re.finditer(b"HFRM", data)][1:], len(data)]
    counts, at, wrote = [], 0, []
    for end in ends:
        wrote += station.feed(data[at:end])
        counts.append(len(said(b"".join(wrote))))
        at = end
    assert counts == [0, 0, 1, 3, 3, 3]
    assert len(said(b"".join([*wrote, *station.end()]))) == 5


def test_damage_ends_it_after_what_was_good():
    """What is before the damage was answered, and nothing behind it."""
    data = bytearray(stream_of(journal([[Next()], [Next(5)], Kind.IDLE_MARK, [Next()]])))
    data[data.rindex(b"count")] ^= 1
    station = Filter(NUMBERS, random.Random)
    answered = []
    with pytest.raises(Corrupt, match="seq 3: the checksum of a frame's body"):
        answered.extend(station.feed(data))
    assert [o.value for o in said(b"".join(answered))] == [1, 2]


def test_an_unknown_event_is_told_with_all_that_are():
    """As a start does: which events, where."""
    data = stream_of(
        journal([[Next()], [Put("a"), Next(), Put("b")], [Grow("a")], Kind.IDLE_MARK], 1 << 16)
    )
    station = Filter(NUMBERS, random.Random)
    answered = []
    with pytest.raises(UnknownEvent) as told:
        answered.extend(station.feed(data))
    assert [line.partition(":")[0] for line in str(told.value).splitlines()] == [
        "seq 2 to 4, 2 events", "seq 5",
    ]  # fmt: skip
    assert [o.value for o in said(b"".join(answered))] == [1]


def test_bytes_that_are_no_event_are_damage():
    """Though all checksums are right."""
    with pytest.raises(Corrupt, match=r"seq 1: .*though the checksums are right"):
        through(NUMBERS, stream_of(journal([[b"\xc1"]])))


def test_a_history_that_begins_later_is_refused():
    """No state can be made of its end."""
    disk = journal([[b"x" * 1500]] * 4)
    late = stream_of(disk)
    second = late.index(b"HAPPYJNL", 8)
    with pytest.raises(NotAJournal, match="begins with seq"):
        through(NUMBERS, late[second:])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2000))
def test_a_core_that_is_killed_begins_again(size):
    """Promise 1: what it had said is said again, in the same words, and then the rest."""
    data = stream_of(journal([[Next(n)] * n for n in range(1, 8)]))
    whole, _ = through(NUMBERS, data)
    begun = Filter(NUMBERS, random.Random)
    wrote = b"".join(begun.feed(data[: size % len(data)]))
    assert whole.startswith(wrote)
    assert through(NUMBERS, data)[0] == whole
