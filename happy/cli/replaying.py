"""Replaying a journal with its application's code; a container may be running on it.

Nothing is locked, nothing is written, and no effect is performed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import attrs

from happy.accepting import Acceptance
from happy.app import Definition
from happy.apply import Machine
from happy.cli.bounds import Wanted
from happy.cli.frames import Step, steps
from happy.cli.output import Unwell
from happy.cli.segments import header_of, segment_names
from happy.codec import EventDecoder
from happy.collecting import collecting_seldom
from happy.config import AppConfig
from happy.errors import NotAJournal, UnknownEvent
from happy.event import Entry
from happy.journal.disk import FileDisk
from happy.journal.frame import Frame, Kind
from happy.journal.names import segment_seq
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

    It is compared with the journal's digest marks; ``accepts`` says what may differ, by default
    what the journal itself says was accepted.
    """

    def __init__(
        self,
        path: Path,
        definition: Definition,
        until: Wanted | None = None,
        tell: Tell = _tell_nobody,
        accepts: Accepts | None = None,
    ) -> None:
        disk = FileDisk(path)
        names = segment_names(disk, path)
        header = header_of(disk, names[0])
        if header.number != 1:
            raise NotAJournal(
                f"{path}: its history begins with seq {header.first_seq}, what was before is not "
                "kept any more; replay a backup that has it"
            )
        self.machine = Machine(definition, header.journal_id, random.Random)
        self._path = path
        self._decoder = EventDecoder(definition.events)
        self._until = until or Wanted()
        self._tell = tell
        self._accepts = accepts or Acceptance(disk)
        self._sizes = {name: disk.size(name) for name in names}

    def batches(self) -> Iterator[Iterator[Entry]]:
        """Yield the entries of each frame; they are to be applied before the next are asked for.

        Raises a ``JournalError`` when the journal is damaged, the application does not know an
        event, or comes to something else than the journal says; entries are decoded one by one,
        so all before that one can be applied.
        """
        total = sum(self._sizes.values())
        done = size = 0
        found = steps(self._path, self._until)
        for step in found:
            if not isinstance(step, Frame):
                done += size
                size = self._sizes.get(step.name, 0)
                continue
            if step.kind is Kind.EVENTS:
                yield self._entries(step, found)
            elif step.first_seq == self.machine.seq + 1:
                replay_frame(self.machine, self._decoder, step, self._accepts)
            self._tell(done + step.end, total)
        self._tell(total, total)

    def _entries(self, frame: Frame, rest: Iterator[Step]) -> Iterator[Entry]:
        try:
            for entry in entries_of(self._decoder, frame):
                if self._until.has(entry.seq):
                    yield entry
        except UnknownEvent as error:
            frames = (step for step in rest if isinstance(step, Frame))
            raise all_unknown(error, self._decoder, chain((frame,), frames)) from None

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
