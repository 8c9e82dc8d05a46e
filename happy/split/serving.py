"""A core that serves a container: it reads the journal itself, and then frames as they come.

The first block on its input says where frames go on. What is before that it reads from the
directory of the journal, from the newest snapshot on, as a start in one process does; so a core
that has ended is started again in the same way. What is written there meanwhile comes as frames.

Between the frames come questions (``happy.split.aside``), and they are answered in their turn.
What is applied is noted in the memory that outlives the process, as the container notes it when
the machine is its own: who starts the next core sees what ended this one.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.applying import NOTE_BYTES, PART_EVENTS, Applying, Note
from happy.codec import EventDecoder
from happy.errors import Corrupt, Diverged, NotAJournal
from happy.event import FailedOutcome, Outcome
from happy.guard import closed
from happy.journal.disk import Disk
from happy.journal.frame import Frame, Kind, SegmentHeader, first_chain
from happy.journal.quarantine import Foresight
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.marks import compare, mark_in, mark_of
from happy.memory import state_bytes
from happy.opening import happened_in
from happy.recall import Recall
from happy.split.aside import Aside, Say
from happy.split.frame_stream import FrameStream
from happy.split.ledger import Replayed, Watcher, ready_of
from happy.split.outcome_frame import (
    OutcomesHeader,
    Verdict,
    encode_header,
    encode_outcome_frame,
)
from happy.split.pickled import NotTold, pack, pack_error, unpack
from happy.split.queries import queries_of, schema_digest
from happy.split.replies import Untold, encode_told

_LOOK_EVENTS: Final = 10_000
"""How many events are replayed between two looks whether anybody waits for them still."""


class Orphan(Exception):
    """Nobody waits for this core any more."""


@attrs.frozen
class Surroundings:
    """What a core uses of the world."""

    disk: Disk
    random_of: Callable[[int], Any]
    alarm: Callable[[float], object]
    """Ends the process in so many seconds; see ``happy.world``."""
    is_orphan: Callable[[], bool]
    """Says whether the container is gone."""
    settle: Callable[[], object]
    """Is called when all that stays is in memory."""


class ServingCore:
    """The machine of one application, for a container; see the head of this module."""

    def __init__(
        self,
        definition: Definition,
        around: Surroundings,
        *,
        handler_timeout_s: float,
        accept_divergence: bool = False,
    ) -> None:
        self._definition = definition
        self._around = around
        self._handler_timeout_s = handler_timeout_s
        self._accept_divergence = accept_divergence
        self._decoder = EventDecoder(definition.events)
        self._queries = queries_of(definition.app)
        self._stream = FrameStream(asides=True)
        self._foresight = Foresight()
        self._machine: Machine
        self._applying: Applying
        self._watcher: Watcher
        self._begun = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes in; yield what is to be written, at once for each frame and question.

        Raises a ``JournalError`` where the stream or the journal cannot be used, and ``Orphan``.
        """
        for step in self._stream.feed(data):
            if isinstance(step, Frame):
                yield from self._answers(step)
            elif isinstance(step, Aside):
                yield self._reply(step).encode()
            elif not self._begun:
                self._begun = True
                yield encode_header(OutcomesHeader(step.journal_id, step.first_seq, asides=True))
                yield Aside(Say.READY, pack(self._begin(step))).encode()

    def end(self) -> Iterator[bytes]:
        """Say that nothing comes any more, which is how a container ends."""
        return iter(())

    # --- beginning --------------------------------------------------------------------------------

    def _begin(self, header: SegmentHeader) -> Any:
        """Read the journal up to where the frames go on; return what the container is to know."""
        around = self._around
        recall = Recall(self._definition, self._decoder, around.random_of)
        recalled = recall.newest(around.disk)
        start = None if recalled is None else recalled.start
        self._machine = (
            recall.new_machine(header.journal_id) if recalled is None else recalled.machine
        )
        note = Note(around.disk.shared_bytes(NOTE_BYTES))
        self._applying = Applying(self._machine, note, around.alarm, self._handler_timeout_s)
        self._applying.suspect = note.suspect_of(header.journal_id)
        acceptance = Acceptance(around.disk, now=self._accept_divergence, start=start)
        began_s, before = time.monotonic(), self._machine.seq
        try:
            reader = Reader(around.disk, cut=False, start=start)
            self._read(reader, start, header, acceptance)
        except Corrupt as error:
            raise recall.explain(error) from None
        replayed = Replayed(
            "" if recalled is None else recalled.snapshot.name,
            self._machine.seq - before,
            time.monotonic() - began_s,
            "" if acceptance.first is None else str(acceptance.first),
        )
        note.clear()
        self._applying.suspect = None
        self._machine.get_ready()
        around.settle()
        self._watcher = Watcher(self._machine, _traceback_of)
        machine = self._machine
        return ready_of(
            machine,
            schema_digest(self._definition),
            mark_of(machine) if replayed.accepted else None,
            replayed,
            state_bytes(machine.state, machine.outbox),
        )

    def _read(
        self, reader: Reader, start: Start | None, header: SegmentHeader, accepts: Acceptance
    ) -> None:
        """Replay what is before the frames, and nothing behind: that may be being written."""
        looked = 0
        for frame in until(reader, start, header):
            for known in self._foresight.take(frame):
                self._replay(known, accepts)
            if frame.first_seq - looked >= _LOOK_EVENTS:
                looked = frame.first_seq
                if self._around.is_orphan():
                    raise Orphan
        for known in self._foresight.rest():
            self._replay(known, accepts)

    def _replay(self, frame: Frame, accepts: Acceptance) -> None:
        if frame.kind is Kind.DIGEST_MARK:
            compare(self._machine, mark_in(frame), accepts)
        self._machine.quarantine(frame.quarantined)
        self._applying.replay(frame.time_ns, happened_in(self._decoder, frame))

    # --- serving ----------------------------------------------------------------------------------

    def _answers(self, frame: Frame) -> Iterator[bytes]:
        if frame.kind is not Kind.EVENTS:
            yield encode_outcome_frame(frame, b"", self._verdict(frame))
            return
        outcomes: list[Outcome] = []
        bodies: list[bytes] = []
        untold: Untold = {}
        happened = happened_in(self._decoder, frame)
        for first in range(0, len(happened), PART_EVENTS):
            part = self._applying.replay(frame.time_ns, happened[first : first + PART_EVENTS])
            body, why = encode_told(part, self._machine.outcomes)
            bodies.append(body)
            untold |= {first + place: said for place, said in why.items()}
            outcomes += part
        changed = self._watcher.changed(frame.first_seq, outcomes, untold)
        if changed is not None:
            yield Aside(Say.CHANGED, pack(changed)).encode()
        yield encode_outcome_frame(frame, b"".join(bodies))

    def _verdict(self, frame: Frame) -> Verdict:
        if frame.kind is not Kind.DIGEST_MARK:
            return Verdict.NONE
        try:
            agrees = compare(self._machine, mark_in(frame))
        except Diverged:
            return Verdict.DIFFERS
        return Verdict.AGREES if agrees else Verdict.NONE

    def _reply(self, aside: Aside) -> Aside:
        match aside.kind:
            case Say.ASK:
                return self._found(aside)
            case Say.MARK:
                return Aside(Say.MARKED, pack(mark_of(self._machine)))
            case Say.MEASURE:
                size_bytes = state_bytes(self._machine.state, self._machine.outbox)
                return Aside(Say.MEASURED, pack(size_bytes))
        raise Corrupt(f"an aside of kind {aside.kind.name} is not for a core")

    def _found(self, aside: Aside) -> Aside:
        try:
            name, args, kwargs = unpack(aside.body)
            query = self._queries.get(name)
            if query is None:
                raise NotTold(  # noqa: TRY301 - it is told below, as what a query raises
                    f"the application that runs has no query {name!r}"
                )
            with closed:
                found = query(self._machine.state, *args, **kwargs)
            return Aside(Say.FOUND, pack(found), aside.number)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a query raises is what was found
            return Aside(Say.RAISED, pack_error(error), aside.number)


def until(reader: Reader, start: Start | None, header: SegmentHeader) -> Iterator[Frame]:
    """Yield the frames of a journal up to where those go on that a header stands before.

    ``start`` is that of the reader. Raises ``NotAJournal`` when they do not go on so.
    """
    end = header.first_seq, header.chain
    began = (1, first_chain(header.journal_id)) if start is None else (start.seq + 1, start.chain)
    if began == end:
        return
    for frame in reader.frames():
        yield frame
        if (frame.first_seq + frame.count, frame.chain) == end:
            return
    raise NotAJournal(
        f"the frames go on with seq {header.first_seq}, and the journal does not end there"
    )


def _traceback_of(outcome: FailedOutcome) -> str:
    assert outcome.error is not None
    told = "".join(traceback.format_exception(outcome.error))
    return f"the handler failed; nothing was changed\n{told}"
