"""The entries of a journal, read without the application that wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from happy.cli.bodies import body_of, records_in
from happy.cli.bounds import Wanted
from happy.cli.frames import Wait, steps
from happy.cli.output import rfc3339
from happy.codec import Record
from happy.journal.frame import Frame


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


def entries(path: Path, wanted: Wanted, wait: Wait | None = None) -> Iterator[ReadEntry]:
    """Yield the entries that are wanted, in constant memory; see ``steps``.

    Reading begins at the segment that holds the first of them.
    """
    for step in steps(path, wanted, wait):
        if not isinstance(step, Frame) or wanted.begins_after(step):
            continue
        for seq, record in records_in(step):
            if wanted.has(seq):
                yield ReadEntry(seq, step.time_ns, record)
