"""Reading a journal: what opens, what is cut off, what is refused, and what is said of it."""

import itertools
import re
import struct
import tracemalloc
import zlib
from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import Ambiguous, Corrupt, JournalError, NotAJournal
from happy.journal.appender import Appender, create_journal
from happy.journal.disk import FileDisk
from happy.journal.frame import (
    FRAME_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    Kind,
    decode_segment_header,
    encode_segment_header,
    first_chain,
    records_of,
)
from happy.journal.names import (
    BLOBS,
    SNAPSHOTS,
    TORN,
    segment_name,
    segment_seq,
    torn_name,
)
from happy.journal.recovery import Finding, Start
from happy.journal.replay import FileBytes, Reader
from happy.testing.disk import MemoryDisk

JOURNAL = b"this journal's id"[:16]
OTHER_JOURNAL = b"another journal!"
CAPACITY = SEGMENT_HEADER_SIZE + 400


@pytest.fixture(params=["file", "memory"])
def empty_disk(request, tmp_path):
    """A function that returns a fresh, locked disk, all of them of one sort."""
    made = []

    def make():
        if request.param == "memory":
            return MemoryDisk()
        disk = FileDisk(tmp_path / str(len(made)))
        made.append(disk)
        disk.lock()
        return disk

    yield make
    for disk in made:
        disk.close()


def put(disk, name, data):
    disk.create(name)
    disk.write(name, 0, data)
    disk.sync(name)


def load(disk, files):
    for name, data in files.items():
        put(disk, name, data)
    return disk


def files_of(disk):
    return {n: disk.read(n) for n in disk.names() if segment_seq(n) is not None}


def record(number):
    return b"record %d " % number * 6


def salts():
    salt = iter(range(2, 100))
    return lambda: next(salt)


def begin(disk, journal_id=JOURNAL, capacity=CAPACITY):
    tail = create_journal(disk, journal_id, 1, 5, capacity)
    return Appender(disk, tail, segment_bytes_max=capacity, new_salt=salts())


def continued(disk, tail, capacity=CAPACITY):
    return Appender(disk, tail, segment_bytes_max=capacity, new_salt=lambda: 77)


def journal(count, *, closed=True, journal_id=JOURNAL, disk=None):
    """The files of a journal of ``count`` records over several segments."""
    disk = MemoryDisk() if disk is None else disk
    appender = begin(disk, journal_id)
    for number in range(1, count + 1):
        appender.append([record(number)], 10 + number)
    if closed:
        appender.mark(Kind.CLOSE_MARK, 10 + count)
    return files_of(disk)


def read(disk, *, cut=True):
    """Return the records of a journal and the reader that is through with it."""
    reader = Reader(disk, cut=cut)
    return [bytes(r) for frame in reader.frames() for r in records_of(frame)], reader


def ends_of_frames(disk, name):
    """Return where each frame of a segment ends, with how many records the journal has there."""
    frames = list(Reader(disk, cut=False).frames())
    header = decode_segment_header(disk.read(name))
    inside, seq = [], 0
    for frame in frames:
        seq = frame.first_seq + frame.count - 1
        if seq >= header.first_seq:
            inside.append((frame.end, seq))
    return inside


# --- what opens ---------------------------------------------------------------------------------


def test_an_empty_disk_has_no_journal(empty_disk):
    """Where nothing is there is nothing to read, and nothing is made."""
    disk = empty_disk()
    before = disk.names()
    records, reader = read(disk)
    assert (records, reader.tail, reader.torn, reader.segments) == ([], None, None, [])
    assert disk.names() == before


def test_what_was_written_is_read(empty_disk):
    """Every record is read back, in order, over all segments, with the times it was given."""
    disk = load(empty_disk(), journal(9))
    reader = Reader(disk, cut=False)
    frames = list(reader.frames())
    assert [bytes(r) for f in frames for r in records_of(f)] == [record(n) for n in range(1, 10)]
    assert [f.first_seq for f in frames] == [*range(1, 10), 10]
    assert [f.time_ns for f in frames] == [*range(11, 20), 19]
    assert len(reader.segments) == 5
    assert [s.header.number for s in reader.segments] == [1, 2, 3, 4, 5]
    assert len({s.header.salt for s in reader.segments}) == 5


@pytest.mark.parametrize("closed", [True, False])
def test_the_tail_says_how_the_journal_ended(closed):
    """A journal that was closed in good order says so; one that was not does not."""
    _, reader = read(load(MemoryDisk(), journal(3, closed=closed)))
    assert reader.tail.closed is closed
    assert reader.tail.position.next_seq == 4


def test_progress_is_told_by_segments():
    """Who waits for a long replay hears how many segments of how many are through."""
    told = []
    for _ in Reader(load(MemoryDisk(), journal(9)), cut=False).frames(
        lambda done, total: told.append((done, total))
    ):
        pass
    assert told == [(n, 5) for n in range(1, 6)]


