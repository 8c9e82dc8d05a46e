"""Opening an application: its journal begun or read, its state rebuilt, its next place known."""

import random

import attrs
import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from happy import App, event, handles, state, table
from happy.app import definition_of
from happy.codec import EventDecoder, encode
from happy.errors import Ambiguous, Corrupt, NoRoom, NotAJournal, SyncFailed, UnknownEvent
from happy.journal.disk import FileDisk
from happy.journal.frame import SEGMENT_HEADER_SIZE, Kind, encode_frame
from happy.journal.names import (
    NEXT_SEGMENT,
    segment_name,
    segment_seq,
    snapshot_name,
    torn_name,
)
from happy.limits import Limits
from happy.opening import open_application
from happy.table import Table
from happy.testing.disk import MemoryDisk
from happy.world import World
from snapshot_kit import Branch, Paid, told

LIMITS = Limits(segment_bytes_max=SEGMENT_HEADER_SIZE + 300)


@event
class Add:
    """Add a number."""

    number: int = 1


@event
class Other:
    """An event that only some applications handle."""


@state
class Sum:
    total: int = 0
    count: int = 0


class Adder(App):
    state = Sum

    @handles(Add)
    def add(state, event, context):
        state.total += event.number
        state.count += 1
        return state.total


class Both(Adder):
    @handles(Other)
    def other(state, event, context):
        state.count += 100


@attrs.frozen
class Task:
    due: int


@state
class Tasks:
    rows: Table[int, Task] = table(sorted=("due",))


class Planner(App):
    state = Tasks

    @handles(Add)
    def add(state, event, context):
        state.rows[context.seq] = Task(event.number)


@pytest.fixture(params=["file", "memory"])
def disk(request, tmp_path):
    """A locked, empty disk of each sort."""
    made = MemoryDisk() if request.param == "memory" else FileDisk(tmp_path / "app")
    made.lock()
    yield made
    made.close()


@pytest.fixture
def said():
    """What is logged, as sentences, with its level."""
    events = []

    def observe(logged):
        events.append(f"{logged['log_level'].name}: {logged['log_format'].format(**logged)}")

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


CHANCE = random.Random(1)


def open_(disk, app=Adder, limits=LIMITS, **accepting):
    world = World(
        Clock(), lambda: 1000, maybeDeferred, maybeDeferred, CHANCE.randbytes, random.Random
    )
    definition = definition_of(app)
    return open_application(
        "sums", definition, EventDecoder(definition.events), disk, world, limits, **accepting
    )


def add(opened, *numbers, time_ns=2000):
    opened.appender.append([encode(Add(n), "test") for n in numbers], time_ns)


def cut_last_frame(disk, name, size=5):
    disk.truncate(name, len(disk.read(name).rstrip(b"\0")) - size)


def test_an_empty_directory_becomes_a_journal(disk, said):
    """Where nothing was, a journal with an identity of its own is begun, and that is told."""
    opened = open_(disk)
    assert len(opened.journal_id) == 16
    assert (opened.core.machine.seq, opened.appender.next_seq) == (0, 1)
    assert segment_name(1) in disk.names()
    assert said == ["info: sums: a new journal was begun"]


def test_a_journal_keeps_its_identity(disk):
    """Every start finds the identity that the first one chose, even before the first event."""
    first = open_(disk).journal_id
    assert [open_(disk).journal_id for _ in range(3)] == [first] * 3


def test_the_state_is_what_it_was(disk, said):
    """A start applies all events of all segments, and says how many; and how far it is."""
    opened = open_(disk)
    for n in range(1, 8):
        add(opened, n, n)
    again = open_(disk)
    assert (again.core.machine.state.total, again.core.machine.state.count) == (56, 14)
    assert (again.core.machine.seq, again.appender.next_seq) == (14, 15)
    assert again.tail.position.time_ns == 2000
    segments = again.tail.segment.header.number
    assert segments > 2
    (told,) = [line for line in said if "segments, up to" in line]
    assert told == f"info: sums: replayed 1 of {segments} segments, up to seq 4"
    assert said[-1] == f"info: sums: replayed 14 events from {segments} segments"


