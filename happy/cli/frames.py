"""The frames of a journal that may be in use: those that are there, and those that come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from happy.cli.bounds import Wanted
from happy.cli.segments import (
    End,
    frames_of,
    header_of,
    is_let_go,
    place_of,
    segment_names,
)
from happy.errors import Corrupt
from happy.journal.disk import Disk, FileDisk
from happy.journal.frame import FRAME_HEADER_SIZE, Frame
from happy.journal.names import segment_name, segment_seq
from happy.journal.recovery import Decision, Finding, Place, Position, after, next_frame, start_of
from happy.journal.replay import FileBytes, Segment

_LOOKS_MAX: Final = 10
"""After as many, what looks like damage is not a frame that is being written."""

Step = Segment | Frame
"""A segment where it begins, or the next frame of it."""

Wait = Callable[[], bool]
"""Waits a moment; false when nobody wants to hear more."""


def steps(path: Path, wanted: Wanted, wait: Wait | None = None) -> Iterator[Step]:
    """Yield the frames that hold what is wanted, each segment before its frames.

    The frames before the first wanted one, in its segment, are yielded too. With ``wait``,
    frames that come are yielded as they come, until it says to end. Raises ``NotAJournal``,
    and ``Corrupt`` or ``Ambiguous`` where it cannot go on.
    """
    disk = FileDisk(path)
    reading = _until_end(disk, segment_names(disk, path), wanted)
    if wait is None:
        yield from reading
        return
    end = yield from reading
    if end is not None:
        yield from _from(disk, end, wanted, wait)


@attrs.frozen
class _Place:
    segment: Segment
    position: Position


def _until_end(
    disk: Disk, names: list[str], wanted: Wanted
) -> Generator[Step, None, _Place | None]:
    """Yield what is there; return where it ends, or None when all that is wanted was there."""
    end: _Place | None = None
    for name, following in pairwise([*names, None]):
        assert name is not None
        if following is not None and _is_before(disk, following, wanted):
            continue
        place = place_of(name, names)
        if is_let_go(disk, name, place):
            return end
        segment = Segment(name, header_of(disk, name))
        if end is not None:
            _check_follows(end, segment)
        yield segment
        before_ns = 0 if end is None else end.position.time_ns
        reading = frames_of(disk, name, segment.header, place, before_ns)
        while True:
            try:
                frame = next(reading)
            except StopIteration as stop:
                found: End = stop.value
                break
            if wanted.ends_before(frame):
                return None
            yield frame
        found.check(name, place)
        end = _Place(segment, found.position)
    return end


def _is_before(disk: Disk, following: str, wanted: Wanted) -> bool:
    """Say whether nothing is wanted of a segment that has a successor."""
    begins = segment_seq(following)
    assert begins is not None
    if begins <= wanted.first:
        return True
    return bool(wanted.since_ns) and wanted.begins_in_or_after(header_of(disk, following))


def _check_follows(end: _Place, segment: Segment) -> None:
    if segment.header.first_seq != end.position.next_seq:
        raise Corrupt(
            f"{segment.name}: seq {end.position.next_seq} to {segment.header.first_seq - 1} "
            "are missing before it"
        )
    if segment.header.chain != end.position.chain:
        raise Corrupt(f"{segment.name}: it does not continue {end.segment.name}")


def _from(disk: Disk, end: _Place, wanted: Wanted, wait: Wait) -> Iterator[Step]:
    segment, at = end.segment, end.position
    looks = 0
    while True:
        found = _look(disk, segment, at)
        if not isinstance(found, Frame):
            # A segment has its successor only after its last frame: so look once more.
            name = segment_name(at.next_seq)
            rotated = name != segment.name and name in disk.names()
            found = _look(disk, segment, at) if rotated else found
        if isinstance(found, Frame):
            if wanted.ends_before(found):
                return
            yield found
            at = after(found)
            looks = 0
        elif rotated:
            following = Segment(name, header_of(disk, name))
            _check_follows(_Place(segment, at), following)
            yield following
            segment, at = following, start_of(following.header, at.time_ns)
        else:
            looks += 1
            seen = End(at, found, closed=False)
            if looks >= _LOOKS_MAX and seen.decision(Place.LAST_SEGMENT) is not Decision.CUT:
                seen.check(segment.name, Place.LAST_SEGMENT)
            if not wait():
                return


def _look(disk: Disk, segment: Segment, at: Position) -> Frame | Finding:
    """Return the frame at a position or, without much ado, that there is none yet."""
    if not disk.read(segment.name, at.offset, FRAME_HEADER_SIZE).strip(b"\0"):
        return Finding.NOTHING
    return next_frame(FileBytes(disk, segment.name), segment.header, at)
