"""The world as it is: the journal's thread."""

import select
import signal
import subprocess
import sys
import threading
import time

import pytest
from twisted.internet.defer import Deferred

from happy.world import JournalThread, real_world, use_steady_clock

SECONDS_MAX = 30


class Reactor:
    """Reads what is readable, and makes the calls that are due, when the test says so."""

    def __init__(self):
        self.readers = []
        self.calls = []

    def addReader(self, reader):
        self.readers.append(reader)

    def removeReader(self, reader):
        self.readers.remove(reader)

    def callLater(self, _seconds, function):
        self.calls.append(function)

    def until(self, condition):
        """Take turns until a condition holds."""
        while not condition():
            ready, _, _ = select.select(self.readers, (), (), SECONDS_MAX)
            assert ready, "nothing comes"
            for reader in ready:
                reader.doRead()


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def thread(reactor):
    made = JournalThread(reactor, "journal of test")
    made.start()
    yield made
    made.stop()


def test_work_is_done_in_one_thread_of_its_own_and_in_order(reactor, thread):
    """One thing after the other: each is done when its Deferred fires, in the reactor's thread."""
    done, heard = [], []

    def work(number):
        done.append((number, threading.current_thread().name))
        return number

    for number in range(20):
        thread.run(lambda number=number: work(number)).addCallback(
            lambda number: heard.append((number, threading.current_thread() is main))
        )
    main = threading.current_thread()
    reactor.until(lambda: len(heard) == 20)
    assert done == [(number, "journal of test") for number in range(20)]
    assert heard == [(number, True) for number in range(20)]


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyboardInterrupt])
def test_what_work_raises_is_told_and_the_thread_goes_on(reactor, thread, error):
    """A failure goes to who asked, whatever it is; the next one is served."""

    def fails():
        raise error("so it is")

    told, heard = [], []
    thread.run(fails).addErrback(told.append)
    thread.run(lambda: 1).addCallback(heard.append)
    reactor.until(lambda: heard)
    assert told[0].check(error)
    assert told[0].getErrorMessage() == "so it is"
    assert heard == [1]


def test_the_last_work_is_waited_for_until_it_waits_itself(thread, monkeypatch):
    """Who lets work begin goes on when the work says so, not before, or when it is done."""
    monkeypatch.setattr("happy.world._BEGIN_S_MAX", SECONDS_MAX)
    steps = []

    def work():
        steps.append("written")
        thread.waits()
        thread.waits()  # as in a work with two syncs

    for _ in range(100):
        steps.clear()
        thread.run(work)
        thread.let_begin()
        assert steps == ["written"]
        thread.run(lambda: steps.append("done"))
        thread.let_begin()
        assert steps == ["written", "done"]
    thread.waits()  # nobody's work: nothing happens


def test_work_is_let_begin(reactor, thread):
    """Who lets work begin goes on when it has; where there is none, or another, he is not kept."""
    thread.let_begin()
    begun, enough = threading.Event(), threading.Event()

    def work():
        thread.waits()
        begun.set()
        assert enough.wait(SECONDS_MAX)

    heard = []
    thread.run(work).addCallback(heard.append)
    thread.let_begin()
    assert begun.wait(SECONDS_MAX)
    thread.run(lambda: None).addCallback(heard.append)
    thread.let_begin()
    thread.let_begin()
    assert heard == []
    enough.set()
    reactor.until(lambda: len(heard) == 2)


def test_stopping_finishes_what_was_asked_for(reactor):
    """When ``stop`` returns, all work is done and the thread is gone; then it is told."""
    thread, done, told = JournalThread(reactor, "journal of test"), [], []
    for number in range(10):
        thread.run(lambda number=number: done.append(number)).addCallback(told.append)
    assert not thread.started
    assert done == []
    thread.start()
    assert thread.started
    thread.stop()
    assert done == list(range(10))
    assert "journal of test" not in [one.name for one in threading.enumerate()]
    assert (reactor.readers, told) == ([], [])
    for call in reactor.calls:
        call()
    assert told == [None] * 10


def test_what_was_done_is_not_kept_in_memory(reactor, thread):
    """The last batch does not stay in memory until the next one comes."""

    class Batch:
        def __init__(self):
            self.gone = threading.Event()

        def work(self):
            return None

        def __del__(self):
            self.gone.set()

    batch = Batch()
    gone = batch.gone
    told = []
    thread.run(batch.work).addCallback(told.append)
    del batch
    reactor.until(lambda: told)
    assert gone.wait(SECONDS_MAX)


def test_the_real_world_runs_journal_work_in_its_thread(reactor):
    """``real_world`` gives a journal a thread of its own name, not yet started."""
    world, thread = real_world(reactor, "numbers")
    assert not thread.started
    names = []
    asked = world.run(lambda: names.append(threading.current_thread().name))
    assert isinstance(asked, Deferred)
    thread.start()
    thread.stop()
    assert names == ["journal of numbers"]


STUCK = """
import itertools
from happy.world import set_alarm, show_stacks_at_the_end
show_stacks_at_the_end()
set_alarm(60)
set_alarm(0)
set_alarm(0.2)
def stuck_here():
    sum(itertools.repeat(1))
stuck_here()
"""


def test_an_alarm_ends_a_process_that_is_stuck_in_native_code():
    """It ends by SIGALRM, and the stack of where it was is on standard error."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGALRM
    assert "in stuck_here" in ended.stderr


def test_delays_are_counted_by_a_clock_that_nobody_sets(reactor):
    """The reactor's seconds are not the time of day, and so not those of a clock set back."""
    use_steady_clock(reactor)
    assert reactor.seconds is time.monotonic
