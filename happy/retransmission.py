"""Mail into the order, each message once, though its sender may have to send it again.

A door submits a message with its digest. Here each of its recipients is looked up among what is
taken and not acknowledged (``happy.unacknowledged``) and among what is on its way to the disk: a
copy gets the place of the message that it is a copy of, and is not put in the order; what is left
of the recipients is. So the reply to a door is a tuple, the place of each recipient's message.

When a peer goes on after a 250, the door says so with ``MailAcknowledged``, which waits here to
ride on the next message. If none comes it is put in the order by itself, after a while and at
the end; so a copy that is sent on purpose is a new message then, too.

A message may be accepted *early*, as soon as it is durable (``Mail.early``). Its place is known
then, and a copy of it gets that; the machine comes to know of it later, maybe much later. What
the peer has read meanwhile can be told at once: it is told behind the message, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final

from attrs import define, evolve, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from happy.answers import Early
from happy.codec import encode
from happy.errors import CoreLost, HandlerFailed, HappyError
from happy.event import Entry, Mail, MailAcknowledged, Waiting
from happy.limits import Limits
from happy.order import Order
from happy.stream_clock import StreamClock
from happy.unacknowledged import Copy, Placed, Unacknowledged, copy_of

_SOURCE: Final = "acknowledged"
_MAIL: Final = frozenset((Mail, MailAcknowledged))
_NS: Final = 1_000_000_000
_AT_ONCE_MAX: Final = 1_000  # of what is acknowledged, told in one event


@define(eq=False)
class _Answer:
    """What a door hears: once, when the place of every recipient's message is known."""

    waiter: Waiting
    seqs: list[int]
    missing: int

    def placed(self, numbers: Iterable[int], seq: int) -> None:
        """Take in where the message of some recipients stands."""
        for number in numbers:
            self.seqs[number] = seq
            self.missing -= 1
        self.tell()

    def tell(self) -> None:
        """Answer, if all is known."""
        if not self.missing:
            self.waiter.replied(max(self.seqs, default=0), tuple(self.seqs))


@define(eq=False)
class _Flight(Early):
    """A message on its way to the machine, and all who wait for what becomes of it."""

    home: Retransmissions
    mail: Mail
    copies: tuple[Copy, ...]
    waiting: list[tuple[_Answer, tuple[int, ...]]] = field(factory=list)
    seq: int = 0
    """The place of the message, when it was accepted early."""

    @property
    def early(self) -> bool:
        """See ``Early``."""
        return self.mail.early

    def kept(self, seq: int) -> None:
        """See ``Early``."""
        self.seq = seq
        self.home.kept(self)
        self._answer(seq)

    def replied(self, seq: int, value: Any) -> None:
        """See ``Waiting``."""
        del value
        self.home.landed(self)
        self._answer(seq)

    def _answer(self, seq: int) -> None:
        waiting, self.waiting = self.waiting, []
        for answer, numbers in waiting:
            answer.placed(numbers, seq)

    def failed(self, seq: int, error: HappyError) -> None:
        """See ``Waiting``."""
        if isinstance(error, HandlerFailed):
            # Of that the peer hears nothing: the message is in the journal, kept as failed and
            # shown to the operator; to ask for it again would only put it there twice.
            self.replied(seq, None)
            return
        if self.seq and isinstance(error, CoreLost):
            self.home.lost(self)  # it is known by its place until another core knows it
            return
        self.home.landed(self)
        for answer, _ in self.waiting:
            answer.waiter.failed(seq, error)


@define(eq=False)
class _Telling(Early):
    """What is acknowledged, on its way to the machine by itself."""

    home: Retransmissions
    acknowledged: tuple[Placed, ...]
    early: ClassVar[bool] = True

    def kept(self, seq: int) -> None:
        """See ``Early``."""

    def replied(self, seq: int, value: Any) -> None:
        """See ``Waiting``."""
        del seq, value
        self.home.told(self.acknowledged)

    def failed(self, seq: int, error: HappyError) -> None:
        """See ``Waiting``."""
        del seq, error
        self.home.told(self.acknowledged)


