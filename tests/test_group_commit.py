"""How many events share a sync, and how many syncs an event waits for: counted, never timed.

The benchmark ``benchmarks/journal.py`` takes the times.
"""

import random
import re
import selectors
import socket
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from conftest import need
from happy import App, event, handles, state
from happy.app import definition_of
from happy.event import Exchange
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.stream import Stream
from happy.testing import MemoryDisk
from happy.world import World

CLIENTS = 64
EVENTS_PER_SYNC_MIN = 10


@event
class Note:
    """Something to keep."""


@state
class Count:
    notes: int = 0


class Notes(App):
    state = Count

    @handles(Note)
    def note(state, event, context):
        state.notes += 1
        return state.notes


class House:
    """A stream whose journal works when the test says so, on a disk that counts its syncs."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.clock = Clock()
        self.jobs = deque()
        self.answers = []
        world = World(self.clock, lambda: 1, self._run, maybeDeferred, bytes, random.Random)
        limits = Limits(segment_bytes_max=1 << 20)
        self.stream = Stream("notes", definition_of(Notes), self.disk, world, limits)
        self.stream.open()
        self.disk.syncs_count = 0

    def _run(self, work):
        done = Deferred()
        self.jobs.append((work, done))
        return done

    def submit(self):
        self.stream.submit(Note(), Exchange("test")).addCallback(self.answers.append)

    def work(self):
        """Do what the journal's thread has to do, and tell of it."""
        work, done = self.jobs.popleft()
        done.callback(work())


@pytest.fixture
def house():
    return House()


def test_a_lone_event_waits_for_one_sync_and_for_no_timer(house):
    """One client alone: one job, one sync, no moment passes, and it is answered."""
    for number in range(1, 21):
        house.submit()
        assert house.answers == list(range(1, number))
        house.work()
        assert house.answers == list(range(1, number + 1))
        assert house.disk.syncs_count == number
    assert not house.jobs
    assert house.clock.seconds() == 0


def test_what_comes_during_a_sync_shares_the_next_one(house):
    """64 events that arrive while the disk is busy cost one sync between them."""
    house.submit()
    for _ in range(CLIENTS):
        house.submit()
    assert len(house.jobs) == 1
    house.work()
    assert house.answers == [1]
    house.work()
    assert house.answers == list(range(1, CLIENTS + 2))
    assert house.disk.syncs_count == 2
    assert not house.jobs


def test_nobody_waits_for_more_than_two_syncs(house):
    """Whenever an event comes, the sync that is under way and the one after it are enough."""
    chance = random.Random(1)
    came = {}
    for _ in range(200):
        for _ in range(chance.randrange(8)):
            came[len(came) + 1] = house.disk.syncs_count
            house.submit()
        heard = len(house.answers)
        if house.jobs:
            house.work()
        for number in house.answers[heard:]:
            assert house.disk.syncs_count - came[number] <= 2
    assert house.disk.syncs_count > 100


class Patient:
    """Waits for an event that came by a declared route."""

    def __init__(self, answers):
        self._answers = answers

    def replied(self, _seq, value):
        self._answers.append(value)

    def failed(self, _seq, error):
        self._answers.append(error)


def put(house, count=1):
    """Put events in the order as a declared route does."""
    prepared = house.stream.prepare(Note(), "http")
    for _ in range(count):
        house.stream.put(prepared, Patient(house.answers))


def test_a_crowd_that_comes_in_one_turn_shares_one_sync(house):
    """Once two came together, no first of many goes to the disk alone: their turn ends first."""
    put(house, 3)
    house.work()
    house.work()
    assert house.answers == [1, 2, 3]
    house.disk.syncs_count = 0
    put(house, CLIENTS)
    assert not house.jobs
    house.clock.advance(0)
    house.work()
    assert house.answers == list(range(1, CLIENTS + 4))
    assert house.disk.syncs_count == 1


