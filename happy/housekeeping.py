"""Having snapshots made when there is enough behind the last one, and letting old segments go.

A snapshot is due when many bytes of the journal, or many seconds of replay, are behind the last.
Who makes it is a process of its own, and whatever becomes of it - a full disk, a kill, a fault of
the disk - is no more to the application than a line in its log: it is tried again, after pauses
that grow. When one was made and verified, segments may go, if a budget was set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.errors import HappyError
from happy.journal.retention import Held
from happy.limits import Limits
from happy.opening import Opened
from happy.snapshotting import Made
from happy.world import World

log = Logger()

_LOOK_S: Final = 1.0
"""How often is looked whether a snapshot is due; nothing is done per event."""
_EVENT_S: Final = 20e-6
"""What one event is taken to cost in a replay until it was measured."""
_EVENTS_MEASURED_MIN: Final = 1_000
"""From so few on, the time of a replay tells what an event costs."""


@attrs.frozen
class Journaled:
    """How far a journal is: its last seq, and how many bytes of frames there were since a start."""

    seq: int
    size_bytes: int


class Housekeeping:
    """Has snapshots made of one application, and lets old segments go."""

    def __init__(  # noqa: PLR0913 - all that it brings together
        self,
        name: str,
        world: World,
        limits: Limits,
        journaled: Callable[[], Journaled],
        make: Callable[[], Deferred[Made]],
        let_go: Callable[[list[int]], list[Held]],
        end: Callable[[], None],
    ) -> None:
        """Do nothing yet; see ``begin``.

        ``make`` starts the process and fires with what it made, or fails with a ``HappyError``
        that says why it did not; ``end`` ends it. ``let_go`` lets segments go that are covered by
        the snapshots whose last seqs it is given; it may block.
        """
        self._end = end
        self._name = name
        self._world = world
        self._limits = limits
        self._journaled = journaled
        self._make = make
        self._let_go = let_go
        self._covered = Journaled(0, 0)
        self._event_s = _EVENT_S
        self._running = False
        self._stopped = False
        self._error: str | None = None
        self._pause_s = 0
        self._not_before_s = 0.0
        self._alarm: IDelayedCall | None = None
        self._seq = 0
        self._created_ns: int | None = None
        self._size_bytes = 0

    def begin(self, opened: Opened) -> None:
        """Look from now on whether a snapshot is due, behind that which it was opened with."""
        behind = opened.behind
        now = self._journaled()
        self._covered = Journaled(now.seq - behind.events, now.size_bytes - behind.size_bytes)
        self._measure(behind.events, behind.seconds)
        if opened.recalled is not None:
            snapshot = opened.recalled
            self._seq = snapshot.header.seq
            self._created_ns = snapshot.header.created_ns
            self._size_bytes = snapshot.size_bytes
        self._set_alarm()

    def stop(self) -> None:
        """Have no more made, and end who makes one now."""
        self._stopped = True
        self._end()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def status(self) -> dict[str, Any]:
        """Return how the snapshots are, for people and tools; seq is 0 when there is none."""
        return {
            "seq": self._seq,
            "created_ns": self._created_ns,
            "size_bytes": self._size_bytes,
            "behind_bytes": self._behind_bytes(),
            "behind_replay_s": round(self._behind_replay_s(), 3),
            "running": self._running,
            "error": self._error,
        }

    def look(self) -> None:
        """Have a snapshot made if one is due and none is being made."""
        due = (
            self._behind_bytes() >= self._limits.snapshot_behind_bytes_max
            or self._behind_replay_s() >= self._limits.snapshot_behind_replay_s_max
        )
        if due and not self._running and self._world.clock.seconds() >= self._not_before_s:
            self._start()

    def _behind_bytes(self) -> int:
        return self._journaled().size_bytes - self._covered.size_bytes

    def _behind_replay_s(self) -> float:
        return (self._journaled().seq - self._covered.seq) * self._event_s

    def _measure(self, events: int, seconds: float) -> None:
        if events >= _EVENTS_MEASURED_MIN and seconds > 0:
            self._event_s = seconds / events

    def _set_alarm(self) -> None:
        if not self._stopped:
            self._alarm = self._world.clock.callLater(_LOOK_S, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self.look()
        self._set_alarm()

    def _start(self) -> None:
        self._running = True
        covered = self._journaled()
        log.info(
            "{name}: a snapshot is being made: {behind} bytes of journal are behind the last one",
            name=self._name,
            behind=self._behind_bytes(),
        )
        made = self._make()
        made.addCallbacks(self._made, self._not_made, callbackArgs=(covered,))
        made.addErrback(self._broken)
        made.addBoth(self._ended)

    def _made(self, made: Made, covered: Journaled) -> Deferred[None] | None:
        self._covered = covered
        self._error = None
        self._pause_s = 0
        self._measure(made.events, made.replay_s)
        for complaint in made.complaints:
            log.error("{name}: a snapshot is no good: {why}", name=self._name, why=complaint)
        if made.good:
            newest = made.good[0]
            self._seq = newest.seq
            self._created_ns = newest.created_ns
            self._size_bytes = newest.size_bytes
            log.info(
                "{name}: {snapshot} covers all up to seq {seq}, in {size} bytes",
                name=self._name,
                snapshot=newest.name,
                seq=newest.seq,
                size=newest.size_bytes,
            )
        if self._stopped:
            return None
        seqs = [good.seq for good in made.good]
        gone = self._world.run_aside(lambda: self._let_go(seqs))
        return gone.addCallbacks(self._gone, self._not_gone)

    def _gone(self, gone: list[Held]) -> None:
        if gone:
            log.info(
                "{name}: let go of {count} segments, up to {last}: the snapshots cover them",
                name=self._name,
                count=len(gone),
                last=gone[-1].name,
            )

    def _not_gone(self, failure: Failure) -> None:
        # Nothing is lost: the next snapshot brings the next try.
        failure.trap(HappyError, OSError)
        self._error = f"segments could not be let go: {failure.getErrorMessage()}"
        log.error("{name}: {error}", name=self._name, error=self._error)

    def _not_made(self, failure: Failure) -> None:
        failure.trap(HappyError)
        if self._stopped:
            return
        self._postpone(failure.getErrorMessage())
        log.error(
            "{name}: no snapshot could be made: {error}; the next try is in {pause} s",
            name=self._name,
            error=self._error,
            pause=self._pause_s,
        )

    def _broken(self, failure: Failure) -> None:
        self._postpone(failure.getErrorMessage())
        log.failure("{name}: making a snapshot", failure, name=self._name)

    def _postpone(self, error: str) -> None:
        self._error = error
        first_s, max_s = self._limits.snapshot_retry_s, self._limits.snapshot_retry_max_s
        self._pause_s = min(self._pause_s * 2 or first_s, max_s)
        self._not_before_s = self._world.clock.seconds() + self._pause_s

    def _ended(self, _result: object) -> None:
        self._running = False
