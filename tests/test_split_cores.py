"""The lives of a core: what each start does, and what ends them again and again."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from core_kit import Killed, elsewhere_here
from happy import App, event, handles, state
from happy.app import definition_of
from happy.applying import NOTE_BYTES
from happy.errors import CoreLost, Diverged, NotOpen, StartError
from happy.event import Configured, Exchange
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.snapshotting import SnapshotMaker
from happy.split.aside import Aside, Say
from happy.split.pickled import pack
from happy.stream import Stream
from happy.testing import MemoryDisk
from happy.world import World

LIMITS = Limits(segment_bytes_max=64 * 1024, core_restart_ms=1000, core_restart_max_s=4)


@event
class Step:
    deadly: bool = False


@state
class Steps:
    count: int = 0


class Stepper(App):
    state = Steps
    deadly = True

    @handles(Step)
    def step(state, event, context):
        state.count += 1
        if event.deadly and Stepper.deadly:
            raise Killed
        return state.count


class Doubler(App):
    """Other code than what answered."""

    state = Steps

    @handles(Step)
    def step(state, event, context):
        state.count += 2
        return state.count


@state
class More:
    count: int = 0
    other: str = ""


class Wider(App):
    """The same events, with a state of another shape."""

    state = More

    @handles(Step)
    def step(state, event, context):
        return None


class House:
    """A stream, the lives of its core, and what is said of them."""

    def __init__(self):
        self.disk, self.clock, self.lives, self.said = MemoryDisk(), Clock(), [], []

    def open(self, app=Stepper, **accepting):
        definition, self.on_disk = definition_of(app), app
        world = World(
            self.clock,
            lambda: 10**18 + round(self.clock.seconds() * 10**9),
            maybeDeferred,
            maybeDeferred,
            random.Random(1).randbytes,
            random.Random,
        )
        elsewhere = elsewhere_here(
            "steps",
            definition,
            self.disk,
            world,
            LIMITS,
            self.lives,
            lambda turn: turn(),
            lambda: self.on_disk,
        )
        self.stream = Stream("steps", definition, self.disk, world, LIMITS, elsewhere)
        self.stream.open(**accepting)
        self.halted = []
        self.stream.halted.addCallback(self.halted.append)
        self.stream.begin(Configured(b""))
        return self

    def submit(self, *args):
        came = []
        self.stream.submit(Step(*args), Exchange("test")).addBoth(came.append)
        return came

    @property
    def core(self):
        return self.stream.status()["core"]

    def kinds(self):
        return [frame.kind for frame in Reader(self.disk, cut=False).frames()]


@pytest.fixture
def house():
    return House().open()


@pytest.fixture
def logged():
    lines = []

    def observe(entry):
        lines.append((entry.get("log_format") or "").format_map(entry))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_the_pause_before_a_start_grows_and_is_bounded(house, logged):
    """Each end is said in the log; a core that has lasted begins with the first pause again."""
    pauses = []
    for _ in range(4):
        house.lives[-1].die()
        began_s = house.clock.seconds()
        while house.core["state"] != "serving":
            house.clock.advance(0.5)
        pauses.append(house.clock.seconds() - began_s)
    assert pauses == [1, 2, 4, 4]
    core = house.core
    assert core.pop("resident_bytes") is None or core
    assert core == {"pid": 4711, "state": "serving", "restarts": 4, "seq": 0, "lag": 0}
    house.clock.advance(5)
    house.lives[-1].die()
    house.clock.advance(1)
    assert house.core["restarts"] == 5
    assert next(line for line in logged if "is started again" in line) == (
        "steps: the core (here) was ended; it is started again after 1.0 s, and until it has read "
        "the journal no events are taken"
    )


def test_an_event_that_ends_cores_is_quarantined(house, logged):
    """As when the machine is here: after three ends it has failed, and the rest goes on."""
    assert house.submit() == [1]
    assert house.submit(True)[0].type is CoreLost
    assert house.submit()[0].type is NotOpen
    house.clock.advance(1)
    house.clock.advance(2)
    assert house.core["state"] == "ended"
    house.clock.advance(4)
    assert house.core["state"] == "serving"
    assert house.submit() == [2]
    status = house.stream.status()
    assert (status["failed"], status["quarantined"]) == (1, (2,))
    assert Kind.QUARANTINE_MARK in house.kinds()
    assert any("steps/2: quarantined" in line for line in logged)
    house.stream.close()
    again = House()
    again.disk = house.disk
    status = again.open().stream.status()
    assert (status["failed"], status["quarantined"]) == (1, (2,))


def test_a_quarantine_that_finds_no_room_is_tried_again(house):
    """A full disk is nothing final, and nobody runs the event meanwhile."""
    house.submit(True)
    house.clock.advance(1)
    house.disk.room = 0
    house.clock.advance(2)
    house.clock.advance(4)
    ended = len(house.lives)
    house.clock.advance(4)
    assert len(house.lives) == ended
    house.disk.room = None
    house.clock.advance(4)
    assert house.core["state"] == "serving"
    assert house.submit() == [1]


def test_what_ended_the_container_is_found_by_its_next_start(house):
    """An event that ends every core of a start is quarantined within that start."""
    house.submit(True)
    house.stream.stop()
    house.disk.crash()
    assert house.open().submit() == [1]
    assert house.stream.status()["quarantined"] == (1,)


def test_a_core_begins_with_the_newest_snapshot(house):
    """It replays what is behind that, at the first start and at each after it."""
    for _ in range(5):
        house.submit()
    house.stream.close()
    maker = SnapshotMaker(definition_of(Stepper), house.disk, random.Random, lambda: 0.0)
    maker.make(10**18, kept=1)
    opened = house.open().stream.opened
    assert (opened.recalled.header.seq, opened.behind.events) == (5, 0)
    assert house.submit() == [6]
    house.lives[-1].die()
    house.clock.advance(1)
    assert house.stream._core.told.snapshot == opened.recalled.name
    assert house.stream._core.told.events == 1
    assert house.submit() == [7]


def test_other_code_on_the_disk_is_not_taken_for_the_same(house, logged):
    """A core that declares other events, rows or state is ended, and it is said why."""
    house.on_disk = Wider
    house.lives[-1].die()
    house.clock.advance(1)
    assert (house.core["state"], house.core["restarts"]) == ("ended", 1)
    assert any("declares other events, rows or state" in line for line in logged)
    house.on_disk = Stepper
    house.clock.advance(2)
    assert house.core["state"] == "serving"
    assert house.submit() == [1]


def test_code_that_comes_to_something_else_is_refused_and_can_be_accepted(house):
    """Promise 4: the sentence is that of a start in one process, and so is the way out."""
    house.submit()
    house.stream.close()
    with pytest.raises(Diverged, match="start once with --accept-divergence steps"):
        house.open(Doubler)
    house.open(Doubler, accept_divergence=True)
    assert house.submit() == [4]
    house.stream.close()
    assert house.open(Doubler).submit() == [6]


def test_a_core_that_cannot_start_is_a_start_error(monkeypatch):
    """Whatever it says is the reason; if it says nothing, how it ended is."""
    house = House()

    def dies(life):
        life.die()
        return False

    monkeypatch.setattr("core_kit.LifeHere.receive", dies)
    with pytest.raises(StartError, match=r"the core cannot start: its process \(here\) was ended"):
        house.open()


def test_an_aside_that_is_not_for_a_core_ends_it(house):
    """Nobody guesses what it may have meant."""
    life = house.lives[-1]
    life.send(Aside(Say.READY, pack(1)).encode())
    assert not life.alive
    assert house.core["state"] == "ended"
    assert bytes(house.disk.shared_bytes(NOTE_BYTES))[16:24] == bytes(8)
