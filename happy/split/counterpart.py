"""The container's end of a front: its events into the order, its queries to the state, and back.

The replies to a batch of the order are kept until all are there, and go back in one message, at
once. No answer is rendered here: what a front gets is what a handler returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.answers import Soon
from happy.errors import HappyError
from happy.split.front_stream import Send
from happy.split.messages import Events, Found, Kind, Outcomes, Question
from happy.split.pickled import NotTold, pack, pack_each, pack_error, unpack
from happy.split.queries import Query
from happy.stream import Stream
from happy.wire.http_problem import is_expected

log = Logger()

_encode = msgspec.msgpack.Encoder().encode
_events = msgspec.msgpack.Decoder(Events).decode
_questions = msgspec.msgpack.Decoder(list[Question]).decode


class Counterpart:
    """Serves one front from a stream.

    ``send`` sends a message, ``soon`` is ``Stream.soon``.
    """

    def __init__(
        self, stream: Stream, queries: Mapping[str, Query], send: Send, soon: Soon
    ) -> None:
        self._stream = stream
        self._queries = queries
        self._send = send
        self._soon = soon
        self.told: list[tuple[int, int, Any]] = []
        """What is to be sent: the number of an event in the front, its seq, and the reply."""
        self.errors: list[tuple[int, bytes]] = []
        self._found: list[Found] = []
        self._lost = False

    def take_events(self, body: bytes) -> None:
        """Put a batch of events in the order."""
        events = _events(body)
        first = events.first_id
        numbers = range(first, first + len(events.records))
        waiters = [_Waiter(self, number) for number in numbers]
        keys = {place: (key, fingerprint) for place, key, fingerprint in events.keys}
        try:
            self._stream.hand_over(events.records, keys, waiters)
        except HappyError as error:
            for waiter in waiters:
                waiter.failed(0, error)

    def take_questions(self, body: bytes) -> None:
        """Run queries, and send what they returned."""
        for question in _questions(body):
            self._answer(question)

    def lose(self) -> None:
        """Say that the front is gone; what it handed over stays in the order."""
        self._lost = True

    def flush_soon(self) -> None:
        """Have what is told next sent when all of its batch is."""
        if not self.told and not self._found:
            self._soon(self._flush)

    def _flush(self) -> None:
        told, self.told = self.told, []
        errors, self.errors = self.errors, []
        found, self._found = self._found, []
        if self._lost:
            return
        if told:
            ids, seqs, replies = map(list, zip(*told, strict=True))
            data, untold = pack_each(replies)
            errors += [(place, pack_error(error)) for place, error in untold.items()]
            self._send(Kind.OUTCOMES, _encode(Outcomes(ids, seqs, data, errors)))
        if found:
            self._send(Kind.FOUND, _encode(found))

    def _answer(self, question: Question) -> None:
        query = self._queries.get(question.query)
        if query is None:
            error = NotTold(f"the application that runs has no query {question.query!r}")
            self._tell(Found(question.id, pack_error(error), raised=True))
            return
        try:
            args, kwargs = unpack(question.arguments)
        except NotTold as untold:
            self._tell(Found(question.id, pack_error(untold), raised=True))
            return
        asked = self._stream.ask(query, *args, **kwargs).addCallback(pack)
        asked.addCallbacks(
            lambda value: self._tell(Found(question.id, value)), partial(self._raised, question)
        )

    def _raised(self, question: Question, failure: Failure) -> None:
        assert failure.value is not None
        if not is_expected(failure.value):
            log.failure("the query {query} failed", failure, query=question.query)
        self._tell(Found(question.id, pack_error(failure.value), raised=True))

    def _tell(self, found: Found) -> None:
        self.flush_soon()
        self._found.append(found)


class _Waiter(msgspec.Struct, gc=False, eq=False):
    """One event of a front that waits for its outcome."""

    counterpart: Counterpart
    number: int

    def replied(self, seq: int, value: Any) -> None:
        """See ``Waiting``."""
        counterpart = self.counterpart
        if not counterpart.told:
            counterpart.flush_soon()
        counterpart.told.append((self.number, seq, value))

    def failed(self, seq: int, error: HappyError) -> None:
        """See ``Waiting``."""
        counterpart = self.counterpart
        counterpart.errors.append((len(counterpart.told), pack_error(error)))
        self.replied(seq, None)