def test_it_goes_on_where_it_ended(disk):
    """Opening, adding and opening again, over marks, gives one history."""
    for n in range(1, 10):
        opened = open_(disk)
        assert (opened.core.machine.state.count, opened.tail.closed) == (
            n - 1,
            n > 1 and n % 2 == 0,
        )
        add(opened, 10, time_ns=2000 + n)
        if n % 2:
            opened.appender.mark(Kind.CLOSE_MARK, 2000 + n)
    assert open_(disk).core.machine.state.total == 90


def test_an_opened_application_is_sorted_already(disk, monkeypatch):
    """Who first asks for an order does not wait until all rows are sorted."""
    add(open_(disk, Planner), 3, 1, 2)
    rows = open_(disk, Planner).core.machine.state.rows
    monkeypatch.setattr("happy.index.SortedList", None)
    assert [task.due for task in rows.ordered("due")] == [1, 2, 3]


def test_a_torn_end_is_told_and_kept(disk, said):
    """What was never answered is cut off, and the log says what, where and where it is kept."""
    opened = open_(disk)
    add(opened, 1)
    add(opened, 2)
    name = opened.tail.segment.name
    end = len(disk.read(name).rstrip(b"\0"))
    cut_last_frame(disk, name)
    again = open_(disk)
    assert again.core.machine.state.total == 1
    kept = torn_name(name, again.tail.position.offset)
    size = end - 5 - again.tail.position.offset
    assert len(disk.read(kept)) == size
    assert said[-2] == (
        f"warn: sums: a frame cut short by the end of the file at the end of {name}, offset "
        f"{again.tail.position.offset}: it was never answered and was cut off; its {size} bytes "
        f"are kept in {kept}"
    )
    add(again, 3)
    assert open_(disk).core.machine.state.total == 4


def test_a_last_segment_without_a_header_is_told_and_kept(disk, said):
    """A last segment cut inside its header is let go where all before it is whole, and told."""
    opened = open_(disk)
    for n in range(1, 6):
        add(opened, n)
    (name,) = [n for n in disk.names() if n.endswith(".segment") and n != segment_name(1)]
    disk.truncate(name, 100)
    again = open_(disk)
    before = again.core.machine.seq
    assert name not in disk.names()
    assert any("a segment header cut short" in line and name in line for line in said)
    add(again, 10)
    assert open_(disk).core.machine.seq == before + 1


def test_a_first_segment_without_events_before_one_without_a_header_opens(disk):
    """Even where nothing is left to replay, a start with several segments tells its progress."""
    open_(disk)
    disk.create(segment_name(9), 100)
    opened = open_(disk)
    assert (opened.core.machine.seq, opened.appender.next_seq) == (0, 1)


def test_the_rest_of_a_segment_being_prepared_is_removed(disk):
    """What a process that ended had prepared is not taken for anything, and its room given back."""
    opened = open_(disk)
    add(opened, 1)
    disk.create(NEXT_SEGMENT, 5000)
    disk.write(NEXT_SEGMENT, 0, b"half a hea")
    opened = open_(disk)
    assert NEXT_SEGMENT not in disk.names()
    for n in range(5):
        add(opened, n)
    assert open_(disk).core.machine.state.total == 11


def test_a_beginning_that_was_interrupted_is_begun_again(disk):
    """A power cut while the first segment was being made leaves an empty journal, not a fault."""
    disk.create(NEXT_SEGMENT, 5000)
    opened = open_(disk)
    add(opened, 5)
    assert open_(disk).core.machine.state.total == 5


@pytest.mark.parametrize("left", ["blobs/" + "a" * 64, torn_name(segment_name(1), 4096)])
def test_a_directory_that_lost_its_journal_is_not_begun_anew(disk, left):
    """Where a journal was, none is begun: its events would be as if they never were."""
    disk.create(left, 10)
    with pytest.raises(NotAJournal, match=f"there is {left} and no segment"):
        open_(disk)
    assert segment_name(1) not in disk.names()


