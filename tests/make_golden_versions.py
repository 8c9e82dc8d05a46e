"""Made ``tests/golden/versions-v1``, once; kept to show how. It refuses to write over it.

A journal that an application wrote in two versions of its code: the first half by the events of
``first``, the second by those of ``second``. ``test_golden_versions.py`` reads it with the third.
"""

from pathlib import Path

import attrs

from happy.codec import encode
from happy.event import Configured, event
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import Kind
from happy.journal.names import LOCK, NEXT_SEGMENT

PLACE = Path(__file__).parent / "golden" / "versions-v1"
CAPACITY = 6_000
BEGIN_NS = 1_700_000_000_000_000_000


@event(name="golden.Opened")
class FirstOpened:
    """Version 1: the owner as in a mail header."""

    name: str
    owner: str


@event(name="golden.Paid")
class FirstPaid:
    """Version 1: whole euros."""

    payer: str
    payee: str
    euros: int = 1


@event(name="golden.Noted")
class Noted:
    """Nobody handles it any more."""

    text: str


@attrs.frozen
class Place:
    """Where a payment was made."""

    town: str


@event(name="golden.Opened", version=2)
class SecondOpened:
    """Version 2: the owner's name and address."""

    name: str
    owner: str
    address: str


@event(name="golden.Paid", version=2)
class SecondPaid:
    """Version 2: cents, and places."""

    payer: str
    payee: str
    cents: int
    places: tuple[Place, ...] = ()


BATCHES = [
    [Configured(b'{"greeting": "hello"}', ("golden.example",))],
    [FirstOpened("ann", "Ann <ann@home.example>"), FirstOpened("bob", "Bob Ünal <bob@x.example>")],
    [Noted("to be forgotten"), FirstPaid("ann", "bob", 12), FirstPaid("bob", "ann")],
    [FirstPaid("ann", "nobody", 5), FirstPaid("bob", "ann", 2**40)],
    [SecondOpened("cyd", "Cyd", "cyd@home.example")],
    [SecondPaid("cyd", "ann", 5, (Place("Bonn"), Place("Ulm"))), SecondPaid("ann", "cyd", 1)],
    [Noted("again"), SecondPaid("bob", "cyd", 99, (Place(""),))],
]
"""As written by the two versions; the fourth batch has a payment that is refused."""


def make() -> None:
    """Write the journal."""
    PLACE.mkdir(parents=True)
    disk = FileDisk(PLACE)
    disk.lock()
    salts = iter(range(0xABCD, 0xFFFF))
    tail = create_journal(disk, bytes(range(16, 32)), next(salts), BEGIN_NS, CAPACITY)
    pen = Appender(disk, tail, segment_bytes_max=CAPACITY, new_salt=lambda: next(salts))
    for number, batch in enumerate(BATCHES, start=1):
        records = [encode(made, "http POST /golden") for made in batch]
        pen.append(records, BEGIN_NS + number * 10**9)
    last = encode(SecondPaid("ann", "bob", 7), "http POST /golden", "key", b"f" * 16)
    pen.append([last], BEGIN_NS + 10**10)
    pen.mark(Kind.CLOSE_MARK, BEGIN_NS + 10**10)
    for name in (LOCK, NEXT_SEGMENT):
        disk.remove(name)
    disk.close()


if __name__ == "__main__":
    make()
