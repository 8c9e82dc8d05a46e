"""Which divergences a replay may pass."""

import random

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from happy import App, event, handles, state
from happy.accepting import Acceptance
from happy.app import definition_of
from happy.errors import Diverged
from happy.event import Configured, Exchange
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.marks import mark_in
from happy.stream import Stream
from happy.testing.disk import MemoryDisk
from happy.world import World


@event
class Add:
    number: int = 1


@state
class Sum:
    total: int = 0


def adder(factor):
    """Return an application of which every release multiplies by another factor."""

    class Adder(App):
        state = Sum

        @handles(Add)
        def add(state, event, context):
            state.total += event.number * factor
            return state.total

    return Adder


class House:
    """A journal that is opened by one release after the other."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.said = []

    def start(self, factor, *, accept=False):
        clock = Clock()
        world = World(
            clock, lambda: 10**18, maybeDeferred, maybeDeferred, random.randbytes, random.Random
        )
        limits = Limits(digest_events_max=4)
        self.clock = clock
        self.stream = Stream("sum", definition_of(adder(factor)), self.disk, world, limits)
        globalLogPublisher.addObserver(self._observe)
        try:
            self.stream.open(accept_divergence=accept)
        finally:
            globalLogPublisher.removeObserver(self._observe)
        self.stream.begin(Configured(b""))
        return self

    def _observe(self, logged):
        self.said.append(logged["log_format"].format(**logged))

    def add(self, count):
        for _ in range(count):
            self.stream.submit(Add(), Exchange("test"))
        return self

    def close(self):
        self.stream.close()

    def crash(self):
        self.stream.stop()
        self.disk.crash()

    def marks(self):
        frames = Reader(self.disk, cut=False).frames()
        return [mark_in(frame) for frame in frames if frame.kind is Kind.DIGEST_MARK]


@pytest.fixture
def house():
    made = House()
    made.start(1).add(9).close()
    return made


def test_a_changed_handler_is_refused_with_its_range(house):
    """Promise 4: code that computes something else does not open an old journal, and says why."""
    with pytest.raises(Diverged) as caught:
        house.start(2)
    said = str(caught.value)
    assert said.startswith("seq 1 to 4: ")
    assert "start once with --accept-divergence sum" in said
    assert house.start(1).stream.ask(lambda state: state.total).result == 9


def test_a_divergence_that_is_accepted_is_accepted_for_ever(house):
    """Who accepts it once leaves a mark, and later starts of the same code just open."""
    house.start(2, accept=True)
    assert any(line.startswith("sum: accepted: seq 1 to 4: ") for line in house.said)
    house.clock.advance(1)
    house.crash()
    assert house.marks()[-1].accepting
    house.start(2).add(1)
    assert house.stream.ask(lambda state: state.total).result == 20
    house.close()
    assert not house.marks()[-1].accepting
    house.start(2).close()


def test_an_accepted_divergence_is_no_pass_for_another(house):
    """The accepting mark itself must agree: the old code, or a third, is refused."""
    house.start(2, accept=True).close()
    for factor in (1, 3):
        with pytest.raises(Diverged, match=r"^seq 1 to 9: .*, other code was accepted here"):
            house.start(factor)
    house.start(3, accept=True).close()
    house.start(3).close()


def test_an_acceptance_that_never_reached_the_disk_is_none(house):
    """A crash before the accepting mark is written leaves the journal as it was."""
    house.start(2, accept=True)
    house.crash()
    with pytest.raises(Diverged):
        house.start(2)


def test_an_event_carries_the_accepting_mark(house):
    """The first write after the start has the mark before it, not only the first pause."""
    house.start(2, accept=True).add(1)
    house.crash()
    assert house.marks()[-1].accepting
    house.start(2).close()


def test_that_nothing_differed_is_said(house):
    """An option that is left in a service file for ever would one day hide something."""
    house.start(1, accept=True)
    assert "sum: nothing differed: leave --accept-divergence away" in house.said
    house.close()


def test_nothing_is_read_ahead_while_all_agrees(house):
    """The look ahead for an accepting mark is for a divergence alone."""
    acceptance = Acceptance(house.disk)
    assert acceptance.first is None
    assert acceptance._ahead.segments == []
