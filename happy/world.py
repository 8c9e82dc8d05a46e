"""What a stream needs of the world: clocks, chance and a place to block; tests bring their own."""

from __future__ import annotations

import faulthandler
import os
import random
import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from signal import ITIMER_REAL, SIGALRM, setitimer
from threading import Thread, get_ident
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.footprint import Footprint, read_footprint

_STDERR: Final = 2
_BEGIN_S_MAX: Final = 0.001

Work = Callable[[], Any]
Run = Callable[[Work], Deferred[Any]]
"""Runs a function where it may block; fires with what it returns."""


def _nothing() -> None:
    """Wait for nothing, as in a test."""


def _no_alarm(_seconds: float) -> None:
    """Let a handler take its time, as in a test."""


def set_alarm(seconds: float) -> None:
    """End the process in so many seconds, wherever it may be stuck then; 0 means never.

    The kernel does it, by SIGALRM: who is stuck in native code runs no handler of Python's.
    """
    setitimer(ITIMER_REAL, seconds)


def show_stacks_at_the_end() -> None:
    """Let a process that is ended by ``set_alarm``, or by a fault, say where it was.

    On standard error, as it is: nothing of the logging can be relied upon then.
    """
    faulthandler.enable(_STDERR)
    faulthandler.register(SIGALRM, _STDERR, chain=True)


@frozen
class World:
    """The outside, as a stream may use it."""

    clock: IReactorTime
    time_ns: Callable[[], int]
    """The time of day, in nanoseconds since 1970."""
    run: Run
    """Runs journal work: one call after the other, in order."""
    run_aside: Run
    """Runs other work that blocks."""
    random_bytes: Callable[[int], bytes]
    random_of: Callable[[int], Any]
    """Returns a ``random.Random`` for a seed."""
    footprint: Callable[[], Footprint] = lambda: Footprint(None, None)
    """Returns what memory the process takes and the machine has left."""
    let_begin: Callable[[], object] = _nothing
    """Waits until the disk has the last journal work, not longer than 1 ms. Without it the work
    waits for the interpreter until the reactor has nothing to do, and the disk for the work."""
    alarm: Callable[[float], object] = _no_alarm
    """Ends the process in so many seconds, unless it is told another number; 0 means never."""


@implementer(IReadDescriptor)
class _Told:
    """What a thread has done, on its way to the reactor.

    ``callFromThread`` would do; but that goes through a pipe that all share, and is called a turn
    later. Who waits for an answer waits for this, too.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._done: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        reactor.addReader(self)

    def tell(self, whom: Callable[[Any], None], what: Any) -> None:
        """Have somebody told in the reactor's thread; to be called in the other one."""
        self._done.append((whom, what))
        os.eventfd_write(self._file, 1)

    def close(self) -> None:
        """Tell the rest of it in a later turn, and let go."""
        self._reactor.removeReader(self)
        os.close(self._file)
        if self._done:
            self._reactor.callLater(0, self._tell_all)

    def fileno(self) -> int:
        """Return what is readable when there is something to tell."""
        return self._file

    def logPrefix(self) -> str:
        """Return how Twisted names it."""
        return "journal"

    def doRead(self) -> None:
        """Tell what there is."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._file)
        self._tell_all()

    def connectionLost(self, _reason: Failure) -> None:
        """Do nothing: the reactor stops."""

    def _tell_all(self) -> None:
        while self._done:
            whom, what = self._done.popleft()
            whom(what)


class JournalThread:
    """One thread that does one thing after the other, as soon as it can be told.

    A thread pool would do; but who waits for an answer waits for this as well as for the disk,
    and a queue and a thread are half the way.
    """

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._work: SimpleQueue[tuple[Work, Deferred[Any], LockType] | None] = SimpleQueue()
        self._begun: LockType | None = None
        self._awaited: LockType | None = None
        self._thread = Thread(target=self._go_on, name=name)
        self._told: _Told
        self.started = False

    def start(self) -> None:
        """Begin with the work that is there."""
        self.started = True
        self._told = _Told(self._reactor)
        self._thread.start()

    def stop(self) -> None:
        """Return when all that was asked for is done."""
        self._work.put(None)
        self._thread.join()
        self._told.close()

    def run(self, work: Work) -> Deferred[Any]:
        """Do ``work`` in the thread, after all before it; see ``Run``."""
        done: Deferred[Any] = Deferred()
        self._begun = begun = allocate_lock()
        begun.acquire()
        self._work.put((work, done, begun))
        return done

    def let_begin(self) -> None:
        """Return when the last work waits for the disk, or is done; see ``World``."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.acquire(timeout=_BEGIN_S_MAX)

    def waits(self) -> None:
        """Say that what is done now waits for the disk; to be called by the work.

        To begin with it would be too early: between a write and its sync the thread would have
        to wait for the interpreter once more.
        """
        awaited = self._awaited
        if awaited is not None and get_ident() == self._thread.ident:
            self._awaited = None
            awaited.release()

    def _go_on(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        asked = self._work.get()
        if asked is None:
            return False
        work, done, self._awaited = asked
        try:
            result = work()
        except BaseException:  # noqa: BLE001 - told to who asked
            self._told.tell(done.errback, Failure())
        else:
            self._told.tell(done.callback, result)
        self.waits()  # if it had nothing to wait for
        return True


def use_steady_clock(reactor: Any) -> None:
    """Let a reactor count its delays by a clock that nobody can set.

    Twisted's own is the time of day: set back by an hour, it would call nothing for an hour, no
    timeout and no alarm. Call this before the reactor has anything to call.
    """
    reactor.seconds = time.monotonic


def real_world(reactor: Any, name: str) -> tuple[World, JournalThread]:
    """Return the world as it is, with a thread of its own for the journal ``name``.

    The thread is the caller's to start and to stop.
    """
    thread = JournalThread(reactor, f"journal of {name}")

    def run_aside(work: Work) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    world = World(
        reactor,
        time.time_ns,
        thread.run,
        run_aside,
        os.urandom,
        random.Random,
        read_footprint,
        thread.let_begin,
        set_alarm,
    )
    return world, thread
