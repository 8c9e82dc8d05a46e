"""Housekeeping: snapshots when there is enough behind the last, retries, and old segments."""

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from happy.errors import JournalError, NoRoom, NoSnapshot
from happy.housekeeping import Housekeeping, Journaled
from happy.journal.names import snapshot_name
from happy.journal.snapshots import Good
from happy.limits import Limits
from happy.opening import Behind
from happy.snapshotting import Made
from happy.testing.disk import MemoryDisk
from happy.world import World
from snapshot_kit import Branch, Paid

LIMITS = Limits(
    snapshot_behind_bytes_max=1000,
    snapshot_behind_replay_s_max=10,
    snapshot_retry_s=60,
    snapshot_retry_max_s=200,
)


class Opened:
    """How an application was opened: what was behind its snapshot."""

    def __init__(self, events=0, size_bytes=0, seconds=0.0, recalled=None):
        self.behind = Behind(events, size_bytes, seconds)
        self.recalled = recalled


class House:
    """Housekeeping with a clock of our own, and processes that end when we say."""

    def __init__(self, opened=None, seq=0, limits=LIMITS):
        self.clock = Clock()
        self.seq = seq
        self.size_bytes = 0
        self.asked = []
        self.let_go_of = []
        self.let_go_error = None
        self.ended = False
        world = World(self.clock, lambda: 0, maybeDeferred, maybeDeferred, bytes, None)
        self.it = Housekeeping(
            "bank",
            world,
            limits,
            lambda: Journaled(self.seq, self.size_bytes),
            self._make,
            self._let_go,
            self._end,
        )
        self.it.begin(opened or Opened())

    def _make(self):
        self.asked.append(Deferred())
        return self.asked[-1]

    def _let_go(self, seqs):
        if self.let_go_error is not None:
            raise self.let_go_error
        self.let_go_of.append(seqs)
        return []

    def _end(self):
        self.ended = True

    def write(self, events=1, size_bytes=100):
        self.seq += events
        self.size_bytes += size_bytes
        self.clock.advance(1)

    def made(self, seq=None, events=10, replay_s=0.0, complaints=()):
        seq = self.seq if seq is None else seq
        good = (Good(snapshot_name(seq), seq, 5, 77), Good(snapshot_name(1), 1, 4, 66))
        self.asked[-1].callback(Made(good[0].name, seq, events, replay_s, good, complaints))

    @property
    def status(self):
        return self.it.status()


def test_one_is_made_when_so_many_bytes_are_behind():
    """Nothing happens before, one process is started then, and the next counts from there."""
    house = House()
    house.write(size_bytes=999)
    assert house.asked == []
    house.write(size_bytes=1)
    assert len(house.asked) == 1
    assert house.status["running"]
    house.write(size_bytes=5000)
    assert len(house.asked) == 1
    house.made(seq=2)
    assert (house.status["seq"], house.status["size_bytes"]) == (2, 77)
    assert house.status["behind_bytes"] == 5000
    house.clock.advance(1)
    assert len(house.asked) == 2


def test_one_is_made_when_a_replay_would_take_so_long():
    """What an event costs is measured at the opening; so is when a restart takes too long."""
    house = House(Opened(events=2000, seconds=4.0), seq=2000)
    assert house.status["behind_replay_s"] == 4
    house.write(events=2999, size_bytes=1)
    assert house.asked == []
    house.write(events=1, size_bytes=1)
    assert len(house.asked) == 1


def test_what_making_one_took_is_a_measure_too():
    """A machine that is slow at replaying is noticed by who replays."""
    house = House()
    house.write(size_bytes=1000)
    house.made(events=1000, replay_s=5.0)
    house.write(events=1999, size_bytes=1)
    assert len(house.asked) == 1
    house.write(events=1, size_bytes=1)
    assert len(house.asked) == 2


def test_a_few_events_measure_nothing():
    """The time that a handful of events took is chance."""
    house = House(Opened(events=10, seconds=30.0), seq=10)
    house.clock.advance(1)
    assert house.asked == []


def test_what_was_behind_at_the_opening_counts():
    """What had to be replayed at the start is behind the snapshot; one is made at once."""
    house = House(Opened(events=3, size_bytes=1000), seq=3)
    house.clock.advance(1)
    assert len(house.asked) == 1


def test_a_snapshot_that_is_there_is_known():
    """The snapshot that the application was opened with is shown."""
    bank = Branch(MemoryDisk())
    bank.open()
    for n in range(9):
        bank.append(Paid("a", n))
    bank.make()
    bank.disk.close()
    house = House(bank.open(), seq=9)
    assert (house.status["seq"], house.status["behind_bytes"]) == (7, bank.opened.behind.size_bytes)
    assert house.status["created_ns"] == bank.opened.recalled.header.created_ns


@pytest.mark.parametrize("error", [NoSnapshot("killed"), NoRoom("full"), ZeroDivisionError()])
def test_failures_are_retried_with_growing_pauses(error):
    """Whatever goes wrong, the next try comes after a pause that doubles up to a bound."""
    house = House()
    house.write(size_bytes=1000)
    for tries, pause_s in enumerate((60, 120, 200, 200), 1):
        house.asked[-1].errback(error)
        assert not house.status["running"]
        assert house.status["error"] == str(error)
        for _ in range(pause_s - 1):
            house.clock.advance(1)
        assert len(house.asked) == tries
        house.clock.advance(1)
        assert len(house.asked) == tries + 1
    house.made()
    assert house.status["error"] is None
    house.write(size_bytes=1000)
    house.asked[-1].errback(error)
    house.clock.pump([1] * 60)
    assert len(house.asked) == 7


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """A failure of ours is logged as one; here it is what is tested."""
    monkeypatch.setattr("happy.housekeeping.log.failure", lambda *_, **__: None)


def test_segments_are_let_go_of_after_each():
    """Whoever lets go is told the last seqs of what was verified."""
    house = House()
    house.write(events=5, size_bytes=1000)
    house.made()
    assert house.let_go_of == [[5, 1]]


@pytest.mark.parametrize("error", [JournalError("the archive is another"), OSError("gone")])
def test_segments_that_stay_are_told(error):
    """What keeps segments from going is shown; the snapshot counts all the same."""
    house = House()
    house.let_go_error = error
    house.write(events=5, size_bytes=1000)
    house.made()
    assert house.status["error"] == f"segments could not be let go: {error}"
    assert (house.status["seq"], house.status["running"]) == (5, False)
    house.let_go_error = None
    house.write(size_bytes=1000)
    house.made()
    assert house.status["error"] is None


def test_stopping_ends_who_makes_one():
    """A process that is still at work is ended, and its end is no news."""
    house = House()
    house.write(size_bytes=1000)
    house.it.stop()
    assert house.ended
    house.asked[-1].errback(NoSnapshot("its process was ended by signal 9"))
    assert house.status["error"] is None
    house.clock.advance(1000)
    assert len(house.asked) == 1
    assert house.clock.getDelayedCalls() == []


def test_one_that_ends_after_the_stop_lets_nothing_go():
    """When the journal is being closed, nobody else touches it."""
    house = House()
    house.write(size_bytes=1000)
    house.it.stop()
    house.made()
    assert house.let_go_of == []
