"""Letting old segments go: which may, what is left, and a power cut in the middle of it."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import Corrupt, JournalError, NoRoom, SyncFailed
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import SEGMENT_HEADER_SIZE, SegmentHeader, first_chain, records_of
from happy.journal.names import is_part, segment_name, segment_seq
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.journal.retention import Budget, Held, held_segments, retirable, retire
from happy.testing.disk import MemoryDisk

JOURNAL = b"this journal's id"[:16]
CAPACITY = SEGMENT_HEADER_SIZE + 400
SECOND_NS = 10**9
NOTHING = Budget(bytes_max=1)


@pytest.fixture(params=["file", "memory"])
def empty_disk(request, tmp_path):
    """A function that returns a fresh, locked disk, all of them of one sort."""
    made = []

    def make():
        path = tmp_path / str(len(made))
        made.append(MemoryDisk() if request.param == "memory" else FileDisk(path))
        made[-1].lock()
        return made[-1]

    yield make
    for disk in made:
        disk.close()


def record(number):
    return b"record %d " % number * 6


def begin(disk, count=9, journal_id=JOURNAL):
    """Begin a journal of some records over several segments."""
    salts = iter(range(2, 1000))
    appender = Appender(
        disk,
        create_journal(disk, journal_id, 1, 5, CAPACITY),
        segment_bytes_max=CAPACITY,
        new_salt=lambda: next(salts),
    )
    for number in range(1, count + 1):
        appender.append([record(number)], number * SECOND_NS)
    return disk


def files_of(disk):
    return {name: disk.read(name) for name in disk.names() if segment_seq(name) is not None}


def copy_of(disk):
    made = MemoryDisk()
    for name, content in files_of(disk).items():
        made.create(name)
        made.write(name, 0, content)
        made.sync(name)
    made.lock()
    return made


def read(disk, start=None):
    reader = Reader(disk, cut=True, start=start)
    return [bytes(r) for frame in reader.frames() for r in records_of(frame)], reader


def start_at(disk, seq):
    """Return the place of a snapshot that ends with this seq."""
    return next(
        Start(seq, frame.chain, frame.time_ns)
        for frame in Reader(disk, cut=False).frames()
        if frame.first_seq + frame.count - 1 == seq
    )


# --- the rule -----------------------------------------------------------------------------------


def held(count=5, *, size=100, seqs=10, age=SECOND_NS):
    """Segments of this many seqs and bytes, each begun a while after the one before."""
    return [
        Held(
            segment_name(1 + n * seqs),
            SegmentHeader(JOURNAL, n + 1, 1 + n * seqs, n * age, size if n else 0, bytes(16), n),
            size,
        )
        for n in range(count)
    ]


def test_without_a_budget_nothing_goes():
    """A journal is kept whole unless somebody bounds it, however many snapshots there are."""
    assert retirable(held(), [10, 20, 30, 40, 50], Budget(), 10**18) == []


@pytest.mark.parametrize("snapshots", [[], [50], [50, 50]])
def test_without_two_snapshots_nothing_goes(snapshots):
    """One snapshot may be found damaged; two of the same place are one."""
    assert retirable(held(), snapshots, NOTHING, 10**18) == []


@pytest.mark.parametrize(
    ("snapshots", "going"),
    [([11, 12], 1), ([10, 50], 0), ([29, 30], 2), ([31, 32], 3), ([50, 49, 1], 4), ([1, 50, 2], 0)],
)
def test_what_goes_is_covered_by_two_snapshots(snapshots, going):
    """What the second newest snapshot ends in stays, for its proof, and the last segment."""
    segments = held()
    assert retirable(segments, snapshots, NOTHING, 10**18) == segments[:going]


@pytest.mark.parametrize(("bytes_max", "going"), [(500, 0), (499, 1), (400, 1), (250, 3), (1, 4)])
def test_a_budget_of_bytes_is_kept(bytes_max, going):
    """The oldest go until the rest fits the budget, and no more of them."""
    segments = held()
    assert retirable(segments, [50, 51], Budget(bytes_max=bytes_max), 0) == segments[:going]


@pytest.mark.parametrize(("now_s", "going"), [(11, 0), (12, 1), (13, 2), (100, 4), (-100, 0)])
def test_a_budget_of_time_is_kept(now_s, going):
    """What is older than the budget goes: the age is that of a segment's last event."""
    segments = held()
    found = retirable(segments, [50, 51], Budget(age_max_s=10), now_s * SECOND_NS)
    assert found == segments[:going]


