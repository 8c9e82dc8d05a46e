"""Applying with a note of where: so that the next process knows what ended this one.

A handler can end the process: by a fault in native code, by ``os._exit``, by eating all memory,
by never returning. Nothing can be done about it then. But before events are applied, their
place is noted in memory that outlives the process; a start that finds a note knows that the
last process ended while it applied them. That is a *death* of those events.

The first death may have many suspects. The next start notes each of them by itself, so the
second death has one. When one event has had ``poison_deaths_max`` deaths it is poison, and is
quarantined (``happy.journal.quarantine``). Who is killed by other hands is hardly killed at the
same event each time, and a start that gets through clears every suspect.

The note costs two stores and two calls of the alarm for each part of a batch, nothing per event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from attrs import frozen

from happy.apply import Machine
from happy.bulk import Happened
from happy.errors import HappyError
from happy.event import Entry, Outcome

H = TypeVar("H", bound=Happened)

NOTE_BYTES: Final = 32
"""The memory it needs: four words of 8 bytes."""
PART_EVENTS: Final = 128
"""How much of a batch is noted and timed at once."""
_JOURNAL_ID: Final = slice(0, 2)
_APPLYING: Final = 2
_SUSPECT: Final = 3
_BYTE: Final = 8
_BYTE_MAX: Final = 255


@frozen
class Suspect:
    """Events of which one may be poison: a process ended while it applied them."""

    first_seq: int
    count: int
    deaths: int

    @property
    def last_seq(self) -> int:
        """The last of them."""
        return self.first_seq + self.count - 1

    def is_poison(self, deaths_max: int) -> bool:
        """Say whether it is one event, and has had enough deaths."""
        return self.count == 1 and self.deaths >= deaths_max


class Note:
    """What a process leaves in ``memory`` for the next one; each change of it is one store."""

    def __init__(self, memory: memoryview) -> None:
        self._words = memory.cast("Q")

    def suspect_of(self, journal_id: bytes) -> Suspect | None:
        """Return who is suspect in a journal, after the death that is noted, if one is."""
        words = self._words
        mine = memoryview(journal_id).cast("Q")
        if words[_JOURNAL_ID] != mine:  # files of another journal were put here
            words[_APPLYING] = words[_SUSPECT] = 0
            words[_JOURNAL_ID] = mine
        known = _unpacked(words[_SUSPECT])
        died = _unpacked(words[_APPLYING])
        if died is None:
            return known
        again = known is not None and known.first_seq <= died.first_seq <= known.last_seq
        deaths = known.deaths + 1 if known is not None and again else 1
        suspect = Suspect(died.first_seq, died.count, min(deaths, _BYTE_MAX))
        words[_SUSPECT] = _packed(suspect)
        words[_APPLYING] = 0
        return suspect

    def applying(self, first_seq: int, count: int) -> None:
        """Say which events are applied from now on."""
        self._words[_APPLYING] = (first_seq << _BYTE | count - 1) << _BYTE

    def applied(self) -> None:
        """Say that they are."""
        self._words[_APPLYING] = 0

    def clear(self) -> None:
        """Forget who is suspect."""
        self._words[_SUSPECT] = 0


def _packed(suspect: Suspect) -> int:
    return (suspect.first_seq << _BYTE | suspect.count - 1) << _BYTE | suspect.deaths


def _unpacked(word: int) -> Suspect | None:
    if not word:
        return None
    place, deaths = word >> _BYTE, word & _BYTE_MAX
    return Suspect(place >> _BYTE, (place & _BYTE_MAX) + 1, deaths)


class Applying:
    """A machine whose steps are noted, and timed by ``alarm``; see the head of this module.

    ``alarm`` is told in how many seconds the process is to end; 0 means never.
    """

    def __init__(
        self, machine: Machine, note: Note, alarm: Callable[[float], object], timeout_s: float
    ) -> None:
        self.suspect: Suspect | None = None
        """Whose events are noted one by one."""
        self._machine = machine
        self._note = note
        self._alarm = alarm
        self._timeout_s = timeout_s

    def apply(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Apply entries as ``Machine.apply`` does.

        What it raises ends this process, and is a death; but for a ``HappyError``, which says
        that this program and this journal do not fit.
        """
        return self._by_parts(entries, self._machine.apply)

    def replay(self, time_ns: int, happened: Sequence[Happened]) -> list[Outcome]:
        """Apply what happened next as ``Machine.replay`` does; raises as ``apply``."""
        return self._by_parts(happened, partial(self._machine.replay, time_ns))

    def _by_parts(
        self, happened: Sequence[H], apply: Callable[[Sequence[H]], list[Outcome]]
    ) -> list[Outcome]:
        if self.suspect is None and 0 < len(happened) <= PART_EVENTS:
            return self._apply_part(happened, apply)
        outcomes: list[Outcome] = []
        start = 0
        while start < len(happened):
            part = happened[start : start + self._size()]
            outcomes += self._apply_part(part, apply)
            start += len(part)
        return outcomes

    def _size(self) -> int:
        """Return how many events are the next part."""
        seq, suspect = self._machine.seq + 1, self.suspect
        if suspect is None or seq > suspect.last_seq:
            return PART_EVENTS
        return min(PART_EVENTS, suspect.first_seq - seq) if seq < suspect.first_seq else 1

    def _apply_part(
        self, part: Sequence[H], apply: Callable[[Sequence[H]], list[Outcome]]
    ) -> list[Outcome]:
        note = self._note
        note.applying(self._machine.seq + 1, len(part))
        self._alarm(self._timeout_s)
        try:
            outcomes = apply(part)
        except HappyError:
            note.applied()
            raise
        except BaseException:
            note.applying(self._machine.seq + 1, 1)
            raise
        finally:
            self._alarm(0)
        note.applied()
        return outcomes
