"""What a stream needs of the world: clocks, chance and a place to block; tests bring their own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

Run = Callable[[Callable[[], Any]], Deferred[Any]]
"""Runs a function where it may block; fires with what it returns."""


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


def real_world(reactor: Any, name: str) -> tuple[World, ThreadPool]:
    """Return the world as it is, with a thread of its own for the journal ``name``.

    The thread pool is the caller's to start and to stop.
    """
    thread = ThreadPool(minthreads=1, maxthreads=1, name=f"journal of {name}")

    def run(work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(reactor, thread, work)

    def run_aside(work: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)

    world = World(reactor, time.time_ns, run, run_aside, os.urandom, random.Random)
    return world, thread
