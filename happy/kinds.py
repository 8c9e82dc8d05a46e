"""The kinds of events in a journal - names and versions - and those that the code cannot read.

An application that lacks one kind mostly lacks several, and who mends it wants to hear of all in
one go: which they are, how many events of them there are, where, and what may be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Final, Protocol

import attrs
import msgspec

from happy.errors import JournalError, UnknownEvent
from happy.event import Retired
from happy.journal.frame import Buffer, Frame, Kind, records_of

KindOfEvent = tuple[str, int]
"""The name and the version that an event was written with."""

_SHOWN_MAX: Final = 20
"""How many faults are told; who has more of them has the wrong code."""


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


class _Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning of a record; the rest of it is passed over."""

    type: str
    version: int


_decode_head = msgspec.msgpack.Decoder(_Head).decode


class Decoder(Protocol):
    """What knows why an event cannot be read: ``happy.codec.EventDecoder``."""

    def complaint(self, kind: KindOfEvent) -> str | None:
        """Return why events of this kind cannot be read; None when they can."""

    def faults(self, first_seq: int, records: Iterable[Buffer], into: Faults) -> None:
        """Gather why some records cannot be read."""


class Kinds:
    """Which kinds of events stand in a journal or in a part of it, and how many of each."""

    def __init__(self) -> None:
        self._spans: dict[KindOfEvent, Span] = {}

    def __iter__(self) -> Iterator[KindOfEvent]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, kind: KindOfEvent) -> Span:
        return self._spans[kind]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kinds) and self._spans == other._spans

    __hash__ = None  # type: ignore[assignment] # it grows

    def fold(self, first_seq: int, records: Iterable[Buffer]) -> None:
        """Take in the records of a frame; ``msgspec.MsgspecError`` when one is none."""
        spans = self._spans
        for seq, record in enumerate(records, first_seq):
            head = _decode_head(record)
            span = spans.get((head.type, head.version))
            if span is None:
                spans[head.type, head.version] = Span(1, seq, seq)
            else:
                span.count += 1
                span.last_seq = seq

    def check(self, decoder: Decoder) -> None:
        """Raise ``UnknownEvent`` with all kinds that the application cannot read, if any."""
        faults = Faults()
        for kind, span in self._spans.items():
            complaint = decoder.complaint(kind)
            if complaint is not None:
                faults.spans[complaint] = span
        if faults.spans:
            raise faults.error()

    def plain(self) -> list[tuple[str, int, int, int, int]]:
        """Return it as rows to be written: name, version, count, first and last seq."""
        return [(*kind, s.count, s.first_seq, s.last_seq) for kind, s in self._spans.items()]

    @classmethod
    def from_plain(cls, rows: Iterable[Iterable[Any]]) -> Kinds:
        """Return what ``plain`` wrote."""
        made = cls()
        for name, version, *span in rows:
            made._spans[name, version] = Span(*span)
        return made


class Faults:
    """What is wrong with events, each fault once, with where it was met."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}

    def add(self, seq: int, complaint: str) -> None:
        """Take in a fault."""
        span = self.spans.get(complaint)
        if span is None:
            self.spans[complaint] = Span(1, seq, seq)
        else:
            span.add(seq)

    def error(self) -> UnknownEvent:
        """Return all of it as the error that says so: one line for each fault."""
        lines = [f"{_where(span)}: {complaint}" for complaint, span in self.spans.items()]
        more = len(lines) - _SHOWN_MAX
        if more > 0:
            lines[_SHOWN_MAX:] = [f"and {more} other faults"]
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
    own = {known: cls for (known, _), cls in events.items() if "." not in known}
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
