"""What of a damaged journal is good: its longest whole beginning, and what stands behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from happy.cli.bodies import gather
from happy.cli.copying import Contents, Extent, blobs_of
from happy.cli.keepsakes import Keepsakes, start_at
from happy.cli.segments import header_of, segment_names
from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import FileDisk
from happy.journal.frame import (
    FRAME_MAGIC,
    SEGMENT_HEADER_SIZE,
    Content,
    FrameHeader,
    SegmentHeader,
    body_of,
    decode_frame_header,
    decode_segment_header,
)
from happy.journal.names import blob_name
from happy.journal.replay import FileBytes, Reader
from happy.journal.snapshots import Snapshot

_LOOK_SIZE: Final = 1024 * 1024


@attrs.frozen
class LeftOut:
    """Whole frames that stand behind the damage, one after the other; they cannot be kept."""

    segment: str
    first_seq: int
    last_seq: int
    bytes: int


@attrs.frozen
class Salvage:
    """What a repair would keep and what it would lose."""

    fault: str | None
    """The sentence of the first fault; None when every segment is whole."""
    first_seq: int
    """The first event that is kept; what was before was let go, and a snapshot holds it."""
    last_seq: int
    """The last event that is kept."""
    kept: Contents
    kept_bytes: int
    left_out: tuple[LeftOut, ...]
    lost_bytes: int
    """What is written behind the good beginning, whole frames included."""
    blobs_missing: tuple[str, ...]
    """The blobs that mails among the kept events name, and that are not there."""

    last_damaged: int | None
    """The last seq that nothing whole is left of, if what stands there tells."""
    starts_from: int | None
    """The seq of a good snapshot behind the damage with which a start needs nothing of what is
    damaged, if there is one: the state is whole then, and only history is not."""

    @property
    def events(self) -> int:
        """How many events are kept."""
        return self.last_seq - self.first_seq + 1

    @property
    def damaged(self) -> str:
        """Which events nothing whole is left of, in words."""
        first, last = self.last_seq + 1, self.last_damaged
        if last is None:
            return f"seq {first} and whatever came after it"
        if last < first:
            return "no event"
        return f"seq {first}" if last == first else f"seq {first} to {last}"


def salvage(path: Path) -> Salvage:
    """Read a journal up to its first fault and look at what is behind; nothing is changed."""
    disk = FileDisk(path)
    names = segment_names(disk, path)
    keepsakes = Keepsakes(disk)
    first = _first_header(disk, names[0])
    start = None if first is None else start_at(first)
    reader = Reader(disk, cut=False, start=start)
    first_seq = 1
    if start is not None:
        first_seq = start.seq + 1
        keepsakes.look(first_seq, start.chain)
    last_seq = first_seq - 1
    ends: dict[str, int] = {}
    named: dict[str, int] = {}
    fault: str | None = None
    try:
        for frame in reader.frames():
            gather(frame, named)
            ends[reader.segments[-1].name] = frame.end
            last_seq = frame.first_seq + frame.count - 1
            keepsakes.look(last_seq + 1, frame.chain)
    except (Corrupt, Ambiguous, NotAJournal) as error:
        fault = str(error)
    extents = tuple(
        Extent(segment.name, ends.get(segment.name, SEGMENT_HEADER_SIZE))
        for segment in reader.segments
    )
    if first is not None and fault is not None:
        try:
            keepsakes.check_beginning(first)
        except Corrupt as error:
            fault, extents = f"{fault}; {error}", ()
    behind = [
        *((extent.name, extent.size) for extent in extents[-1:]),
        *((name, 0) for name in names[len(extents) :]),
    ]
    blobs = blobs_of(disk)
    kept_bytes = sum(extent.size for extent in extents)
    left_out = tuple(left for name, start in behind for left in _whole_frames(disk, name, start))
    return Salvage(
        fault,
        first_seq,
        last_seq,
        Contents(extents, blobs, keepsakes.joined),
        kept_bytes,
        left_out,
        sum(_written(disk, name, start) for name, start in behind),
        tuple(
            f"{blob_name(sha256)} (of seq {seq})"
            for sha256, seq in named.items()
            if blob_name(sha256) not in blobs
        ),
        left_out[0].first_seq - 1 if left_out else _last_seq_of(disk, extents),
        _start_behind(disk, keepsakes.newest, last_seq),
    )


def _first_header(disk: FileDisk, name: str) -> SegmentHeader | None:
    """Return the header of a first segment; None when it is damaged, which the reader tells."""
    try:
        return header_of(disk, name)
    except (Corrupt, NotAJournal):
        return None


def _start_behind(disk: FileDisk, newest: Snapshot | None, last_seq: int) -> int | None:
    """Return the seq of a snapshot if it is behind ``last_seq``, and all behind it is good."""
    if newest is None or newest.header.seq <= last_seq:
        return None
    try:
        for _ in Reader(disk, cut=False, start=newest.start).frames():
            pass
    except (Corrupt, Ambiguous, NotAJournal):
        return None
    return newest.header.seq


def _last_seq_of(disk: FileDisk, extents: tuple[Extent, ...]) -> int | None:
    """Return the last seq of the bad frame behind the good ones, if its header is good."""
    if not extents:
        return None
    head = decode_frame_header(FileBytes(disk, extents[-1].name), extents[-1].size)
    return None if head is None else head.first_seq + head.count - 1


def _written(disk: FileDisk, name: str, start: int) -> int:
    """Return how many bytes stand in a file from ``start`` on, zeros at its end apart."""
    content = FileBytes(disk, name)
    end = len(content)
    while end > start:
        piece = bytes(content[max(start, end - _LOOK_SIZE) : end])
        written = piece.rstrip(b"\0")
        end -= len(piece) - len(written)
        if written:
            break
    return end - start


def _whole_frames(disk: FileDisk, name: str, start: int) -> Iterator[LeftOut]:
    """Yield the runs of whole frames in a segment from ``start`` on."""
    content = FileBytes(disk, name)
    salt = _salt(content)
    run: LeftOut | None = None
    for head in _frames_in(content, start, salt):
        if not head.count:
            continue
        last = head.first_seq + head.count - 1
        if run is not None and run.last_seq + 1 == head.first_seq:
            run = attrs.evolve(run, last_seq=last, bytes=run.bytes + head.size)
            continue
        if run is not None:
            yield run
        run = LeftOut(name, head.first_seq, last, head.size)
    if run is not None:
        yield run


def _salt(content: Content) -> int | None:
    """Return the salt of a segment's frames, if its header is good."""
    try:
        return decode_segment_header(content[:SEGMENT_HEADER_SIZE]).salt
    except (ValueError, NotAJournal):
        return None


def _frames_in(content: Content, start: int, salt: int | None) -> Iterator[FrameHeader]:
    """Yield the headers of the frames whose checksums are right."""
    while (offset := _find(content, start)) is not None:
        head = decode_frame_header(content, offset)
        if (
            head is not None
            and salt in (None, head.salt)
            and body_of(content, offset, head) is not None
        ):
            yield head
            start = offset + head.size
        else:
            start = offset + 1


def _find(content: Content, start: int) -> int | None:
    """Return where the next frame may begin."""
    for first in range(start, len(content), _LOOK_SIZE):
        piece = bytes(content[first : first + _LOOK_SIZE + len(FRAME_MAGIC) - 1])
        found = piece.find(FRAME_MAGIC)
        if found >= 0:
            return first + found
    return None