@pytest.mark.parametrize("size", [0, 17, SEGMENT_HEADER_SIZE - 1])
def test_a_journal_cut_inside_of_its_header_begins_anew_and_says_so(disk, said, size):
    """All there was is kept aside, the log tells it loudly, and a new journal takes events."""
    open_(disk)
    name = segment_name(1)
    header = disk.read(name, 0, size)
    disk.truncate(name, size)
    add(open_(disk), 5)
    kept = torn_name(name, 0)
    assert disk.read(kept) == header.rstrip(b"\0")
    assert said[-2].startswith(f"error: sums: {name} was cut short inside of its header")
    assert f"kept in {kept}" in said[-2]
    assert said[-1] == "info: sums: a new journal was begun"
    assert open_(disk).core.machine.state.total == 5


class Killed(BaseException):
    """The process ends here."""


def test_a_new_beginning_that_was_interrupted_is_begun_again():
    """Stopped before any step of it, by a kill or a power cut, the next start comes through."""
    name, kept = segment_name(1), torn_name(segment_name(1), 0)
    for steps in range(100):
        for power_cut in (False, True):
            disk = MemoryDisk()
            disk.lock()
            open_(disk)
            disk.truncate(name, 100)
            disk.sync(name)
            left = iter(range(steps))

            def stop(_step, left=left):
                if next(left, None) is None:
                    raise Killed

            disk.before_step = stop
            try:
                open_(disk)
            except Killed:
                through = False
            else:
                through = True
            disk.before_step = lambda _step: None
            if power_cut:
                disk.crash(seed=steps)
                disk.lock()
            add(open_(disk), 5)
            assert open_(disk).core.machine.state.total == 5
            assert disk.read(kept).startswith(b"HAPPYJNL")
        if through:
            break
    assert 5 < steps < 99


def test_a_journal_whose_only_header_is_damaged_is_refused(disk):
    """A header of full length with a wrong bit is damage, though nothing else is there."""
    open_(disk)
    name = segment_name(1)
    disk.write(name, 40, b"\xff")
    with pytest.raises(Corrupt, match=f"{name}, offset 0, from seq 1 on: the checksum"):
        open_(disk)
    assert disk.names("quarantine") == []


def test_a_body_that_was_being_written_is_no_journal(disk):
    """A half-written body alone does not keep a journal from being begun."""
    disk.create("blobs/1.part", 10)
    assert open_(disk).appender.next_seq == 1


def test_an_event_that_nobody_handles_is_refused_by_name(disk):
    """A journal with an event the application does not know is not opened, and not changed."""
    opened = open_(disk, Both)
    opened.appender.append([encode(Add(1)), encode(Other())], 2000)
    before = disk.read(segment_name(1))
    with pytest.raises(UnknownEvent, match="seq 2: the journal holds an event 'Other'"):
        open_(disk, Adder)
    assert disk.read(segment_name(1)) == before
    assert open_(disk, Both).core.machine.state.count == 101


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x93\x01", b"not msgpack at all"])
def test_a_record_that_is_none_is_refused_by_its_seq(disk, record):
    """Bytes under right checksums that are no event are a sentence, not a traceback."""
    opened = open_(disk)
    opened.appender.append([encode(Add(1)), encode(Add(1)), record], 2000)
    with pytest.raises(Corrupt, match=r"^seq 3: .* though the checksums are right"):
        open_(disk)


def test_a_frame_that_does_not_add_up_is_refused_by_its_seq(disk, monkeypatch):
    """A frame whose count is not that of its records is a sentence too."""
    opened = open_(disk)
    add(opened, 1)
    monkeypatch.setattr("happy.journal.appender.encode_frame", two_too_many)
    opened.appender.append([encode(Add(1))], 2000)
    monkeypatch.undo()
    with pytest.raises(Corrupt, match=r"^seq 3: a frame holds fewer records than it says"):
        open_(disk)


def two_too_many(kind, records, **kwargs):
    more = attrs.evolve(records, count=len(records) + 2)
    return encode_frame(kind, more, **kwargs)


def test_damage_is_refused_and_nothing_is_changed(disk):
    """A damaged journal is not opened, not cut and not written to."""
    opened = open_(disk)
    add(opened, 1)
    add(opened, 2)
    name = segment_name(1)
    for offset, error in ((SEGMENT_HEADER_SIZE + 80, Corrupt), (-1, Ambiguous), (20, Corrupt)):
        content = disk.read(name)
        at = offset if offset >= 0 else len(content.rstrip(b"\0")) - 1
        disk.write(name, at, bytes([content[at] ^ 0x10]))
        damaged = disk.read(name)
        with pytest.raises(error, match=name):
            open_(disk)
        assert disk.read(name) == damaged
        disk.write(name, at, content[at : at + 1])
    assert open_(disk).core.machine.state.total == 3


