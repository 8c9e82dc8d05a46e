"""``happy backup``: a copy of journals that may be in use, made again where it was left off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import click

from happy.cli.copying import (
    Contents,
    Extent,
    begins_like,
    check_copy,
    contents_of,
    copy_blob,
    copy_segment,
)
from happy.cli.keepsakes import copy_snapshots
from happy.cli.output import (
    Unwell,
    config_option,
    counted,
    json_option,
    progress,
    safe,
    short_bytes,
    write_json,
)
from happy.cli.places import data_of
from happy.cli.segments import journals_in
from happy.cli.statuses import Status, statuses
from happy.errors import Corrupt
from happy.journal.disk import FileDisk
from happy.journal.frame import SEGMENT_HEADER_SIZE
from happy.journal.names import BLOBS, LOCK, segment_seq


@click.command()
@click.argument("places", metavar="[DIR]...", nargs=-1)
@config_option("Take the applications DIR ... of this configuration, or all.")
@click.option("--to", "to", type=click.Path(path_type=Path), required=True, metavar="BACKUP",
              help="Where the backup is, or will be.")  # fmt: skip
@json_option
def backup(places: tuple[str, ...], config: Path | None, to: Path, as_json: bool) -> None:
    """Back up a journal; its container may be running.

    Copies the journal DIR (DATA/NAME) to BACKUP, which becomes a journal itself. With --config
    FILE it copies the applications named, or all, each to BACKUP/NAME. All that was answered
    before is in it. What is there from an earlier backup is not copied again; at the end all
    of it is read and checked. When it is interrupted, the backup is an older one, or one on
    the way to the new one, and running it again finishes it.

    \b
    Exit status:
      0  done, and the backup is whole
      1  not done: BACKUP holds something else, or a newer history
      2  the journal, or the backup, is damaged; it says which
      3  not a journal
      4  something could not be read or written
    """  # noqa: D301 - click's mark
    for source, target in _pairs(places, config, to):
        with statuses(target):
            report = _back_up(source, target)
        if as_json:
            write_json(attrs.asdict(report))
        else:
            _say(report)


def _pairs(places: tuple[str, ...], config: Path | None, to: Path) -> list[tuple[Path, Path]]:
    """Return which journals go where."""
    if config is None:
        if len(places) != 1:
            raise click.UsageError("say which journal: one DIR, or --config FILE")
        return [(Path(places[0]), to)]
    data = data_of(config)
    with statuses(data):
        names = places or tuple(path.name for path in journals_in(data))
    if not names:
        raise Unwell(f"{data}: no journal is here", Status.NOT_A_JOURNAL)
    return [(data / name, to / name) for name in names]


@attrs.frozen
class _Report:
    journal: str
    backup: str
    events: int
    segments: int
    blobs: int
    segments_copied: int
    blobs_copied: int
    snapshots_copied: int
    bytes_copied: int


def _say(report: _Report) -> None:
    click.echo(
        safe(
            f"{report.backup}: whole: {counted(report.events, 'event')}, "
            f"{counted(report.segments, 'segment')}, {counted(report.blobs, 'blob')}; "
            f"copied {counted(report.segments_copied, 'segment')}, "
            f"{counted(report.blobs_copied, 'blob')}, {short_bytes(report.bytes_copied)}"
        )
    )


def _back_up(source: Path, target: Path) -> _Report:
    if target.resolve() == source.resolve():
        raise click.UsageError("a journal is no backup of itself")
    contents = contents_of(source)
    _check_free_or_backup(target)
    disk = FileDisk(target)
    disk.lock()
    try:
        work = _Work(source, disk)
        work.check_continues(contents)
        with progress("copying") as tell:
            copied: dict[str, Any] = work.copy(contents, tell)
            copied["snapshots_copied"] = copy_snapshots(contents.snapshots, source, disk)
        with progress("reading") as tell:
            verdict = check_copy(target, tell)
        disk.remove(LOCK)
    finally:
        disk.close()
    return _Report(
        str(source), str(target), verdict.events, verdict.segments, verdict.blobs, **copied
    )


def _check_free_or_backup(target: Path) -> None:
    """Raise ``Unwell`` when there are files, but none of a journal."""
    if target.is_dir():
        names = [path.name for path in target.iterdir()]
        journals = [name for name in names if name == LOCK or name.partition(".")[0].isdecimal()]
        if names and not journals and BLOBS not in names:
            raise Unwell(f"{target}: holds something else than a backup", Status.NOT_DONE)


class _Work:
    """One journal and its backup."""

    def __init__(self, source: Path, disk: FileDisk) -> None:
        self._source = source
        self._disk = disk

    def check_continues(self, contents: Contents) -> None:
        """Raise ``Unwell`` unless the backup is an older state of this journal.

        The header of a segment holds the chain over all that is before it. So where headers
        are equal, what is before them is, too, and only the last segment has to be compared.
        """
        old = [name for name in self._disk.names() if segment_seq(name) is not None]
        now = {extent.name: extent.size for extent in contents.extents}
        begin = contents.extents[0].name
        if old and old[-1] < begin:
            raise self._other(f"what came between {old[-1]} and {begin} is gone")
        for name in old:
            if name not in now and name > begin:
                raise self._other(f"the backup has {name}, the journal has not")
            if name in now and self._header(self._source, name) != self._header(
                self._disk.path, name
            ):
                raise self._other(f"{name} is another one in the backup")
        if old and not begins_like(self._disk.path / old[-1], self._source / old[-1], now[old[-1]]):
            raise self._other(f"{old[-1]} goes on in another way in the backup")

    def _header(self, path: Path, name: str) -> bytes:
        return FileDisk(path).read(name, 0, SEGMENT_HEADER_SIZE)

    def _other(self, why: str) -> Unwell:
        return Unwell(
            f"{self._disk.path}: holds another history than {self._source}: {why}; back up to "
            "another directory",
            Status.NOT_DONE,
        )

    def copy(self, contents: Contents, tell: Any) -> dict[str, int]:
        """Copy what is not there yet; return how much it was."""
        there = set(self._disk.names(BLOBS))
        blobs = [name for name in contents.blobs if name not in there]
        segments = [extent for extent in contents.extents if not self._has(extent)]
        source = FileDisk(self._source)
        sizes = [*map(source.size, blobs), *(extent.size for extent in segments)]
        total = sum(sizes)
        done = 0
        for name, size in zip(blobs, sizes, strict=False):
            if not copy_blob(self._source, self._disk, name):
                raise Corrupt(f"{self._source / name}: it is not what its name says")
            done += size
            tell(done, total)
        for extent in segments:
            copy_segment(self._source, self._disk, extent)
            done += extent.size
            tell(done, total)
        return {
            "segments_copied": len(segments),
            "blobs_copied": len(blobs),
            "bytes_copied": done,
        }

    def _has(self, extent: Extent) -> bool:
        return extent.name in self._disk.names() and self._disk.size(extent.name) == extent.size
