"""The names of the journal's files: made and read here only."""

from __future__ import annotations

import re
from typing import Final

LOCK: Final = "LOCK"
APPLYING: Final = "applying"
"""What one process leaves for the next; of use as long as the machine runs."""
NEXT_SEGMENT: Final = "next.part"
"""The segment being prepared; it holds nothing until it is renamed."""
TORN: Final = "torn"
BLOBS: Final = "blobs"
SNAPSHOTS: Final = "snapshots"

_SEGMENT: Final = re.compile(r"([0-9]{20})\.segment")
_SNAPSHOT: Final = re.compile(r"snapshots/([0-9]{20})\.snapshot")
_BLOB: Final = re.compile(r"[0-9a-f]{64}")


def segment_name(first_seq: int) -> str:
    """Return the file name of the segment that begins with ``first_seq``."""
    return f"{first_seq:020d}.segment"


def segment_seq(name: str) -> int | None:
    """Return the first seq that a file name tells, or None when it names no segment."""
    match = _SEGMENT.fullmatch(name)
    return int(match.group(1)) if match else None


def torn_name(segment: str, offset: int, number: int = 1) -> str:
    """Return where torn bytes of a segment are kept; ``number`` tells those of one place apart."""
    return f"{TORN}/{segment}.{offset}.{number}.torn"


def is_headless_name(name: str) -> bool:
    """Say whether a file keeps what a first segment had before its header was whole: no event."""
    return name.startswith(f"{TORN}/{segment_name(1)}.0.")


def snapshot_name(seq: int) -> str:
    """Return the file name of the snapshot that covers all up to ``seq``."""
    return f"{SNAPSHOTS}/{seq:020d}.snapshot"


def snapshot_seq(name: str) -> int | None:
    """Return the last seq that a snapshot's name tells, or None when it names no snapshot."""
    match = _SNAPSHOT.fullmatch(name)
    return int(match.group(1)) if match else None


def unfinished_name(name: str) -> str:
    """Return what a file is called until it is whole."""
    return f"{name}.part"


def blob_name(sha256: str) -> str:
    """Return the file of a blob; ``ValueError`` when ``sha256`` is not one."""
    if not _BLOB.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in hex: {sha256!r}")
    return f"{BLOBS}/{sha256}"


def part_name(number: int) -> str:
    """Return the file of a blob that is being written."""
    return f"{BLOBS}/{number}.part"


def is_part(name: str) -> bool:
    """Say whether a name is a file that was being written: worthless after a restart."""
    return name.endswith(".part")
