"""The outbox: what is owed to the world, as a fold over events.

A handler owes an effect by calling its context; the debt is part of the outcome and never
written down itself, for the same events always owe the same. What comes of it - sent, delayed,
failed, fired - is an event like any other, and settles the debt here. So the outbox is right
after any replay, and a replay sends nothing: only an open stream looks at what is ``due``.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import attrs

from happy.digest import Sum
from happy.event import (
    Blob,
    CallEnded,
    MailDelayed,
    MailFailed,
    MailSending,
    MailSent,
    TimerFired,
    event_meta,
)
from happy.untracked import untrack

EffectId = tuple[int, int]
"""The seq of the event whose handler owed it, and which of its effects it was: 0, 1, 2 ..."""


def public_id(journal_id: bytes, effect_id: EffectId) -> str:
    """Return what another server may know an effect by: the same at every attempt."""
    public = hashlib.blake2b(journal_id, digest_size=8, person=b"happy effects")
    event_seq, n = effect_id
    return f"{public.hexdigest()}-{event_seq}-{n}"


@attrs.frozen
class SendMail:
    """Owed: one message to one recipient.

    The message is ``header`` followed by ``content`` from byte ``content_offset`` on, with
    CRLF line ends. ``tag`` is the application's own word for it and comes back in its end.
    """

    recipient: str
    reverse_path: str
    header: bytes
    content: bytes | Blob = b""
    content_offset: int = 0
    tag: str = ""


@attrs.frozen
class Call:
    """Owed: one HTTP request, with the effect's stable id as its ``Idempotency-Key``."""

    method: str
    url: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    tag: str = ""


@attrs.frozen
class Timer:
    """Owed: an event at a moment."""

    event: Any


Effect = SendMail | Call | Timer


@attrs.frozen
class Hold:
    """Why an operator has a message left alone: who said so, in the event ``seq``, and when."""

    seq: int
    time_ns: int
    who: str
    reason: str


@attrs.frozen
class Owed:
    """A debt: the effect, since when, how often tried, and when to try (again).

    Mail has more to tell: whether it is being ``sending`` now, or was when the program ended,
    whether an attempt was ``ambiguous``, so that the message may have been taken unseen, and
    whether it is held: then it is not handed out, however long it is due.
    """

    id: EffectId
    effect: Effect
    since_ns: int
    due_ns: int
    attempts: int = 0
    sending: bool = False
    ambiguous: bool = False
    hold: Hold | None = None

    @property
    def state(self) -> str:
        """``pending``, ``sending``, ``held``, ``ambiguous`` or ``retry``; what is done is gone."""
        if self.sending:
            return "sending"
        if self.hold is not None:
            return "held"
        if self.ambiguous:
            return "ambiguous"
        return "retry" if self.attempts else "pending"


SETTLING = (MailSending, MailSent, MailFailed, MailDelayed, TimerFired, CallEnded)
"""The events that settle or change a debt."""

_SETTLED_BY: dict[type, type] = {
    MailSending: SendMail,
    MailSent: SendMail,
    MailFailed: SendMail,
    MailDelayed: SendMail,
    TimerFired: Timer,
    CallEnded: Call,
}


_OUT_OF_DATE_MAX: Final = 64
"""How much more than half of a heap may be out of date before it is made anew."""


class _Waiting:
    """What is to be handed out, the earliest first."""

    def __init__(self) -> None:
        self._due_ns: dict[EffectId, int] = {}
        self._heap: list[tuple[int, EffectId]] = []  # with some that are out of date

    def __len__(self) -> int:
        return len(self._due_ns)

    def get(self, effect_id: EffectId) -> int | None:
        return self._due_ns.get(effect_id)

    def put(self, effect_id: EffectId, due_ns: int) -> None:
        self._due_ns[effect_id] = due_ns
        heapq.heappush(self._heap, (due_ns, effect_id))

    def drop(self, effect_id: EffectId) -> None:
        self._due_ns.pop(effect_id, None)
        if len(self._heap) > 2 * len(self._due_ns) + _OUT_OF_DATE_MAX:
            self._heap = [(due_ns, effect_id) for effect_id, due_ns in self._due_ns.items()]
            heapq.heapify(self._heap)

    def first(self) -> tuple[int, EffectId] | None:
        heap = self._heap
        while heap and self._due_ns.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0] if heap else None