def test_either_budget_is_enough():
    """With both bounds, what is over one of them goes."""
    segments = held()
    both = Budget(bytes_max=400, age_max_s=10)
    assert retirable(segments, [50, 51], both, 0) == segments[:1]
    assert retirable(segments, [50, 51], both, 13 * SECOND_NS) == segments[:2]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 99), st.integers(0, 9)), max_size=9),
    st.lists(st.integers(0, 99), max_size=5),
    st.builds(Budget, st.none() | st.integers(1, 500), st.none() | st.integers(1, 50)),
    st.integers(0, 100),
)
def test_what_goes_is_a_beginning_that_two_snapshots_cover(shapes, snapshots, budget, now_s):
    """Whatever is given: never a gap, never the last, never what one snapshot alone holds."""
    segments, seq, time_s = [], 1, 0
    for number, (seqs, size, pause_s) in enumerate(shapes, 1):
        header = SegmentHeader(JOURNAL, number, seq, time_s * SECOND_NS, 0, bytes(16), 0)
        segments.append(Held(segment_name(seq), header, size))
        seq, time_s = seq + seqs, time_s + pause_s
    going = retirable(segments, snapshots, budget, now_s * SECOND_NS)
    assert going == segments[: len(going)]
    assert len(going) < max(len(segments), 1)
    if going:
        next_seq = segments[len(going)].header.first_seq
        assert len({s for s in snapshots if s >= next_seq}) >= 2
    if budget == Budget():
        assert going == []


# --- what is there ------------------------------------------------------------------------------


def test_the_segments_of_a_journal_are_told_by_their_headers(empty_disk):
    """Every segment that is there, in order, with its size; nothing else in the directory."""
    disk = begin(empty_disk())
    disk.create("notes.txt", 10)
    found = held_segments(disk)
    _, reader = read(disk)
    assert [(h.name, h.header) for h in found] == [(s.name, s.header) for s in reader.segments]
    assert [h.size_bytes for h in found] == [disk.size(h.name) for h in found]


@pytest.mark.parametrize("fault", ["missing", "swapped", "foreign", "short", "header", "version"])
def test_nothing_goes_of_a_journal_that_is_not_whole(empty_disk, fault):
    """Where the segments do not follow each other, letting any go could only make it worse."""
    disk = begin(empty_disk())
    first, second, third, *_ = held_segments(disk)
    match fault:
        case "missing":
            disk.remove(second.name)
        case "swapped":
            disk.rename(second.name, "kept")
            disk.rename(third.name, second.name)
            disk.rename("kept", third.name)
        case "foreign":
            other = begin(empty_disk(), journal_id=b"another journal!")
            disk.write(second.name, 0, other.read(second.name))
        case "short":
            disk.truncate(first.name, disk.size(first.name) - 1)
        case "header":
            disk.write(second.name, 70, b"!")
        case "version":
            disk.write(second.name, 0, b"#" * SEGMENT_HEADER_SIZE)
    with pytest.raises(Corrupt, match=r"nothing is let go of a"):
        held_segments(disk)


# --- doing it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("archived", [False, True])
def test_what_is_left_is_read_from_either_snapshot(empty_disk, archived):
    """After segments went, each of the two snapshots and what is left is the whole history."""
    disk = begin(empty_disk(), 12)
    archive = empty_disk() if archived else None
    before = files_of(disk)
    starts = [start_at(disk, seq) for seq in (8, 11)]
    going = retirable(held_segments(disk), [8, 11], NOTHING, 0)
    assert len(going) == 3
    retire(disk, going, archive)
    left = files_of(disk)
    assert left == dict(list(before.items())[3:])
    if archive is not None:
        assert files_of(archive) | left == before
    for start in starts:
        records, reader = read(disk, start)
        assert records == [record(n) for n in range(start.seq + 1, 13)]
        assert reader.tail.position.next_seq == 13
    with pytest.raises(Corrupt, match="the ones before it"):
        read(disk)


def test_an_archive_put_back_is_the_whole_journal(empty_disk):
    """The files of the archive, put back, are read from the very beginning."""
    disk, archive = begin(empty_disk(), 12), empty_disk()
    retire(disk, held_segments(disk)[:3], archive)
    for name, content in files_of(archive).items():
        disk.create(name)
        disk.write(name, 0, content)
    assert read(disk)[0] == [record(n) for n in range(1, 13)]


def test_segments_larger_than_a_piece_are_archived_whole(empty_disk, monkeypatch):
    """A segment is copied piece by piece, and is the same in the end."""
    monkeypatch.setattr("happy.journal.retention.PIECE_SIZE", 1000)
    disk, archive = begin(empty_disk()), empty_disk()
    before = files_of(disk)
    retire(disk, held_segments(disk)[:2], archive)
    assert files_of(archive) == dict(list(before.items())[:2])


def test_an_archive_of_another_journal_is_not_overwritten(empty_disk):
    """A segment of the same name and other content is never written over; nothing goes."""
    disk, archive = begin(empty_disk()), begin(empty_disk(), journal_id=b"another journal!")
    before, archived = files_of(disk), files_of(archive)
    with pytest.raises(JournalError, match="give each journal an archive of its own"):
        retire(disk, held_segments(disk)[:2], archive)
    assert (files_of(disk), files_of(archive)) == (before, archived)


