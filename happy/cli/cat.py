"""``happy journal cat``: the frames of a journal, for a pipe.

The stream is what the segments hold up to the end of their frames, one after the other; it is
described in ``docs/journal-format.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs
import click

from happy.cli.bounds import Wanted
from happy.cli.frames import Step, steps
from happy.cli.output import (
    is_terminal,
    json_line,
    json_option,
    pause_while_read,
    rfc3339,
    until_interrupted,
)
from happy.cli.places import journal_argument, journal_path
from happy.journal.disk import Disk, FileDisk
from happy.journal.frame import Frame, Kind, SegmentHeader, encode_segment_header
from happy.journal.recovery import after, start_of
from happy.journal.replay import Segment
from happy.marks import mark_in

_PIECE_BYTES: Final = 1024 * 1024


@click.command()
@journal_argument
@click.option("--from", "first", type=click.IntRange(min=1), default=1, metavar="SEQ",
              help="Begin with the frame that holds this seq.")  # fmt: skip
@click.option("--to", "last", type=click.IntRange(min=1), metavar="SEQ",
              help="End with the frame that holds this seq.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True,
              help="Go on with what comes, until Ctrl-C or until nobody reads.")  # fmt: skip
@json_option
def cat(  # noqa: PLR0913 - one for each option
    place: str, config: Path | None, first: int, last: int | None, follow: bool, as_json: bool
) -> None:
    """Write the frames of a journal, as they are on the disk.

    The stream begins with the header of a segment, whose chain is the one before the first
    frame, so that a reader can check all that follows. Frames are never split: the first may
    begin before --from, the last may end after --to. The page docs/journal-format.md
    describes it. With --json, headers and frames are told instead, a line for each.

    Exit status 1 when the journal is damaged; the frames before the damage were written. A
    terminal gets no frames: it is a mistake in the command line, status 64.
    """
    if is_terminal() and not as_json:
        raise click.UsageError("frames are binary: write them to a pipe or a file, or add --json")
    path = journal_path(place, config)
    out = sys.stdout.buffer
    writer = _Teller(out) if as_json else _Copier(FileDisk(path), out)
    pause = pause_while_read(out) if follow else None

    def wait() -> bool:
        writer.flush()
        return pause is not None and pause()

    wanted = Wanted(first, last)
    with until_interrupted() if follow else nullcontext():
        try:
            for step in _from_the_first(steps(path, wanted, wait if follow else None), wanted):
                writer.write(step)
        finally:
            writer.flush()
            out.flush()


def _from_the_first(found: Iterator[Step], wanted: Wanted) -> Iterator[Step]:
    """Leave out the frames before the first wanted one, and let the header say where it is."""
    segment: Segment | None = None
    begin: Frame | None = None
    for step in found:
        if isinstance(step, Segment):
            segment, at = step, start_of(step.header)
        elif wanted.begins_after(step):
            at = after(step)
        else:
            begin = step
            break
    if segment is not None:
        header = attrs.evolve(segment.header, first_seq=at.next_seq, chain=at.chain)
        yield Segment(segment.name, header)
    if begin is not None:
        yield begin
        yield from found


class _Copier:
    """Writes what the segments hold, in large pieces."""

    def __init__(self, disk: Disk, out: BinaryIO) -> None:
        self._disk = disk
        self._out = out
        self._name = ""
        self._start = self._end = 0

    def write(self, step: Step) -> None:
        """Write a header, or a frame."""
        if isinstance(step, Segment):
            self.flush()
            self._out.write(encode_segment_header(step.header))
            self._name = step.name
            self._start = self._end = 0
            return
        if self._start == self._end:
            self._start = step.offset
        self._end = step.end
        if self._end - self._start >= _PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was put off."""
        if self._start < self._end:
            self._out.write(self._disk.read(self._name, self._start, self._end - self._start))
            self._start = self._end


class _Teller:
    """Tells of headers and frames."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, step: Step) -> None:
        """Tell of a header, or of a frame."""
        plain = _frame(step) if isinstance(step, Frame) else _header(step.name, step.header)
        self._out.write(json_line(plain))

    def flush(self) -> None:
        """Do nothing: nothing is put off."""


def _header(name: str, header: SegmentHeader) -> dict[str, Any]:
    return {
        "kind": "segment",
        "name": name,
        "journal": header.journal_id.hex(),
        "number": header.number,
        "first_seq": header.first_seq,
        "created": rfc3339(header.created_ns),
        "chain": header.chain.hex(),
    }


def _frame(frame: Frame) -> dict[str, Any]:
    plain = {
        "kind": Kind(frame.kind).name.lower(),
        "first_seq": frame.first_seq,
        "events": frame.count,
        "time": rfc3339(frame.time_ns),
        "offset": frame.offset,
        "bytes": frame.end - frame.offset,
        "chain": frame.chain.hex(),
    }
    if frame.kind is Kind.DIGEST_MARK:
        mark = mark_in(frame)
        plain |= {"state": mark.state, "outcomes": mark.outcomes, "accepting": mark.accepting}
    return plain