def test_a_client_that_is_alone_again_waits_for_no_turn(house):
    """After a batch of one, the next event goes to the disk when it comes."""
    put(house, 3)
    house.work()
    house.work()
    put(house)
    house.clock.advance(0)
    house.work()
    put(house)
    assert len(house.jobs) == 1
    house.work()
    assert house.answers == [1, 2, 3, 4, 5]


def test_a_crowd_in_the_last_turn_is_kept(house):
    """Closing sends what was gathering to the disk, and seals after it."""
    put(house, 3)
    house.work()
    house.work()
    put(house, 2)
    closed = []
    house.stream.close().addCallback(closed.append)
    while house.jobs:
        house.work()
    assert house.answers == [1, 2, 3, 4, 5]
    assert closed == [None]
    assert house.clock.getDelayedCalls() == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), pauses_max=st.integers(0, 8))
def test_64_clients_get_ten_events_into_a_sync(seed, pauses_max):
    """However long each of them thinks before its next word, up to eight syncs."""
    house, chance = House(), random.Random(seed)
    thinking = [chance.randint(0, pauses_max) for _ in range(CLIENTS)]
    syncs = 200
    for _ in range(syncs):
        thinking = [pause - 1 for pause in thinking]
        for _ in range(sum(pause < 0 for pause in thinking)):
            house.submit()
        thinking = [pause for pause in thinking if pause >= 0]
        heard = len(house.answers)
        if house.jobs:
            house.work()
        answered = len(house.answers) - heard
        thinking += [chance.randint(0, pauses_max) for _ in range(answered)]
    assert len(house.answers) / house.disk.syncs_count >= EVENTS_PER_SYNC_MIN


def load(port, clients, total):
    """Have connections ask for numbers, one request after the other, until all are answered."""
    ask = b"POST /next HTTP/1.1\r\nHost: numbers.example\r\nContent-Length: 0\r\n\r\n"
    with selectors.DefaultSelector() as answers:
        for _ in range(clients):
            peer = socket.create_connection(("127.0.0.1", port), timeout=60)
            answers.register(peer, selectors.EVENT_READ, bytearray())
            peer.sendall(ask)
        asked, taken = clients, []
        while len(taken) < total:
            ready = answers.select(30)
            assert ready, f"{len(taken)} answers, and no more"
            for key, _ in ready:
                said = key.data
                said += key.fileobj.recv(4096)
                head, _, body = bytes(said).partition(b"\r\n\r\n")
                if not body.endswith(b"\n"):
                    continue
                assert head.startswith(b"HTTP/1.1 200 ")
                taken.append(int(body))
                said.clear()
                if asked < total:
                    asked += 1
                    key.fileobj.sendall(ask)
        for key in answers.get_map().values():
            key.fileobj.close()
    return taken


def test_64_connections_get_ten_events_into_an_fdatasync(container, tmp_path):
    """Counted from outside, on a disk that takes 2 ms for a sync: one sync is one frame."""
    trace = tmp_path / "trace"
    slow = "inject=fdatasync:delay_enter=2000"  # as an ordinary disk does
    wrapper = (need("strace"), "-f", "-y", "-e", "trace=fdatasync", "-e", slow, "-o", str(trace))
    house = container(wrapper=wrapper).start()
    total = 50 * CLIENTS
    taken = load(house.port("numbers", "http"), CLIENTS, total)
    house.kill()
    assert sorted(taken) == list(range(1, total + 1))
    syncs = len(re.findall(r"fdatasync\(\d+<[^>]*\.segment>", trace.read_text()))
    frames = list(Reader(FileDisk(house.data / "numbers"), cut=False).frames())
    events = [frame.count for frame in frames if frame.kind is Kind.EVENTS]
    print(f"{total} events in {len(events)} frames and {syncs} syncs: {total / syncs:.1f} per sync")
    assert len(frames) <= syncs <= len(frames) + 2  # and those of the start
    assert total / syncs >= EVENTS_PER_SYNC_MIN
