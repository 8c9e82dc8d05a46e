"""From the disk to a machine: the newest snapshot that is good and fits, and what follows it.

Whoever needs a machine gets it here: a start, the process that makes snapshots, the tools. A
snapshot only ever saves work. One that is damaged, or of a state that the application does not
have any more, is passed over for the one before, and the last resort is the whole journal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from happy.app import Definition
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.errors import BadSnapshot, Corrupt, HappyError, UnfitSnapshot, UnknownEvent
from happy.image import Image, Kinds
from happy.journal.disk import Disk
from happy.journal.recovery import Start
from happy.journal.snapshots import Snapshot, snapshot_names
from happy.marks import mark_of


@attrs.frozen
class Recalled:
    """A machine as a snapshot has it."""

    snapshot: Snapshot
    machine: Machine
    kinds: Kinds

    @property
    def start(self) -> Start:
        """What a reader of the journal needs to know of it."""
        return self.snapshot.start


@attrs.frozen
class PassedOver:
    """A snapshot that was not used."""

    name: str
    reason: str
    damaged: bool
    """Whether it is damaged; otherwise it is of another state."""


class Recall:
    """Recalls machines of one application from its snapshots."""

    def __init__(
        self, definition: Definition, decoder: EventDecoder, random_of: Callable[[int], Any]
    ) -> None:
        self.image = Image(definition)
        self.passed_over: list[PassedOver] = []
        """The snapshots that were not used, the newest first."""
        self._definition = definition
        self._decoder = decoder
        self._random_of = random_of

    def new_machine(self, journal_id: bytes) -> Machine:
        """Return a machine that nothing was applied to."""
        return Machine(self._definition, journal_id, self._random_of)

    def newest(self, disk: Disk) -> Recalled | None:
        """Return what the newest usable snapshot has, or None when there is none.

        Raises ``UnknownEvent`` when it covers an event that the application does not know.
        """
        for name in snapshot_names(disk):
            try:
                return self.load(Snapshot(disk, name))
            except BadSnapshot as error:
                damaged = not isinstance(error, UnfitSnapshot)
                self.passed_over.append(PassedOver(name, str(error), damaged))
        return None

    def load(self, snapshot: Snapshot) -> Recalled:
        """Return what a snapshot has; ``BadSnapshot`` or ``UnfitSnapshot`` when it cannot be."""
        header = snapshot.header
        description = header.description
        machine = self.new_machine(header.journal_id)
        machine.seq = header.seq
        machine.time_ns = header.time_ns
        try:
            kinds = self.image.put(machine, self._decoder, description, snapshot.blocks())
        except UnfitSnapshot as error:
            raise UnfitSnapshot(f"{snapshot.name}: {error}") from None
        except (BadSnapshot, UnknownEvent):
            raise
        except (HappyError, ValueError) as error:  # rows that a table does not take
            raise UnfitSnapshot(f"{snapshot.name}: {error}") from None
        if self.image.is_older(description):
            return Recalled(snapshot, machine, kinds)
        found = machine.digest()
        if found != description.digest:
            raise BadSnapshot(
                f"{snapshot.name}: what it holds has the digest {found}, and not "
                f"{description.digest} as it was taken"
            )
        machine.agreed = mark_of(machine)
        return Recalled(snapshot, machine, kinds)

    def explain(self, error: Corrupt) -> Corrupt:
        """Return why a journal cannot be read, with why no snapshot could help."""
        if not self.passed_over:
            return error
        reasons = "; ".join(passed.reason for passed in self.passed_over)
        return Corrupt(f"{error} (no help from the snapshots: {reasons})")
