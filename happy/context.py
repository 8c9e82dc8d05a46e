"""What a handler is told beside the event, and what it may owe to the world."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from happy.effects import Call, Effect, EffectId, Outbox, Owed, SendMail, Timer
from happy.event import Blob, event_meta
from happy.moments import moment, nanoseconds
from happy.return_paths import ReturnPaths

_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"<> ])+')
"""What can stand between the angle brackets of an envelope and not end it."""


class Context:
    """The third argument of a handler.

    ``seq`` is the event's place, ``time`` its moment (an aware datetime, never going
    backwards), ``random`` a ``random.Random`` that draws the same on every replay.
    ``settings`` and ``domains`` are what the configuration said when the event came.
    ``recipient`` is the address that a mail route matched.
    ``due`` is the moment at which a timer or schedule was to bring the event, None for an event
    that came by itself. It is never later than ``time``, unless the clock was set back.
    """

    __slots__ = (
        "_outbox",
        "_random",
        "_random_of",
        "_recipient",
        "_return_paths",
        "cancelled",
        "domains",
        "due_ns",
        "owed",
        "seq",
        "settings",
        "time_ns",
        "used",
    )

    def __init__(
        self,
        random_of: Callable[[int], Any],
        outbox: Outbox,
        return_paths: ReturnPaths | None = None,
    ) -> None:
        self._random_of = random_of
        self._outbox = outbox
        self._return_paths = return_paths or ReturnPaths()
        self._random: Any = None
        self.settings: Any = None
        self.domains: tuple[str, ...] = ()
        self.owed: list[Owed] = []
        self.cancelled: tuple[EffectId, ...] = ()
        self.used = False
        """Whether an event has left something in it that the next one must not see."""
        self.enter(0, 0)

    def configure(self, settings: Any, domains: tuple[str, ...]) -> None:
        """Take in what the configuration says from now on; for the machine."""
        self.settings = settings
        self.domains = domains

    def enter(self, seq: int, time_ns: int, due_ns: int | None = None) -> None:
        """Make ready for the next event; for the machine.

        Where an event left it not ``used``, it is enough to put the next one's seq in.
        """
        self.seq = seq
        self.time_ns = time_ns
        self.due_ns = due_ns
        self._recipient = ""
        self.owed = []
        self.cancelled = ()
        self._random = None
        self.used = due_ns is not None

    @property
    def recipient(self) -> str:
        """The address that a mail route matched; empty when none did."""
        return self._recipient

    @recipient.setter
    def recipient(self, address: str) -> None:
        """Note the address; for the routes."""
        self._recipient = address
        self.used = True

    @property
    def time(self) -> datetime:
        """The moment of the event, to the microsecond."""
        return moment(self.time_ns)

    @property
    def due(self) -> datetime | None:
        """When the timer or schedule that brought this event was due; None when none did."""
        return None if self.due_ns is None else moment(self.due_ns)

    @property
    def random(self) -> Any:
        """A ``random.Random`` of this event's own; the same numbers on every replay."""
        if self._random is None:
            self.used = True
            self._random = self._random_of(self.seq)
        return self._random

    def token(self, bytes_count: int = 16) -> str:
        """Return an unguessable word of small letters and digits, the same on every replay.

        It is as secret as the journal: who can read the journal can compute it.
        """
        number: bytes = self.random.randbytes(bytes_count)
        return number.hex()

    def mail(  # noqa: PLR0913 - an envelope has as many parts
        self,
        recipients: str | Iterable[str],
        header: bytes,
        content: bytes | Blob = b"",
        *,
        reverse_path: str | None = None,
        content_offset: int = 0,
        tag: str = "",
    ) -> None:
        """Owe a message to each recipient; it goes out after this event is durable.

        ``header`` ends with the empty line, ``content`` follows it; both have CRLF line ends
        (``happy.message`` makes them). A large body is passed as the ``Blob`` it came as, and
        ``content_offset`` leaves out its own header. Each recipient's end arrives as
        ``MailSent`` or ``MailFailed`` with ``tag`` in it.

        ``reverse_path`` is where bounces go, empty for nowhere. Left out, it is an address of
        happy's own at the first of ``domains``, another for each recipient, and what comes back
        there arrives as ``MailBounced``; without domains that is a ``ValueError``.
        """
        if not isinstance(header, bytes):
            raise TypeError(f"a header is bytes, as compose makes it, not {type(header).__name__}")
        to = (recipients,) if isinstance(recipients, str) else tuple(recipients)
        for address in (*to, reverse_path) if reverse_path else to:
            if not _ADDRESS.fullmatch(address) or not address.isprintable():
                raise ValueError(f"not a mail address: {address!r}")
        if reverse_path is None and not self.domains:
            raise ValueError(
                "mail without a reverse_path comes back to a domain of the application, and it has "
                'none: set domains, or write reverse_path=""'
            )
        for recipient in to:
            path = self._return_path() if reverse_path is None else reverse_path
            self._owe(SendMail(recipient, path, header, content, content_offset, tag), self.time_ns)

    def _return_path(self) -> str:
        """Return where the next message that is owed comes back to."""
        return self._return_paths.make((self.seq, len(self.owed)), self.domains[0])

    def call(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        tag: str = "",
    ) -> None:
        """Owe an HTTP request; its end arrives as ``CallEnded`` with ``tag`` in it."""
        self._owe(Call(method, url, body, tuple(headers), tag), self.time_ns)

    def after(self, delay: timedelta, event: object) -> EffectId:
        """Owe ``event`` to this application, ``delay`` from now; return the timer's id."""
        return self._timer(self.time_ns + delay // timedelta(microseconds=1) * 1000, event)

    def at(self, when: datetime, event: object) -> EffectId:
        """Owe ``event`` to this application at a moment, at once when it is past."""
        return self._timer(nanoseconds(when), event)

    def cancel(self, timer_id: EffectId) -> bool:
        """Owe a timer's event no more; say whether it was still owed.

        A timer that has fired, or is being handled now, is not; nor is one that nobody set.
        """
        event_seq, n = timer_id
        if event_seq == self.seq:
            owed = self.owed[n] if 0 <= n < len(self.owed) else None
        else:
            owed = self._outbox.get((event_seq, n))
        if owed is None or not isinstance(owed.effect, Timer) or owed.id in self.cancelled:
            return False
        self.used = True
        self.cancelled = (*self.cancelled, owed.id)
        return True

    def _timer(self, due_ns: int, event: object) -> EffectId:
        event_meta(type(event))
        return self._owe(Timer(event), due_ns)

    def _owe(self, effect: Effect, due_ns: int) -> EffectId:
        self.used = True
        effect_id = (self.seq, len(self.owed))
        self.owed.append(Owed(effect_id, effect, self.time_ns, due_ns))
        return effect_id


def seed_of(journal_id: bytes, seq: int) -> int:
    """Return the seed of an entry's random generator.

    The journal's identity keeps it from being guessed by those who do not hold the journal,
    so that a handler may draw tokens from it.
    """
    material = hashlib.blake2b(b"%d" % seq, key=journal_id, digest_size=32)
    return int.from_bytes(material.digest(), "big")
