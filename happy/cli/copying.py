"""Copying a journal so that at every moment the copy is a good journal, only a shorter one.

A file is written beside, synced, and named when it is whole. Blobs come before the segments
that name them, and segments in their order.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from happy.cli.output import Unwell
from happy.cli.segments import frames_of, header_of, is_let_go, place_of, segment_names
from happy.cli.statuses import Status
from happy.cli.verdict import Health, Progress, Verdict, Verification
from happy.errors import Corrupt, NotAJournal
from happy.journal.disk import DIRECTORY_MODE, FileDisk
from happy.journal.frame import SEGMENT_HEADER_SIZE, decode_segment_header
from happy.journal.names import BLOBS, LOCK, is_part, unfinished_name
from happy.journal.recovery import Finding, after, next_frame, start_of
from happy.journal.replay import FileBytes
from happy.journal.snapshots import snapshot_names

_PIECE_BYTES: Final = 4 * 1024 * 1024


@attrs.frozen
class Extent:
    """A segment, and how much of it is its header and its frames."""

    name: str
    size: int


@attrs.frozen
class Contents:
    """What a journal holds; ``extents`` in order."""

    extents: tuple[Extent, ...]
    blobs: tuple[str, ...]
    snapshots: tuple[str, ...]


def contents_of(path: Path) -> Contents:
    """Return what a journal holds that may be in use; ``Corrupt`` when it is damaged.

    Of the last segment, these are the whole frames; they are synced, so that a copy never
    knows what a power cut makes the journal forget. A blob is there before the frame that
    names it, so the blobs are looked for last.
    """
    disk = FileDisk(path)
    # Before the segments: none of these covers what is not in them.
    snapshots = tuple(snapshot_names(disk))
    names = segment_names(disk, path)
    while names and is_let_go(disk, names[-1], place_of(names[-1], names)):
        names.pop()
    if not names:
        raise NotAJournal(f"{path}: there is nothing but {Finding.HEADLESS.value}")
    headers = [header_of(disk, name) for name in names]
    extents = [
        Extent(name, header.previous_end) for name, header in zip(names, headers[1:], strict=False)
    ]
    for before, header in pairwise(headers):
        if (header.journal_id, header.number) != (before.journal_id, before.number + 1):
            raise Corrupt(
                f"{path}: segment {header.number} of journal {header.journal_id.hex()} follows "
                f"segment {before.number} of {before.journal_id.hex()}: one is missing or foreign"
            )
    for extent in extents:
        if disk.size(extent.name) < extent.size:
            raise Corrupt(
                f"{path / extent.name}: it ends before offset {extent.size}: the journal is damaged"
            )
    last, place = names[-1], place_of(names[-1], names)
    reading = frames_of(disk, last, headers[-1], place)
    while True:
        try:
            next(reading)
        except StopIteration as stop:
            end = stop.value
            break
    end.check(last, place)
    _sync(path / last)
    extents.append(Extent(last, end.position.offset))
    return Contents(tuple(extents), blobs_of(disk), snapshots)


def blobs_of(disk: FileDisk) -> tuple[str, ...]:
    """Return the names of the blobs that are whole."""
    return tuple(name for name in disk.names(BLOBS) if not is_part(name))


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


def copy_segment(source: Path, to: FileDisk, extent: Extent) -> None:
    """Copy the header and the frames of a segment; ``Corrupt`` when one of them is not good."""
    part = unfinished_name(extent.name)
    to.create(part)
    for offset, piece in _pieces(source / extent.name, extent.size):
        to.write(part, offset, piece)
    _check_frames(FileBytes(to, part), source / extent.name)
    to.sync(part)
    to.rename(part, extent.name)


def _check_frames(content: FileBytes, source: Path) -> None:
    header = decode_segment_header(content[:SEGMENT_HEADER_SIZE])
    at = start_of(header)
    while at.offset < len(content):
        found = next_frame(content, header, at)
        if isinstance(found, Finding):
            raise Corrupt(
                f"{source}, offset {at.offset}, from seq {at.next_seq} on: {found.value}: the "
                "journal is damaged"
            )
        at = after(found)


def copy_blob(source: Path, to: FileDisk, name: str) -> bool:
    """Copy a blob; return false, and copy nothing, when it is not what its name says."""
    part = unfinished_name(name)
    digest = hashlib.sha256()
    to.create(part)
    for offset, piece in _pieces(source / name, None):
        to.write(part, offset, piece)
        digest.update(piece)
    if f"{BLOBS}/{digest.hexdigest()}" != name:
        to.remove(part)
        return False
    to.sync(part)
    to.rename(part, name)
    return True


def link_blob(source: Path, to: FileDisk, name: str) -> bool:
    """Do as ``copy_blob``, but on one file system without a copy: a blob never changes."""
    with (source / name).open("rb") as file:
        if f"{BLOBS}/{hashlib.file_digest(file, 'sha256').hexdigest()}" != name:
            return False
    target = to.path / name
    target.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    try:
        os.link(source / name, target)
    except OSError:
        return copy_blob(source, to, name)
    _sync_directory(target.parent)
    return True


def _pieces(path: Path, size: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the beginning of a file, piece by piece, with offsets; ``Corrupt`` if it is short."""
    offset = 0
    with path.open("rb", buffering=0) as file:
        while size is None or offset < size:
            piece = file.read(_PIECE_BYTES if size is None else min(_PIECE_BYTES, size - offset))
            if not piece:
                if size is None:
                    return
                raise Corrupt(f"{path}: it ends at offset {offset} instead of {size}")
            yield offset, piece
            offset += len(piece)


def check_copy(path: Path, tell: Progress) -> Verdict:
    """Read a whole copy; ``Unwell`` when it is not good."""
    verdict = Verification(path, tell).verdict()
    if verdict.health is not Health.WHOLE:
        raise Unwell(f"{path}: {verdict.health}: {verdict.sentence}", Status.DAMAGED)
    return verdict


def begins_like(copy: Path, source: Path, size: int) -> bool:
    """Say whether the first ``size`` bytes of a journal's file begin with what is in a copy.

    Zeros at the end of the copy do not count: it may have been preallocated.
    """
    with source.open("rb") as original:
        for offset, piece in _pieces(copy, None):
            known = original.read(max(0, min(len(piece), size - offset)))
            if piece != known:
                written = piece.rstrip(b"\0")
                return known.startswith(written) and _only_zeros(copy, offset + len(piece))
    return True


def _only_zeros(path: Path, start: int) -> bool:
    with path.open("rb") as file:
        file.seek(start)
        return all(not piece.strip(b"\0") for piece in iter(lambda: file.read(_PIECE_BYTES), b""))


@contextmanager
def new_journal(path: Path) -> Iterator[FileDisk]:
    """Give a directory to fill, which gets its name when it is full and has been synced.

    Raises ``Unwell`` when something is at ``path`` already, and leaves that alone. Whatever
    goes wrong inside, nothing is at ``path`` then.
    """
    refuse_unless_free(path)
    part = path.with_name(unfinished_name(path.name))
    disk = FileDisk(part)
    disk.lock()
    try:
        for left in part.iterdir():  # an earlier try, that was interrupted
            if left.name != LOCK:
                _remove(left)
        yield disk
        disk.remove(LOCK)
        part.rename(path)
        _sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(part)
        raise
    finally:
        disk.close()


def refuse_unless_free(path: Path) -> None:
    """Raise ``Unwell`` unless a journal may be put at ``path``."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        raise Unwell(f"{path}: is there already; nothing was changed", Status.NOT_DONE)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