@pytest.mark.parametrize("zeros", [1, 7, 512, 70_000])
def test_zeros_at_the_end_are_room(empty_disk, zeros):
    """Zeros after the last frame are preallocated room: nothing is cut and nothing is said."""
    files = journal(4)
    last = max(files)
    files[last] = files[last].rstrip(b"\0") + bytes(zeros)
    disk = load(empty_disk(), files)
    records, reader = read(disk)
    assert len(records) == 4
    assert reader.torn is None
    assert disk.names(TORN) == []


def test_looking_writes_nothing(empty_disk):
    """A journal that is only looked at is left as it is, its torn end too, and that is told."""
    files = journal(3, closed=False)
    last = max(files)
    files[last] = files[last].rstrip(b"\0")[:-9]
    disk = load(empty_disk(), files)
    names = disk.names()
    records, reader = read(disk, cut=False)
    assert records == [record(1), record(2)]
    assert (reader.torn.segment, reader.torn.finding) == (last, Finding.SHORT)
    assert reader.torn.kept == ""
    assert (files_of(disk), disk.names(), disk.names(TORN)) == (files, names, [])


# --- truncation -----------------------------------------------------------------------------------


def check_cut(disk, files, name, size, expected):
    """A journal cut to ``size`` opens with ``expected`` records, keeps the rest, and goes on."""
    lost = files[name][:size]
    records, reader = read(disk)
    assert records == [record(n) for n in range(1, expected + 1)], size
    if reader.torn is None:
        assert disk.names(TORN) == []
    else:
        assert reader.torn.segment == name
        assert disk.read(reader.torn.kept) == lost[reader.torn.offset :].rstrip(b"\0")
        assert reader.torn.size == len(disk.read(reader.torn.kept))
    appender = continued(disk, reader.tail)
    for number in range(expected + 1, expected + 4):
        appender.append([record(number)], 1000)
    records, again = read(disk)
    assert records == [record(n) for n in range(1, expected + 4)], size
    assert again.torn is None


@pytest.mark.parametrize("closed", [True, False])
def test_the_last_segment_cut_at_any_byte_opens(empty_disk, closed):
    """Cut anywhere: the longest whole-frame prefix, the rest kept aside, and on it goes."""
    files = journal(6, closed=closed)
    last = max(files)
    assert len(files) == 3
    whole = load(MemoryDisk(), files)
    inside = ends_of_frames(whole, last)
    before = segment_seq(last) - 1
    on_memory = isinstance(empty_disk(), MemoryDisk)
    sizes = range(len(files[last]) + 1)
    for size in sizes if on_memory else [*sizes[:4096:1023], *sizes[4090:4100], *sizes[4100::59]]:
        disk = load(empty_disk(), files)
        disk.truncate(last, size)
        expected = max([seq for end, seq in inside if end <= size], default=before)
        check_cut(disk, files, last, size, expected)
        if not on_memory:
            disk.close()


def test_the_only_segment_cut_at_any_byte_opens():
    """With its header, its prefix opens; without it, it is kept aside and nothing is left."""
    files = journal(2, closed=False)
    (name,) = files
    inside = ends_of_frames(load(MemoryDisk(), files), name)
    for size in range(len(files[name]) + 1):
        disk = load(MemoryDisk(), files)
        disk.truncate(name, size)
        if size < SEGMENT_HEADER_SIZE:
            records, reader = read(disk)
            assert (records, reader.segments, reader.tail) == ([], [], None)
            assert (reader.torn.segment, reader.torn.offset) == (name, 0)
            assert disk.read(reader.torn.kept) == files[name][:size].rstrip(b"\0")
            assert files_of(disk) == {}
            assert read(begun_again(disk))[0] == [record(1)]
        else:
            expected = max([seq for end, seq in inside if end <= size], default=0)
            check_cut(disk, files, name, size, expected)


def begun_again(disk):
    begin(disk).append([record(1)], 11)
    return disk


@pytest.mark.parametrize(
    "trace",
    [
        f"{SNAPSHOTS}/00000000000000000007",
        f"{BLOBS}/{'a' * 64}",
        torn_name(segment_name(1), SEGMENT_HEADER_SIZE),
        torn_name(segment_name(9), 0),
    ],
)
def test_an_only_segment_without_a_header_is_refused_where_something_tells_of_events(
    empty_disk, trace
):
    """A snapshot, a body or a piece cut off is there because of events: nothing begins anew."""
    files = journal(2, closed=False)
    (name,) = files
    disk = load(empty_disk(), {name: files[name][:100], trace: b"here"})
    said = refused(disk, {}, Corrupt)
    assert said.startswith(f"{name}, offset 0, from seq 1 on: a segment header cut short")
    assert f"{trace} tells of events" in said
    assert (disk.read(name), disk.read(trace)) == (files[name][:100], b"here")


