"""What of a journal the code cannot read, in sentences: which events, where, and what is meant.

An application that lacks one kind mostly lacks several, and who mends it wants to hear of all in
one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Final, Protocol

import attrs

from happy.errors import JournalError, UnknownEvent
from happy.event import Retired
from happy.journal.frame import Frame, Kind, records_of

KindOfEvent = tuple[str, int]
"""The name and the version that an event was written with."""

_TOLD_MAX: Final = 20
"""How many faults are told apart; who has more of them has the wrong code."""


@attrs.define
class Span:
    """How many there are of something, and the seqs of the first and the last."""

    count: int
    first_seq: int
    last_seq: int

    def add(self, seq: int) -> None:
        """Count one more, which comes after the others."""
        self.count += 1
        self.last_seq = seq


class Decoder(Protocol):
    """What knows why an event cannot be read: ``happy.codec.EventDecoder``."""

    def faults(self, first_seq: int, records: Iterable[bytes], into: Faults) -> None:
        """Gather why some records cannot be read."""


class Faults:
    """What is wrong with events, each fault once, with where it was met."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self._more: Span | None = None

    def add(self, seq: int, complaint: str) -> None:
        """Take in a fault."""
        span = self.spans.get(complaint)
        if span is None and len(self.spans) == _TOLD_MAX:
            span = self._more
            if span is None:
                self._more = Span(1, seq, seq)
                return
        if span is None:
            self.spans[complaint] = Span(1, seq, seq)
        else:
            span.add(seq)

    def error(self) -> UnknownEvent:
        """Return all of it as the error that says so: one line for each fault."""
        lines = [f"{_where(span)}: {complaint}" for complaint, span in self.spans.items()]
        if self._more is not None:
            lines.append(f"{_where(self._more)}: other faults")
        return UnknownEvent("\n".join(lines))


def all_unknown(error: UnknownEvent, decoder: Decoder, frames: Iterable[Frame]) -> UnknownEvent:
    """Return the error with all that cannot be read, from the frame on where it was met.

    Where ``frames`` end in damage, with all up to there.
    """
    faults = Faults()
    with suppress(JournalError, ValueError):
        for frame in frames:
            if frame.kind is Kind.EVENTS:
                decoder.faults(frame.first_seq, records_of(frame), faults)
    return faults.error() if faults.spans else error


def _where(span: Span) -> str:
    if span.count == 1:
        return f"seq {span.first_seq}"
    return f"seq {span.first_seq} to {span.last_seq}, {span.count} events"


def unknown_kind(
    kind: KindOfEvent, events: Mapping[KindOfEvent, type], fields: Iterable[str] = ()
) -> str:
    """Return what to say of an event that no class stands for, and what may be meant.

    ``fields`` are the names of its fields, if known.
    """
    name, version = kind
    versions = {v: cls for (known, v), cls in events.items() if known == name}
    if versions:
        return _unknown_version(name, version, versions)
    own = {known: cls for (known, _), cls in events.items() if not known.startswith("happy.")}
    retired = [known for known, cls in own.items() if cls is Retired]
    names = sorted(set(own) - set(retired))
    hint = _meant(name, set(fields), {known: own[known] for known in names})
    return (
        f"the journal holds an event {name!r} that nobody handles "
        f"(known: {', '.join(names) or 'none'}){hint}; if its class was renamed, declare "
        f"@event(name={name!r}); if it is to do nothing any more, write retired = ({name!r},) "
        "in the application"
    )


def _unknown_version(name: str, version: int, versions: Mapping[int, type]) -> str:
    known = ", ".join(map(str, sorted(versions)))
    newest = max(versions)
    said = f"event {name} has version {version} in the journal, the application knows {known}"
    if version > newest:
        return f"{said}: newer code wrote it; run that, or a later one"
    newer = versions[min(v for v in versions if v > version)].__name__
    return (
        f"{said}; declare @upcast({newer}, {version}), or keep the old class beside it, declared "
        f"with @event(name={name!r}, version={version}), and handle it"
    )


def _meant(name: str, fields: set[str], own: Mapping[str, type]) -> str:
    close = get_close_matches(name, own, n=1)
    same = [known for known, cls in own.items() if fields and fields == _field_names(cls)]
    if close:
        return f"; did you mean {close[0]}?"
    return f"; {same[0]} has the same fields" if same else ""


def _field_names(cls: type) -> set[str]:
    return {field.name for field in attrs.fields(cls)}
