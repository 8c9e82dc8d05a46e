"""What a stream has to know of a machine that runs elsewhere: a fold beside it.

What is owed and when, which schedules have fired for what, which keys are remembered, what was
configured: doors and runners need it at once, and it is a small part of a state. Schedules, keys
and the configuration follow from the events and their outcomes, and are folded here as the machine
does. Debts follow from what handlers did, so the core says how they changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from happy.apply import Machine
from happy.bounces import Bounces
from happy.effects import Outbox, Owed
from happy.event import (
    Configured,
    Entry,
    FailedOutcome,
    Mail,
    MailAcknowledged,
    Outcome,
    RefusedOutcome,
    Scheduled,
    ScheduleFired,
)
from happy.holds import Holds
from happy.keys import Keys, Remembered
from happy.marks import DigestMark
from happy.return_paths import ReturnPaths
from happy.schedule import Schedules
from happy.split.aside import Changed, Ready
from happy.split.replies import ToldFailure, Untold, encode_each
from happy.unacknowledged import Unacknowledged


class Ledger:
    """What is known here of a machine elsewhere; see the head of this module."""

    def __init__(self, journal_id: bytes) -> None:
        self.outbox = Outbox()
        self.schedules = Schedules()
        self.configured = Configured(b"")
        self.keys = Keys(self.configured.keys_remembered_max)
        self.unacknowledged = Unacknowledged()
        self.bounces = Bounces(ReturnPaths.of(journal_id))
        self.holds = Holds()
        self.seq = 0
        self.failed = 0

    def begin(self, ready: Ready, outcomes: Iterable[Outcome]) -> None:
        """Take over what a core has come to, which may have been here before.

        A debt that is known already, and was handed out, is not handed out again.
        """
        self.seq = ready.seq
        self.failed = ready.failed
        self.configured = ready.configured
        self.schedules.places = {place.row.name: place for place in ready.places}
        self.keys.remembered_max = ready.configured.keys_remembered_max
        self.keys.clear()
        for place, outcome in enumerate(outcomes):
            key, fingerprint, seq = ready.keys[place]
            kept = FailedOutcome(seq) if place in ready.untold else outcome
            self.keys.put_back(key, Remembered(fingerprint, seq, kept))
        self.unacknowledged.clear()
        for seq, copy, time_ns in ready.unacknowledged:
            self.unacknowledged.put_back(seq, copy, time_ns)
        self.bounces.configure(ready.configured)
        self.bounces.clear()
        for item in ready.bounces:
            self.bounces.put_back(*item)
        self.holds.configure(ready.configured)
        self.holds.clear()
        for item in ready.holds:
            self.holds.put_back(*item)
        now = {owed.id: owed for owed in ready.owed}
        gone = [owed.id for owed in self.outbox if owed.id not in now]
        self._owe({**dict.fromkeys(gone), **now})

    def fold(
        self, entries: Sequence[Entry], outcomes: list[Outcome], changed: Changed | None
    ) -> list[Outcome]:
        """Take in a batch that was applied; return the outcomes with what was said of them."""
        if changed is not None:
            self.failed = changed.failed
            self._owe({(seq, n): owed for seq, n, owed in changed.owed})
            first_seq = self.seq + 1
            for seq, text in changed.said:
                outcomes[seq - first_seq] = FailedOutcome(seq, ToldFailure(text))
        for entry, outcome in zip(entries, outcomes, strict=True):
            self.seq = entry.seq
            if entry.key is None:
                self._take_in(entry, outcome)
            elif self.keys.get(entry.key) is None:
                self._take_in(entry, outcome)
                kept = FailedOutcome(outcome.seq) if isinstance(outcome, FailedOutcome) else outcome
                self.keys.add(entry.key, Remembered(entry.fingerprint, entry.seq, kept))
        return outcomes

    def _take_in(self, entry: Entry, outcome: Outcome) -> None:
        """Take in an event of happy itself, as ``Machine`` does."""
        match entry.event:
            case Configured():
                self.configured = entry.event
                self.keys.remembered_max = entry.event.keys_remembered_max
                self.bounces.configure(entry.event)
                self.holds.configure(entry.event)
            case Mail():
                self.unacknowledged.forget(entry.event.acknowledged)
                if entry.event.early or not isinstance(outcome, RefusedOutcome):
                    self.unacknowledged.take(entry.seq, entry.time_ns, entry.event)
            case MailAcknowledged():
                self.unacknowledged.forget(entry.event.acknowledged)
            case Scheduled():
                self.schedules.declare(entry.event, entry.time_ns)
            case ScheduleFired():
                self.schedules.fire(entry.event)
            case _:
                self.bounces.take(entry.event, entry.time_ns)
                self.holds.take(entry.event, entry.seq, entry.time_ns)

    def _owe(self, debts: dict[tuple[int, int], Owed | None]) -> None:
        for effect_id in sorted(debts):
            owed = debts[effect_id]
            if owed is None:
                self.outbox.cancel(effect_id)
            elif owed != self.outbox.get(effect_id):
                self.outbox.owe(owed)
        self.outbox.commit()


@attrs.frozen
class Replayed:
    """How a core came to what it is: which snapshot it began with, and what was behind that."""

    snapshot: str
    events: int
    seconds: float
    accepted: str


def ready_of(
    machine: Machine, schema: str, mark: DigestMark | None, replayed: Replayed, state_bytes: int
) -> Ready:
    """Return what a core says when it has read the journal."""
    keys = tuple(machine.keys)
    outcomes, untold = encode_each([known.outcome for _, known in keys])
    return Ready(
        schema=schema,
        seq=machine.seq,
        failed=machine.failed,
        configured=machine.configured,
        places=tuple(machine.schedules),
        owed=tuple(machine.outbox),
        keys=tuple((key, known.fingerprint, known.seq) for key, known in keys),
        outcomes=outcomes,
        untold=tuple(untold),
        unacknowledged=tuple(machine.unacknowledged),
        bounces=tuple(machine.bounces),
        holds=tuple(machine.holds),
        agreed=machine.agreed,
        mark=mark,
        accepted=replayed.accepted,
        snapshot=replayed.snapshot,
        events=replayed.events,
        seconds=replayed.seconds,
        state_bytes=state_bytes,
    )


class Watcher:
    """Notes, beside a machine, what its container has to know of what it did."""

    def __init__(self, machine: Machine, tell: Callable[[FailedOutcome], str]) -> None:
        """``tell`` returns what is to be told of an event that failed."""
        self._machine = machine
        self._tell = tell
        self._failed = machine.failed
        self._touched: set[tuple[int, int]] = set()
        machine.outbox.touched = self._touched

    def changed(
        self, first_seq: int, outcomes: Sequence[Outcome], untold: Untold
    ) -> Changed | None:
        """Return what came of a frame beside its outcomes; None when nothing did."""
        machine, touched = self._machine, self._touched
        said = [
            (first_seq + place, f"it holds, but its reply cannot go to another process: {why}")
            for place, why in untold.items()
        ]
        if machine.failed != self._failed:
            self._failed = machine.failed
            for seq, outcome in enumerate(outcomes, first_seq):
                if isinstance(outcome, FailedOutcome) and outcome.error is not None:
                    said.append((seq, self._tell(outcome)))
        if not touched and not said:
            return None
        owed = tuple((*effect_id, machine.outbox.get(effect_id)) for effect_id in sorted(touched))
        touched.clear()
        return Changed(machine.failed, owed, tuple(said))
