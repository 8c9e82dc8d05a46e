"""Events whose handlers are never run again: what a quarantine mark says, and obeying it.

An event that ends the program each time it is applied would end every replay too. So a mark
says that it failed, and who replays must know that before it comes to the event. It does,
because the mark can only stand close behind: an event is applied before the batch after the
next one is written, and before any other mark is. ``Foresight`` holds frames back as far as
that, and no further: a journal is read once, in order, from a pipe too.

Where mail is accepted before it is applied, more may be written than that. Then a backlog mark
stands before each batch, in time, and says from which event on nothing may have been applied.

For the same reason no other event can be quarantined: one with more behind it was applied
once, and what it did was answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from happy.errors import Corrupt
from happy.journal.frame import Frame, Kind

BATCHES_IN_DOUBT: Final = 2
"""The last batches of a journal, which may not have been applied: one was, one had to wait."""
_BODY: Final = struct.Struct("<QQ")
_BACKLOG: Final = struct.Struct("<Q")
_AT_REST: Final = (Kind.IDLE_MARK, Kind.CLOSE_MARK, Kind.DIGEST_MARK)


@attrs.frozen
class Quarantined:
    """What a quarantine mark says."""

    seq: int
    """The event."""
    deaths: int
    """How many processes had ended while they applied it."""

    def encode(self) -> bytes:
        """Return the body of the mark."""
        return _BODY.pack(self.seq, self.deaths)


def quarantined_by(mark: Frame) -> Quarantined:
    """Return what a quarantine mark says; ``Corrupt`` when it says nothing."""
    if len(mark.body) != _BODY.size:
        raise Corrupt(
            f"offset {mark.offset}: a quarantine mark that names no seq, though the checksums "
            "are right: what wrote this journal was no happy program"
        )
    return Quarantined(*_BODY.unpack(mark.body))


def backlog_body(first_seq: int) -> bytes:
    """Return the body of a backlog mark: from this seq on nothing may have been applied."""
    return _BACKLOG.pack(first_seq)


def backlog_from(mark: Frame) -> int:
    """Return from which seq on nothing may have been applied; ``Corrupt`` when it says nothing."""
    if len(mark.body) == _BACKLOG.size:
        first_seq: int = _BACKLOG.unpack(mark.body)[0]
        if 0 < first_seq <= mark.first_seq:
            return first_seq
    raise Corrupt(
        f"offset {mark.offset}: a backlog mark that names no seq before it, though the checksums "
        "are right: what wrote this journal was no happy program"
    )


class Foresight:
    """Holds back the frames that a quarantine mark may yet concern; see this module's head."""

    def __init__(self) -> None:
        self.held: list[Frame] = []
        self._batches = 0
        self._backlog: int | None = None
        self._first_seq: int | None = None

    def take(self, frame: Frame) -> list[Frame]:
        """Take the next frame; return those, in order, about which all is known now."""
        if self._first_seq is None:
            self._first_seq = frame.first_seq
        if frame.kind is Kind.QUARANTINE_MARK:
            self.quarantine(quarantined_by(frame).seq)
        elif frame.kind is Kind.BACKLOG_MARK:
            self._backlog = backlog_from(frame)
        self.held.append(frame)
        if frame.kind is Kind.EVENTS:
            self._batches += 1
            known: list[Frame] = []
            while self._batches > BATCHES_IN_DOUBT and not self._in_backlog(self.held[0]):
                known += self._known()
            self._backlog = None
            return known
        return self.rest() if frame.kind in _AT_REST or not self._batches else []

    def rest(self) -> list[Frame]:
        """Return what is held: the journal has ended, or was at rest."""
        known, self.held = self.held, []
        self._batches = 0
        return known

    def in_doubt(self, seq: int) -> bool:
        """Say whether an event is held, so that it may never have been applied."""
        return self._place_of(seq) is not None

    def quarantine(self, seq: int) -> None:
        """Quarantine an event that is held; ``Corrupt`` when it is behind what is held.

        One before all that was read is nobody's concern: its outcome is in a snapshot.
        """
        place = self._place_of(seq)
        if place is not None:
            frame = self.held[place]
            self.held[place] = attrs.evolve(frame, quarantined=frame.quarantined | {seq})
        elif self._first_seq is not None and seq >= self._first_seq:
            raise Corrupt(
                f"seq {seq}: the mark that quarantines it does not stand close behind it, though "
                "the checksums are right: what wrote this journal was no happy program"
            )

    def _in_backlog(self, batch: Frame) -> bool:
        """Say whether a batch is in the backlog that the mark before the last one tells of."""
        return self._backlog is not None and batch.first_seq + batch.count > self._backlog

    def _known(self) -> list[Frame]:
        """Let the oldest batch go, and the marks up to the next."""
        self._batches -= 1
        held = self.held
        second = next(n for n, f in enumerate(held) if n and f.kind is Kind.EVENTS)
        self.held = held[second:]
        return held[:second]

    def _place_of(self, seq: int) -> int | None:
        places = (n for n, f in enumerate(self.held) if f.first_seq <= seq < f.first_seq + f.count)
        return next(places, None)


def foreseen(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the same frames, a little later, with what is ``quarantined`` in each."""
    foresight = Foresight()
    for frame in frames:
        yield from foresight.take(frame)
    yield from foresight.rest()