def test_a_full_archive_keeps_the_rest_in_the_journal():
    """Without room in the archive the segment stays where it is, and nothing half lies about."""
    disk, archive = begin(MemoryDisk()), MemoryDisk()
    before = files_of(disk)
    going = held_segments(disk)[:3]
    archive.room = going[0].size_bytes + going[1].size_bytes - 1
    with pytest.raises(NoRoom):
        retire(disk, going, archive)
    assert archive.names() == [going[0].name]
    assert files_of(disk) == dict(list(before.items())[1:])
    archive.room = None
    retire(disk, held_segments(disk)[:2], archive)
    assert files_of(archive) == dict(list(before.items())[:3])


def test_a_sync_of_the_archive_that_fails_removes_nothing():
    """What the archive's disk did not keep is still in the journal."""
    disk, archive = begin(MemoryDisk()), MemoryDisk()
    before = files_of(disk)
    archive.syncs_left = 0
    with pytest.raises(SyncFailed):
        retire(disk, held_segments(disk)[:2], archive)
    assert files_of(disk) == before
    assert all(is_part(name) for name in archive.names())


class Interrupted(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("archived", [False, True], ids=["removed", "archived"])
@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
def test_a_retirement_interrupted_at_any_step_is_finished_by_the_next(archived, power_cut):
    """Stopped before any step: no gap, nothing lost, no half file under a name; then it ends."""
    assert interrupted_everywhere(archived, power_cut) >= 8


@pytest.mark.parametrize(
    ("whose", "verb"), [("archive", "sync"), ("archive", "sync_dir"), ("journal", "sync_dir")]
)
def test_a_sync_that_keeps_nothing_is_noticed_by_that_check(whose, verb):
    """Each sync is needed: where one of them lies, a power cut loses something or leaves a gap."""
    with pytest.raises((AssertionError, JournalError)):
        interrupted_everywhere(True, True, **{whose: lambda step: step.verb == verb})


def interrupted_everywhere(archived, power_cut, journal=None, archive=None):
    """End a retirement before each of its steps and check what is left; return how many."""
    whole = begin(MemoryDisk(), 12)
    start = start_at(whole, 10)
    assert len(retirable(held_segments(whole), [10, 11], NOTHING, 0)) == 4
    for steps in range(200):
        disk, kept = copy_of(whole), MemoryDisk() if archived else None
        if kept is not None and archive is not None:
            kept.lies = archive
        if journal is not None:
            disk.lies = journal
        stopped = stopped_after(disk, kept, steps)
        for seed in range(9) if power_cut else [None]:
            check_left(disk, kept, files_of(whole), start, seed)
        if not stopped:
            return steps
    raise AssertionError("it does not end")


def stopped_after(disk, archive, steps):
    """Retire and end it before a step of either disk; say whether it was ended."""
    left = iter(range(steps))

    def count(_step):
        if next(left, None) is None:
            raise Interrupted

    for one in filter(None, (disk, archive)):
        one.before_step = count
    try:
        retire(disk, retirable(held_segments(disk), [10, 11], NOTHING, 0), archive)
    except Interrupted:
        return True
    finally:
        for one in filter(None, (disk, archive)):
            one.before_step = lambda _step: None
    return False


def check_left(disk, archive, before, start, seed):
    """Whatever the interruption left: it is whole, can be read, and is finished by another run."""
    if seed is not None:
        disk, archive = after_power_cut(disk, seed), archive and after_power_cut(archive, seed + 9)
    left, kept = files_of(disk), {} if archive is None else files_of(archive)
    assert list(left) == list(before)[len(before) - len(left) :]
    assert left.items() <= before.items()
    assert kept.items() <= before.items()
    if archive is not None:
        assert left | kept == before
    assert read(disk, start)[0] == [record(11), record(12)]
    disk.close()
    disk.lock()
    retire(disk, retirable(held_segments(disk), [10, 11], NOTHING, 0), archive)
    assert list(files_of(disk)) == list(before)[4:]
    if archive is not None:
        assert files_of(archive) == dict(list(before.items())[:4])


def after_power_cut(disk, seed):
    """Return what a power cut leaves of a disk, which stays as it is."""
    chance = random.Random(seed)
    odds = chance.random()
    return disk.survivor([n for n in range(disk.doubtful()) if chance.random() < odds])


def test_the_archive_may_be_made_by_the_first_segment_that_goes_there(tmp_path):
    """The archive's directory need not be there, and is private like the journal's."""
    disk = FileDisk(tmp_path / "app")
    disk.lock()
    begin(disk)
    path: Path = tmp_path / "archive" / "app"
    retire(disk, held_segments(disk)[:1], FileDisk(path))
    assert [p.name for p in path.iterdir()] == [segment_name(1)]
    assert path.stat().st_mode & 0o777 == 0o700
    disk.close()


def test_a_chain_from_nothing_is_a_snapshot_too():
    """A start of nothing is the beginning of the journal."""
    disk = begin(MemoryDisk())
    assert len(read(disk, Start(0, first_chain(JOURNAL), 0))[0]) == 9
