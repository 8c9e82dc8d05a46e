"""The mail that comes back, and whom it is better not to write to: a part of history.

A message that went out under a return path of ours is remembered, so that a report on it is about
somebody. It comes back once; what is said of it later is no news. An address at which so much mail
has failed for good that the limit is reached is *suppressed*: mail to it fails at once, until
somebody says otherwise. Only failures that are about the address itself count, as whoever reported
them to the order has found (``hard``).

What is remembered is bounded by what the application was last configured with, the oldest go first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, TypeVar

import attrs

from happy.digest import Sum
from happy.effects import EffectId, Owed, SendMail
from happy.event import Configured, MailFailed, MailSent
from happy.return_paths import ReturnPaths
from happy.system_events import MailBounced, MailUnsuppressed

K = TypeVar("K")
V = TypeVar("V", bound="Remembered")


class Remembered(Protocol):
    """What has its place in the digest."""

    def told(self) -> tuple[Any, ...]:
        """Return all that it is."""


@attrs.frozen
class Outgone:
    """A message that was sent, or failed; ``end`` is empty, ``bounced`` or ``failed``."""

    recipient: str
    reverse_path: str
    tag: str
    time_ns: int
    end: str = ""
    status: str = ""

    def told(self) -> tuple[Any, ...]:
        """See ``Remembered``."""
        return attrs.astuple(self)


@attrs.frozen
class Unreached:
    """An address at which mail failed for good: how often, and when and how the last time.

    ``suppressed_ns`` is since when it is not tried any more; 0 while it still is.
    """

    address: str
    failures: int
    time_ns: int
    reply: str
    suppressed_ns: int = 0

    def told(self) -> tuple[Any, ...]:
        """See ``Remembered``."""
        return attrs.astuple(self)


_SENT: Final = "sent"
_UNREACHED: Final = "unreached"

Item = tuple[Any, ...]
"""What an image has of either: which of them it is, its key, and what it is."""


class _Oldest(dict[K, V]):
    """So many things by key and no more, the one that changed last at the end."""

    def __init__(self, kind: str, total: Sum) -> None:
        super().__init__()
        self._kind = kind
        self._sum = total

    def change(self, key: K, value: V | None) -> None:
        before = self.pop(key, None)
        if before is not None:
            self._sum.remove(self._kind, key, before.told())
        if value is not None:
            self._sum.add(self._kind, key, value.told())
            self[key] = value

    def cut(self, count_max: int) -> None:
        while len(self) > count_max:
            self.change(next(iter(self)), None)


class Bounces:
    """What came of mail after it was sent, as a fold over events; see the head of this module."""

    def __init__(self, return_paths: ReturnPaths) -> None:
        self.return_paths = return_paths
        self.configure(Configured(b""))
        self.clear()

    def configure(self, configured: Configured) -> None:
        """Keep so much from now on; what is too much goes with the next that comes."""
        self._failures_max = configured.mail_failures_max
        self._sent_max = configured.mail_returns_max
        self._unreached_max = configured.mail_unreached_max

    def clear(self) -> None:
        """Forget all, to begin with another image."""
        self._sum = Sum()
        self._sent: _Oldest[EffectId, Outgone] = _Oldest(_SENT, self._sum)
        self._unreached: _Oldest[str, Unreached] = _Oldest(_UNREACHED, self._sum)

    def __len__(self) -> int:
        return len(self._sent) + len(self._unreached)

    def __iter__(self) -> Iterator[Item]:
        """Yield all that is remembered, as ``put_back`` takes it."""
        for effect_id, sent in self._sent.items():
            yield _SENT, effect_id, sent.told()
        for key, unreached in self._unreached.items():
            yield _UNREACHED, key, unreached.told()

    def put_back(self, kind: str, key: Any, told: tuple[Any, ...]) -> None:
        """Remember as an image says it."""
        if kind == _SENT:
            event_seq, n = key
            self._sent.change((event_seq, n), Outgone(*told))
        else:
            self._unreached.change(key, Unreached(*told))

    def digest(self) -> str:
        """Return the digest of all that is remembered: 32 hexadecimal digits."""
        return self._sum.value()

    # --- looking ------------------------------------------------------------------------------

    def suppressed(self) -> Iterator[Unreached]:
        """Yield who is suppressed, the longest first."""
        return (one for one in self._unreached.values() if one.suppressed_ns)

    def bounced(self) -> Iterator[tuple[EffectId, Outgone]]:
        """Yield the messages that are known to have come back, the oldest first."""
        return ((of, one) for of, one in self._sent.items() if one.end == "bounced")

    def suppression_of(self, address: str) -> Unreached | None:
        """Return since when and why an address is suppressed; None when it is not."""
        found = self._unreached.get(key_of(address))
        return found if found is not None and found.suppressed_ns else None

    def completed(self, event: MailBounced) -> MailBounced | None:
        """Return what a handler is to see of a report; None when it is no news, or of nothing."""
        sent = self._sent.get((event.event_seq, event.n))
        if sent is None or sent.end:
            return None
        changed: Any = event  # attrs.evolve knows no slots class that a decorator made
        whole: MailBounced = attrs.evolve(
            changed, recipient=sent.recipient, reverse_path=sent.reverse_path, tag=sent.tag
        )
        return whole

    # --- taking in ----------------------------------------------------------------------------

    def take(self, event: object, time_ns: int) -> None:
        """Take in what became of mail; any other event changes nothing."""
        match event:
            case MailSent():
                effect_id = event.event_seq, event.n
                if self.return_paths.effect_of(event.reverse_path) == effect_id:
                    self._note(effect_id, _outgone(event, time_ns))
            case MailFailed(hard=True):
                effect_id = event.event_seq, event.n
                known = self._sent.get(effect_id)
                if known is None or not known.end:
                    self._note(effect_id, _outgone(event, time_ns, "failed"))
                    self._count(event.recipient, time_ns, event.reply)
            case MailBounced():
                effect_id = event.event_seq, event.n
                whole = self.completed(event)
                if whole is not None:
                    self._note(effect_id, _outgone(whole, time_ns, "bounced", event.status))
                    if event.hard:
                        self._count(whole.recipient, time_ns, event.reply or event.status)
            case MailUnsuppressed(address):
                self._unreached.change(key_of(address), None)

    def _note(self, effect_id: EffectId, sent: Outgone) -> None:
        self._sent.change(effect_id, sent)
        self._sent.cut(self._sent_max)

    def _count(self, address: str, time_ns: int, reply: str) -> None:
        known = self._unreached.get(key_of(address))
        failures = 1 if known is None else known.failures + 1
        since_ns = 0 if known is None else known.suppressed_ns
        if not since_ns and failures >= self._failures_max:
            since_ns = time_ns
        one = Unreached(address, failures, time_ns, reply, since_ns)
        self._unreached.change(key_of(address), one)
        self._unreached.cut(self._unreached_max)


def key_of(address: str) -> str:
    """Return the key of an address: nobody has two mailboxes that differ in large letters."""
    return address.casefold()


def _outgone(
    event: MailSent | MailFailed | MailBounced, time_ns: int, end: str = "", status: str = ""
) -> Outgone:
    return Outgone(event.recipient, event.reverse_path, event.tag, time_ns, end, status)


def suppressed_end(owed: Owed, why: Unreached) -> MailFailed:
    """Return the end of a message to an address that is suppressed."""
    mail = owed.effect
    assert isinstance(mail, SendMail)
    reply = f"5.1.1 suppressed after {why.failures} failures, the last one: {why.reply}"
    envelope = (*owed.id, mail.recipient, mail.reverse_path, mail.tag)
    return MailFailed(*envelope, reply, owed.ambiguous or owed.sending, suppressed=True)


def as_digested(configured: Any) -> Any:
    """Return a configuration for a digest: as it was before it had fields of their usual value."""
    fields = attrs.asdict(configured)
    for came_later in _CAME_LATER:
        if any(fields[name] != getattr(_USUAL, name) for name in came_later):
            break
        for name in came_later:
            del fields[name]
    return dict(sorted(fields.items()))  # as msgpack has the class


_USUAL: Final = Configured(b"")
_CAME_LATER: Final = (
    ("mail_held_max",),
    ("mail_failures_max", "mail_returns_max", "mail_unreached_max"),
)
"""The fields that a configuration got since there are marks, the last ones first."""
