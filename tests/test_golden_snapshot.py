"""The snapshot that never changes: every version reads it, and comes to the same machine."""

import hashlib
from decimal import Decimal

from golden_bank import BEGIN_NS, DEFINITION, EVENTS, PLACE, Colour, random_of
from happy.apply import Machine
from happy.codec import EventDecoder
from happy.event import Entry
from happy.journal.names import snapshot_name
from happy.journal.snapshot_format import Form
from happy.journal.snapshots import Snapshot
from happy.recall import Recall
from happy.testing.disk import MemoryDisk

DATA = (PLACE / "store.snapshot").read_bytes()
SHA256 = "313c907a17534bbb019225933c1b21c540610f8dd7d9ef1239c571e17661485e"
DIGEST = "ef7ac9b84de970b409ced9e9bc434c87"


def golden():
    disk = MemoryDisk()
    name = snapshot_name(len(EVENTS))
    disk.create(name)
    disk.write(name, 0, DATA)
    return Snapshot(disk, name)


def recalled():
    return Recall(DEFINITION, EventDecoder(DEFINITION.events), random_of).load(golden())


def test_its_bytes_are_what_they_were():
    """Promise 9: what was written once is in the tests as it was written."""
    assert hashlib.sha256(DATA).hexdigest() == SHA256
    assert {block.form for block in golden().blocks()} == set(Form)


def test_it_opens_for_ever():
    """Promise 9: its machine has the digest that it had, and holds what it held."""
    found = recalled()
    machine = found.machine
    assert machine.digest() == DIGEST == golden().header.description.digest
    assert (machine.seq, machine.failed, len(machine.keys)) == (42, 2, 14)
    assert sorted(found.kinds) == [("golden.Dropped", 1), ("golden.Kept", 1)]
    thing = machine.state.things["thing 2"]
    assert (thing.price, thing.weight, thing.colour) == (Decimal(31) / 8, 31 / 7, Colour.BLUE)
    assert machine.state.product.bit_length() > 800


def test_it_is_what_its_events_come_to():
    """Promise 4: a replay of the same events comes to the same machine, outcomes and all."""
    known = recalled().machine
    again = Machine(DEFINITION, known.journal_id, random_of)
    for seq, event in enumerate(EVENTS, 1):
        key, fingerprint = (f"key {seq}", b"f" * 16) if seq % 3 == 1 else (None, None)
        again.apply([Entry(seq, BEGIN_NS + seq * 10**9, event, "test", key, fingerprint)])
    assert again.digest() == known.digest()
    assert list(again.keys) == list(known.keys)
    assert list(again.outbox) == list(known.outbox)
    assert again.outcomes.digest() == known.outcomes.digest()
    assert repr(list(again.state.things.stored())) == repr(list(known.state.things.stored()))
