"""Whatever happens, a snapshot and what follows it are what a replay of everything comes to.

A bank lives on a disk: it works, stops, crashes; snapshots are made of it, beside it, and the power
is cut in the middle, the disk is full, or a sync fails; old segments are let go, and snapshots are
damaged. Beside it stands a twin without a disk, which is told every event that was written.
"""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from happy.apply import Machine
from happy.errors import NoRoom, SyncFailed
from happy.event import Entry
from happy.journal.names import SNAPSHOTS, segment_name, snapshot_seq
from happy.journal.retention import Budget, let_go
from happy.journal.snapshots import snapshot_names
from happy.testing.disk import MemoryDisk
from snapshot_kit import BEGIN_NS, STRANGE, Branch, Closed, Paid, Strange, told

accounts = st.sampled_from(["a1", "a2", "b1", "c1"])
events = st.one_of(
    st.builds(Paid, accounts, st.integers(-1, 40)),
    st.builds(Closed, accounts),
    st.builds(Strange, st.sampled_from(list(STRANGE))),
)


class PowerCut(BaseException):
    """The power goes, before a step of the disk."""


class Life(RuleBasedStateMachine):
    """The life of one bank."""

    @initialize()
    def begin(self):
        self.bank = Branch(MemoryDisk())
        self.bank.open()
        self.twin = Machine(self.bank.definition, self.bank.opened.journal_id, random.Random)
        self.damaged = False

    @rule(batch=st.lists(events, min_size=1, max_size=12), keyed=st.booleans())
    def work(self, batch, keyed):
        """Write a batch; the twin hears of it."""
        first = self.twin.seq + 1
        self.bank.append(*batch, keyed=keyed)
        key, fingerprint = ("key {}", b"f" * 16) if keyed else (None, None)
        time_ns = BEGIN_NS + first * 10**9
        self.twin.apply(
            Entry(seq, time_ns, event, "test", key and key.format(seq), fingerprint)
            for seq, event in enumerate(batch, first)
        )

    @rule()
    def mark(self):
        """Vouch for the last batch, as a pause does."""
        self.bank.mark()

    @rule()
    def restart(self):
        """Stop and start; nothing may be missing."""
        self.bank.disk.close()
        self.start()

    @rule(seed=st.integers(0, 2**32))
    def crash(self, seed):
        """Lose what was not synced; nothing that was written may be missing."""
        self.bank.disk.crash(seed)
        self.start()

    def start(self):
        assert told(self.bank.open().core.machine) == told(self.twin)

    @rule(kept=st.integers(2, 3))
    def snapshot(self, kept):
        """Make a snapshot beside it."""
        made = self.bank.make(kept)
        self.damaged = self.damaged and made.name is None
        self.check_newest()

    @rule(steps=st.integers(0, 12), seed=st.integers(0, 2**32))
    def snapshot_cut_off(self, steps, seed):
        """Cut the power while one is made."""
        left = [steps]

        def before(_step):
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut

        self.bank.disk.before_step = before
        try:
            self.bank.make()
        except PowerCut:
            self.bank.disk.before_step = lambda _step: None
            self.crash(seed)
        else:
            self.damaged = False
        self.bank.disk.before_step = lambda _step: None

    @rule(syncs=st.integers(0, 2))
    def snapshot_on_a_failing_disk(self, syncs):
        """Let a sync fail while one is made; the application goes on."""
        self.bank.disk.syncs_left = syncs
        try:
            self.bank.make()
        except SyncFailed:
            pass
        else:
            self.damaged = False
        self.bank.disk.syncs_left = None

    @rule(room=st.integers(0, 20_000))
    def snapshot_on_a_full_disk(self, room):
        """Let there be little room while one is made; the application goes on."""
        disk = self.bank.disk
        names = [*disk.names(), *disk.names(SNAPSHOTS)]
        disk.room = sum(map(disk.size, names)) + room
        try:
            self.bank.make()
        except NoRoom:
            pass
        else:
            self.damaged = False
        disk.room = None

    @rule()
    def retire(self):
        """Let all segments go that may, after a snapshot as the container does."""
        made = self.bank.make()
        self.damaged = False
        seqs = [good.seq for good in made.good]
        let_go(self.bank.disk, seqs, Budget(bytes_max=1), BEGIN_NS, None)

    @precondition(lambda self: not self.damaged and len(snapshot_names(self.bank.disk)) > 1)
    @rule(place=st.floats(0, 1, exclude_max=True), cut=st.booleans())
    def damage(self, place, cut):
        """Damage the newest snapshot; the one before must do."""
        disk = self.bank.disk
        name = snapshot_names(disk)[0]
        at = int(disk.size(name) * place)
        if cut:
            disk.truncate(name, at)
        else:
            disk.write(name, at, bytes([disk.read(name, at, 1)[0] ^ 0x10]))
        disk.sync(name)
        self.damaged = True

    @precondition(lambda self: segment_name(1) in self.bank.disk.names())
    @rule()
    def damage_all(self):
        """Damage every snapshot; the whole journal must do, while it is there."""
        disk = self.bank.disk
        for name in snapshot_names(disk):
            disk.truncate(name, disk.size(name) // 2)
            disk.sync(name)
        self.restart()
        self.bank.make()
        self.damaged = False

    def check_newest(self):
        """The newest snapshot is what a replay of all up to its seq comes to."""
        recalled = self.bank.recalled()
        if recalled is not None and recalled.machine.seq == self.twin.seq:
            assert told(recalled.machine) == told(self.twin)

    @invariant()
    def nothing_unfinished_counts(self):
        """Only whole snapshots have names, and never more than are to be kept and one more."""
        names = self.bank.disk.names(SNAPSHOTS) if hasattr(self, "bank") else []
        assert sum(snapshot_seq(name) is not None for name in names) <= 5

    def teardown(self):
        if hasattr(self, "bank"):
            self.restart()


Life.TestCase.settings = settings(
    deadline=None, max_examples=25, stateful_step_count=20, print_blob=True
)
TestLife = Life.TestCase
