"""Recalling a machine: the newest snapshot that is good and fits, and else the one before."""

import random

import pytest

from happy import App, event, handles, state
from happy.errors import BadSnapshot, Corrupt, UnfitSnapshot, UnknownEvent
from happy.journal.names import snapshot_name
from happy.journal.snapshot_format import Description, encoded
from happy.journal.snapshots import Snapshot, snapshot_names
from happy.recall import Recall
from happy.testing.disk import MemoryDisk
from snapshot_kit import Banking, Branch, Paid, told


@pytest.fixture
def bank():
    """A bank with snapshots at seq 20 and 40, and a journal up to 50."""
    made = Branch(MemoryDisk())
    made.open()
    for n in range(1, 51):
        made.append(Paid(f"a{n % 7}", n))
        if n in (22, 42):
            made.make()
    assert snapshot_names(made.disk) == [snapshot_name(40), snapshot_name(20)]
    return made


def recall_of(bank):
    return Recall(bank.definition, bank.decoder, random.Random)


def test_the_newest_is_taken(bank):
    """The newest snapshot is what a machine was at its seq."""
    recalled = bank.recalled()
    assert (recalled.machine.seq, recalled.start.seq) == (40, 40)
    assert recalled.machine.state.total == sum(range(1, 41)) - 13


def test_a_damaged_one_is_passed_over_and_told(bank):
    """The one before is taken; what was wrong is known by name."""
    recall = recall_of(bank)
    bank.disk.write(snapshot_name(40), 700, b"!")
    assert recall.newest(bank.disk).machine.seq == 20
    (passed,) = recall.passed_over
    assert (passed.name, passed.damaged) == (snapshot_name(40), True)
    assert passed.reason.startswith(f"{snapshot_name(40)}: ")


def test_when_all_are_damaged_there_is_none(bank):
    """Nothing is made up: without a good snapshot there is no machine, and errors say why."""
    recall = recall_of(bank)
    for seq in (20, 40):
        bank.disk.truncate(snapshot_name(seq), 300)
    assert recall.newest(bank.disk) is None
    explained = recall.explain(Corrupt("a segment is missing"))
    assert str(explained).startswith(
        f"a segment is missing (no help from the snapshots: {snapshot_name(40)}: "
    )
    assert snapshot_name(20) in str(explained)
    alone = Corrupt("as it is")
    assert recall_of(bank).explain(alone) is alone


def test_a_snapshot_of_another_state_is_passed_over(bank):
    """After a change of the state the snapshots before it are of no use, and whole all the same."""

    @state
    class Other:
        total: int = 0

    class OtherBank(Banking):
        state = Other

    bank.use(OtherBank)
    recall = recall_of(bank)
    assert recall.newest(bank.disk) is None
    assert [passed.damaged for passed in recall.passed_over] == [False, False]
    with pytest.raises(UnfitSnapshot, match=r"snapshots/.*: state has other fields"):
        recall.load(Snapshot(bank.disk, snapshot_name(20)))


def test_an_event_that_nobody_handles_is_no_reason_to_pass_over(bank):
    """A renamed event is refused by name, as a replay of the whole journal would refuse it."""

    @event
    class Received:
        account: str
        amount: int = 1

    class Renaming(App):
        state = Banking.state

        @handles(Received)
        def pay(state, event, context):
            state.total += event.amount

    bank.use(Renaming)
    with pytest.raises(UnknownEvent, match="Paid"):
        recall_of(bank).newest(bank.disk)


def test_what_does_not_come_to_its_digest_is_damaged(bank):
    """A snapshot whose checksums are right and whose content is another is not believed."""
    snapshot = Snapshot(bank.disk, snapshot_name(40))
    image = Branch(MemoryDisk())
    image.open()
    for _ in range(3):
        image.append(Paid("zz", 1))
    other = image.make()
    foreign = Snapshot(image.disk, other.name)
    known = snapshot.header.description
    description = Description(
        state=known.state, digest=known.digest, sections=foreign.header.description.sections
    )
    header = type(snapshot.header)(snapshot.header.journal_id, 40, 1, b"c" * 16, 1, description)
    data = b"".join(encoded(header, foreign.blocks()))
    bank.disk.create(snapshot_name(40))
    bank.disk.write(snapshot_name(40), 0, data)
    with pytest.raises(BadSnapshot, match="what it holds has the digest"):
        recall_of(bank).load(Snapshot(bank.disk, snapshot_name(40)))
    assert recall_of(bank).newest(bank.disk).machine.seq == 20


def test_it_is_what_a_replay_is(bank):
    """A machine from a snapshot is what the journal comes to at its seq."""
    bank.mark()
    bank.make()
    assert told(bank.recalled().machine) == told(bank.replayed())
