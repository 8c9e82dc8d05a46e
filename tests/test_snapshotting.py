"""Making snapshots: of all that is durable, beside a writer, verified, and no more than needed."""

import pytest

from happy.errors import Corrupt, JournalError, NoRoom, NotAJournal, UnfitSnapshot
from happy.journal.frame import Kind
from happy.journal.names import SNAPSHOTS, segment_seq, snapshot_name
from happy.journal.quarantine import Quarantined
from happy.journal.replay import Reader
from happy.journal.snapshots import snapshot_names
from happy.snapshotting import settled_frames
from happy.testing.disk import MemoryDisk
from snapshot_kit import BEGIN_NS, Banking, Branch, Closed, Paid, told


@pytest.fixture
def bank():
    """A bank that is open, with 31 events in several segments."""
    made = Branch(MemoryDisk())
    made.open()
    for n in range(1, 32):
        made.append(Paid(f"a{n % 7}", n), keyed=n % 2 == 0)
    return made


def test_it_covers_what_is_certainly_durable(bank):
    """The last batches may not be synced, or be poison yet; a mark settles both."""
    assert bank.make().seq == 29
    bank.mark()
    made = bank.make()
    assert (made.seq, made.events, made.name) == (31, 2, snapshot_name(31))
    assert told(bank.recalled().machine) == told(bank.replayed())


def test_it_begins_with_the_last_one(bank):
    """Only what follows the last snapshot is applied; the segments before it may be gone."""
    bank.make()
    segments = [name for name in bank.disk.names() if segment_seq(name) is not None]
    bank.disk.remove(segments[0])
    bank.append(Paid("b1", 5))
    bank.mark(Kind.CLOSE_MARK)
    made = bank.make()
    assert (made.seq, made.events) == (32, 3)


def test_when_nothing_has_happened_none_is_made(bank):
    """A second snapshot of the same seq would be of no use; what is there is told."""
    first = bank.make()
    again = bank.make()
    assert (again.name, again.seq, again.events) == (None, 29, 0)
    assert again.good == first.good


def test_an_empty_journal_has_none():
    """Before the first event there is nothing to take, and where no journal is, no place."""
    empty = Branch(MemoryDisk())
    with pytest.raises(NotAJournal):
        empty.make()
    empty.open()
    assert empty.make().name is None
    assert empty.disk.names(SNAPSHOTS) == []


def test_so_many_are_kept(bank):
    """The newest good ones stay, the others go."""
    for n in range(4):
        bank.append(Paid("b", n))
        made = bank.make(kept=3)
    assert [good.seq for good in made.good] == [33, 32, 31]
    assert snapshot_names(bank.disk) == [good.name for good in made.good]


def test_a_damaged_one_is_replaced(bank):
    """Behind a damaged snapshot the one before is taken, and a new one made; it is told."""
    bank.make()
    bank.append(Paid("b", 1))
    bank.make()
    bank.disk.write(snapshot_name(30), 500, b"!!")
    made = bank.make()
    assert (made.seq, made.events, len(made.complaints)) == (30, 1, 1)
    assert [good.seq for good in made.good] == [30, 29]
    assert told(bank.recalled().machine)[0] == 30


def test_half_a_frame_at_the_end_is_no_damage(bank):
    """What is being written looks like damage, and is left alone; earlier it is damage."""
    name = bank.opened.appender._segment.name
    end = bank.opened.appender._at.offset
    bank.disk.write(name, end, bank.disk.read(name, end - 200, 120))
    assert bank.make().seq == 29
    sealed = [found for found in bank.disk.names() if segment_seq(found) is not None][-2]
    bank.disk.write(sealed, 4200, b"!!")
    bank.disk.remove(snapshot_name(29))
    with pytest.raises(Corrupt):
        bank.make()


@pytest.mark.parametrize("room", range(0, 6000, 500))
def test_a_full_disk_leaves_what_was_there(bank, room):
    """Without room nothing is made and nothing is lost; with room again it is."""
    bank.make()
    bank.append(Paid("b", 1))
    files = [*bank.disk.names(), *bank.disk.names(SNAPSHOTS)]
    bank.disk.room = sum(map(bank.disk.size, files)) + room
    try:
        made = bank.make()
    except NoRoom:
        assert snapshot_names(bank.disk) == [snapshot_name(29)]
    else:
        assert made.seq == 30
    bank.disk.room = None
    assert bank.make().seq == 30
    assert not [name for name in bank.disk.names(SNAPSHOTS) if name.endswith(".part")]


def test_a_kill_at_every_step_leaves_what_was_there(bank):
    """Wherever it is killed, the snapshots there are good, and the next try makes it."""
    bank.make()
    bank.append(Paid("b", 1))

    class Killed(BaseException):
        pass

    for steps in range(100):
        left = [steps]

        def before(_step, left=left):
            if not left[0]:
                raise Killed
            left[0] -= 1

        bank.disk.before_step = before
        try:
            bank.make()
        except Killed:
            bank.disk.before_step = lambda _step: None
            assert bank.recalled().machine.seq in (29, 30)
        else:
            break
    assert steps >= 5
    bank.disk.before_step = lambda _step: None
    assert bank.make().good[0].seq == 30


def test_only_settled_frames_are_yielded(bank):
    """The last two batches are left away, unless a mark is behind them."""
    (*_, last) = settled_frames(Reader(bank.disk, cut=False), "9")
    assert (last.kind, last.first_seq) == (Kind.EVENTS, 29)
    bank.mark()
    *_, event, mark = settled_frames(Reader(bank.disk, cut=False), "9")
    assert (event.first_seq, mark.kind) == (31, Kind.IDLE_MARK)


def test_a_quarantined_event_is_not_run(bank):
    """What a mark says close behind an event is known before the event is applied."""
    bank.append(Paid("poison", 1))
    said = Quarantined(32, 3).encode()
    bank.opened.appender.mark(Kind.QUARANTINE_MARK, BEGIN_NS + 32 * 10**9, body=said)
    bank.mark()
    assert bank.make().seq == 32
    machine = bank.recalled().machine
    assert "poison" not in machine.state.accounts
    assert machine.failed == bank.replayed().failed


def test_nothing_of_the_journal_is_changed(bank):
    """Whoever makes a snapshot writes into its own folder only, torn ends or not."""
    bank.disk.write(bank.opened.appender._segment.name, bank.opened.appender._at.offset, b"torn")
    before = {name: bank.disk.read(name) for name in bank.disk.names()}
    bank.make()
    assert {name: bank.disk.read(name) for name in bank.disk.names()} == before


def test_a_reply_that_cannot_be_written_is_a_sentence():
    """What the application would have to change is said, and nothing is left behind."""

    class Odd(Banking):
        pass

    Odd.close = staticmethod(_returns_a_set)
    bank = Branch(MemoryDisk(), Odd)
    bank.open()
    bank.append(Closed("a"), keyed=True)
    bank.mark()
    with pytest.raises(UnfitSnapshot, match=r"no snapshot can be made of this state: .*set"):
        bank.make()
    assert bank.disk.names(SNAPSHOTS) == []
    assert issubclass(UnfitSnapshot, JournalError)


def _returns_a_set(state, event, context):
    return {1}


_returns_a_set.__happy_handles__ = (Closed,)
