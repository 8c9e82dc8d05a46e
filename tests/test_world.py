"""The world as it is: the journal's thread."""

import signal
import subprocess
import sys
import threading
import time
from queue import SimpleQueue

import pytest
from twisted.internet.defer import Deferred

from happy.world import JournalThread, real_world, use_steady_clock

SECONDS_MAX = 30


class Reactor:
    """Does what threads ask for when the test says so."""

    def __init__(self):
        self.asked = SimpleQueue()

    def callFromThread(self, function, *args):
        self.asked.put((function, args))

    def turn(self):
        function, args = self.asked.get(timeout=SECONDS_MAX)
        function(*args)


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
    for _ in range(20):
        reactor.turn()
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
    reactor.turn()
    reactor.turn()
    assert told[0].check(error)
    assert told[0].getErrorMessage() == "so it is"
    assert heard == [1]


def test_stopping_finishes_what_was_asked_for(reactor):
    """When ``stop`` returns, all work is done and the thread is gone."""
    thread, done = JournalThread(reactor, "journal of test"), []
    for number in range(10):
        thread.run(lambda number=number: done.append(number))
    assert not thread.started
    assert done == []
    thread.start()
    assert thread.started
    thread.stop()
    assert done == list(range(10))
    assert "journal of test" not in [one.name for one in threading.enumerate()]


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
    thread.run(batch.work)
    del batch
    reactor.turn()
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
