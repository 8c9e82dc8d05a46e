"""A front and its container in one process: the same objects, and a list instead of a socket."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import maybeDeferred

from happy.app import definition_of
from happy.journal.blobs import Blobs
from happy.limits import Limits
from happy.split.counterpart import Counterpart
from happy.split.front_stream import FrontStream
from happy.split.messages import Kind, MessageReader, message
from happy.split.queries import queries_of
from happy.testing.running import Running
from happy.wire.http import site_for
from happy.wire.smtp import MailFactory


class Joined:
    """A front's stream and its counterpart over a stream of the container.

    ``turn`` ends the reactor's turn on both sides, and carries what was sent.
    """

    def __init__(self, app, stream, disk, limits=None, soon=None):
        self.sent = []
        self.limits = limits or Limits()
        self._calls = []
        soon = soon or self._calls.append
        self._readers = MessageReader(), MessageReader()
        definition = definition_of(app)
        self.unsent_bytes = 0
        self.front = FrontStream(
            definition,
            self.limits,
            Blobs(disk, maybeDeferred, 10**12),
            partial(self._send, 0),
            soon,
            lambda: self.unsent_bytes,
        )
        self.counterpart = Counterpart(stream, queries_of(app), partial(self._send, 1), soon)

    def _send(self, side, kind, body):
        self.sent.append(kind)
        for came, data in self._readers[side].feed(message(kind, body)):
            take = {
                Kind.EVENTS: self.counterpart.take_events,
                Kind.ASK: self.counterpart.take_questions,
                Kind.OUTCOMES: self.front.take_outcomes,
                Kind.FOUND: self.front.take_found,
            }[came]
            take(data)

    def turn(self):
        while self._calls:
            calls, self._calls[:] = list(self._calls), []
            for call in calls:
                call()


class LinkedRunning(Running):
    """``happy.testing`` with the doors at the other end of a link."""

    def _open(self):
        super()._open()
        joined = Joined(
            self._app_class,
            self.stream,
            self.disk,
            self._limits,
            partial(self.clock.callLater, 0),
        )
        self.joined = joined
        joined.front.return_paths = self.stream.return_paths  # as with the message to go
        self.app = self._app_class(self.app.name, joined.front, self._settings, self._domains)
        if self._site is not None:
            self._site = site_for(self.app, limits=self._limits, reactor=self.clock)
        self._mail_door = MailFactory(
            self.app, limits=self._limits, clock=self.clock, hostname="happy.test"
        )