def damage_last_frame(disk, name, at=-1):
    """Flip a bit of the last byte, or of that at an offset of the last frame."""
    content = disk.read(name)
    end = len(content.rstrip(b"\0"))
    at = end - 1 if at < 0 else at
    disk.write(name, at, bytes([content[at] ^ 0x10]))


def test_an_ambiguous_end_is_refused_with_the_way_out(disk):
    """The refusal names the application with which a start can be told to accept the loss."""
    add(open_(disk), 1)
    damage_last_frame(disk, segment_name(1))
    with pytest.raises(Ambiguous, match=r", or start once with --accept-tail-loss sums, which"):
        open_(disk)


def test_an_accepted_loss_is_cut_off_kept_and_told(disk, said):
    """Told to, a start cuts the end off, keeps its bytes, and says which seqs are lost."""
    opened = open_(disk)
    add(opened, 1)
    add(opened, 2, 3, 4)
    name = segment_name(1)
    damage_last_frame(disk, name)
    again = open_(disk, accept_tail_loss=True)
    assert (again.core.machine.state.total, again.appender.next_seq) == (1, 2)
    kept = torn_name(name, again.tail.position.offset)
    size = disk.size(kept)
    lost = "what had seq 2 to 4 may have been answered, is lost and was cut off"
    assert f"{lost}; its {size} bytes" in said[1]
    assert said[1].startswith("warn: sums: a whole frame with a wrong checksum at the end of ")
    assert said[1].endswith(f"bytes are kept in {kept}")
    add(again, 10)
    assert open_(disk).core.machine.state.total == 11


def test_a_loss_is_accepted_for_one_start_only(disk, said):
    """Accepted without need, nothing happens but a word; a later loss is refused again."""
    add(open_(disk), 1)
    add(open_(disk, accept_tail_loss=True), 2)
    assert "warn: sums: nothing had to be lost: leave --accept-tail-loss away" in said
    damage_last_frame(disk, segment_name(1))
    with pytest.raises(Ambiguous):
        open_(disk)


def test_what_is_lost_is_told_as_far_as_it_is_known(disk, said):
    """Of a frame whose header is damaged, even of a mark, only the first seq is known."""
    opened = open_(disk)
    add(opened, 1)
    opened.appender.mark(Kind.IDLE_MARK, 2000)
    end = len(disk.read(segment_name(1)).rstrip(b"\0"))
    disk.write(segment_name(1), end - 1, bytes([disk.read(segment_name(1), end - 1, 1)[0] ^ 1]))
    opened = open_(disk, accept_tail_loss=True)
    assert opened.core.machine.state.total == 1
    assert "whatever had seq 2 or higher may have been answered, is lost and was cut" in said[1]


def test_a_full_disk_begins_no_journal():
    """Without room for the first segment nothing is begun, and with room it is."""
    disk = MemoryDisk()
    disk.room = 1000
    with pytest.raises(NoRoom):
        open_(disk)
    assert disk.names() == []
    disk.room = None
    assert open_(disk).appender.next_seq == 1


def test_a_full_disk_does_not_keep_a_journal_from_opening():
    """A journal opens on a disk that is full to the last byte; room is needed to write."""
    disk = MemoryDisk()
    add(open_(disk), 7)
    disk.room = 0
    opened = open_(disk)
    assert opened.core.machine.state.total == 7


@pytest.mark.parametrize("syncs", range(4))
def test_opening_survives_a_power_cut_at_any_sync(syncs):
    """Opening may fail at each of its syncs: the next start comes to the same state."""
    disk = MemoryDisk()
    opened = open_(disk)
    add(opened, 1)
    add(opened, 2)
    cut_last_frame(disk, segment_name(1))
    disk.sync(segment_name(1))
    disk.syncs_left = syncs
    try:
        open_(disk)
    except SyncFailed:
        assert syncs < 3
    else:
        assert syncs == 3
    disk.syncs_left = None
    disk.crash()
    opened = open_(disk)
    assert opened.core.machine.state.total == 1
    add(opened, 5)
    disk.crash()
    assert open_(disk).core.machine.state.total == 6


