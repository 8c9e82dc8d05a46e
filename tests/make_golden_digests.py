"""Made ``tests/golden/digests-v1``, once; kept to show how. It refuses to write over it.

A journal with digest marks of every sort: before a batch, in a pause, at a close, after a crash.
``test_golden_digests.py`` reads it with the same application.
"""

import json
import random
from pathlib import Path

from golden_kit import Keeper, Paid
from happy.event import Configured, Exchange
from happy.journal.disk import FileDisk
from happy.journal.names import LOCK, NEXT_SEGMENT

PLACE = Path(__file__).parent / "golden" / "digests-v1"
NAMES = ("ann", "bob", "carla", "дед", "eve")


def make() -> None:
    """Write the journal and, beside it, what its application came to."""
    PLACE.mkdir(parents=True)
    chance = random.Random(7)
    for life in range(3):
        keeper = Keeper(FileDisk(PLACE), chance)
        keeper.stream.open()
        keeper.clock.advance(1000 * life)
        keeper.stream.begin(Configured(b'{"life": %d}' % life))
        for number in range(40):
            name, amount = NAMES[chance.randrange(5)], chance.choice((-1, 0, 1, 5, 13, 20, 30))
            key = f"key {life} {number}" if number % 3 == 0 else None
            exchange = Exchange("http POST /pay", key, b"f" * 16 if key else None)
            keeper.stream.submit(Paid(name, amount), exchange).addErrback(lambda _: None)
            keeper.clock.advance(0.02)
        keeper.clock.advance(20)
        if life == 1:
            keeper.stream.stop()
            keeper.disk.close()
        else:
            keeper.stream.close()
    keeper.disk.remove(LOCK)
    if NEXT_SEGMENT in keeper.disk.names():
        keeper.disk.remove(NEXT_SEGMENT)
    machine = keeper.stream._core.machine
    assert machine.failed > 3
    assert len(machine.outbox) > 0
    expected = {
        "seq": machine.seq,
        "digest": machine.digest(),
        "outcomes": machine.outcomes.digest(),
    }
    PLACE.joinpath("expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    make()
