"""The entries of a journal, read without the application that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs

from happy.cli.bodies import body_of, records_in
from happy.cli.output import rfc3339
from happy.cli.segments import frames_of, header_of, is_let_go, place_of
from happy.codec import Record
from happy.errors import Corrupt
from happy.journal.disk import Disk
from happy.journal.frame import Frame
from happy.journal.names import segment_seq


@attrs.frozen
class ReadEntry:
    """An event in its place, its body not decoded yet."""

    seq: int
    time_ns: int
    record: Record

    @property
    def type(self) -> str:
        """The name of the event's type."""
        return self.record.type

    def plain(self) -> dict[str, Any]:
        """Return it as ``happy journal show`` does; ``Corrupt`` when its body is none."""
        return {
            "seq": self.seq,
            "time": rfc3339(self.time_ns),
            "type": self.record.type,
            "version": self.record.version,
            "source": self.record.source,
            "key": self.record.key,
            "body": body_of(self.seq, self.record),
        }


def entries(disk: Disk, names: list[str], first: int, last: int | None) -> Iterator[ReadEntry]:
    """Yield the entries from ``first`` to ``last``, in constant memory.

    Reading begins at the segment that holds ``first``. Raises ``Corrupt`` or ``Ambiguous``
    where it cannot go on.
    """
    for frame in _frames(disk, names, first):
        if last is not None and frame.first_seq > last:
            return
        if frame.first_seq + frame.count <= first:
            continue
        for seq, record in records_in(frame):
            if first <= seq and (last is None or seq <= last):
                yield ReadEntry(seq, frame.time_ns, record)


def _frames(disk: Disk, names: list[str], first: int) -> Iterator[Frame]:
    expected: int | None = None
    for name, following in pairwise([*names, None]):
        assert name is not None
        begins = segment_seq(following) if following is not None else None
        if begins is not None and begins <= first:
            continue
        place = place_of(name, names)
        if is_let_go(disk.size(name), place):
            return
        header = header_of(disk, name)
        if expected is not None and header.first_seq != expected:
            raise Corrupt(f"{name}: seq {expected} to {header.first_seq - 1} are missing before it")
        end = yield from frames_of(disk, name, header, place)
        end.check(name, place)
        expected = end.position.next_seq
