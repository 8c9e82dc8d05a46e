"""Looking at the segments of a journal that may be in use: nothing is locked, nothing written.

A reader beside a writer can see half of what is being written. So what looks like a fault at
the end of the last segment is looked at again, and only what stays is one.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import Disk
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    Frame,
    Kind,
    SegmentHeader,
    decode_frame_header,
    decode_segment_header,
)
from happy.journal.names import segment_name, segment_seq
from happy.journal.recovery import (
    DECISIONS,
    Decision,
    Finding,
    Place,
    Position,
    after,
    next_frame,
    start_of,
)
from happy.journal.replay import FileBytes, may_begin_anew

_PAUSE_S: Final = 0.05
"""Longer than one frame takes to be written."""
_LOOKS_MAX: Final = 100
"""A writer so busy is not caught at rest: what it has written by then is what there is."""


class State(StrEnum):
    """How a segment or a whole journal is."""

    SEALED = "sealed"
    OPEN = "open"
    CLOSED = "closed"
    TORN = "torn"
    AMBIGUOUS = "ambiguous"
    CORRUPT = "corrupt"


@attrs.frozen
class End:
    """Where the frames of a segment end, and why there."""

    position: Position
    finding: Finding
    closed: bool

    def decision(self, place: Place) -> Decision:
        """Return what a start of the application would do about it."""
        return DECISIONS[self.finding, place]

    def check(self, name: str, place: Place) -> None:
        """Raise ``Corrupt`` or ``Ambiguous`` when a start would refuse it."""
        where = (
            f"{name}, offset {self.position.offset}, from seq {self.position.next_seq} on: "
            f"{self.finding.value}, {place.value}"
        )
        match self.decision(place):
            case Decision.REFUSE_CORRUPT:
                raise Corrupt(f"{where}: the journal is damaged; restore it from a backup")
            case Decision.REFUSE_AMBIGUOUS:
                raise Ambiguous(
                    f"{where}: damage and a torn write look the same here; restore it from a backup"
                )


@attrs.frozen
class SegmentReport:
    """A segment as ``happy journal ls`` shows it; None where it cannot be read."""

    name: str
    state: State
    size_bytes: int
    used_bytes: int | None = None
    number: int | None = None
    first_seq: int | None = None
    events: int | None = None
    created_ns: int | None = None
    from_ns: int | None = None
    """The time of the first event."""
    until_ns: int | None = None
    """The time of the last event or, of a sealed segment, when the next one was begun."""

    @property
    def last_seq(self) -> int | None:
        """The seq of its last event, or of the one before it when it has none."""
        if self.first_seq is None or self.events is None:
            return None
        return self.first_seq + self.events - 1


def segment_names(disk: Disk, path: Path) -> list[str]:
    """Return the segments of the journal in a directory; ``NotAJournal`` when there are none."""
    if not path.is_dir():
        raise NotAJournal(f"{path}: no such directory")
    names = [name for name in disk.names() if segment_seq(name) is not None]
    if not names:
        inside = ", ".join(str(found) for found in journals_in(path))
        raise NotAJournal(
            f"{path}: no journal is here; say which of these you mean: {inside}"
            if inside
            else f"{path}: no journal is here"
        )
    return names


def journals_in(data: Path) -> list[Path]:
    """Return the directories in ``data`` that hold journals."""
    return sorted(
        folder
        for folder in data.iterdir()
        if folder.is_dir() and any(segment_seq(file.name) is not None for file in folder.iterdir())
    )


def place_of(name: str, names: list[str]) -> Place:
    """Return where a segment stands among all of its journal."""
    if name != names[-1]:
        return Place.EARLIER_SEGMENT
    return Place.LAST_SEGMENT if len(names) > 1 else Place.ONLY_SEGMENT


def header_of(disk: Disk, name: str) -> SegmentHeader:
    """Return the header of a segment; ``Corrupt`` when it has none that fits its name."""
    try:
        header = decode_segment_header(disk.read(name, 0, SEGMENT_HEADER_SIZE))
    except ValueError as error:
        raise Corrupt(f"{name}: {error}; restore it from a backup") from None
    except NotAJournal as error:
        raise NotAJournal(f"{name}: {error}; use the program that wrote it") from None
    if segment_name(header.first_seq) != name:
        raise Corrupt(f"{name}: this is the segment that begins with seq {header.first_seq}")
    return header


def frames_of(
    disk: Disk, name: str, header: SegmentHeader, place: Place, time_ns: int = 0
) -> Generator[Frame, None, End]:
    """Yield the good frames of a segment; return where they end, once that is certain.

    None of them is from before ``time_ns``.
    """
    position = start_of(header, time_ns)
    closed = looked = False
    for _ in range(_LOOKS_MAX):
        before = position
        content = FileBytes(disk, name)
        while not isinstance(found := next_frame(content, header, position), Finding):
            yield found
            closed = found.kind is Kind.CLOSE_MARK
            position = after(found)
        if found is Finding.NOTHING or place is Place.EARLIER_SEGMENT:
            return End(position, found, closed)
        if looked and position == before:
            return End(position, found, closed=False)
        looked = True
        time.sleep(_PAUSE_S)
    return End(position, Finding.NOTHING, closed=False)


def survey(disk: Disk, names: list[str]) -> Iterator[SegmentReport]:
    """Yield how each segment is.

    Of a sealed segment only the headers are read, its own and the next one's; ``verify`` is
    what reads everything.
    """
    headers = [_header_or_none(disk, name) for name in names]
    for name, header, following in zip(names, headers, [*headers[1:], None], strict=True):
        size = disk.size(name)
        place = place_of(name, names)
        if header is None:
            state = State.TORN if is_let_go(disk, name, place) else State.CORRUPT
            yield SegmentReport(name, state, size)
        elif following is not None:
            yield _sealed(disk, name, size, header, following)
        else:
            yield _read(disk, name, size, header, place)


def _header_or_none(disk: Disk, name: str) -> SegmentHeader | None:
    try:
        return header_of(disk, name)
    except (Corrupt, NotAJournal):
        return None


def is_let_go(disk: Disk, name: str, place: Place) -> bool:
    """Say whether a start would let a segment go, for it has not even a whole header."""
    if disk.size(name) >= SEGMENT_HEADER_SIZE:
        return False
    cut = DECISIONS[Finding.HEADLESS, place] is Decision.CUT
    return cut and (place is not Place.ONLY_SEGMENT or may_begin_anew(disk, name))


def _sealed(
    disk: Disk, name: str, size: int, header: SegmentHeader, following: SegmentHeader
) -> SegmentReport:
    first = decode_frame_header(disk.read(name, SEGMENT_HEADER_SIZE, FRAME_HEADER_SIZE), 0)
    whole = (
        first is not None
        and size >= following.previous_end
        and following.number == header.number + 1
        and following.journal_id == header.journal_id
    )
    return SegmentReport(
        name,
        State.SEALED if whole else State.CORRUPT,
        size,
        following.previous_end,
        header.number,
        header.first_seq,
        following.first_seq - header.first_seq,
        header.created_ns,
        first.time_ns if first is not None else None,
        following.created_ns,
    )


def _read(disk: Disk, name: str, size: int, header: SegmentHeader, place: Place) -> SegmentReport:
    from_ns: int | None = None
    until_ns: int | None = None
    reading = frames_of(disk, name, header, place)
    while True:
        try:
            frame = next(reading)
        except StopIteration as stop:
            end: End = stop.value
            break
        if frame.kind is Kind.EVENTS:
            until_ns = frame.time_ns
            from_ns = until_ns if from_ns is None else from_ns
    return SegmentReport(
        name,
        _state(end, place),
        size,
        end.position.offset,
        header.number,
        header.first_seq,
        end.position.next_seq - header.first_seq,
        header.created_ns,
        from_ns,
        until_ns,
    )


def _state(end: End, place: Place) -> State:
    match end.decision(place):
        case Decision.CUT:
            return State.TORN
        case Decision.REFUSE_CORRUPT:
            return State.CORRUPT
        case Decision.REFUSE_AMBIGUOUS:
            return State.AMBIGUOUS
        case Decision.USE if place is Place.EARLIER_SEGMENT:
            return State.SEALED
    return State.CLOSED if end.closed else State.OPEN
