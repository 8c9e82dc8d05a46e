"""The one pen of a journal: what is written next, one write at a time, each at its moment.

One write is in flight, never two: that is what makes the durable offset in each frame true.
The moment of a write is that of the stream's clock, which never goes back. The writing itself
is the ``appender``'s, in the journal's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.errors import NoRoom
from happy.journal.appender import Appender
from happy.journal.frame import Kind
from happy.journal.quarantine import backlog_body
from happy.marks import DigestMark, Marker
from happy.stream_clock import StreamClock
from happy.world import World

log = Logger()


class Pen:
    """Writes a journal for one stream; see the head of this module."""

    def __init__(
        self, name: str, appender: Appender, marker: Marker, world: World, clock: StreamClock
    ) -> None:
        self.busy = False
        """Whether a write is in flight; its owner says when it has dealt with the end of it."""
        self.time_ns = 0
        """The moment of the last write."""
        self._marker = marker
        self._name = name
        self._appender = appender
        self._run = world.run
        self._let_begin = world.let_begin
        self._clock = clock

    @property
    def vouched(self) -> bool:
        """Whether nothing was written since the last mark."""
        return self._appender.vouched

    def append(
        self, records: Sequence[bytes], digest: DigestMark | None = None, backlog: int | None = None
    ) -> Deferred[Any]:
        """Make a batch durable, and before it a digest mark or, with ``backlog``, such a mark.

        The Deferred fails as ``Appender.append`` does.
        """
        append: Callable[..., None] = self._appender.append
        if backlog is not None:
            append = partial(append, backlog=backlog_body(backlog))
        written = self._write(append, records, digest)
        if len(records) > 1:  # where there are many, there is more to do here meanwhile
            self._let_begin()
        return written

    def mark(self, kind: Kind, what: str, digest: DigestMark | None = None) -> Deferred[Any]:
        """Write a mark, and before it a digest mark; or say in the log that there is no room."""

        def no_room(failure: Failure) -> None:
            # No harm: the next start reads to the end, and finds all of it.
            failure.trap(NoRoom)
            log.warn("{name}: there is no room for the {what}", name=self._name, what=what)

        return self._write(self._appender.mark, kind, digest).addErrback(no_room)

    def _write(
        self, write: Callable[..., None], what: object, digest: DigestMark | None
    ) -> Deferred[Any]:
        self.busy = True
        self.time_ns = self._clock.now_ns()
        body = b"" if digest is None else digest.body()
        written = self._run(partial(write, what, self.time_ns, body))
        if digest is not None:
            written.addCallback(self._digest_written, digest, self.time_ns)
        return written

    def _digest_written(self, _: object, digest: DigestMark, time_ns: int) -> None:
        self._marker.written(digest, time_ns)
