"""The seam of the order: batches in, durable; the same frames out, to whoever follows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.errors import NoRoom, NotAJournal
from happy.journal.appender import Appender, create_journal
from happy.journal.frame import Frame, Packed, SegmentHeader, records_of
from happy.journal.replay import Reader
from happy.split.frame_stream import FrameStream
from happy.split.sequencer import JournalSequencer
from happy.testing import MemoryDisk
from split_kit import JOURNAL_ID, SECOND, stream_of

BATCHES = st.lists(
    st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=4), min_size=1, max_size=3),
    max_size=12,
)


def sequencer(segment_bytes=8192):
    """Begin a journal; return its disk and sequencer, whose clock goes back now and then."""
    disk = MemoryDisk()
    disk.lock()
    tail = create_journal(disk, JOURNAL_ID, 1, SECOND, segment_bytes)
    salts = iter(range(2, 10_000))
    pen = Appender(disk, tail, segment_bytes_max=segment_bytes, new_salt=lambda: next(salts))
    times = iter(range(10**6, 0, -1))
    return disk, JournalSequencer(disk, pen, lambda: next(times) * SECOND)


def followed(follower):
    """Return all that a follower can tell now."""
    found = b""
    while more := follower.more():
        found += more
    return found


@settings(max_examples=60, deadline=None)
@given(BATCHES, st.integers(1, 60), st.lists(st.booleans(), max_size=12))
def test_who_follows_gets_what_is_on_the_disk(published, first_seq, looks):
    """Promise 2: each frame once, in order, over segments, whenever one looks; from any seq on."""
    disk, order = sequencer()
    follower = order.follow()
    come, seq = b"", 1
    for number, batches in enumerate(published):
        places = order.publish([Packed.of(records) for records in batches])
        assert places == range(seq, seq + sum(map(len, batches)))
        seq = places.stop
        if number < len(looks) and looks[number]:
            come += followed(follower)
    come += followed(follower)
    assert come == stream_of(disk)
    assert order.next_seq == seq
    assert order.identity == JOURNAL_ID
    records = [r for batches in published for records in batches for r in records]
    assert told(come) == dict(enumerate(records, 1))
    part = told(followed(order.follow(first_seq)))
    assert part.items() >= {s: r for s, r in enumerate(records, 1) if s >= first_seq}.items()
    assert part.items() <= dict(enumerate(records, 1)).items()


def told(stream):
    """Return the records in a stream of frames, by their seqs; all of it is checked."""
    found = {}
    for step in FrameStream().feed(stream):
        if isinstance(step, Frame):
            found |= dict(enumerate(records_of(step), step.first_seq))
    return found


def test_what_is_published_is_durable_and_what_is_followed_was_published():
    """Promise 1: the power may fail after `publish` has returned, and nothing is lost."""
    disk, order = sequencer()
    follower = order.follow()
    first = followed(follower)
    assert [type(step) for step in FrameStream().feed(first)] == [SegmentHeader]
    order.publish([Packed.of([b"one"]), Packed.of([b"two", b"three"])])
    disk.crash(seed=1)
    kept = [r for frame in Reader(disk, cut=False).frames() for r in records_of(frame)]
    assert kept == [b"one", b"two", b"three"]


def fill(order):
    """Publish for as long as there is room, in segments that are there already."""
    for _ in range(10):
        order.publish([Packed.of([b"y" * 3000])])


def test_a_full_disk_leaves_no_hole():
    """Promise 7: a batch that found no room takes no seqs, and nobody hears of it."""
    disk, order = sequencer(segment_bytes=8192)
    follower = order.follow()
    order.publish([Packed.of([b"x" * 3000])])
    before = followed(follower)
    disk.room = 0
    with pytest.raises(NoRoom):
        fill(order)
    seq = order.next_seq
    disk.room = None
    assert order.publish([Packed.of([b"z"])]) == range(seq, seq + 1)
    assert len(told(before + followed(follower))) == seq


def test_a_history_that_is_let_go_cannot_be_followed():
    """From the oldest segment that is kept, and not from before."""
    disk, order = sequencer()
    for _ in range(6):
        order.publish([Packed.of([b"x" * 3000])])
    disk.remove(min(name for name in disk.names() if name.endswith(".segment")))
    with pytest.raises(NotAJournal, match="seq 1 is not kept any more"):
        order.follow()
