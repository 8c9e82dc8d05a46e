"""The one pen of a journal."""

from __future__ import annotations

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from happy.errors import NoRoom
from happy.journal.appender import Appender, create_journal
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.marks import DigestMark, mark_in
from happy.pen import Pen
from happy.stream_clock import StreamClock
from happy.testing.disk import MemoryDisk
from happy.world import World

BEGUN_NS = 1_000


MARK = DigestMark(0, "5a" * 16, "0c" * 16, "5e" * 8)


class Noting:
    """Notes which marks are said to be written, and when."""

    def __init__(self):
        self.marks = []

    def written(self, mark, time_ns):
        self.marks.append((mark, time_ns))


class Desk:
    """A pen over a journal in memory, and the clock it looks at."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.disk.lock()
        self.now_ns = BEGUN_NS
        tail = create_journal(self.disk, b"j" * 16, 1, BEGUN_NS, 65_536)
        appender = Appender(self.disk, tail, segment_bytes_max=65_536, new_salt=lambda: 2)
        clock = StreamClock(lambda: self.now_ns, lambda: 0.0)
        clock.go_on_from(BEGUN_NS)
        self.marker = Noting()
        self.waits = 0
        world = World(Clock(), None, maybeDeferred, None, None, None, let_begin=self._wait)
        self.pen = Pen("numbers", appender, self.marker, world, clock)

    def _wait(self):
        self.waits += 1

    def frames(self):
        return list(Reader(self.disk, cut=False).frames())


@pytest.fixture
def desk():
    return Desk()


def test_many_events_are_on_their_way_before_anything_else_is_done(desk):
    """Behind a batch the journal's thread is let begin; a lone event is not waited for."""
    desk.pen.append([b"record"])
    assert desk.waits == 0
    desk.pen.append([b"one", b"two"])
    assert desk.waits == 1


def test_a_moment_never_goes_backwards(desk):
    """A clock that is set back gives later writes the moment of the one before."""
    for now_ns in (5_000, 3_000, 6_000):
        desk.now_ns = now_ns
        desk.pen.append([b"record"])
    assert [frame.time_ns for frame in desk.frames()] == [5_000, 5_000, 6_000]


def test_the_pen_is_busy_until_its_owner_has_dealt_with_the_write(desk):
    """That the disk is done is not enough: what was written is to be placed first."""
    assert not desk.pen.busy
    desk.pen.append([b"record"])
    assert desk.pen.busy


def test_a_mark_vouches(desk):
    """After events nothing vouches for them; after a mark, it does."""
    desk.pen.append([b"record"])
    assert not desk.pen.vouched
    desk.pen.mark(Kind.IDLE_MARK, "idle mark")
    assert desk.pen.vouched


def test_a_mark_without_room_is_no_failure(desk):
    """Nobody waits for a mark: that there is no room for one is said, and that is all."""
    desk.disk.room = 0
    desk.disk.before_step = _full
    failures = []
    desk.pen.mark(Kind.IDLE_MARK, "idle mark").addErrback(failures.append)
    assert failures == []
    assert desk.frames() == []


def test_a_digest_mark_rides_on_another_write(desk):
    """It goes before the batch or the mark, in the same write, and its marker hears of it."""
    syncs = desk.disk.syncs_count
    desk.now_ns = 7_000
    desk.pen.append([b"record"], MARK)
    assert desk.disk.syncs_count == syncs + 1
    first, second = desk.frames()
    assert (first.kind, second.kind) == (Kind.DIGEST_MARK, Kind.EVENTS)
    assert mark_in(first) == MARK
    assert first.durable_end == second.durable_end == first.offset
    assert desk.marker.marks == [(MARK, 7_000)]


def test_a_digest_mark_that_found_no_room_was_not_written(desk):
    """Its marker will make it again."""
    desk.disk.before_step = _full
    desk.pen.append([b"record"], MARK).addErrback(lambda failure: failure.trap(NoRoom))
    assert desk.marker.marks == []


def _full(step):
    if step.verb == "write":
        raise NoRoom("full")