# --- with snapshots -----------------------------------------------------------------------------


@pytest.fixture
def bank():
    """A bank that was closed, with snapshots at seq 20 and 40 and fifty events."""
    made = Branch(MemoryDisk())
    made.open()
    for n in range(1, 51):
        made.append(Paid(f"a{n % 7}", n), keyed=n % 3 == 0)
        if n in (22, 42):
            made.make()
    made.disk.close()
    return made


def segments_of(disk):
    return [name for name in disk.names() if segment_seq(name) is not None]


def test_a_start_takes_the_newest_snapshot_and_what_follows(bank, said):
    """Only what is behind the snapshot is replayed; the machine is as after a whole replay."""
    whole = bank.replayed()
    opened = bank.open()
    assert told(opened.core.machine) == told(whole)
    assert (opened.behind.events, opened.recalled.header.seq) == (10, 40)
    assert 0 < opened.behind.size_bytes < 5000
    taken = f"info: bank: the state as of seq 40 is taken from {snapshot_name(40)}"
    assert taken in said
    assert said[-1] == "info: bank: replayed 10 events from 2 segments"


def test_a_damaged_snapshot_is_passed_over_loudly(bank, said):
    """The one before it and more of the journal give the same machine; then the whole of it."""
    whole = told(bank.replayed())
    bank.disk.write(snapshot_name(40), 400, b"!")
    assert told(bank.open().core.machine) == whole
    assert bank.opened.recalled.header.seq == 20
    assert said[0].startswith(f"error: bank: a snapshot is not used: {snapshot_name(40)}: ")
    bank.disk.close()
    bank.disk.truncate(snapshot_name(20), 99)
    assert told(bank.open().core.machine) == whole
    assert bank.opened.recalled is None


def test_what_is_covered_need_not_be_there(bank):
    """Segments before the snapshot may be gone; going on and opening again works."""
    whole = told(bank.replayed())
    first, *_ = segments_of(bank.disk)
    bank.disk.remove(first)
    assert told(bank.open().core.machine) == whole
    bank.append(Paid("b", 1))
    bank.disk.close()
    assert bank.open().core.machine.state.accounts["b"].balance == 1


def test_without_snapshots_and_segments_the_reason_is_told(bank):
    """When the journal's beginning is gone and no snapshot can be used, each is named."""
    bank.disk.remove(segments_of(bank.disk)[0])
    for seq in (20, 40):
        bank.disk.truncate(snapshot_name(seq), 200)
    with pytest.raises(Corrupt) as refused:
        bank.open()
    sentence = str(refused.value)
    assert "are missing; restore them from a backup" in sentence
    assert f"(no help from the snapshots: {snapshot_name(40)}: " in sentence


def test_an_older_snapshot_does_not_bridge_a_gap(bank):
    """Behind the older snapshot, the segments that the newer one covered may be gone: refused."""
    for name in segments_of(bank.disk):
        if segment_seq(name) > 40:
            break
        last = name
    for name in segments_of(bank.disk):
        if name < last:
            bank.disk.remove(name)
    bank.disk.write(snapshot_name(40), 400, b"!")
    with pytest.raises(Corrupt, match="the snapshot ends with seq 20, and the segments between"):
        bank.open()


def test_a_snapshot_of_another_journal_is_refused(bank):
    """A snapshot that is not of this history is not used, and nothing is guessed."""
    other = Branch(MemoryDisk(), seed=2)
    other.open()
    for n in range(61):
        other.append(Paid("x", n))
    other.make()
    name = snapshot_name(59)
    bank.disk.create(name)
    bank.disk.write(name, 0, other.disk.read(name))
    with pytest.raises(Corrupt, match="not of this journal's history"):
        bank.open()


def test_a_snapshot_without_its_journal_is_no_new_journal(bank):
    """Where a snapshot is left and the segments are gone, no new journal is begun."""
    for name in segments_of(bank.disk):
        bank.disk.remove(name)
    with pytest.raises(NotAJournal, match="snapshots/"):
        bank.open()
