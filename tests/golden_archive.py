"""A golden journal as an archive of its segments."""

from __future__ import annotations

import io
import sys
import tarfile

from happy.testing import MemoryDisk


def disk_of(place):
    """Return the journal of an archive, in memory."""
    disk = MemoryDisk()
    with tarfile.open(place) as archive:
        for member in archive:
            data = archive.extractfile(member).read()
            disk.create(member.name, len(data))
            disk.write(member.name, 0, data)
            disk.sync(member.name)
    return disk


def refuse_to_write_over(place):
    """End the program when there is such an archive."""
    if place.exists():
        sys.exit(f"{place} is there, and is what it is")


def keep(disk, place):
    """Write the segments of a journal into an archive that is not there yet."""
    with tarfile.open(place, "x:xz") as archive:
        for name in disk.names():
            if name.endswith(".segment"):
                info = tarfile.TarInfo(name)
                data = disk.read(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
