"""Quarantine marks: what they say, and foreseeing them in a journal that is read in order."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.errors import Corrupt
from happy.journal.frame import Frame, Kind
from happy.journal.quarantine import (
    Foresight,
    Quarantined,
    backlog_body,
    backlog_from,
    foreseen,
    quarantined_by,
)

EVENTS, IDLE, CLOSE, MARK = Kind.EVENTS, Kind.IDLE_MARK, Kind.CLOSE_MARK, Kind.QUARANTINE_MARK


def frame(kind, first_seq, count=0, body=b""):
    return Frame(kind, first_seq, count, 0, 0, b"", body, 4096, 4168)


def journal(*steps, first_seq=1):
    """Return frames: a batch for each number of events, a mark for each kind or quarantined seq."""
    frames, seq = [], first_seq
    for step in steps:
        match step:
            case Kind():
                frames.append(frame(step, seq))
            case ("poison", poison):
                frames.append(frame(MARK, seq, body=Quarantined(poison, 3).encode()))
            case ("backlog", backlog):
                frames.append(frame(Kind.BACKLOG_MARK, seq, body=backlog_body(backlog)))
            case count:
                frames.append(frame(EVENTS, seq, count))
                seq += count
    return frames


def passed_over(frames):
    """Return the seqs that a replay of frames passes over."""
    return [seq for f in foreseen(frames) for seq in sorted(f.quarantined)]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_mark_says_what_it_was_told(seq, deaths):
    """The seq and the number of deaths come back from the body of a mark."""
    said = Quarantined(seq, deaths)
    assert quarantined_by(frame(MARK, 1, body=said.encode())) == said


@pytest.mark.parametrize("body", [b"", b"x" * 15, b"x" * 17])
def test_a_mark_that_names_no_seq_is_corrupt(body):
    """A quarantine mark of another length is refused with a sentence."""
    with pytest.raises(Corrupt, match="offset 4096: a quarantine mark that names no seq"):
        quarantined_by(frame(MARK, 1, body=body))


@pytest.mark.parametrize(
    ("steps", "seqs"),
    [
        ((4, 4), []),
        ((4, ("poison", 3)), [3]),
        ((4, 5, ("poison", 4)), [4]),
        ((4, 5, ("poison", 5), ("poison", 9), 1, 1, 1), [5, 9]),
        ((4, 5, ("poison", 4), ("poison", 9), 7, IDLE, CLOSE), [4, 9]),
        ((9, IDLE, CLOSE, 2, 1, ("poison", 11), 1, 1, ("poison", 13), CLOSE), [11, 13]),
        ((4, 1, ("backlog", 4), 1, ("backlog", 4), 1, ("poison", 4), IDLE), [4]),
        ((4, 1, ("backlog", 1), 1, ("backlog", 5), 1, ("poison", 5), 1, 1), [5]),
    ],
    ids=range(8),
)
def test_what_is_quarantined_is_known_in_time(steps, seqs):
    """Each frame comes out with the seqs that a mark behind it names."""
    assert passed_over(journal(*steps)) == seqs


@pytest.mark.parametrize(
    "steps",
    [(4, 1, 1, ("poison", 4)), (4, IDLE, ("poison", 4)), (4, CLOSE, 1, ("poison", 1)),
     (4, ("poison", 5), 1), (4, 1, ("backlog", 5), 1, ("poison", 4)),
     (4, 1, ("backlog", 1), 1, 1, ("poison", 4))],
    ids=range(6),
)  # fmt: skip
def test_an_event_that_was_applied_cannot_be_quarantined(steps):
    """A mark that comes too late is refused: what it takes back was answered."""
    with pytest.raises(Corrupt, match=r"^seq \d: the mark that quarantines it does not stand"):
        passed_over(journal(*steps))


def test_what_a_snapshot_covers_is_nobodys_concern():
    """A reader that begins behind an event passes over the mark that quarantines it."""
    assert passed_over(journal(("poison", 7), 3, first_seq=8)) == []


STEPS = st.lists(st.one_of(st.integers(1, 3), st.sampled_from([IDLE, CLOSE])), max_size=12)


@given(STEPS)
def test_frames_come_in_their_order_and_none_is_lost(steps):
    """Foresight delays frames, and changes neither their order nor anything else."""
    frames = journal(*steps)
    assert list(foreseen(frames)) == frames


@given(STEPS)
def test_in_doubt_are_the_last_two_batches_since_the_journal_was_at_rest(steps):
    """Only what may never have been applied is held back."""
    frames = journal(*steps)
    foresight = Foresight()
    came = [f for each in frames for f in foresight.take(each)]
    rested = max((n + 1 for n, f in enumerate(frames) if f.kind in (IDLE, CLOSE)), default=0)
    held = [f for f in frames[rested:] if f.kind is EVENTS][-2:]
    assert foresight.held == held
    assert came + held == frames
    for f in frames:
        for seq in range(f.first_seq, f.first_seq + f.count):
            assert foresight.in_doubt(seq) is (f in held)
    assert foresight.rest() == held
    assert foresight.held == []


def test_other_marks_stay_in_their_places():
    """A mark that does not say that all was applied waits with the batches around it."""
    frames = journal(2, ("poison", 1), 2, ("poison", 3), 2)
    assert [attrs.evolve(f, quarantined=frozenset()) for f in foreseen(frames)] == frames


def test_a_backlog_is_held_back_until_the_journal_is_no_more_ahead():
    """As much as the last backlog mark says, and of no more than two batches without one."""
    foresight = Foresight()
    frames = journal(2, 2, ("backlog", 2), 2, ("backlog", 4), 2, 2)
    came = [[f.first_seq for f in foresight.take(each) if f.count] for each in frames]
    assert came == [[], [], [], [], [], [1], [3, 5]]


@pytest.mark.parametrize("body", [b"", b"x" * 7, backlog_body(0), backlog_body(6)])
def test_a_backlog_mark_that_names_no_seq_before_it_is_corrupt(body):
    """Of another length, or of what is not there yet."""
    with pytest.raises(Corrupt, match="offset 4096: a backlog mark that names no seq"):
        backlog_from(frame(Kind.BACKLOG_MARK, 5, body=body))
    assert backlog_from(frame(Kind.BACKLOG_MARK, 5, body=backlog_body(5))) == 5
