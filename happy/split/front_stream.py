"""The stream as a front sees it: the doors' port to an order that is in another process.

Events are encoded and checked here; all that came in one turn of the reactor goes to the
container in one message, at the end of the turn. There is no waiting for more: what arrives in
the container while a batch is being synced gathers there, as what its own doors bring would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from happy.answers import Soon, Waiter
from happy.app import BlobReader, BlobWriter, Definition
from happy.codec import EventDecoder, encode
from happy.errors import Busy, DefinitionError, HappyError, TooLarge
from happy.event import Blob, Exchange, Prepared, Waiting
from happy.journal.blobs import Blobs
from happy.limits import Limits
from happy.return_paths import ReturnPaths
from happy.split.messages import Events, Found, Kind, Outcomes, Question
from happy.split.pickled import NotTold, pack, unpack, unpack_error
from happy.split.queries import queries_of

log = Logger()

Send = Callable[[Kind, bytes], None]

_encode = msgspec.msgpack.Encoder().encode
_outcomes = msgspec.msgpack.Decoder(Outcomes).decode
_found = msgspec.msgpack.Decoder(list[Found]).decode


class FrontStream:
    """A ``StreamPort`` whose stream is at the other end of a link.

    ``send`` sends a message, ``soon`` calls a function at the end of this turn, ``unsent_bytes``
    says how much the link holds that the container has not taken.
    """

    def __init__(  # noqa: PLR0913 - what it is of, and what it goes through
        self,
        definition: Definition,
        limits: Limits,
        blobs: Blobs,
        send: Send,
        soon: Soon,
        unsent_bytes: Callable[[], int],
    ) -> None:
        self.return_paths = ReturnPaths()
        """Those of the journal, when the container has said that it serves."""
        self._decoder = EventDecoder(definition.events)
        self._names = {query: name for name, query in queries_of(definition.app).items()}
        self._limits = limits
        self._blobs = blobs
        self._send = send
        self._soon = soon
        self._unsent_bytes = unsent_bytes
        self._waiting: dict[int, Waiting] = {}
        """Who waits: events by numbers above zero, queries by numbers below."""
        self._last_id = 0
        self._records: list[bytes] = []
        self._keys: list[tuple[int, str, bytes | None]] = []
        self._room_events = self._room_bytes = 0
        """What certainly can be taken; looked at anew in each turn, and when it is used up."""
        self._questions: list[Question] = []
        self._asked = 0

    # --- what doors see -------------------------------------------------------------------

    def submit(self, event: object, exchange: Exchange) -> Deferred[Any]:
        """Put an event in the order; see ``happy.app.StreamPort``."""
        answer: Deferred[Any] = Deferred()
        key = exchange.claim_key()
        try:
            record = encode(event, exchange.source, key, exchange.fingerprint)
            self._decoder.read_back(record)
            self._hand_over(record, Waiter(answer, exchange), key, exchange.fingerprint)
        except HappyError:
            return fail()
        return answer

    def prepare(self, event: object, source: str) -> Prepared:
        """Encode an event and check that it can be read back; see ``happy.app.StreamPort``."""
        return self._decoder.prepared(event, source)

    def put(self, prepared: Prepared, waiter: Waiting) -> None:
        """Put a prepared event in the order; see ``happy.app.StreamPort``."""
        self._hand_over(prepared.record, waiter)

    def ask(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Fire with what a query of the durable state returns."""
        answer: Deferred[Any] = Deferred()
        try:
            self._ask(query, args, kwargs, Waiter(answer, Exchange("query")))
        except HappyError:
            return fail()
        return answer

    def look(
        self, query: Callable[..., Any], arguments: Mapping[str, Any], waiter: Waiting
    ) -> None:
        """Tell what a query returns; see ``happy.app.StreamPort``."""
        self._ask(query, (), dict(arguments), waiter)

    def trouble(self, size: int) -> Busy | None:
        """Return why an event would not be sent now; see ``happy.app.StreamPort``."""
        return self._full(min(size, self._limits.mail_inline_bytes_max))

    def blob_writer(self) -> BlobWriter:
        """Return a place for a large body; ``NoRoom`` when the disk is full."""
        return self._blobs.writer()

    def open_blob(self, blob: Blob) -> BlobReader:
        """Open a stored body."""
        return self._blobs.open(blob)

    # --- to the container and back --------------------------------------------------------

    def _hand_over(
        self,
        record: bytes,
        waiter: Waiting,
        key: str | None = None,
        fingerprint: bytes | None = None,
    ) -> None:
        size = len(record)
        if size > self._limits.event_bytes_max:
            raise TooLarge(
                f"an event of {size} bytes, over the limit of {self._limits.event_bytes_max} "
                "(event_bytes_max)"
            )
        self._gather(size)
        if key is not None:
            self._keys.append((len(self._records), key, fingerprint))
        self._records.append(record)
        self._last_id = number = self._last_id + 1
        self._waiting[number] = waiter

    def _ask(
        self, query: Callable[..., Any], args: Any, kwargs: dict[str, Any], waiter: Waiting
    ) -> None:
        name = self._names.get(query)
        if name is None:
            raise DefinitionError(f"{query.__qualname__} is no query of this application")
        arguments = pack((args, kwargs))
        self._gather(len(arguments))
        self._asked -= 1
        self._waiting[self._asked] = waiter
        self._questions.append(Question(self._asked, name, arguments))

    def _full(self, size: int) -> Busy | None:
        """Look how much can be taken; return why not so many bytes more, None when they can."""
        gathered = sum(map(len, self._records)) + sum(len(q.arguments) for q in self._questions)
        self._room_events = self._limits.queue_events_max - len(self._waiting)
        self._room_bytes = self._limits.queue_bytes_max - gathered - self._unsent_bytes()
        if self._room_events > 0 and size <= self._room_bytes:
            return None
        return Busy("too much is waiting for the application; try again in a moment")

    def _gather(self, size: int) -> None:
        """See that there is room for so many bytes more, and that they are sent soon."""
        if self._room_events < 1 or size > self._room_bytes:
            full = self._full(size)
            if full is not None:
                raise full
        self._room_events -= 1
        self._room_bytes -= size
        if not self._records and not self._questions:
            self._soon(self._flush)

    def _flush(self) -> None:
        self._room_events = self._room_bytes = 0
        records, self._records = self._records, []
        keys, self._keys = self._keys, []
        questions, self._questions = self._questions, []
        if records:
            events = Events(self._last_id - len(records) + 1, records, keys)
            self._send(Kind.EVENTS, _encode(events))
        if questions:
            self._send(Kind.ASK, _encode(questions))

    def take_outcomes(self, body: bytes) -> None:
        """Take in what became of events, and tell who waits."""
        outcomes = _outcomes(body)
        errors = {place: unpack_error(data) for place, data in outcomes.errors}
        try:
            replies = unpack(outcomes.replies)
        except NotTold as untold:
            replies = outcomes.ids
            errors = dict.fromkeys(range(len(replies)), untold) | errors
        told = zip(outcomes.ids, outcomes.seqs, replies, strict=True)
        if errors:
            for place, (number, seq, reply) in enumerate(told):
                self._tell(number, seq, reply, errors.get(place))
            return
        pop = self._waiting.pop
        for number, seq, reply in told:
            try:
                pop(number).replied(seq, reply)
            except Exception:  # noqa: BLE001 - as in ``_tell``
                log.failure("an answer could not be given")

    def take_found(self, body: bytes) -> None:
        """Take in what queries returned, and tell who asked."""
        for found in _found(body):
            value, error = None, None
            if found.raised:
                error = unpack_error(found.value)
            else:
                try:
                    value = unpack(found.value)
                except NotTold as untold:
                    error = untold
            self._tell(found.id, 0, value, error)

    def _tell(self, number: int, seq: int, value: Any, error: Exception | None) -> None:
        waiter = self._waiting.pop(number)
        try:
            if error is None:
                waiter.replied(seq, value)
            else:
                waiter.failed(seq, error)  # type: ignore[arg-type] # as it was raised there
        except Exception:  # noqa: BLE001 - a door's; the others are told all the same
            log.failure("an answer could not be given")
