"""Digest marks: what a machine says of itself in the journal, for every replay to compare.

Now and then, and when it stops, a stream puts a digest of its machine into the journal: of the
state with all else that history determines, and of all outcomes. A replay computes both when it
comes to the mark. If they differ, a handler was changed or does not do the same each time, and
what the replay makes is not what was answered: it stops, with the first mark that differs.

A mark also says of which *shape* the state was: its classes and their fields. Where the shape
is another today, the digests of the two states cannot be the same and are not compared; the
outcomes are. Who goes on after a divergence, knowingly, leaves an *accepting* mark: what
differs before it concerns no later replay.

The body of a mark, little-endian::

     0   2  scheme: how the digests are made, 1; others are passed over
     2   2  flags: 1 accepting
     4   4  zero
     8   8  shape
    16  16  digest of the state
    32  16  digest of the outcomes
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from happy.apply import Machine
from happy.digest import packed
from happy.errors import Corrupt, Diverged
from happy.journal.frame import Frame
from happy.moments import moment
from happy.schema import fields_schema
from happy.upcast import version_of
from happy.values import hints_of

SCHEME: Final = 1
"""To be raised when digests are made in another way, so that old marks are passed over."""
_BODY = struct.Struct("<HHI8s16s16s")
_ACCEPTING: Final = 1


@attrs.frozen
class DigestMark:
    """What a machine was after ``seq`` events; digests in hex."""

    seq: int
    state: str
    outcomes: str
    shape: str
    accepting: bool = False
    scheme: int = SCHEME

    def body(self) -> bytes:
        """Return the mark as the body of a frame."""
        return _BODY.pack(
            self.scheme,
            _ACCEPTING if self.accepting else 0,
            0,
            bytes.fromhex(self.shape),
            bytes.fromhex(self.state),
            bytes.fromhex(self.outcomes),
        )


Accepts = Callable[[DigestMark, Diverged], bool]
"""Says whether a replay may go on that came to something else than a mark says."""


def mark_in(frame: Frame) -> DigestMark:
    """Return the mark that a frame holds; ``Corrupt`` when it holds something else."""
    seq = frame.first_seq - 1
    if frame.count or len(frame.body) != _BODY.size:
        raise Corrupt(
            f"seq {seq}: the digest mark after it cannot be read, though its checksums are right: "
            "what wrote this journal was no happy program"
        )
    scheme, flags, _, shape, state, outcomes = _BODY.unpack(frame.body)
    accepting = bool(flags & _ACCEPTING)
    return DigestMark(seq, state.hex(), outcomes.hex(), shape.hex(), accepting, scheme)


def mark_of(machine: Machine) -> DigestMark:
    """Return the mark of a machine as it is now."""
    return DigestMark(machine.seq, machine.digest(), machine.outcomes.digest(), _shape_of(machine))


def never(_said: DigestMark, _diverged: Diverged) -> bool:
    """Accept no divergence."""
    return False


def compare(machine: Machine, said: DigestMark, accepts: Accepts = never) -> bool:
    """Say whether a machine agrees with a mark that its replay has come to.

    Raises ``Diverged`` when it does not and that is not accepted. A mark that agrees is
    remembered by the machine.
    """
    if said.seq != machine.seq:
        raise ValueError(f"a mark after seq {said.seq}, the machine is at {machine.seq}")
    if said.scheme != SCHEME:
        return False
    here = mark_of(machine)
    differ = [
        f"{what} (digest {then}, in this replay {now})"
        for what, then, now in (
            ("the state", said.state, here.state if said.shape == here.shape else said.state),
            ("the outcomes", said.outcomes, here.outcomes),
        )
        if then != now
    ]
    if not differ:
        machine.agreed = said
        return True
    agreed = machine.agreed
    since = 0 if agreed is None or said.accepting else agreed.seq
    diverged = Diverged(_sentence(since, said, " and ".join(differ)), since + 1, said.seq)
    if not accepts(said, diverged):
        raise diverged
    return False


def _sentence(agreed_seq: int, said: DigestMark, what: str) -> str:
    if said.accepting:
        until = "other code was accepted here"
    else:
        until = f"up to seq {agreed_seq} all agrees" if agreed_seq else "no mark before it agrees"
    return (
        f"seq {agreed_seq + 1} to {said.seq}: this replay is not what was answered: {what} differ "
        f"after seq {said.seq} from what the journal says, {until}; a handler was changed, or "
        "does not do the same each time: run the code of that time, or `happy replay --with` it "
        "to find the event"
    )


class Marked(Protocol):
    """What a marker asks of whoever applies."""

    @property
    def seq(self) -> int:
        """The last event that was applied."""

    @property
    def agreed(self) -> DigestMark | None:
        """The mark it last agreed with; see ``Machine.agreed``."""

    def mark(self) -> DigestMark | None:
        """Return the mark of all that was applied; None when it is not at hand."""


class Marker:
    """Says when a stream is to write a mark, and knows the last one."""

    def __init__(
        self, core: Marked, every_events: int, opened_ns: int, *, accepting: bool = False
    ) -> None:
        self._core = core
        self._every_events = every_events
        self._last = core.agreed
        self._last_ns = opened_ns
        self._accepting = accepting

    def due(self, seq: int) -> bool:
        """Say whether a mark is to follow this seq, as soon as it is applied."""
        return self._accepting or seq - self._last_seq >= self._every_events

    def due_mark(self) -> DigestMark | None:
        """Return the mark to go before what is written now; None while there need be none.

        All that is in the journal must have been applied when one is due.
        """
        return self._make() if self.due(self._core.seq) else None

    @property
    def says_all(self) -> bool:
        """Whether there is nothing to add to the last mark."""
        return self._core.seq == self._last_seq and not self._accepting

    def last_mark(self) -> DigestMark | None:
        """Return the mark to stop with; None when the one before says it all."""
        return None if self.says_all else self._make()

    def written(self, mark: DigestMark, time_ns: int) -> None:
        """Take note that a mark is in the journal, since this moment."""
        self._last = mark
        self._last_ns = time_ns
        self._accepting = False

    def status(self) -> dict[str, Any] | None:
        """Return the last mark that was written or agreed with, for people and tools."""
        if self._last is None:
            return None
        return {
            "seq": self._last.seq,
            "state": self._last.state,
            "outcomes": self._last.outcomes,
            "time": moment(self._last_ns).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    @property
    def _last_seq(self) -> int:
        return 0 if self._last is None else self._last.seq

    def _make(self) -> DigestMark | None:
        mark = self._core.mark()
        return None if mark is None else attrs.evolve(mark, accepting=self._accepting)


def _shape_of(machine: Machine) -> str:
    cls: type = type(machine.state)
    shape = _SHAPES.get(cls)
    if shape is None:
        told = packed((version_of(cls), fields_schema(hints_of(cls))))
        digest = hashlib.blake2b(told, digest_size=8, person=b"happy shape")
        shape = _SHAPES[cls] = digest.hexdigest()
    return shape


_SHAPES: Final[dict[type, str]] = {}
