"""The application of ``tests/golden/snapshot-v1``; nothing here may change, nor may its name.

Run as a program, it made the snapshot, once; it refuses to write over it.
"""

import enum
import random
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import attrs

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.event import Blob

PLACE = Path(__file__).parent / "golden" / "snapshot-v1"
BEGIN_NS = 1_700_000_000_000_000_000


class Colour(enum.Enum):
    """A value of a row."""

    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Thing:
    """A row with values of many sorts."""

    name: str
    price: Decimal = Decimal(0)
    weight: float = 0.0
    colour: Colour = Colour.RED
    since: datetime | None = None
    parts: tuple[int, ...] = ()
    picture: Blob | None = None


@event(name="golden.Kept")
class Kept:
    """A thing comes, or is replaced."""

    name: str
    number: int


@event(name="golden.Dropped")
class Dropped:
    """A thing goes."""

    name: str


@state
class Store:
    """Things, what was done with them, and a number of any size."""

    product: int = 1
    things: Table[str, Thing] = table(index=("colour",), unique=("name",))
    log: Table[int, str] = table()


class Keeping(App):
    """Keeps things; all that it does must stay as it is."""

    state = Store

    @handles(Kept)
    def keep(state, event, context):
        if event.number == 13:
            raise Refused("not this one", http_status=418)
        zone = timezone(timedelta(hours=2)) if event.number % 5 == 0 else context.time.tzinfo
        state.product *= event.number * 1_000_003
        state.things[event.name] = Thing(
            event.name,
            Decimal(event.number) / 8,
            1 if event.number % 3 == 0 else event.number / 7,
            Colour.BLUE if event.number % 2 else Colour.RED,
            context.time.astimezone(zone),
            tuple(range(event.number % 4)),
            Blob("ab" * 32, event.number) if event.number % 6 == 0 else None,
        )
        state.log[context.seq] = context.token(4)
        if event.number % 4 == 0:
            context.after(timedelta(hours=event.number), Dropped(event.name))
            context.call("POST", "http://example.org/", b"kept", headers=[("A", "b")], tag="t")
        if event.number % 7 == 0:
            context.mail("ann@example.org", b"Subject: kept\r\n\r\n", reverse_path="b@example.org")
        if event.number == 17:
            raise ZeroDivisionError
        return [event.name, {"number": event.number}]

    @handles(Dropped)
    def drop(state, event, context):
        del state.things[event.name]


EVENTS = [Kept(f"thing {n * 5 % 17}", n) for n in range(1, 40)] + [
    Dropped(f"thing {n}") for n in (3, 99, 7)
]
DEFINITION = definition_of(Keeping)


def make() -> None:
    """Make the snapshot, on a disk in memory, and keep it."""
    from happy.testing.disk import MemoryDisk  # noqa: PLC0415 - only once
    from snapshot_kit import Branch  # noqa: PLC0415 - likewise

    bank = Branch(MemoryDisk(), Keeping, seed=7)
    bank.open()
    for number, one in enumerate(EVENTS):
        bank.append(one, keyed=number % 3 == 0)
    bank.mark()
    made = bank.make()
    PLACE.mkdir(parents=True)
    assert made.name is not None
    (PLACE / "store.snapshot").write_bytes(bank.disk.read(made.name))


def random_of(seed: int) -> random.Random:
    """Return the generator of an event."""
    return random.Random(seed)


if __name__ == "__main__":
    import golden_bank

    golden_bank.make()