def test_an_only_segment_that_is_not_the_first_is_refused_without_its_header(empty_disk):
    """A segment named by a later seq followed others, whose events nobody can have forgotten."""
    name = segment_name(5)
    disk = load(empty_disk(), {name: b"HAPPYJNL"})
    assert f"{name}, offset 0, from seq 5 on" in refused(disk, {}, Corrupt)
    assert disk.read(name) == b"HAPPYJNL"


@pytest.mark.parametrize("which", [0, 1])
def test_an_earlier_segment_cut_at_any_byte_is_refused(which):
    """What an earlier segment lacks was answered: refused, with the file, offset and seq."""
    files = journal(6)
    name = sorted(files)[which]
    frames = ends_of_frames(load(MemoryDisk(), files), name)
    frames = [f for f in frames if f[1] < segment_seq(sorted(files)[which + 1])]
    for size in range(frames[-1][0]):
        disk = load(MemoryDisk(), files)
        disk.truncate(name, size)
        with pytest.raises(Corrupt) as refused:
            read(disk)
        offset = max([e for e, _ in frames if e <= size], default=min(size, 4096) // 4096 * 4096)
        seq = max([s + 1 for e, s in frames if e <= size], default=segment_seq(name))
        assert str(refused.value).startswith(f"{name}, offset {offset}, from seq {seq} on: "), size
        assert disk.size(name) == size
        assert disk.names(TORN) == []


def test_a_headless_segment_after_a_torn_one_is_refused():
    """A headless last segment is let go only where all before it is whole."""
    files = journal(6)
    *_, middle, last = sorted(files)
    files[last] = files[last][:100]
    files[middle] = files[middle].rstrip(b"\0")[:-9]
    with pytest.raises(Corrupt, match=f"{middle}, offset"):
        read(load(MemoryDisk(), files))


def test_a_cut_that_was_interrupted_is_done_again(empty_disk):
    """Power may go in the middle of a cut: the next start does it again, and keeps one copy."""
    files = journal(3, closed=False)
    last = max(files)
    files[last] = torn = files[last].rstrip(b"\0")[:-9]
    disk = load(empty_disk(), files)
    _, first = read(disk)
    put(disk, last, torn)
    _, second = read(disk)
    assert first.torn == second.torn
    assert disk.names(TORN) == [first.torn.kept]


def test_what_is_kept_aside_is_never_overwritten(empty_disk):
    """A second torn write at the same place is kept beside the first."""
    files = journal(3, closed=False)
    last = max(files)
    whole = files[last].rstrip(b"\0")
    disk = load(empty_disk(), files)
    kept = []
    for size in (9, 20, 30):
        put(disk, last, whole[:-size])
        _, reader = read(disk)
        kept.append(reader.torn.kept)
        assert disk.read(kept[-1]) == whole[reader.torn.offset : -size]
    assert len(set(kept)) == 3
    assert disk.names(TORN) == kept


# --- one wrong bit --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.IDLE_MARK, Kind.CLOSE_MARK])
@pytest.mark.parametrize("second", [b"two", bytes(1200)], ids=["text", "zeros"])
def test_one_wrong_bit_never_changes_or_shortens_the_state_unsaid(second, kind):
    """Two frames and a mark: any one bit flipped is the same state or a refusal.

    In the header and in the frames it is refused as damage, never cut; in the mark itself and
    right behind it a person is asked; only stray bits in the room behind are cut off.
    """
    disk = MemoryDisk()
    appender = begin(disk, capacity=10_000)
    appender.append([b"one"], 11)
    appender.append([second], 12)
    appender.mark(kind, 13)
    name = segment_name(1)
    data = disk.read(name).rstrip(b"\0")
    data = data.ljust(len(data) + 700, b"\0")
    plain = second == b"two" and kind is Kind.IDLE_MARK
    first = 0 if plain else SEGMENT_HEADER_SIZE  # the header is the same in all of them
    outcomes = flip_every_bit(name, data, [b"one", second], first)
    mark = data.rstrip(b"\0")
    in_mark = range(len(mark) + -len(mark) % 8 - FRAME_HEADER_SIZE, len(mark) + -len(mark) % 8)
    for byte, outcome in outcomes:
        if byte < in_mark.start:
            assert outcome == "Corrupt", byte
        elif byte in in_mark:
            assert outcome == "Ambiguous", byte
        else:
            assert outcome in {"Ambiguous", "cut, same state"}, byte


@pytest.mark.parametrize("second", [b"two", bytes(1500)], ids=["text", "zeros"])
def test_one_wrong_bit_in_a_last_answered_frame_is_never_cut(second):
    """Without a mark after it, a whole last frame with a wrong bit is left to a person."""
    disk = MemoryDisk()
    appender = begin(disk, capacity=10_000)
    appender.append([b"one"], 11)
    appender.append([second], 12)
    name = segment_name(1)
    frames = list(Reader(disk, cut=False).frames())
    data = disk.read(name)[: frames[-1].end]
    outcomes = flip_every_bit(name, data, [b"one", second], SEGMENT_HEADER_SIZE)
    assert {o for byte, o in outcomes if byte >= frames[1].offset} == {"Ambiguous"}
    assert {o for byte, o in outcomes if byte < frames[1].offset} == {"Corrupt"}


def flip_every_bit(name, data, records, first=0):
    """Return (byte, outcome) for every bit flipped alone; print how often each outcome came."""
    disk = load(MemoryDisk(), {name: data})
    outcomes = []
    for bit in range(first * 8, len(data) * 8):
        byte = bit // 8
        disk.write(name, byte, bytes([data[byte] ^ 1 << bit % 8]))
        try:
            found, reader = read(disk, cut=False)
        except JournalError as error:
            outcomes.append((byte, type(error).__name__ if name in str(error) else "nameless"))
        else:
            assert found == records, f"bit {bit}: another state"
            outcomes.append((byte, "cut, same state" if reader.torn else "same state, unsaid"))
        disk.write(name, byte, data[byte : byte + 1])
    print(Counter(outcome for _, outcome in outcomes))
    return outcomes


# --- a loss that is accepted ------------------------------------------------------------------


def damaged(at=-1, *, closed=False):
    """The files of a journal of 4 records, with a wrong bit in the last frame, and its name."""
    files = journal(4, closed=closed)
    last = max(files)
    *_, frame = Reader(load(MemoryDisk(), files), cut=False).frames()
    content = bytearray(files[last])
    content[frame.end - 1 if at < 0 else frame.offset + at] ^= 4
    return files | {last: bytes(content)}, last, frame


def test_an_ambiguous_tail_is_cut_off_when_somebody_says_so(empty_disk):
    """With the loss accepted: the frames before it, the bytes kept aside, and what was lost."""
    files, last, frame = damaged(at=FRAME_HEADER_SIZE)
    refused(empty_disk(), files, Ambiguous)
    disk = load(empty_disk(), files)
    reader = Reader(disk, cut=True, accept_tail_loss=True)
    assert [bytes(r) for f in reader.frames() for r in records_of(f)] == [
        record(n) for n in (1, 2, 3)
    ]
    torn = reader.torn
    assert (torn.segment, torn.offset, torn.seq, torn.count) == (last, frame.offset, 4, 1)
    assert (torn.accepted, torn.finding) == (True, Finding.BAD)
    assert disk.read(torn.kept) == files[last][frame.offset :].rstrip(b"\0")
    continued(disk, reader.tail).append([b"again"], 1000)
    assert read(disk)[0][3:] == [b"again"]


def test_a_loss_whose_size_nobody_knows_is_told_so():
    """When even the frame's header is wrong, how many events it had is not known."""
    files, _, _ = damaged(at=30)
    reader = Reader(load(MemoryDisk(), files), cut=True, accept_tail_loss=True)
    assert len(list(reader.frames())) == 3
    assert (reader.torn.seq, reader.torn.count, reader.torn.accepted) == (4, None, True)


def test_a_mark_that_is_damaged_loses_no_event():
    """A wrong bit in a mark is ambiguous too; accepting it loses nothing, and says so."""
    files, _, _ = damaged(at=33, closed=True)
    with pytest.raises(Ambiguous):
        read(load(MemoryDisk(), files))
    reader = Reader(load(MemoryDisk(), files), cut=True, accept_tail_loss=True)
    assert len(list(reader.frames())) == 4
    assert reader.torn.seq == 5


def test_what_is_torn_is_not_called_a_loss():
    """A torn tail is cut off as ever, accepted or not: it was never answered."""
    files = journal(3, closed=False)
    last = max(files)
    files[last] = files[last].rstrip(b"\0")[:-9]
    reader = Reader(load(MemoryDisk(), files), cut=True, accept_tail_loss=True)
    assert len(list(reader.frames())) == 2
    assert (reader.torn.finding, reader.torn.accepted) == (Finding.SHORT, False)


def test_damage_is_refused_whatever_is_accepted():
    """Only an ambiguous tail can be accepted: what good frames follow, never."""
    files = journal(6)
    for name, data in files.items():
        content = bytearray(data)
        content[SEGMENT_HEADER_SIZE + 80] ^= 1
        with pytest.raises(Corrupt, match=name):
            list(
                Reader(
                    load(MemoryDisk(), files | {name: bytes(content)}),
                    cut=True,
                    accept_tail_loss=True,
                ).frames()
            )


# --- a recovery that is interrupted ------------------------------------------------------------


class Interrupted(BaseException):
    """The process ends here."""


def torn_journals():
    """Yield journals that a start has to mend, and whether that has to be accepted."""
    files = journal(5, closed=False)
    last = max(files)
    whole = files[last].rstrip(b"\0")
    yield files, False
    yield files | {last: whole[:-9]}, False
    yield files | {last: whole + b"\0" * 40 + b"stray"}, False
    yield files | {last: whole[:100]}, False
    yield damaged()[0], True


@pytest.mark.parametrize("power_cut", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize(("files", "accepted"), list(torn_journals()))
def test_a_recovery_interrupted_at_any_step_comes_to_the_same(files, accepted, power_cut):
    """Stopped before any step of the disk and begun again, recovery gives the same journal.

    And what is written after it is there when it is recovered once more.
    """
    plain = load(MemoryDisk(), files)
    expected, reader = recovered(plain, accepted)
    kept = [plain.read(name) for name in plain.names(TORN)]
    for steps in range(100):
        disk = load(MemoryDisk(), files)
        disk.lock()
        if stopped_after(disk, steps, lambda disk=disk: recovered(disk, accepted)) is False:
            break
        if power_cut:
            disk.crash(seed=steps)
        records, again = recovered(disk, accepted)
        assert (records, again.tail) == (expected, reader.tail), steps
        assert [disk.read(name) for name in disk.names(TORN) if "part" not in name] == kept
        continued(disk, again.tail).append([b"written after"], 1000)
        disk.crash()
        assert read(disk)[0] == [*expected, b"written after"]
    assert 1 < steps < 99


def recovered(disk, accepted):
    reader = Reader(disk, cut=True, accept_tail_loss=accepted)
    records = [bytes(r) for frame in reader.frames() for r in records_of(frame)]
    continued(disk, reader.tail)
    return records, reader


def stopped_after(disk, steps, work):
    """Do work and end it before a step of the disk; False when it was through before that."""
    left = iter(range(steps))

    def count(_step):
        if next(left, None) is None:
            raise Interrupted

    disk.before_step = count
    try:
        work()
    except Interrupted:
        return True
    finally:
        disk.before_step = lambda _step: None
    return False


# --- segments that are not where they belong --------------------------------------------------


def test_every_segment_that_is_not_where_it_belongs_is_refused_by_name():
    """Removed, copied over another, exchanged, renamed or foreign: the file is in the message.

    That the last one is missing is the one thing a journal cannot tell of itself.
    """
    files, other = journal(9), journal(9, journal_id=OTHER_JOURNAL)
    names = sorted(files)
    assert len(names) == 5
    for name in names[:-1]:
        assert name in refused(MemoryDisk(), {n: d for n, d in files.items() if n != name})
    for one, another in itertools.permutations(names, 2):
        assert another in refused(MemoryDisk(), files | {another: files[one]})
        said = refused(MemoryDisk(), files | {one: files[another], another: files[one]})
        assert min(one, another) in said
    for name in names:
        assert name in refused(MemoryDisk(), files | {name: other[name]})
        for seq in (0, segment_seq(name) + 1, 99):
            doubled = files | {segment_name(seq): files[name]}
            assert segment_name(seq) in refused(MemoryDisk(), doubled)
            renamed = {n: d for n, d in doubled.items() if n != name}
            said = refused(MemoryDisk(), renamed)
            assert segment_name(seq) in said or name in said


def refused(disk, files, error=Corrupt):
    disk = load(disk, files)
    before = files_of(disk), disk.names(TORN)
    with pytest.raises(error) as caught:
        read(disk)
    assert (files_of(disk), disk.names(TORN)) == before
    said = str(caught.value)
    assert re.search(r"; (restore|give|move|use) ", said), said
    return said


def test_a_missing_segment_is_refused_by_name(empty_disk):
    """A segment that is gone from the beginning or the middle is named in the refusal."""
    files = journal(6)
    first, middle, last = sorted(files)
    without = {n: d for n, d in files.items() if n != middle}
    assert f"{middle} is missing" in refused(empty_disk(), without)
    without = {n: d for n, d in files.items() if n != first}
    said = refused(empty_disk(), without)
    assert middle in said
    assert "segment 2 of its journal" in said
    assert "segment 3 of its journal" in refused(empty_disk(), {last: files[last]})


def test_a_doubled_segment_is_refused_by_name(empty_disk):
    """A copy of a segment under another segment's name is named, with the name it should have."""
    files = journal(6)
    first, middle, _ = sorted(files)
    doubled = files | {middle: files[first]}
    said = refused(empty_disk(), doubled)
    assert said.startswith(f"{middle}: this is the segment that begins with seq 1;")
    beside = files | {segment_name(99): files[middle]}
    assert refused(empty_disk(), beside).startswith(f"{segment_name(99)}: this is the segment")


def test_swapped_segments_are_refused_by_name(empty_disk):
    """Two segments that changed names are noticed at the first of them."""
    files = journal(6)
    _, middle, last = sorted(files)
    swapped = files | {middle: files[last], last: files[middle]}
    assert refused(empty_disk(), swapped).startswith(f"{middle}: this is the segment")


def test_a_renamed_segment_is_refused_by_name(empty_disk):
    """A segment under a wrong name is named, with the seq it begins with."""
    files = journal(6)
    last = max(files)
    renamed = {n: d for n, d in files.items() if n != last} | {segment_name(9): files[last]}
    said = refused(empty_disk(), renamed)
    assert said.startswith(f"{segment_name(9)}: this is the segment that begins with seq 5;")


def test_a_segment_of_another_journal_is_refused_by_name(empty_disk):
    """A segment from elsewhere that fits by its name and its seqs does not fit by its journal."""
    files, other = journal(6), journal(6, journal_id=OTHER_JOURNAL)
    last = max(files)
    said = refused(empty_disk(), files | {last: other[last]})
    assert said.startswith(f"{last}: it belongs to another journal than")


def test_a_segment_of_another_history_is_refused_by_name(empty_disk):
    """A segment of the same journal from another history (an old copy) breaks the chain."""
    files = journal(6)
    disk = MemoryDisk()
    appender = begin(disk)
    for number in range(1, 7):
        appender.append([record(number).upper()], 10 + number)
    first, middle, _ = sorted(files)
    said = refused(empty_disk(), files | {first: files_of(disk)[first]})
    assert said.startswith(f"{middle}: it does not continue {first}")


def test_a_frame_too_many_in_an_earlier_segment_is_refused(empty_disk):
    """A frame written to a sealed segment, behind where the next one began, is noticed."""
    disk = MemoryDisk()
    appender = begin(disk, capacity=CAPACITY)
    for number in range(1, 3):
        appender.append([record(number)], 10 + number)
    early = load(MemoryDisk(), files_of(disk))
    appender.append([record(3)], 13)
    _, reader = read(early)
    continued(early, reader.tail, capacity=10**6).append([b"too many"], 99)
    first, second = sorted(files_of(disk))
    files = files_of(disk) | {first: early.read(first)}
    assert refused(empty_disk(), files).startswith(f"{second}: it does not continue {first}")


def test_a_later_format_is_refused_by_its_version(empty_disk):
    """A journal of a later version is told apart from damage."""
    files = journal(1)
    (name,) = files
    header = decode_segment_header(files[name])
    block = bytearray(encode_segment_header(header))
    block[8] = 2
    block[-4:] = struct.pack("<I", zlib.crc32(block[:-4]))
    files[name] = bytes(block) + files[name][SEGMENT_HEADER_SIZE:]
    said = refused(empty_disk(), files, NotAJournal)
    assert said.startswith(f"{name}: its format version is 2, this program reads 1;")


def test_a_file_that_is_no_segment_is_refused_by_name(empty_disk):
    """A file with a segment's name and something else in it is named."""
    said = refused(empty_disk(), {segment_name(1): b"#!/bin/sh\n" * 1000})
    assert said.startswith(f"{segment_name(1)}, offset 0, from seq 1 on: the checksum")


def test_other_files_are_left_alone(empty_disk):
    """Files that are not named like segments are not read and not touched."""
    disk = load(empty_disk(), journal(2))
    put(disk, "00000000000000000001.segment.bak", b"a copy somebody made")
    assert len(read(disk)[0]) == 2
    assert disk.read("00000000000000000001.segment.bak") == b"a copy somebody made"


# --- beginning behind a snapshot ----------------------------------------------------------------


def starts(files):
    """Return the start that a snapshot at each place of a journal would give, marks included."""
    frames = Reader(load(MemoryDisk(), files), cut=False).frames()
    return [Start(f.first_seq + f.count - 1, f.chain, f.time_ns) for f in frames]


def marked_journal():
    """The files of a journal of 9 records with marks between, over several segments."""
    disk = MemoryDisk()
    appender = begin(disk)
    for number in range(1, 10):
        appender.append([record(number)], 10 + number)
        if number % 2:
            appender.mark(Kind.IDLE_MARK, 10 + number)
    return files_of(disk)


def read_from(disk, start):
    reader = Reader(disk, cut=True, start=start)
    return [bytes(r) for frame in reader.frames() for r in records_of(frame)], reader


@pytest.mark.parametrize("files", [journal(9), marked_journal()], ids=["plain", "marked"])
def test_a_reader_begins_behind_a_snapshot(files):
    """From every place on: what follows it, the same tail, and the older segments not needed."""
    names = sorted(files)
    _, whole = read(load(MemoryDisk(), files))
    for start in starts(files):
        needed = [n for n in names if segment_seq(n) <= start.seq][-1:]
        for first in {names[0], *needed}:
            disk = load(MemoryDisk(), {n: d for n, d in files.items() if n >= first})
            records, reader = read_from(disk, start)
            assert records == [record(n) for n in range(start.seq + 1, 10)]
            assert reader.tail == whole.tail
            assert reader.segments[0].name == needed[0]
            assert reader.segments[-1] == whole.segments[-1]


def test_a_segment_that_begins_right_behind_a_snapshot_is_enough():
    """The segment that holds the snapshot's last event may be gone: the next one's chain fits."""
    files = journal(9)
    for name in sorted(files)[1:]:
        (start,) = [s for s in starts(files) if s.seq == segment_seq(name) - 1]
        disk = load(MemoryDisk(), {n: d for n, d in files.items() if n >= name})
        records, reader = read_from(disk, start)
        assert records == [record(n) for n in range(start.seq + 1, 10)]
        continued(disk, reader.tail).append([b"on it goes"], 1000)


def test_time_goes_on_from_a_snapshot():
    """With nothing behind the snapshot, the snapshot says before which time nothing may be."""
    disk = MemoryDisk()
    appender = begin(disk)
    for number in (1, 2):
        appender.append([record(number)], 50)
    appender._make_room(CAPACITY, 50)
    first, last = sorted(files_of(disk))
    start = starts({first: disk.read(first)})[-1]
    _, reader = read_from(load(MemoryDisk(), {last: disk.read(last)}), start)
    assert (reader.tail.position.time_ns, reader.tail.position.next_seq) == (50, 3)


def test_a_snapshot_of_nothing_begins_at_the_beginning():
    """A snapshot that holds no event is a start like any other."""
    files = journal(5)
    records, _ = read_from(load(MemoryDisk(), files), Start(0, first_chain(JOURNAL), 0))
    assert len(records) == 5


def test_without_a_snapshot_the_beginning_is_needed():
    """A journal whose oldest segments were let go opens for nobody who brings no snapshot."""
    files = journal(9)
    for name in sorted(files)[1:]:
        said = refused(MemoryDisk(), {n: d for n, d in files.items() if n >= name})
        assert said.startswith(f"{name}: this is segment ")


def test_a_snapshot_of_another_history_is_refused():
    """The chain decides: another seq, another journal or a journal that ends before it is none."""
    files = journal(9)
    places = starts(files)
    assert len(places) == 10
    wrong = [attrs.evolve(start, chain=bytes(16)) for start in places]
    wrong += [attrs.evolve(start, seq=start.seq - 1) for start in places]
    wrong += [attrs.evolve(start, seq=start.seq + 1) for start in places]
    wrong += starts(journal(9, journal_id=OTHER_JOURNAL))
    for start in wrong:
        disk = load(MemoryDisk(), files)
        with pytest.raises(Corrupt, match=rf"snapshot that ends with seq {start.seq} is not of"):
            read_from(disk, start)
        assert files_of(disk) == files


def test_a_snapshot_newer_than_a_torn_journal_is_refused_before_anything_is_cut():
    """A journal that ends before its snapshot lost answered events: nothing is mended there."""
    files = journal(9, closed=False)
    start = starts(files)[-1]
    last = max(files)
    for size in (100, len(files[last].rstrip(b"\0")) - 9):
        short = files | {last: files[last][:size]}
        disk = load(MemoryDisk(), short)
        with pytest.raises(Corrupt):
            read_from(disk, start)
        assert files_of(disk) == short
        assert disk.names(TORN) == []


def test_a_gap_behind_a_snapshot_is_refused():
    """Segments that are missing between the snapshot and the first that is there are told."""
    files = journal(9)
    start = starts(files)[0]
    disk = load(MemoryDisk(), {n: d for n, d in files.items() if segment_seq(n) > 4})
    with pytest.raises(Corrupt, match="the snapshot ends with seq 1, and the segments between"):
        read_from(disk, start)


# --- garbage ----------------------------------------------------------------------------------


def test_garbage_behind_the_room_is_kept_aside_and_told(empty_disk):
    """Bytes behind preallocated zeros are cut off with what is before them kept, and told."""
    files = journal(3)
    last = max(files)
    garbage = bytes(range(256)) * 256
    files[last] += garbage
    disk = load(empty_disk(), files)
    records, reader = read(disk)
    assert len(records) == 3
    assert reader.torn.finding is Finding.UNWRITTEN
    assert disk.read(reader.torn.kept).endswith(garbage)
    assert len(read(disk)[0]) == 3


def test_garbage_right_after_the_last_frame_is_left_to_a_person(empty_disk):
    """Noise where a frame would be is not what a torn write leaves: refused, nothing touched."""
    files = journal(4)
    last = max(files)
    end = ends_of_frames(load(MemoryDisk(), files), last)[-1][0]
    files[last] = files[last][:end] + bytes(range(1, 256)) * 257
    said = refused(empty_disk(), files, Ambiguous)
    assert said.startswith(f"{last}, offset {end}, from seq 5 on: ")


def test_reading_takes_no_more_memory_for_a_larger_segment(tmp_path):
    """A segment is read piece by piece: neither its frames nor its room are in memory at once."""
    disk = FileDisk(tmp_path)
    disk.lock()
    appender = begin(disk, capacity=40_000_000)
    for number in range(20):
        appender.append([bytes([number]) * 1000] * 1000, 10)
    disk.close()
    tracemalloc.start()
    count = sum(frame.count for frame in Reader(disk, cut=False).frames())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 8_000_000


@pytest.mark.parametrize("size", [1, 71, 72, 500, 4097])
def test_what_is_found_does_not_depend_on_the_pieces(size, monkeypatch):
    """Read in pieces of any size, a journal is judged as it is when read at once."""
    disks = [load(MemoryDisk(), files) for files, _ in torn_journals()]
    files = journal(3)
    (name, *_) = sorted(files)
    for at in range(SEGMENT_HEADER_SIZE, SEGMENT_HEADER_SIZE + 300, 13):
        content = bytearray(files[name])
        content[at : at + 100] = bytes(100)
        disks.append(load(MemoryDisk(), files | {name: bytes(content)}))
        disks.append(load(MemoryDisk(), {name: bytes(content)}))
    at_once = [judged(disk) for disk in disks]
    assert len(set(at_once)) > 10
    monkeypatch.setattr("happy.journal.replay.PIECE_SIZE", size)
    monkeypatch.setattr("happy.journal.recovery._LOOK_SIZE", size)
    assert [judged(disk) for disk in disks] == at_once


def judged(disk):
    try:
        records, reader = read(disk, cut=False)
    except JournalError as error:
        return repr(error)
    return repr((records, reader.tail, reader.torn))


@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 310), st.integers(0, 310))))
def test_a_file_in_pieces_is_sliced_like_bytes(content, parts):
    """Slices of a file are those of its bytes, in whatever order they are asked for."""
    disk = load(MemoryDisk(), {"a": content})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("happy.journal.replay.PIECE_SIZE", 16)
        pieces = FileBytes(disk, "a")
        assert len(pieces) == len(content)
        for start, stop in parts:
            assert bytes(pieces[start:stop]) == content[start:stop]


