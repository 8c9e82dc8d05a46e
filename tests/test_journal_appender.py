"""Writing a journal: one write and one sync for a batch, full disks, failing disks, power cuts."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from happy.errors import NoRoom, SyncFailed
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE, Kind, records_of
from happy.journal.names import NEXT_SEGMENT, segment_name, segment_seq
from happy.journal.replay import Reader
from happy.testing.disk import MemoryDisk

JOURNAL = b"this journal's id"[:16]
CAPACITY = SEGMENT_HEADER_SIZE + 500


@pytest.fixture(params=["file", "memory"])
def disk(request, tmp_path):
    """A locked, empty disk of each sort."""
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


def salts():
    salt = iter(range(2, 10_000))
    return lambda: next(salt)


def begin(disk, capacity=CAPACITY):
    tail = create_journal(disk, JOURNAL, 1, 5, capacity)
    return Appender(disk, tail, segment_bytes_max=capacity, new_salt=salts())


def go_on(disk, capacity=CAPACITY):
    """Open what is there: the records, and the pen."""
    records, reader = read(disk, cut=True)
    return records, Appender(disk, reader.tail, segment_bytes_max=capacity, new_salt=salts())


def open_or_begin(disk, capacity=CAPACITY):
    if any(segment_seq(name) is not None for name in disk.names()):
        return go_on(disk, capacity)
    return [], begin(disk, capacity)


def read(disk, *, cut=False):
    reader = Reader(disk, cut=cut)
    return [bytes(r) for frame in reader.frames() for r in records_of(frame)], reader


def record(number, size=60):
    return b"record %d " % number + b"." * size


# --- what is written ----------------------------------------------------------------------------


def test_what_is_appended_can_be_read_at_once(disk):
    """When an append returns, its records are the next ones of the journal."""
    appender = begin(disk)
    written = []
    for size in (1, 3, 2):
        batch = [record(len(written) + n) for n in range(size)]
        assert appender.next_seq == len(written) + 1
        appender.append(batch, 10)
        written += batch
        assert read(disk)[0] == written


@pytest.mark.parametrize("records", [[b""], [b"", b"", b""], [b"a", b"", bytes(2000)]])
def test_empty_records_are_records(disk, records):
    """A record without a byte in it has its seq like any other."""
    begin(disk).append(records, 10)
    found, appender = go_on(disk)
    assert (found, appender.next_seq) == (records, len(records) + 1)


class WritesDisk(MemoryDisk):
    """Writes down up to where its files were written, and which writes went further."""

    def __init__(self):
        super().__init__()
        self.written = {}
        self.fresh = []

    def write(self, name, offset, data):
        before, end = self.written.get(name, SEGMENT_HEADER_SIZE), offset + len(data)
        if data.strip(b"\0"):
            self.fresh.append(end > before)
        self.written[name] = max(before, end)
        super().write(name, offset, data)


def test_nearly_every_frame_is_written_over_zeros_that_are_on_the_disk():
    """A first write into room that is only taken is rare; and no file grows for it."""
    disk, capacity = WritesDisk(), 4 * 1024 * 1024
    appender = begin(disk, capacity)
    written = [record(number, 1000) for number in range(3000)]
    disk.fresh.clear()
    for batch in written[:1500], written[1500:]:
        for one in batch:
            appender.append([one], 10)
        assert {disk.size(n) for n in disk.names() if segment_seq(n) is not None} == {capacity}
        records, appender = go_on(disk, capacity)
    assert records == written
    assert 1 <= sum(disk.fresh) <= len(disk.fresh) / 100


def test_a_batch_is_made_durable_by_one_sync():
    """However many records a batch has, the disk is asked once."""
    disk = MemoryDisk()
    appender = begin(disk, capacity=10**6)
    before = disk.syncs_count
    appender.append([record(n) for n in range(100)], 10)
    assert disk.syncs_count == before + 1


def test_a_frame_names_what_was_durable_before_it(disk):
    """Each frame says that all before it was durable: the one before it was synced."""
    appender = begin(disk, capacity=10**6)
    for n in range(3):
        appender.append([record(n)], 10 + n)
    appender.mark(Kind.IDLE_MARK, 13)
    frames = list(Reader(disk, cut=False).frames())
    assert [f.durable_end for f in frames] == [f.offset for f in frames]
    assert frames[-1].kind is Kind.IDLE_MARK


def test_a_digest_mark_and_what_follows_it_are_one_write():
    """One write, one sync, one durable end; and after a restart both are written again."""
    disk = MemoryDisk()
    appender = begin(disk, capacity=10**6)
    appender.append([record(1)], 10)
    syncs = disk.syncs_count
    appender.append([record(2)], 11, b"what it was")
    assert disk.syncs_count == syncs + 1
    reader = Reader(disk, cut=False)
    before, mark, after = reader.frames()
    assert (mark.kind, mark.count, bytes(mark.body)) == (Kind.DIGEST_MARK, 0, b"what it was")
    assert (mark.offset, after.offset) == (before.end, mark.end)
    assert mark.durable_end == after.durable_end == mark.offset
    assert (mark.first_seq, after.first_seq) == (2, 2)
    assert reader.tail.unproven == mark.offset


def test_a_digest_mark_stays_with_what_follows_it(disk):
    """A segment that cannot hold both is followed by one that does."""
    appender = begin(disk)
    for n in range(8):
        appender.append([record(n)], 10 + n, b"m" * 48)
    reader = Reader(disk, cut=False)
    kinds = [frame.kind for frame in reader.frames()]
    assert kinds == [Kind.DIGEST_MARK, Kind.EVENTS] * 8
    assert len(reader.segments) > 1


def test_time_never_goes_backwards(disk):
    """A batch older than the one before is refused before anything is written."""
    appender = begin(disk)
    appender.append([b"one"], 10)
    with pytest.raises(ValueError, match="time goes backwards: 9 after 10"):
        appender.append([b"two"], 9)
    appender.append([b"three"], 10)
    assert read(disk)[0] == [b"one", b"three"]


def test_time_never_goes_backwards_over_segments_and_restarts(disk):
    """Neither a new segment nor a new process may begin before what was written."""
    appender = begin(disk)
    for n in range(6):
        appender.append([record(n, 200)], 100)
    _, appender = go_on(disk)
    with pytest.raises(ValueError, match="backwards"):
        appender.append([b"late"], 99)


def test_marks_take_no_seq(disk):
    """Idle and close marks stand between events without being any."""
    appender = begin(disk)
    appender.append([b"one"], 10)
    appender.mark(Kind.IDLE_MARK, 11)
    appender.append([b"two"], 12)
    appender.mark(Kind.CLOSE_MARK, 13)
    records, appender = go_on(disk)
    assert (records, appender.next_seq) == ([b"one", b"two"], 3)


def test_marks_and_new_segments_vouch_for_what_is_before_them(disk):
    """The appender knows whether its last events stand unvouched for, over restarts too."""
    appender = begin(disk)
    assert appender.vouched
    for n in range(8):
        appender.append([record(n)], 10)
        assert not appender.vouched
    assert not go_on(disk)[1].vouched
    for kind in (Kind.IDLE_MARK, Kind.CLOSE_MARK):
        appender = go_on(disk)[1]
        appender.mark(kind, 11)
        assert appender.vouched
        assert go_on(disk)[1].vouched


def test_a_segment_without_events_needs_no_mark():
    """A new segment names the end of the one before it: nothing is left to vouch for."""
    disk = MemoryDisk()
    appender = begin(disk)
    segments = set()
    while len(segments) < 2:
        appender.append([record(1)], 10)
        segments = {name for name in disk.names() if segment_seq(name) is not None}
    disk.truncate(max(segments), SEGMENT_HEADER_SIZE)
    assert go_on(disk)[1].vouched


# --- segments -----------------------------------------------------------------------------------


def test_a_full_segment_is_followed_by_another(disk):
    """Segments are numbered, named by their first seq, cut to what is in them, never overfull."""
    appender = begin(disk)
    for n in range(1, 12):
        appender.append([record(n)], 10)
    records, reader = read(disk)
    assert records == [record(n) for n in range(1, 12)]
    headers = [s.header for s in reader.segments]
    assert [h.number for h in headers] == list(range(1, len(headers) + 1))
    assert len({h.salt for h in headers}) == len(headers) > 2
    *sealed, last = reader.segments
    ends = [disk.size(s.name) for s in sealed]
    assert ends == [h.previous_end for h in headers[1:]]
    assert all(end <= CAPACITY for end in ends)
    assert disk.size(last.name) == CAPACITY


def test_the_next_segment_is_prepared_when_this_one_is_half_full(disk):
    """Room is taken ahead, so that a full disk is met before a batch needs it."""
    appender = begin(disk, capacity=10_000)
    appender.append([bytes(500)], 10)
    assert NEXT_SEGMENT not in disk.names()
    appender.append([bytes(600)], 10)
    assert disk.size(NEXT_SEGMENT) == 10_000
    appender.append([bytes(6_000)], 10)
    assert NEXT_SEGMENT not in disk.names() or disk.size(NEXT_SEGMENT) == 10_000
    assert len(read(disk)[0]) == 3


@pytest.mark.parametrize("size", [CAPACITY, 5 * CAPACITY])
def test_a_batch_larger_than_a_segment_has_one_of_its_own(disk, size):
    """No batch is too large for the journal because its segments are small."""
    appender = begin(disk)
    for content in (b"before", bytes(size), b"after", bytes(size)):
        appender.append([content], 10)
    assert read(disk)[0] == [b"before", bytes(size), b"after", bytes(size)]
    assert len(read(disk)[1].segments) == 4


def test_a_journal_of_marks_only_stays_in_its_segment(disk):
    """Starting and stopping without an event, however often, makes no second first segment."""
    begin(disk)
    for n in range(2 * (CAPACITY - SEGMENT_HEADER_SIZE) // FRAME_HEADER_SIZE):
        _, appender = go_on(disk)
        appender.mark(Kind.CLOSE_MARK, 10 + n)
    _, appender = go_on(disk)
    appender.append([b"one"], 100)
    appender.append([b"two"], 100)
    records, reader = read(disk)
    assert records == [b"one", b"two"]
    assert [s.name for s in reader.segments] == [segment_name(1), segment_name(2)]


def test_a_journal_goes_on_over_many_restarts(disk):
    """Opening after every batch gives the same journal as never stopping."""
    begin(disk)
    for n in range(1, 15):
        records, appender = go_on(disk)
        assert records == [record(k) for k in range(1, n)]
        appender.append([record(n)], 10 + n)
        if n % 3 == 0:
            appender.mark(Kind.CLOSE_MARK, 10 + n)


# --- a full disk --------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing_and_comes_back():
    """With any amount of room: refused batches left no trace, and with room it goes on at once."""
    full_at = 0
    while True:
        disk = MemoryDisk()
        disk.room = full_at
        kept, refused = fill(disk)
        disk.room = None
        records, appender = open_or_begin(disk)
        assert records == kept, full_at
        appender.append([b"room again"], 1000)
        assert read(disk)[0] == [*kept, b"room again"], full_at
        assert NEXT_SEGMENT not in disk.names() or disk.size(NEXT_SEGMENT) in (0, CAPACITY)
        if not refused:
            break
        full_at += 31
    assert full_at > 3 * CAPACITY


def fill(disk):
    """Append while there is room and when there is none; return what was kept, what refused."""
    kept, refused = [], []
    try:
        appender = begin(disk)
    except NoRoom:
        assert disk.names() == []
        return [], [None]
    for n in range(1, 10):
        try:
            appender.append([record(n, 90)], 10)
        except NoRoom:
            refused.append(n)
        else:
            kept.append(record(n, 90))
        assert appender.next_seq == len(kept) + 1
    return kept, refused


def test_an_appender_goes_on_by_itself_when_room_returns():
    """No restart is needed after a full disk: the same appender takes the next batch."""
    disk = MemoryDisk()
    appender = begin(disk)
    disk.room = CAPACITY
    kept = []
    for n in range(20):
        try:
            appender.append([record(n)], 10)
        except NoRoom:
            disk.room = None
        else:
            kept.append(record(n))
    assert 17 < len(kept) < 20
    disk.crash()
    assert read(disk)[0] == kept


def test_a_batch_that_found_no_room_left_no_bytes():
    """After ``NoRoom`` the bytes of the refused batch are gone, durably: no cut ever meets them."""
    disk = MemoryDisk()
    appender = begin(disk)
    name = segment_name(1)
    disk.room = CAPACITY + 100
    with pytest.raises(NoRoom):
        appender.append([b"\xff" * CAPACITY], 10)
    disk.crash()
    assert disk.size(name) == SEGMENT_HEADER_SIZE
    records, reader = read(disk)
    assert (records, reader.torn) == ([], None)
    disk.room = None
    appender.append([b"one"], 10)
    assert read(disk)[0] == [b"one"]


def test_a_full_disk_is_not_asked_for_the_next_segment_at_every_batch(monkeypatch):
    """While this segment has room, a full disk is asked a few times, not once for each batch."""
    disk = MemoryDisk()
    appender = begin(disk, capacity=100_000)
    disk.room = 100_000
    asked = []
    create = disk.create
    monkeypatch.setattr(disk, "create", lambda *a: (asked.append(a), create(*a)))
    for _ in range(900):
        appender.append([b"."], 10)
    assert 1 < len(asked) < 20


def test_a_full_file_system_refuses_and_recovers(tmp_path, monkeypatch):
    """A write that stops halfway for want of room leaves nothing behind, and the next succeeds."""
    disk = FileDisk(tmp_path / "app")
    disk.lock()
    appender = begin(disk)
    appender.append([b"one"], 10)
    pwrite = os.pwrite
    calls = []

    def full(file, data, offset):
        calls.append(offset)
        if len(calls) == 1:
            return pwrite(file, bytes(data[:37]), offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoRoom, match="the disk is full"):
        appender.append([b"two"], 10)
    monkeypatch.undo()
    records, reader = read(disk)
    assert (records, reader.torn) == ([b"one"], None)
    appender.append([b"three"], 10)
    assert read(disk)[0] == [b"one", b"three"]
    disk.close()


# --- a failing disk and a power cut -------------------------------------------------------------


def write_until_it_fails(disk, syncs):
    """Append with a disk whose sync fails after ``syncs`` of them; return what was durable."""
    disk.syncs_left = syncs
    kept, lost = [], None
    try:
        appender = begin(disk)
        for n in range(1, 13):
            lost = record(n)
            appender.append([lost], 10 + n)
            kept.append(lost)
            lost = None
    except SyncFailed:
        assert disk.syncs_left == 0
    disk.syncs_left = None
    return kept, lost


FAILURES = range(20)
"""Syncs after which one fails; the last of them is after all there are."""


@pytest.mark.parametrize("syncs", FAILURES)
def test_what_was_appended_is_there_after_a_power_cut(syncs):
    """Whichever sync fails: after the power cut all that was durable is there, and no more."""
    disk = MemoryDisk()
    kept, _ = write_until_it_fails(disk, syncs)
    disk.crash()
    records, appender = open_or_begin(disk)
    assert records == kept
    appender.append([b"on it goes"], 1000)
    disk.crash()
    assert read(disk)[0] == [*kept, b"on it goes"]


@pytest.mark.parametrize("syncs", FAILURES)
def test_what_a_failed_sync_left_in_memory_is_not_trusted(syncs):
    """After a failed sync and a restart in the same boot, what is read is made durable first."""
    disk = MemoryDisk()
    kept, lost = write_until_it_fails(disk, syncs)
    disk.close()
    records, appender = open_or_begin(disk)
    assert records in (kept, [*kept, lost])
    appender.append([b"on it goes"], 1000)
    disk.crash()
    assert read(disk)[0] == [*records, b"on it goes"]


def test_nothing_is_written_after_a_failure(disk, monkeypatch):
    """A failed sync is final: the appender writes no more, though the disk seems well again."""
    appender = begin(disk)
    appender.append([b"one"], 10)

    def failing(_name):
        raise SyncFailed("the disk did not keep it")

    with monkeypatch.context() as failure:
        failure.setattr(disk, "sync", failing)
        with pytest.raises(SyncFailed):
            appender.append([b"two"], 10)
    before = {name: disk.read(name) for name in disk.names()}
    for write in (lambda: appender.append([b"3"], 10), lambda: appender.mark(Kind.IDLE_MARK, 10)):
        with pytest.raises(SyncFailed, match="after a failure: the disk did not keep it"):
            write()
    assert {name: disk.read(name) for name in disk.names()} == before


def test_an_opened_journal_is_synced_before_it_is_trusted():
    """A disk that fails at the first sync after a start is not opened."""
    disk = MemoryDisk()
    begin(disk).append([b"one"], 10)
    _, reader = read(disk)
    disk.syncs_left = 0
    with pytest.raises(SyncFailed):
        Appender(disk, reader.tail, segment_bytes_max=CAPACITY, new_salt=salts())


class Crashes(RuleBasedStateMachine):
    """Any order of batches, restarts, power cuts, full and failing disks keeps what was kept."""

    def __init__(self):
        super().__init__()
        self.disk = MemoryDisk()
        self.kept = []
        self.maybe = None
        self.time = 10
        self.appender = begin(self.disk)

    def reopen(self):
        records, self.appender = go_on(self.disk)
        if self.maybe is not None and records == self.kept + self.maybe:
            self.kept += self.maybe
        assert records == self.kept
        self.maybe = None

    @precondition(lambda self: self.maybe is None)
    @rule(
        batch=st.lists(st.integers(0, 700).map(bytes), min_size=1, max_size=3),
        digest=st.sampled_from([b"", bytes(48)]),
    )
    def append(self, batch, digest):
        """Append a batch, with a digest mark before it or without."""
        self.time += 1
        try:
            self.appender.append(batch, self.time, digest)
        except NoRoom:
            return
        self.kept += batch

    @precondition(lambda self: self.maybe is None)
    @rule(kind=st.sampled_from([Kind.IDLE_MARK, Kind.CLOSE_MARK]))
    def mark(self, kind):
        """Write a mark."""
        try:
            self.appender.mark(kind, self.time)
        except NoRoom:
            return

    @precondition(lambda self: self.maybe is None)
    @rule(
        syncs=st.integers(0, 2),
        record=st.binary(max_size=400),
        digest=st.sampled_from([b"", bytes(48)]),
    )
    def fail(self, syncs, record, digest):
        """Let a sync fail."""
        self.disk.syncs_left = syncs
        try:
            self.appender.append([record], self.time, digest)
        except NoRoom:
            self.disk.syncs_left = None
        except SyncFailed:
            self.maybe = [record]
        else:
            self.kept.append(record)
        self.disk.syncs_left = None

    @rule()
    def restart(self):
        """End the process and start it."""
        self.disk.room = None
        self.reopen()

    @rule()
    def crash(self):
        """Cut the power."""
        self.disk.room = None
        self.disk.crash()
        self.reopen()

    @rule(more=st.integers(0, 6_000))
    def fill(self, more):
        """Let the disk be nearly full."""
        self.disk.room = sum(self.disk.size(name) for name in self.disk.names()) + more

    @rule()
    def empty(self):
        """Make room."""
        self.disk.room = None

    @precondition(lambda self: self.maybe is None)
    @invariant()
    def all_is_there(self):
        """What was durable is there."""
        assert read(self.disk)[0] == self.kept


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_blocked_name_is_a_sentence(tmp_path):
    """A segment that cannot be named is a failure that names the file."""
    disk = FileDisk(tmp_path / "app")
    disk.lock()
    Path(tmp_path / "app" / segment_name(1)).mkdir()
    with pytest.raises(SyncFailed, match=f"{segment_name(1)}: cannot be written: is a directory"):
        begin(disk)
    disk.close()