class Outbox:
    """All that is owed and not yet done, in the order it was owed.

    Whatever an event changes here can be taken back until ``commit``.
    """

    def __init__(self) -> None:
        self.touched: set[EffectId] | None = None
        """Which debts may have changed, for whoever puts a set here and empties it."""
        self._owed: dict[EffectId, Owed] = {}
        self._timers = _Waiting()
        self._others = _Waiting()
        self._sum = Sum()
        self._counts: Counter[type] = Counter()
        self.held = 0
        """How many are held."""
        self._before: list[tuple[EffectId, Owed | None, int | None]] = []

    def __len__(self) -> int:
        return len(self._owed)

    def __iter__(self) -> Iterator[Owed]:
        return iter(self._owed.values())

    def __contains__(self, effect_id: object) -> bool:
        return effect_id in self._owed

    @property
    def changes(self) -> int:
        """How many changes can be taken back."""
        return len(self._before)

    def count(self, kind: type) -> int:
        """Return how many effects of a kind are owed."""
        return self._counts[kind]

    def owe(self, owed: Owed) -> None:
        """Take on a debt, or what has become of one: due as it was, it is not handed out again."""
        known = self._owed.get(owed.id)
        as_it_was = known is not None and (known.due_ns, known.hold) == (owed.due_ns, owed.hold)
        if as_it_was:
            self._change(owed)
        else:
            self._put(owed)

    def cancel(self, timer_id: EffectId) -> None:
        """Owe a timer no more."""
        self._drop(timer_id)

    def get(self, effect_id: EffectId) -> Owed | None:
        """Return a debt that is not done, or None."""
        return self._owed.get(effect_id)

    def hold(self, effect_id: EffectId, hold: Hold | None) -> None:
        """Hold a message that is owed; or, with None, hand it out again when it is due."""
        self._put(attrs.evolve(self._owed[effect_id], hold=hold))

    def settle(self, event: object) -> Owed | None:
        """Take in what became of a debt; return it when it is done, None when it stays.

        An end that arrives twice, or for a debt nobody knows, changes nothing; nor does that one
        is about to be sent which is held.
        """
        assert isinstance(event, SETTLING)
        owed = self._owed.get((event.event_seq, event.n))
        if owed is None or not isinstance(owed.effect, _SETTLED_BY[type(event)]):
            return None
        if isinstance(event, MailSending):
            if owed.hold is not None:
                return None
            # Sending still: what became of the attempt before was lost with the program.
            self._change(
                attrs.evolve(
                    owed,
                    attempts=event.attempt - 1,
                    sending=True,
                    ambiguous=owed.ambiguous or owed.sending,
                )
            )
            return None
        if isinstance(event, MailDelayed):
            self._put(
                attrs.evolve(
                    owed,
                    attempts=event.attempts,
                    due_ns=event.retry_ns,
                    sending=False,
                    ambiguous=owed.ambiguous or event.ambiguous,
                )
            )
            return None
        self._drop(owed.id)
        return owed

    def commit(self) -> None:
        """Keep what was changed."""
        self._before.clear()

    def rollback(self, changes: int = 0) -> None:
        """Take back what was changed since ``commit``, but for so many of the first changes."""
        if len(self._before) == changes:
            return
        for effect_id, owed, due_ns in reversed(self._before[changes:]):
            now = owed or self._owed.get(effect_id)
            if now is None:
                continue  # it was not there, and did not come
            waiting = self._waiting(now)
            if owed is None:
                del self._owed[effect_id]
            else:
                self._owed[effect_id] = owed
            if due_ns is None:
                waiting.drop(effect_id)
            else:
                waiting.put(effect_id, due_ns)
        # Ids count up: their order is the one in which the debts were taken on.
        self._owed = dict(sorted(self._owed.items()))
        self._sum = Sum()
        for owed in self._owed.values():
            self._sum.add(*_told(owed))
        self._counts = Counter(type(owed.effect) for owed in self._owed.values())
        self.held = sum(owed.hold is not None for owed in self._owed.values())
        del self._before[changes:]

    def digest(self) -> str:
        """Return the digest of all that is owed: 32 hexadecimal digits."""
        return self._sum.value()

    def next_due_ns(self) -> int | None:
        """Return when the earliest debt that ``due`` has not handed out falls due."""
        first = self._first()
        return None if first is None else first[0]

    def next_timer_ns(self) -> int | None:
        """Return when the earliest timer falls due: 0 when it was handed out; None without any."""
        if len(self._timers) < self._counts[Timer]:
            return 0
        first = self._timers.first()
        return None if first is None else first[0]

    def due(self, now_ns: int) -> Iterator[Owed]:
        """Hand out each debt that is due, once: again only after a delay or a restart."""
        while (found := self._first()) is not None and found[0] <= now_ns:
            owed = self._owed[found[1]]
            self._waiting(owed).drop(owed.id)
            yield owed

    def _first(self) -> tuple[int, EffectId] | None:
        timer, other = self._timers.first(), self._others.first()
        return min(timer, other) if timer and other else timer or other

    def _waiting(self, owed: Owed) -> _Waiting:
        return self._timers if isinstance(owed.effect, Timer) else self._others

    def _put(self, owed: Owed) -> None:
        self._change(owed)
        if owed.hold is None:
            self._waiting(owed).put(owed.id, owed.due_ns)
        else:
            self._waiting(owed).drop(owed.id)

    def _change(self, owed: Owed) -> None:
        """Put a debt in the place of what it was; when it is handed out stays as it is."""
        untrack((owed,))
        before = self._take_out(owed.id)
        if before is None:
            self._counts[type(owed.effect)] += 1
        if owed.hold is not None:
            self.held += 1
        self._sum.add(*_told(owed))
        self._owed[owed.id] = owed

    def _drop(self, effect_id: EffectId) -> None:
        owed = self._take_out(effect_id)
        if owed is not None:
            self._counts[type(owed.effect)] -= 1
            del self._owed[effect_id]
            self._waiting(owed).drop(effect_id)

    def _take_out(self, effect_id: EffectId) -> Owed | None:
        """Note how a debt is before it changes, and take it out of the digest; return it."""
        owed = self._owed.get(effect_id)
        if self.touched is not None:
            self.touched.add(effect_id)
        if owed is None:
            self._before.append((effect_id, None, None))
            return None
        self._before.append((effect_id, owed, self._waiting(owed).get(effect_id)))
        if owed.hold is not None:
            self.held -= 1
        self._sum.remove(*_told(owed))
        return owed


def _told(owed: Owed) -> tuple[Any, ...]:
    """Return a debt in full, for the digest: by name, for another kind may have the same fields."""
    effect = owed.effect
    kind = type(effect).__name__
    if isinstance(effect, Timer):
        kind = f"Timer {event_meta(type(effect.event)).name}"
    told = (owed.id, kind, effect, owed.since_ns, owed.due_ns, owed.attempts)
    # Only what older journals never knew: the digests in them stay right.
    if owed.hold is not None:
        return (*told, owed.sending, owed.ambiguous, attrs.astuple(owed.hold))
    return (*told, owed.sending, owed.ambiguous) if owed.sending or owed.ambiguous else told
