"""The messages whose 250 their peer may never have read: a part of history.

A server that has taken a message and said 250 does not know that the 250 arrived. When it did
not, the peer sends the message once more (RFC 1047), and is right to. So a message is remembered
from the moment that it is taken until its peer is known to have read the answer; a copy that
comes meanwhile is that message, and a copy that comes later is a new one.

Remembered is for whom of whom which bytes came: reverse-path, recipient, SHA-256. A ``Message-ID``
is not looked at: anybody can write one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from happy.digest import Sum
from happy.event import Mail

Copy = bytes
"""What copies of one message to one recipient have in common: 16 bytes."""

Placed = tuple[int, Copy]
"""A message to one recipient: the place of its event, and by what a copy is known."""

_COPY_BYTES = 16


def copy_of(mail: Mail, recipient: str) -> Copy:
    """Return by what a message to one of its recipients is known again."""
    told = (mail.reverse_path.encode(), recipient.encode(), mail.sha256)  # no address has a NUL
    return hashlib.sha256(b"\0".join(told)).digest()[:_COPY_BYTES]


class Unacknowledged:
    """What was taken and not acknowledged, one for each recipient, the oldest first."""

    def __init__(self) -> None:
        self._known: dict[Copy, tuple[int, int]] = {}
        self._sum = Sum()

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[tuple[int, Copy, int]]:
        """Yield the place, the copy and the moment of each."""
        for copy, (seq, time_ns) in self._known.items():
            yield seq, copy, time_ns

    def place_of(self, copy: Copy) -> int | None:
        """Return the place of the message that this is a copy of, None when it is new."""
        found = self._known.get(copy)
        return None if found is None else found[0]

    def clear(self) -> None:
        """Forget all, to begin with another image."""
        self._known.clear()
        self._sum = Sum()

    def take(self, seq: int, time_ns: int, mail: Mail) -> None:
        """Remember a message that was taken, unless it came without a digest."""
        if mail.sha256:
            for recipient in mail.recipients:
                self.put_back(seq, copy_of(mail, recipient), time_ns)

    def put_back(self, seq: int, copy: Copy, time_ns: int) -> None:
        """Remember a message to one recipient; an earlier one that it is a copy of is forgotten."""
        self._drop(copy)
        self._known[copy] = seq, time_ns
        self._sum.add(copy, seq, time_ns)

    def forget(self, acknowledged: Iterable[Placed]) -> None:
        """Forget messages; what is not known, or not at that place any more, is passed over."""
        for seq, copy in acknowledged:
            if self.place_of(copy) == seq:
                self._drop(copy)

    def _drop(self, copy: Copy) -> None:
        found = self._known.pop(copy, None)
        if found is not None:
            self._sum.remove(copy, *found)

    def digest(self) -> str:
        """Return the digest of all that is remembered: 32 hexadecimal digits."""
        return self._sum.value()