def test_a_long_torn_end_is_looked_through_in_pieces():
    """Much garbage far behind the end is kept whole, and what is looked through is bounded."""
    files = journal(1, closed=False)
    (name,) = files
    garbage = bytes(3_000_000) + b"\x17" * 1000
    disk = load(MemoryDisk(), {name: files[name] + garbage})
    _, reader = read(disk)
    assert disk.read(reader.torn.kept).endswith(garbage)
    assert len(disk.read(reader.torn.kept)) == reader.torn.size


def test_a_frame_that_says_too_much_costs_no_memory():
    """The memory a reader takes is bounded by the file, whatever lengths the frames say."""
    files = journal(1, closed=False)
    (name,) = files
    header = decode_segment_header(files[name])
    head = struct.pack(
        "<4sBBHIIIIQQQ20x", b"HFRM", 1, 0, 0, 2**32 - 1, 2**32 - 1, header.salt, 0, 2, 99, 4096
    )
    end = len(files[name].rstrip(b"\0")) + 7 & ~7
    files[name] = files[name][:end] + head + struct.pack("<I", zlib.crc32(head)) + b"x" * 1000
    disk = load(MemoryDisk(), files)
    tracemalloc.start()
    records, reader = read(disk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(records), reader.torn.finding) == (1, Finding.SHORT)
    assert peak < 200_000


@pytest.mark.parametrize("magic", [b"HFRM", b"HHHHFRM", b"HFRMHFRM" * 9])
def test_a_sea_of_magic_is_looked_through_once(magic):
    """Bytes made to look like frames everywhere cost a look at each, not a hang."""
    files = journal(1, closed=False)
    (name,) = files
    end = len(files[name].rstrip(b"\0")) + 7 & ~7
    files[name] = files[name][:end] + magic * (100_000 // len(magic))
    with pytest.raises(Ambiguous):
        read(load(MemoryDisk(), files))


def test_a_tail_is_a_value():
    """What a reader hands to a writer cannot be changed by either."""
    _, reader = read(load(MemoryDisk(), journal(1)))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reader.tail.unproven = 0
