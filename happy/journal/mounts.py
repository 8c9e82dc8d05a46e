"""What sort of file system a directory is on, as the table of mounts of proc(5) tells it.

Pure text in, a name out. A journal needs locks that hold and syncs that reach a disk; of a file
system that another machine serves, nobody here can promise either.
"""

from __future__ import annotations

import re
from typing import Final

NETWORK_TYPES: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph-fuse", "fuse.gcsfuse",
        "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre",
        "ncpfs", "nfs", "nfs4", "orangefs", "smb3", "smbfs",
    }
)  # fmt: skip

_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system_type(path: str, mountinfo: str) -> str | None:
    """Return the type of the file system that holds ``path``; None when no mount does.

    ``path`` is absolute and free of links; ``mountinfo`` is what ``/proc/self/mountinfo`` reads.
    """
    found: str | None = None
    depth = -1
    for line in mountinfo.splitlines():
        mount, separator, described = line.partition(" - ")
        fields = mount.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        # A later mount on the same place covers the earlier one.
        if len(point) >= depth and (path == point or path.startswith(f"{point}/")):
            found, depth = described.split(" ")[0], len(point)
    return found


def is_network(type_name: str | None) -> bool:
    """Return whether another machine serves file systems of this type."""
    return type_name in NETWORK_TYPES
