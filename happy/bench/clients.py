"""Clients of a stream in its own process: the whole way of an event, but for a door.

    python -m happy.bench.clients DIRECTORY CLIENTS SECONDS

takes numbers as a declared route does: the event is prepared once, put in the order again and
again, and every number that comes back is checked. One line of JSON at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.python.failure import Failure

from happy.app import App, definition_of
from happy.bench.figures import spread
from happy.event import Exchange
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.limits import Limits
from happy.stream import Stream
from happy.world import real_world

reactor: Any = real_reactor  # its interfaces are found at run time

SOURCE: Final = "benchmark"
_WARM_UP_TURNS: Final = 2
_TURN_EVENTS_MIN: Final = 25
_TURN_EVENTS_MAX: Final = 5_120
_NO_END: Final = sys.maxsize


class TimedDisk(FileDisk):
    """A disk that takes the time of its syncs."""

    def __init__(self, path: Path, waits: Callable[[], object]) -> None:
        super().__init__(path, waits)
        self.syncs_us: list[float] = []

    def sync(self, name: str) -> None:
        """Sync, and remember how long it took."""
        start_ns = time.perf_counter_ns()
        super().sync(name)
        self.syncs_us.append((time.perf_counter_ns() - start_ns) / 1e3)


def turn_events(clients: int) -> int:
    """Return how many events so many clients submit in a turn: some for each of them."""
    return max(clients, _TURN_EVENTS_MIN, min(20 * clients, _TURN_EVENTS_MAX))


class Clients:
    """A stream of its own on the reactor, in ``DIRECTORY/stream-COUNT``, and what its clients hear.

    Each submits its next event when the last one was answered, in a later turn of the reactor,
    as a peer's next words come. ``prepared``, there is one event, which is encoded once.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        app: type[App],
        events: Iterator[object],
        *,
        prepared: bool = False,
    ) -> None:
        self.count = count
        self.latencies_us: list[float] = []
        self.beyond_us: list[float] = []
        """Of a lone client: what each answer took beyond the sync that it waited for."""
        self.replies: list[Any] = []
        self.events = 0
        self.syncs = 0
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.directory = directory / f"stream-{count}"
        self._end_s = 0.0
        self._left = self._in_flight = self._ready = 0
        self._done: Deferred[None] = Deferred()
        world, self._thread = real_world(reactor, str(count))
        self._disk = TimedDisk(self.directory, self._thread.waits)
        self._stream = Stream("bench", definition_of(app), self._disk, world, Limits())
        self._stream.open()
        self._events = events
        self._ask: Callable[[int], None] = self._submit_one
        if prepared:
            self._prepared = self._stream.prepare(next(events), SOURCE)
            self._ask = self._put_one
        self._thread.start()

    def turn(self, *, counts: bool) -> Deferred[None]:
        """Have the clients submit so many events, until all are answered."""
        return self._go(turn_events(self.count), float("inf"), counts=counts)

    def run(self, seconds: float) -> Deferred[None]:
        """Have the clients submit for so long, until all are answered."""
        return self._go(_NO_END, time.perf_counter() + seconds, counts=True)

    @inlineCallbacks
    def _go(
        self, events: int, end_s: float, *, counts: bool
    ) -> Generator[Deferred[Any], Any, None]:
        before = len(self.latencies_us), len(self.beyond_us)
        self._disk.syncs_us.clear()
        self._left, self._end_s = events, end_s
        self._done = Deferred()
        self._ready = self.count
        start_s, used_s = time.perf_counter(), time.process_time()
        self._submit()
        yield self._done
        if counts:
            self.seconds += time.perf_counter() - start_s
            self.cpu_s += time.process_time() - used_s
            self.events += len(self.latencies_us) - before[0]
            self.syncs += len(self._disk.syncs_us)
        else:
            del self.latencies_us[before[0] :], self.beyond_us[before[1] :]

    def _submit(self) -> None:
        if time.perf_counter() >= self._end_s:
            self._left = 0
        ready, self._ready = min(self._ready, self._left), 0
        self._left -= ready
        self._in_flight += ready
        for _ in range(ready):
            self._ask(time.perf_counter_ns())
        if not self._in_flight:
            self._done.callback(None)

    def _submit_one(self, start_ns: int) -> None:
        answer = self._stream.submit(next(self._events), Exchange(SOURCE))
        answer.addCallback(self.answered, start_ns).addErrback(self.broken)

    def _put_one(self, start_ns: int) -> None:
        self._stream.put(self._prepared, _Waiter(self, start_ns))

    def answered(self, reply: object, start_ns: int) -> None:
        """Take the reply to an event that was submitted at this moment."""
        took_us = (time.perf_counter_ns() - start_ns) / 1e3
        self.latencies_us.append(took_us)
        self.replies.append(reply)
        if self.count == 1:
            self.beyond_us.append(took_us - self._disk.syncs_us[-1])
        if not self._ready:
            reactor.callLater(0, self._submit)
        self._ready += 1
        self._in_flight -= 1

    def broken(self, failure: Failure) -> None:
        """Give up: nothing is measured of a stream that refuses."""
        if not self._done.called:
            self._done.errback(failure)

    @inlineCallbacks
    def close(self) -> Generator[Deferred[Any], Any, None]:
        """Close the stream in good order."""
        yield self._stream.close()
        self._thread.stop()

    def figures(self) -> dict[str, Any]:
        """Return what the clients heard."""
        found: dict[str, Any] = {
            "clients": self.count,
            **spread(self.latencies_us),
            "events_per_sync": round(self.events / self.syncs, 1),
            "events_per_s": round(self.events / self.seconds),
            "cpu_us": round(self.cpu_s / self.events * 1e6, 2),
        }
        if self.beyond_us:
            found["beyond_sync_p50_us"] = spread(self.beyond_us)["p50_us"]
        return found


@frozen(eq=False)
class _Waiter:
    clients: Clients
    start_ns: int

    def replied(self, _seq: int, value: Any) -> None:
        """See ``Waiting``."""
        self.clients.answered(value, self.start_ns)

    def failed(self, _seq: int, error: Exception) -> None:
        """See ``Waiting``."""
        self.clients.broken(Failure(error))


@inlineCallbacks
def numbers(
    directory: Path, count: int, seconds: float
) -> Generator[Deferred[Any], Any, dict[str, Any]]:
    """Take numbers for some seconds; return the figures, and how many were not the next one."""
    clients = Clients(directory, count, NumberService, repeat(Next()), prepared=True)
    try:
        for _ in range(_WARM_UP_TURNS):
            yield clients.turn(counts=False)
        yield clients.run(seconds)
    finally:
        yield clients.close()
    wrong = sum(reply != due for due, reply in enumerate(clients.replies, 1))
    return {**clients.figures(), "wrong": wrong}


def run_on_reactor(work: Callable[[], Deferred[Any]]) -> Any:
    """Run the reactor until some work is done; return its result, or raise what it raised."""
    found: list[Any] = []

    def begin() -> None:
        done = work()
        done.addBoth(found.append)
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


def main(directory: str, clients: str, seconds: str) -> None:
    """Take numbers and print the figures."""
    found = run_on_reactor(lambda: numbers(Path(directory), int(clients), float(seconds)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