class Retransmissions:
    """Where the events of one application's mail doors come into its order.

    ``memory`` is the machine's; ``pump`` sets the order going when something was put in it that
    nobody submitted. Whatever else comes goes to the order as it is.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        order: Order,
        memory: Unacknowledged,
        limits: Limits,
        clock: StreamClock,
        reactor: IReactorTime,
        pump: Callable[[], None],
    ) -> None:
        self._order = order
        self._memory = memory
        self._limits = limits
        self._clock = clock
        self._reactor = reactor
        self._pump = pump
        self._flying: dict[Copy, _Flight] = {}
        self._kept: set[Placed] = set()
        """What was accepted early, and is not known to the machine yet."""
        self._lost: list[_Flight] = []
        """What was accepted early, and had not been applied when a core ended."""
        self._acknowledged: set[Placed] = set()
        """What is acknowledged, and remembered by the machine as long as it has not been told."""
        self._untold: list[Placed] = []
        """The part of it that rides on no message yet."""
        self._telling: IDelayedCall | None = None

    @staticmethod
    def concerns(kinds: Iterable[type]) -> bool:
        """Say whether one of these kinds of events may be mail that comes again, or tell of it."""
        return not _MAIL.isdisjoint(kinds)

    def admit(self, record: bytes, entry: Entry, waiter: Waiting) -> None:
        """Put an event in the order; raises as ``Order.admit`` does."""
        event: Any = entry.event
        kind = type(event)
        if kind is Mail and event.sha256:
            self._admit_mail(record, entry, waiter)
        elif kind is MailAcknowledged and entry.source != _SOURCE:
            self.acknowledge(event.acknowledged)
            waiter.replied(0, None)
        else:
            self._order.admit(record, entry, waiter)

    def _admit_mail(self, record: bytes, entry: Entry, waiter: Waiting) -> None:
        mail = entry.event
        assert isinstance(mail, Mail)
        self.acknowledge(self._too_many_or_too_old())
        copies = [copy_of(mail, recipient) for recipient in mail.recipients]
        answer = _Answer(waiter, [0] * len(copies), len(copies))
        new: list[int] = []
        joined: dict[int, tuple[_Flight, list[int]]] = {}
        for number, copy in enumerate(copies):
            flight = self._flying.get(copy)
            if flight is not None and not flight.seq:
                joined.setdefault(id(flight), (flight, []))[1].append(number)
                continue
            seq = self._memory.place_of(copy) if flight is None else flight.seq
            if seq is None or (seq, copy) in self._acknowledged:
                new.append(number)
            else:
                answer.seqs[number] = seq
                answer.missing -= 1
        if new or not copies:
            self._send(record, entry, mail, answer, copies, new)
        for flight, numbers in joined.values():
            flight.waiting.append((answer, tuple(numbers)))
        if not new and copies:
            answer.tell()

    def _send(  # noqa: PLR0913 - a message, whole and in its parts
        self,
        record: bytes,
        entry: Entry,
        mail: Mail,
        answer: _Answer,
        copies: Sequence[Copy],
        new: Sequence[int],
    ) -> None:
        """Put what is new of a message in the order, and with it what is acknowledged."""
        acknowledged = tuple(self._untold[:_AT_ONCE_MAX])
        if acknowledged or len(new) < len(copies):
            recipients = tuple(mail.recipients[number] for number in new)
            changed: Any = mail
            options = mail.recipient_options
            mail = evolve(
                changed,
                recipients=recipients,
                recipient_options=tuple(options[number] for number in new) if options else (),
                acknowledged=acknowledged,
            )
            entry = Entry(0, 0, mail, entry.source, entry.key, entry.fingerprint)
            record = encode(mail, entry.source, entry.key, entry.fingerprint)
        flight = _Flight(self, mail, tuple(copies[number] for number in new))
        flight.waiting.append((answer, tuple(new)))
        self._order.admit(record, entry, flight)
        del self._untold[: len(acknowledged)]
        self._flying.update(dict.fromkeys(flight.copies, flight))

    def landed(self, flight: _Flight) -> None:
        """Take note that a message is durable and applied, or refused."""
        for copy in flight.copies:
            self._kept.discard((flight.seq, copy))
            if self._flying.get(copy) is flight:  # and no copy that is a message of its own
                del self._flying[copy]
        self.told(flight.mail.acknowledged)

    def kept(self, flight: _Flight) -> None:
        """Take note that a message was accepted, and is not applied yet."""
        self._kept.update((flight.seq, copy) for copy in flight.copies)

    def lost(self, flight: _Flight) -> None:
        """Take note that nobody knows yet what became of a message that was accepted."""
        self._lost.append(flight)

    def back(self) -> None:
        """Take note that the machine knows of all that was lost."""
        lost, self._lost = self._lost, []
        for flight in lost:
            self.landed(flight)

    # --- what is acknowledged ------------------------------------------------------------------

    def acknowledge(self, acknowledged: Iterable[Placed]) -> None:
        """Take in what senders have read; it is told to the machine with the next message."""
        for placed in acknowledged:
            if self._is_known(placed) and placed not in self._acknowledged:
                self._acknowledged.add(placed)
                self._untold.append(placed)
        if self._untold and self._telling is None:
            after_s = self._limits.mail_acknowledged_within_s
            self._telling = self._reactor.callLater(after_s, self._tell_now)

    def told(self, acknowledged: Iterable[Placed]) -> None:
        """Strike off what the machine has forgotten; what did not reach it goes again."""
        for placed in acknowledged:
            if self._is_known(placed):
                self._untold.append(placed)
            else:
                self._acknowledged.discard(placed)

    def _is_known(self, placed: Placed) -> bool:
        seq, copy = placed
        return self._memory.place_of(copy) == seq or placed in self._kept

    def _too_many_or_too_old(self) -> list[Placed]:
        limits = self._limits
        left = len(self._memory) - len(self._acknowledged)
        old_ns = self._clock.now_ns() - limits.mail_unacknowledged_s * _NS
        found: list[Placed] = []
        for seq, copy, time_ns in self._memory:
            if left < limits.mail_unacknowledged_max and time_ns >= old_ns:
                break
            if (seq, copy) not in self._acknowledged:
                found.append((seq, copy))
                left -= 1
        return found

    def tell(self) -> None:
        """Put in the order what is acknowledged and untold, if anything is."""
        self.stop()
        if not self._untold:
            return
        event = MailAcknowledged(tuple(self._untold[:_AT_ONCE_MAX]))
        telling = _Telling(self, event.acknowledged)
        try:
            self._order.admit(encode(event, _SOURCE), Entry(0, 0, event, _SOURCE), telling)
        except HappyError:
            return  # there is no room now; it rides on the next message
        del self._untold[: len(event.acknowledged)]

    def stop(self) -> None:
        """Do nothing any more of its own accord."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    def _tell_now(self) -> None:
        self._telling = None
        self.tell()
        self._pump()
