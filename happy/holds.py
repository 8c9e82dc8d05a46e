"""The mail that came in and that an operator has said something of: a part of history.

Mail that is *held* is left alone: it is no dead letter that waits, is not redelivered by accident,
and stays in its place with who said so, when and why, until it is released. Mail that was
*returned* went back to its sender with a report, which happens once. What it did when it came is
history, and stays.

So many are held and no more: another one is refused. Of those returned the oldest are forgotten.
Mail that is owed and held is known by its debt, see ``happy.effects``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from happy.digest import Sum
from happy.effects import Hold, Outbox, Owed, SendMail
from happy.event import Configured
from happy.moments import moment
from happy.system_events import MailHeld, MailReleased, MailReturned

_HELD: Final = "held"
_RETURNED: Final = "returned"

HOLDING: Final = (MailHeld, MailReleased, MailReturned)
"""The events that an operator brings of one message."""

Holding = MailHeld | MailReleased | MailReturned

Item = tuple[str, int, tuple[Any, ...]]
"""What an image has of a message: held or returned, its place, and who said so."""


class Holds:
    """What is held and what was returned of the mail that came, as a fold over events."""

    def __init__(self) -> None:
        self.configure(Configured(b""))
        self.clear()

    def configure(self, configured: Configured) -> None:
        """Keep so much from now on."""
        self._held_max = configured.mail_held_max

    def clear(self) -> None:
        """Forget all, to begin with another image."""
        self._held: dict[int, Hold] = {}
        self._returned: dict[int, Hold] = {}
        self._sum = Sum()

    def __len__(self) -> int:
        return len(self._held) + len(self._returned)

    def __iter__(self) -> Iterator[Item]:
        """Yield all that is known, as ``put_back`` takes it."""
        for kind, known in ((_HELD, self._held), (_RETURNED, self._returned)):
            for seq, hold in known.items():
                yield kind, seq, attrs.astuple(hold)

    def put_back(self, kind: str, seq: int, told: tuple[Any, ...]) -> None:
        """Remember as an image says it."""
        (self._held if kind == _HELD else self._returned)[seq] = Hold(*told)
        self._sum.add(kind, seq, tuple(told))

    def digest(self) -> str:
        """Return the digest of all that is known: 32 hexadecimal digits."""
        return self._sum.value()

    # --- looking ------------------------------------------------------------------------------

    def held(self) -> Iterator[tuple[int, Hold]]:
        """Yield the place of each message that is held, and why; the longest first."""
        return iter(self._held.items())

    def why_left_alone(self, seq: int) -> str | None:
        """Return why nothing is done with the message that came at a place; None when it may."""
        if seq in self._held:
            return f"{said_of(self._held[seq])}; release it first"
        return said_of(self._returned[seq], _RETURNED) if seq in self._returned else None

    def is_full(self) -> bool:
        """Say whether no more can be held."""
        return len(self._held) >= self._held_max

    # --- taking in ----------------------------------------------------------------------------

    def news(self, event: Holding, outbox: Outbox) -> Holding | None:
        """Return an event that changes anything; None for what, say, is held already."""
        return event if self._is_news(event, outbox) else None

    def _is_news(self, event: Holding, outbox: Outbox) -> bool:
        if isinstance(event, MailReturned):
            known = event.event_seq in self._held or event.event_seq in self._returned
            return not known
        if event.n is None:
            is_held = event.event_seq in self._held
            return is_held if isinstance(event, MailReleased) else not (is_held or self.is_full())
        owed = outbox.get((event.event_seq, event.n))
        if owed is None or not isinstance(owed.effect, SendMail):
            return False
        return (owed.hold is None) == isinstance(event, MailHeld)

    def owe(self, event: Holding, seq: int, time_ns: int, outbox: Outbox) -> None:
        """Change what is owed, as an event says that is news."""
        match event:
            case MailReturned():
                n = 0
                while (seq, n) in outbox:  # a handler that saw it may owe something, too
                    n += 1
                report = SendMail(event.reverse_path, "", event.header, event.content)
                outbox.owe(Owed((seq, n), report, time_ns, time_ns))
            case MailHeld(event_seq, n, who, reason) if n is not None:
                outbox.hold((event_seq, n), Hold(seq, time_ns, who, reason))
            case MailReleased(event_seq, n) if n is not None:
                outbox.hold((event_seq, n), None)

    def take(self, event: object, seq: int, time_ns: int) -> None:
        """Take in an event that is news, of a message that came; any other changes nothing."""
        match event:
            case MailHeld(event_seq, None, who, reason):
                if not self.is_full():
                    self._note(_HELD, self._held, event_seq, Hold(seq, time_ns, who, reason))
            case MailReleased(event_seq, None):
                self._forget(_HELD, self._held, event_seq)
            case MailReturned():
                hold = Hold(seq, time_ns, event.who, event.reason)
                if event.event_seq not in self._held:
                    self._note(_RETURNED, self._returned, event.event_seq, hold)
                while len(self._returned) > self._held_max:
                    self._forget(_RETURNED, self._returned, next(iter(self._returned)))

    def _note(self, kind: str, known: dict[int, Hold], seq: int, hold: Hold) -> None:
        if seq not in known:
            known[seq] = hold
            self._sum.add(kind, seq, attrs.astuple(hold))

    def _forget(self, kind: str, known: dict[int, Hold], seq: int) -> None:
        hold = known.pop(seq, None)
        if hold is not None:
            self._sum.remove(kind, seq, attrs.astuple(hold))


def said_of(hold: Hold, what: str = _HELD) -> str:
    """Return what an operator has said of a message."""
    who = f" by {hold.who}" if hold.who else ""
    why = f": {hold.reason}" if hold.reason else ""
    return f"it was {what} at {moment(hold.time_ns):%Y-%m-%d %H:%M:%S} UTC{who}{why}"
