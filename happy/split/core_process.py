"""A core in a process of its own, as its stream sees it: ``happy.inline_core.Core`` over a pipe.

What is durable is handed over as it stands in the journal, from there; what became of it comes
back in the same order. Two batches at most are on their way - one is applied while the next is
written - as when the machine is here, so that a journal says the same of what may not have been
applied. Nothing else waits for room: questions are small, and come from doors that are bounded.

When the process ends, whoever waits is told what is true: the event is kept, what became of it
is not known. Nothing is admitted until another core has read the journal; then all goes on.

Where mail is accepted before it is applied (``ahead``), the journal goes on however far the core
is behind, and while there is none: any number of batches is on their way then. What is written
before a new core's frames begin, it reads by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from happy.bounces import Bounces
from happy.effects import Outbox
from happy.errors import CoreLost, Corrupt, HappyError
from happy.event import Configured, Entry, Outcome, Waiting
from happy.holds import Holds
from happy.inline_core import Events, Query
from happy.journal.appender import Appender
from happy.journal.disk import Disk
from happy.journal.frame import Kind
from happy.keys import Keys
from happy.marks import DigestMark
from happy.schedule import Schedules
from happy.split.aside import Aside, Changed, Ready, Say
from happy.split.asked import Asked, Asking
from happy.split.ledger import Ledger
from happy.split.outcome_frame import OutcomeFrame, OutcomeStream, Verdict, decode_outcomes
from happy.split.pickled import unpack, unpack_error
from happy.split.replies import resolve
from happy.split.sequencer import JournalFollower
from happy.unacknowledged import Unacknowledged

_BATCHES_MAX: Final = 2
_AWAY: Final = "the core of this application has ended and is started again; try again in a moment"


class Sender(Protocol):
    """The way to the process."""

    def send(self, data: bytes) -> None:
        """Send bytes."""


class Lives(Protocol):
    """Who starts the processes: ``happy.split.cores.Cores``."""

    convicted: tuple[int, ...]

    def begin(self, events: Events) -> None:
        """See ``Core.begin``."""

    def stop(self) -> Deferred[None]:
        """See ``Core.stop``."""

    def status(self) -> dict[str, Any]:
        """Return how the process is."""


@attrs.frozen
class End:
    """The end of a journal at some moment, where the frames of a process begin."""

    first_seq: int
    block: bytes
    """What says so to the process."""
    follower: JournalFollower


@attrs.define(eq=False)
class _Handed:
    """A batch that the process has, or will never have."""

    entries: Sequence[Entry]
    meanwhile: Callable[[], None]
    applied: Deferred[list[Outcome]]


class ProcessCore:
    """The core of one stream; what comes from its process goes to ``received``.

    ``lives`` starts its processes; ``names`` are the queries that may be asked, and how they are
    called. With ``ahead``, the journal may be any number of batches ahead of it.
    """

    def __init__(  # noqa: PLR0913 - what it stands between
        self,
        name: str,
        disk: Disk,
        appender: Appender,
        names: Mapping[Query, str],
        lives: Lives,
        *,
        ahead: bool = False,
    ) -> None:
        self.ahead = ahead
        self.ledger = Ledger(appender.segment.header.journal_id)
        self.away: str | None = _AWAY
        self.agreed: DigestMark | None = None
        self.told: Ready | None = None
        """What the process said when it was ready; None while it is not."""
        self.told_error: Exception | None = None
        """What it said when it could not go on."""
        self.vouched = False
        """Whether a digest mark of this container's life stands in the journal."""
        self.in_doubt = range(1, 1)
        """The events that no core has answered yet."""
        self._name = name
        self._disk = disk
        self._appender = appender
        self._lives = lives
        self._pipe: Sender
        self._said = OutcomeStream()
        self._follower: JournalFollower
        self._frames_from: int | None = None
        """With which seq the frames for the process begin; None while there is none."""
        self._untaken: list[OutcomeFrame | Aside] = []
        """What a process has said behind that it is ready, until it is taken over."""
        self._handed: deque[_Handed] = deque()
        self._changed: Changed | None = None
        self._asked = Asked(names)
        self._mark: DigestMark | None = None
        self._marked: list[Deferred[None]] = []
        self._marking: Callable[[], None] | None = None
        self._state_bytes = 0
        self._measuring = False

    # --- what a stream looks at -------------------------------------------------------------------

    @property
    def outbox(self) -> Outbox:
        """See ``Core``."""
        return self.ledger.outbox

    @property
    def schedules(self) -> Schedules:
        """See ``Core``."""
        return self.ledger.schedules

    @property
    def keys(self) -> Keys:
        """See ``Core``."""
        return self.ledger.keys

    @property
    def unacknowledged(self) -> Unacknowledged:
        """See ``Core``."""
        return self.ledger.unacknowledged

    @property
    def bounces(self) -> Bounces:
        """See ``Core``."""
        return self.ledger.bounces

    @property
    def holds(self) -> Holds:
        """See ``Core``."""
        return self.ledger.holds

    @property
    def seq(self) -> int:
        """See ``Core``."""
        return self.ledger.seq

    @property
    def failed(self) -> int:
        """See ``Core``."""
        return self.ledger.failed

    @property
    def configured(self) -> Configured:
        """See ``Core``."""
        return self.ledger.configured

    @property
    def has_room(self) -> bool:
        """See ``Core``."""
        if self.ahead:
            return True
        return self.away is None and len(self._handed) < _BATCHES_MAX and self._marking is None

    @property
    def backlog(self) -> int | None:
        """See ``Core``. With fewer batches on their way, the journal's format says it itself."""
        behind = self.away is not None or len(self._handed) >= _BATCHES_MAX
        return self.seq + 1 if self.ahead and behind else None

    @property
    def at_rest(self) -> bool:
        """See ``Core``."""
        return self.away is None and not self._handed

    def state_bytes(self) -> int:
        """See ``Core``. It is what was measured when this was called last."""
        if self.away is None and not self._measuring:
            self._measuring = True
            self._send(Say.MEASURE)
        return self._state_bytes

    def status(self) -> dict[str, Any]:
        """See ``Core``."""
        lag = self.in_doubt.stop - 1 - self.seq
        return {"core": {**self._lives.status(), "seq": self.seq, "lag": lag}}

    @property
    def quarantined(self) -> tuple[int, ...]:
        """See ``Core``."""
        return self._lives.convicted

    def begin(self, events: Events) -> None:
        """See ``Core``."""
        self._lives.begin(events)

    # --- what a stream asks -----------------------------------------------------------------------

    def apply(
        self, entries: Sequence[Entry], meanwhile: Callable[[], None], *, marking: bool
    ) -> Deferred[list[Outcome]]:
        """See ``Core``. Nothing is being written now, so all of the journal is durable."""
        self.in_doubt = range(self.seq + 1, entries[-1].seq + 1)
        if not self._is_fed(entries[0].seq):
            return fail(CoreLost(_lost(self._name)))
        handed = _Handed(entries, meanwhile, Deferred())
        self._handed.append(handed)
        while frames := self._follower.more():
            self._pipe.send(frames)
        if marking:
            self._marking = meanwhile
            self._send(Say.MARK)
        meanwhile()
        return handed.applied

    def _is_fed(self, seq: int) -> bool:
        """Say whether the process will get an event as a frame, now or when it is ready."""
        if self.away is None:
            return True
        return self.ahead and self._frames_from is not None and seq >= self._frames_from

    def ask(self, query: Query, *args: Any, **kwargs: Any) -> Deferred[Any]:
        """See ``Core``."""
        answer: Deferred[Any] = Deferred()
        try:
            self._ask(query, args, kwargs, Asking(answer))
        except HappyError:
            return fail()
        return answer

    def look(self, query: Query, arguments: Mapping[str, Any], waiter: Waiting) -> None:
        """See ``Core``."""
        self._ask(query, (), arguments, waiter)

    def mark(self) -> DigestMark | None:
        """See ``Core``."""
        known = self._mark
        return known if known is not None and known.seq == self.seq and self.at_rest else None

    def make_mark(self) -> Deferred[None]:
        """See ``Core``."""
        if self.mark() is not None or not self.at_rest:
            return succeed(None)
        made: Deferred[None] = Deferred()
        self._marked.append(made)
        self._send(Say.MARK)
        return made

    def stop(self) -> Deferred[None]:
        """See ``Core``."""
        return self._lives.stop()

    def _ask(self, query: Query, args: Any, kwargs: Mapping[str, Any], waiter: Waiting) -> None:
        if self.away is not None:
            raise CoreLost(self.away)
        self._pipe.send(self._asked.ask(query, args, kwargs, waiter).encode())

    def _send(self, kind: Say) -> None:
        self._pipe.send(Aside(kind).encode())

    # --- lives ------------------------------------------------------------------------------------

    def end_of_journal(self) -> End:
        """Return where the frames of the next process are to begin; while nothing is written."""
        appender = self._appender
        first_seq = appender.next_seq
        follower = JournalFollower(
            self._disk, lambda: (appender.segment.name, appender.position.offset), first_seq
        )
        return End(first_seq, follower.more(), follower)

    def take_up(self, pipe: Sender, end: End) -> None:
        """Take up a new process: tell it where the frames go on."""
        self.told = self.told_error = None
        self._untaken = []
        self._pipe = pipe
        self._said = OutcomeStream()
        self._follower, self._frames_from = end.follower, end.first_seq
        pipe.send(end.block)

    def lose(self) -> None:
        """Say that the process is gone; whoever waits for it is told so."""
        self.away = _AWAY
        self._changed, self._mark, self._marking, self._measuring = None, None, None, False
        self._frames_from = None
        handed, self._handed = self._handed, deque()
        marked, self._marked = self._marked, []
        for batch in handed:
            batch.applied.errback(CoreLost(_lost(self._name)))
        self._asked.lose(lambda: CoreLost(_AWAY))
        for made in marked:
            made.callback(None)

    def received(self, data: bytes) -> None:
        """Take in what the process said; raises ``Corrupt`` when it is not to be believed."""
        for step in self._said.feed(data):
            if self.told is not None and self.away is not None:
                self._untaken.append(step)
            else:
                self._take(step)

    def _take(self, step: OutcomeFrame | Aside) -> None:
        if isinstance(step, OutcomeFrame):
            self._take_outcomes(step)
        else:
            self._take_aside(step)

    def _take_aside(self, aside: Aside) -> None:
        match aside.kind:
            case Say.FOUND | Say.RAISED:
                self._asked.take(aside)
            case Say.CHANGED:
                self._changed = unpack(aside.body)
            case Say.MARKED:
                self._take_mark(unpack(aside.body))
            case Say.MEASURED:
                self._state_bytes, self._measuring = unpack(aside.body), False
            case Say.READY:
                self.told = unpack(aside.body)
            case Say.ENDED:
                self.told_error = unpack_error(aside.body)
            case _:
                raise Corrupt(f"an aside of kind {aside.kind.name} is not for a container")

    def take_over(self, ready: Ready) -> None:
        """Go on from what a process has come to."""
        frame = OutcomeFrame(Kind.EVENTS, Verdict.NONE, 0, len(ready.keys), b"", ready.outcomes)
        self.ledger.begin(ready, decode_outcomes(frame, resolve))
        self.agreed, self._mark, self._state_bytes = ready.agreed, ready.mark, ready.state_bytes
        self.in_doubt = range(self.seq + 1, max(self.seq + 1, self.in_doubt.stop))
        self.away = None
        untaken, self._untaken = self._untaken, []
        for step in untaken:
            self._take(step)

    def _take_outcomes(self, frame: OutcomeFrame) -> None:
        if frame.kind is not Kind.EVENTS:
            self.vouched = self.vouched or frame.verdict is Verdict.AGREES
            if frame.verdict is Verdict.DIFFERS:
                raise Corrupt(f"seq {frame.first_seq - 1}: it differs from its own digest mark")
            return
        handed = self._handed[0] if self._handed else None
        if handed is None or (frame.first_seq, frame.count) != (self.seq + 1, len(handed.entries)):
            raise Corrupt(f"seq {frame.first_seq}: outcomes that nobody asked for")
        changed, self._changed = self._changed, None
        outcomes = self.ledger.fold(handed.entries, decode_outcomes(frame, resolve), changed)
        self.in_doubt = range(self.seq + 1, self.in_doubt.stop)
        self._handed.popleft()
        handed.meanwhile()
        handed.applied.callback(outcomes)

    def _take_mark(self, mark: DigestMark) -> None:
        self._mark = mark
        marking, self._marking = self._marking, None
        if marking is not None:
            marking()
        marked, self._marked = self._marked, []
        for made in marked:
            made.callback(None)


def _lost(name: str) -> str:
    return (
        f"this event was accepted and is kept, but its outcome is not known: the core of {name} "
        "ended while it was applied"
    )
