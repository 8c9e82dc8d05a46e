"""A core: the machine of an application as a filter, frames in and outcomes out.

For each frame that is read there is one outcome frame, in the same order. It is a function of
what was read: no clock, no disk, no lock, and no effect is performed. So a pipe that a journal is
written to is a replay, a test, or a standby.

It holds the state and a few frames; what was applied is forgotten. It reads no more while nobody
takes what it wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.errors import Diverged, NotAJournal, UnknownEvent
from happy.event import Outcome
from happy.journal.frame import Frame, Kind, SegmentHeader
from happy.journal.quarantine import Foresight
from happy.marks import Accepts, DigestMark, compare, mark_in, never
from happy.opening import replay_frame
from happy.split.frame_stream import FrameStream, Step
from happy.split.outcome_frame import (
    OutcomesHeader,
    Verdict,
    encode_header,
    encode_latest,
    encode_outcome_frame,
)
from happy.unreadable import all_unknown

NEVER: Final = 2**64
"""Above every seq."""

Report = Callable[[Frame, list[Outcome]], None]
"""Is told what became of the events of a frame."""


def _tell_nobody(_frame: Frame, _outcomes: list[Outcome]) -> None:
    return


class Filter:
    """One application that reads a stream of frames; see the head of this module.

    An event may be quarantined by a mark behind it, so frames are held back until that is known:
    for two batches, or until a mark says that the journal was at rest, or the stream ends. Frames
    from the seq ``live_from`` on are applied as they come; whoever asks for that knows.
    """

    def __init__(
        self,
        definition: Definition,
        random_of: Callable[[int], Any],
        *,
        live_from: int = NEVER,
        accepts: Accepts = never,
        report: Report = _tell_nobody,
    ) -> None:
        self.machine: Machine | None = None
        """There as soon as it is known which journal is read."""
        self._definition = definition
        self._decoder = EventDecoder(definition.events)
        self._random_of = random_of
        self._live_from = live_from
        self._accepts = accepts
        self._report = report
        self._stream = FrameStream()
        self._foresight = Foresight()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes in; yield what is to be written, for each frame that can be applied by now.

        Raises a ``JournalError`` where the stream is damaged, holds what the application does not
        know, or says something else than the machine came to; what is before was yielded, but
        for what was held back.
        """
        steps = self._stream.feed(data)
        for step in steps:
            if isinstance(step, Frame):
                known = self._foresight.take(step)
                if step.first_seq >= self._live_from:
                    known += self._foresight.rest()
                yield from self._answers(known, steps)
            elif isinstance(step, SegmentHeader) and self.machine is None:
                yield self._begin(step)

    def end(self) -> Iterator[bytes]:
        """Say that nothing comes any more; yield what is to be written for what was held back.

        Raises as ``feed``, and ``Corrupt`` when the stream was cut off.
        """
        self._stream.end()
        yield from self._answers(self._foresight.rest(), iter(()))

    def _begin(self, header: SegmentHeader) -> bytes:
        if header.first_seq != 1:
            raise NotAJournal(
                f"this stream begins with seq {header.first_seq}, and a state is made of all "
                "events from the first on: give it the whole of a journal"
            )
        self.machine = Machine(self._definition, header.journal_id, self._random_of)
        return encode_header(OutcomesHeader(header.journal_id, header.first_seq))

    def _answers(self, frames: list[Frame], steps: Iterator[Step]) -> Iterator[bytes]:
        for number, frame in enumerate(frames):
            try:
                yield self._answer(frame)
            except UnknownEvent as error:
                later = (step for step in steps if isinstance(step, Frame))
                behind = chain(frames[number:], self._foresight.rest(), later)
                raise all_unknown(error, self._decoder, behind) from None

    def _answer(self, frame: Frame) -> bytes:
        machine = self.machine
        assert machine is not None
        if frame.kind is Kind.DIGEST_MARK:
            return encode_outcome_frame(frame, b"", self._verdict(machine, mark_in(frame)))
        outcomes = replay_frame(machine, self._decoder, frame)
        if not outcomes:
            return encode_outcome_frame(frame, b"")
        self._report(frame, outcomes)
        return encode_outcome_frame(frame, encode_latest(outcomes, machine.outcomes))

    def _verdict(self, machine: Machine, said: DigestMark) -> Verdict:
        differs: list[Diverged] = []

        def accepts(said: DigestMark, diverged: Diverged) -> bool:
            differs.append(diverged)
            return self._accepts(said, diverged)

        if compare(machine, said, accepts):
            return Verdict.AGREES
        return Verdict.DIFFERS if differs else Verdict.NONE
