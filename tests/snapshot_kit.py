"""An application with everything that history can make of a machine, and its life on a disk."""

import random
from datetime import datetime, timedelta, timezone

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.codec import EventDecoder, encode
from happy.examples.numbers import Next, NumberService
from happy.journal.disk import FileDisk
from happy.journal.frame import SEGMENT_HEADER_SIZE, Kind
from happy.journal.quarantine import foreseen
from happy.journal.replay import Reader
from happy.journal.retention import Budget, let_go
from happy.limits import Limits
from happy.opening import open_application, replay_frame
from happy.recall import Recall
from happy.snapshotting import SnapshotMaker
from happy.world import World

BEGIN_NS = 1_700_000_000_000_000_000


@attrs.frozen
class Account:
    """A row of plain values."""

    owner: str
    balance: float = 0.0
    opened: datetime | None = None


@event
class Paid:
    """Money came in."""

    account: str
    amount: int = 1


@event
class Closed:
    """An account is no more."""

    account: str


@event
class Reminded:
    """A timer of ours has fired."""

    account: str


@event
class Strange:
    """A value of a sort that is hard to keep."""

    sort: str


@state
class Bank:
    """Accounts, and a value that may be of any sort."""

    total: int = 0
    strange: float | str | bytes | datetime | tuple[int, ...] | None = None
    accounts: Table[str, Account] = table(index=("owner",))
    notes: Table[int, str] = table()


ZONE = timezone(timedelta(hours=2))
STRANGE = {
    "whole": 3,
    "large": 10**30,
    "text": "half \ud800",
    "zone": datetime(2020, 6, 1, 12, tzinfo=ZONE),
    "tuple": (1, 2, 3),
    "none": None,
}


class Banking(App):
    """An application with rows, timers, mail, keys, refusals and failures."""

    state = Bank

    @handles(Paid)
    def pay(state, event, context):
        if event.amount < 0:
            raise Refused("nothing is paid back")
        known = state.accounts.get(event.account, Account(event.account[:1], 0, context.time))
        if event.amount % 7 == 0:
            known = attrs.evolve(known, opened=datetime(2020, 1, 1, tzinfo=ZONE))
        state.accounts[event.account] = attrs.evolve(known, balance=known.balance + event.amount)
        state.total += event.amount
        state.notes[context.seq] = context.token(2)
        if event.amount % 5 == 0:
            context.after(timedelta(seconds=event.amount), Reminded(event.account))
        if event.amount % 3 == 0:
            context.mail("a@example.org", b"Subject: paid\r\n\r\n", reverse_path="")
        if event.amount == 13:
            raise ZeroDivisionError
        return event.account, state.total

    @handles(Closed)
    def close(state, event, context):
        row = state.accounts.pop(event.account, None)
        return None if row is None else [row, row.balance]

    @handles(Reminded)
    def remind(state, event, context):
        state.notes[context.seq] = f"reminded of {event.account}"

    @handles(Strange)
    def strange(state, event, context):
        state.strange = STRANGE[event.sort]


LIMITS = Limits(segment_bytes_max=SEGMENT_HEADER_SIZE + 1200)


class Branch:
    """A banking application on a disk: opened, written to, snapshots made of it."""

    def __init__(self, disk, app=Banking, limits=LIMITS, seed=1):
        self.disk = disk
        self.limits = limits
        self.chance = random.Random(seed)
        self.use(app)

    def use(self, app):
        """Go on with other code."""
        self.definition = definition_of(app)
        self.decoder = EventDecoder(self.definition.events)

    def open(self):
        """Open it as a start does; return what was opened."""
        world = World(
            Clock(),
            lambda: BEGIN_NS,
            maybeDeferred,
            maybeDeferred,
            self.chance.randbytes,
            random.Random,
        )
        self.disk.lock()
        try:
            self.opened = open_application(
                "bank", self.definition, self.decoder, self.disk, world, self.limits
            )
        except BaseException:
            self.disk.close()
            raise
        return self.opened

    def append(self, *events, keyed=False):
        """Append events as one batch, one second after the last."""
        pen = self.opened.appender
        seq = pen.next_seq
        records = [
            encode(e, "test", f"key {seq + n}", b"f" * 16) if keyed else encode(e, "test")
            for n, e in enumerate(events)
        ]
        pen.append(records, BEGIN_NS + seq * 10**9)

    def mark(self, kind=Kind.IDLE_MARK):
        """Vouch for what was written last."""
        pen = self.opened.appender
        pen.mark(kind, BEGIN_NS + (pen.next_seq - 1) * 10**9)

    def make(self, kept=2):
        """Make a snapshot, as the side process does."""
        maker = SnapshotMaker(self.definition, self.disk, random.Random, lambda: 0.0)
        return maker.make(BEGIN_NS, kept=kept)

    def recalled(self):
        """Return what the newest usable snapshot has."""
        return Recall(self.definition, self.decoder, random.Random).newest(self.disk)

    def replayed(self):
        """Return a machine to which the whole journal was applied, snapshots left alone."""
        machine = None
        recall = Recall(self.definition, self.decoder, random.Random)
        reader = Reader(self.disk, cut=False)
        for frame in foreseen(reader.frames()):
            if machine is None:
                machine = recall.new_machine(reader.segments[0].header.journal_id)
            replay_frame(machine, self.decoder, frame)
        return machine


def told(machine):
    """Return all that history has made of a machine, to compare: more than its digest tells."""
    return (
        machine.seq,
        machine.time_ns,
        machine.failed,
        machine.configured,
        [(f, exactly(getattr(machine.state, f))) for f in ("total", "strange")],
        [(key, exactly(attrs.astuple(row))) for key, row in machine.state.accounts.items()],
        {o: machine.state.accounts.where(owner=o) for o in "abc"},
        list(machine.state.notes.items()),
        list(machine.outbox),
        list(machine.keys),
        list(machine.unacknowledged),
        list(machine.holds),
        machine.digest(),
    )


def exactly(value):
    """Return a value with what ``==`` does not see."""
    return repr(value), type(value)


def numbers_let_go(folder):
    """Write the journal of numbers, closed: snapshots of 150 and 210, its first segments let go."""
    disk = FileDisk(folder)
    made = Branch(disk, NumberService, limits=Limits(segment_bytes_max=8192))
    made.open()
    for n in range(1, 81):
        made.append(*[Next(n)] * 3)
        if n in (50, 70):
            made.mark()
            seqs = [good.seq for good in made.make().good]
    assert seqs == [210, 150]
    assert let_go(disk, seqs, Budget(bytes_max=1), BEGIN_NS, None)
    disk.close()
    return made
