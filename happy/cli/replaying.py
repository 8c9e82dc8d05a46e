"""Replaying a journal with its application's code; a container may be running on it.

Nothing is locked, nothing is written, and no effect is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, takewhile
from pathlib import Path
from typing import Final

import attrs

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.cli.beginnings import Joint, beginning
from happy.cli.bounds import Wanted
from happy.cli.frames import steps
from happy.cli.output import Unwell
from happy.cli.segments import segment_names
from happy.codec import EventDecoder
from happy.collecting import collecting_seldom
from happy.config import AppConfig
from happy.errors import UnknownEvent
from happy.event import Entry
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame, Kind
from happy.journal.names import segment_seq
from happy.journal.quarantine import foreseen
from happy.journal.recovery import after
from happy.marks import Accepts
from happy.opening import entries_of, replay_frame
from happy.unreadable import all_unknown

_BEHIND_ALL: Final = 2**63

Tell = Callable[[int, int], None]
"""Is told how many bytes of how many were read."""


def _tell_nobody(_done: int, _total: int) -> None:
    return


class Replay:
    """A machine, and the entries to apply to it; of history only what is ``until``.

    With ``near``, it begins with the last snapshot that this covers, if there is one.
    It is compared with the journal's digest marks; ``accepts`` says what may differ, by default
    what the journal itself says was accepted.
    """

    def __init__(  # noqa: PLR0913 - all it depends on
        self,
        path: Path,
        definition: Definition,
        until: Wanted | None = None,
        tell: Tell = _tell_nobody,
        accepts: Accepts | None = None,
        near: Wanted | None = None,
    ) -> None:
        disk = FileDisk(path)
        self._decoder = EventDecoder(definition.events)
        self._until = until or Wanted()
        begin = beginning(path, disk, definition, self._decoder, self._until, near)
        self.machine = begin.machine
        self.begin_seq = self.machine.seq
        """The seq that it begins behind: 0, or that of a snapshot."""
        self._joint = Joint(begin.start)
        self._path = path
        self._tell = tell
        self._accepts = accepts or Acceptance(disk, start=begin.start)
        self._sizes = {name: disk.size(name) for name in segment_names(disk, path)}

    def batches(self) -> Iterator[Iterator[Entry]]:
        """Yield the entries of each frame; they are to be applied before the next are asked for.

        Raises a ``JournalError`` when the journal is damaged, the application does not know an
        event, or comes to something else than the journal says; entries are decoded one by one,
        so all before that one can be applied.
        """
        frames = foreseen(self._frames())
        for frame in frames:
            if self._until.ends_before(frame):
                return
            self.machine.quarantine(frame.quarantined)
            if frame.kind is Kind.EVENTS:
                yield self._entries(frame, frames)
            elif frame.first_seq == self.machine.seq + 1:
                replay_frame(self.machine, self._decoder, frame, self._accepts)

    def _frames(self) -> Iterator[Frame]:
        """Yield all frames: what is quarantined may be told behind the last that is wanted."""
        total = sum(self._sizes.values())
        done = size = 0
        for step in steps(self._path, Wanted(first=self.begin_seq + 1)):
            if not isinstance(step, Frame):
                done += size
                size = self._sizes.get(step.name, 0)
                self._joint.look(step.name, step.header.first_seq, step.header.chain)
                continue
            behind = after(step)
            self._joint.look(f"seq {step.first_seq}", behind.next_seq, behind.chain)
            if step.kind is not Kind.EVENTS or behind.next_seq > self.begin_seq + 1:
                yield step
            self._tell(done + step.end, total)
        self._tell(total, total)

    def _entries(self, frame: Frame, rest: Iterator[Frame]) -> Iterator[Entry]:
        try:
            for entry in entries_of(self._decoder, frame):
                if self._until.has(entry.seq):
                    yield entry
        except UnknownEvent as error:
            raise all_unknown(error, self._decoder, chain((frame,), self._wanted(rest))) from None

    def _wanted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        return takewhile(lambda frame: not self._until.ends_before(frame), frames)

    def run(self) -> Machine:
        """Apply all of them; return the machine."""
        with collecting_seldom():
            for entries in self.batches():
                self.machine.apply(list(entries))
        return self.machine


@attrs.frozen
class Replayed:
    """What a replay came to."""

    seq: int
    failed: int
    """How many handlers raised, over the whole history."""
    digest: str
    """Of the machine: its state, and all else that history determines."""


def replayed(path: Path, app: AppConfig) -> Replayed:
    """Replay the whole journal in a directory.

    Raises ``JournalError`` when it is damaged, the application does not know its events, or
    comes to something else than the journal says.
    """
    machine = Replay(path, app.definition).run()
    return Replayed(machine.seq, machine.failed, machine.digest())


def last_seq(path: Path) -> int:
    """Return the seq that a journal ends with, 0 when it has no events."""
    last = (segment_seq(segment_names(FileDisk(path), path)[-1]) or 1) - 1
    for step in steps(path, Wanted(first=_BEHIND_ALL)):
        if isinstance(step, Frame):
            last = max(last, step.first_seq + step.count - 1)
    return last


def check_until(path: Path, until: Wanted, last: int) -> None:
    """Raise ``Unwell`` unless a replay got to the seq that was asked for."""
    if until.last is not None and last < until.last:
        raise Unwell(f"{path}: there is no seq {until.last}: the journal ends with seq {last}")
