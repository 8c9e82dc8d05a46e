"""Whether the disk has room, as doors hear it before a message is sent."""

from __future__ import annotations

import pytest

from happy.errors import NoRoom
from happy.limits import KIB, Limits
from happy.room import Room
from happy.testing import MemoryDisk

LIMITS = Limits(segment_bytes_max=64 * KIB, mail_inline_bytes_max=4 * KIB)


@pytest.mark.parametrize(
    ("missed", "room", "size", "full"),
    [
        (False, 0, 0, False),  # the segment in use may have room yet
        (False, 0, 4 * KIB, False),
        (False, 5 * KIB, 5 * KIB, False),
        (False, 5 * KIB, 6 * KIB, True),
        (True, 63 * KIB, 0, True),
        (True, 64 * KIB, 0, False),
        (True, 65 * KIB, 5 * KIB, True),
        (True, None, 1 << 30, False),
    ],
)
def test_a_message_is_refused_when_it_would_be_in_vain(missed, room, size, full):
    """A large one needs a file of its own; after a write that found no room, a segment must fit."""
    disk = MemoryDisk()
    disk.room = room
    known = Room("lists", disk, LIMITS)
    if missed:
        known.was_missed("the disk is full")
    assert known.is_full is missed
    assert isinstance(known.trouble(size), NoRoom) is full


def test_a_write_says_that_there_is_room_again():
    """Whoever writes knows best."""
    disk = MemoryDisk()
    disk.room = 0
    known = Room("lists", disk, LIMITS)
    known.was_missed("the disk is full")
    known.was_found()
    assert not known.is_full
    assert known.trouble(0) is None
