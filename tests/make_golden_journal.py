"""Made ``tests/golden/journal-v1``, once; kept to show how. It refuses to write over it.

A journal of three segments: batches of one and of several records, an empty text, a body with
sectors of zeros (so with a mask), an idle mark, a close mark, and a restart in the middle.
"""

import base64
import json
from pathlib import Path

from happy.codec import encode
from happy.event import event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind, records_of
from happy.journal.names import LOCK, NEXT_SEGMENT
from happy.journal.replay import Reader

PLACE = Path(__file__).parent / "golden" / "journal-v1"
CAPACITY = 6_000
BEGIN_NS = 1_700_000_000_000_000_000


@event(name="golden.Noted")
class Noted:
    """A number, a text and bytes."""

    number: int
    text: str = ""
    raw: bytes = b""


BATCHES = [
    [Noted(1, "one")],
    [Noted(2, "two"), Noted(3, ""), Noted(4, "vier, четыре, 四")],
    [Noted(5, "zeros", bytes(1_500))],
    [Noted(6, "x" * 700, bytes(range(256)))],
    [Noted(7, "seven"), Noted(8, "eight")],
]


def make() -> None:
    """Write the journal and, beside it, what stands in it."""
    PLACE.mkdir(parents=True)
    disk = FileDisk(PLACE)
    disk.lock()
    salts = iter((0xC0FFEE, 0xDECADE, 0xFACADE))
    tail = create_journal(disk, bytes(range(16)), next(salts), BEGIN_NS, CAPACITY)
    pen = Appender(disk, tail, segment_bytes_max=CAPACITY, new_salt=lambda: next(salts))
    for number, batch in enumerate(BATCHES, start=1):
        pen.append([encode(e, "http POST /note") for e in batch], BEGIN_NS + number * 10**9)
        if number == 2:
            pen.mark(Kind.IDLE_MARK, BEGIN_NS + 2_050_000_000)
        if number == 4:
            reader = Reader(disk, cut=True)
            list(reader.frames())
            assert reader.tail is not None
            pen = Appender(
                disk, reader.tail, segment_bytes_max=CAPACITY, new_salt=lambda: next(salts)
            )
    pen.append([encode(Noted(9, "keyed"), "http POST /note", "key", b"f" * 16)], BEGIN_NS + 10**10)
    pen.mark(Kind.CLOSE_MARK, BEGIN_NS + 10**10)
    for name in (LOCK, NEXT_SEGMENT):
        disk.remove(name)
    disk.close()
    expected = [
        {
            "kind": frame.kind.name,
            "first_seq": frame.first_seq,
            "time_ns": frame.time_ns,
            "records": [base64.b64encode(record).decode() for record in records_of(frame)],
        }
        for frame in Reader(disk, cut=False).frames()
    ]
    PLACE.joinpath("expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    make()
