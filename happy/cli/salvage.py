"""What of a damaged journal is good: its longest whole beginning, and what stands behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from happy.cli.bodies import checked, mail_blobs
from happy.cli.copying import Contents, Extent, blobs_of
from happy.cli.segments import segment_names
from happy.errors import Ambiguous, Corrupt, NotAJournal
from happy.journal.disk import FileDisk
from happy.journal.frame import (
    FRAME_MAGIC,
    SEGMENT_HEADER_SIZE,
    Content,
    FrameHeader,
    body_of,
    decode_frame_header,
    decode_segment_header,
)
from happy.journal.names import blob_name
from happy.journal.replay import FileBytes, Reader

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
    events: int
    """How many events are kept: those with seqs from 1 to this."""
    kept: Contents
    kept_bytes: int
    left_out: tuple[LeftOut, ...]
    lost_bytes: int
    """What is written behind the good beginning, whole frames included."""
    blobs_missing: tuple[str, ...]
    """The blobs that mails among the kept events name, and that are not there."""

    last_damaged: int | None
    """The last seq that nothing whole is left of, if what stands there tells."""

    @property
    def damaged(self) -> str:
        """Which events nothing whole is left of, in words."""
        first, last = self.events + 1, self.last_damaged
        if last is None:
            return f"seq {first} and whatever came after it"
        if last < first:
            return "no event"
        return f"seq {first}" if last == first else f"seq {first} to {last}"


def salvage(path: Path) -> Salvage:
    """Read a journal up to its first fault and look at what is behind; nothing is changed."""
    disk = FileDisk(path)
    names = segment_names(disk, path)
    reader = Reader(disk, cut=False)
    ends: dict[str, int] = {}
    events = 0
    named: dict[str, int] = {}
    fault: str | None = None
    try:
        for frame in reader.frames():
            for seq, record in enumerate(checked(frame), frame.first_seq):
                for sha256 in mail_blobs(record):
                    named.setdefault(sha256, seq)
            ends[reader.segments[-1].name] = frame.end
            events = frame.first_seq + frame.count - 1
    except (Corrupt, Ambiguous, NotAJournal) as error:
        fault = str(error)
    extents = tuple(
        Extent(segment.name, ends.get(segment.name, SEGMENT_HEADER_SIZE))
        for segment in reader.segments
    )
    behind = [
        *((extent.name, extent.size) for extent in extents[-1:]),
        *((name, 0) for name in names[len(extents) :]),
    ]
    blobs = blobs_of(disk)
    kept_bytes = sum(extent.size for extent in extents)
    left_out = tuple(left for name, start in behind for left in _whole_frames(disk, name, start))
    return Salvage(
        fault,
        events,
        Contents(extents, blobs, snapshots=()),
        kept_bytes,
        left_out,
        sum(_written(disk, name, start) for name, start in behind),
        tuple(
            f"{blob_name(sha256)} (of seq {seq})"
            for sha256, seq in named.items()
            if blob_name(sha256) not in blobs
        ),
        left_out[0].first_seq - 1 if left_out else _last_seq_of(disk, extents),
    )


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
