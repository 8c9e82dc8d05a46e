"""Declaring events; and the forms they take: Entry, Outcome, and the Exchange they came by.

An event says what arrived. It is a frozen attrs class with a name and a version that go into
the journal, and holds immutable values only, so that what was journaled is what is applied.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final, Protocol, TypeVar, dataclass_transform, overload

import attrs
import msgspec

from happy.errors import DefinitionError, HappyError
from happy.facts import UNCHECKED, Facts
from happy.moments import moment
from happy.values import check_immutable

T = TypeVar("T")
C = TypeVar("C", bound=type)


@attrs.frozen
class EventMeta:
    """What the journal knows of an event class: its name and schema version."""

    name: str
    version: int
    frees_memory: bool = False
    """Whether it is taken though memory is full."""


@overload
def event(cls: type[T], /) -> type[T]: ...
@overload
def event(
    *, version: int = 1, name: str | None = None, frees_memory: bool = False
) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field, attrs.Factory))
def event(
    cls: Any = None,
    /,
    *,
    version: int = 1,
    name: str | None = None,
    frees_memory: bool = False,
) -> Any:
    """Declare an event: a frozen attrs class, known to the journal by ``name`` and ``version``.

    ``name`` is the class's own name unless given; give it when you rename the class. With
    ``frees_memory`` it is taken even when memory is full, as what deletes rows should be. Raises
    ``DefinitionError`` when a field could change after it was journaled (a list, a dict).
    """

    def declare(cls: C) -> C:
        made = attrs.frozen(cls, slots=True)
        if version < 1:
            raise DefinitionError(f"event {made.__name__}: version must be 1 or more")
        meta = EventMeta(name or made.__name__, version, frees_memory)
        made.__happy_event__ = meta  # type: ignore[attr-defined] # our mark
        check_immutable(made, "event")
        return made

    return declare if cls is None else declare(cls)


def event_meta(cls: type) -> EventMeta:
    """Return the journal's name and version of an event class; ``DefinitionError`` if none."""
    meta = cls.__dict__.get("__happy_event__")
    if meta is None:
        raise DefinitionError(f"{cls.__qualname__} is not an event: declare it with @event")
    assert isinstance(meta, EventMeta)
    return meta


class Exchange:
    """One exchange with a peer at a door: names what came, and collects what its answer shows.

    ``source`` is where the event came from, as the journal tells it (``http POST /next``).
    ``key`` and ``fingerprint`` are the peer's idempotency key and a digest of its request.
    ``seqs`` are the places of the events that this exchange committed, in order.
    """

    __slots__ = ("_uses", "fingerprint", "key", "seqs", "source")

    def __init__(
        self, source: str, key: str | None = None, fingerprint: bytes | None = None
    ) -> None:
        self.source = source
        self.key = key
        self.fingerprint = fingerprint
        self.seqs: list[int] = []
        self._uses = 0

    def claim_key(self) -> str | None:
        """Return the key for the next event of this exchange: an exchange may submit several."""
        if self.key is None:
            return None
        self._uses += 1
        # No peer can put a line end in a key: the second is never another peer's first.
        return self.key if self._uses == 1 else f"{self.key}\n{self._uses}"


class Entry:
    """An event with its place (``seq``) and moment (``time_ns``, since 1970, UTC)."""

    __slots__ = ("event", "fingerprint", "key", "seq", "source", "time_ns")

    def __init__(  # noqa: PLR0913 - the journal's own fields, in the journal's order
        self,
        seq: int,
        time_ns: int,
        event: object,
        source: str = "",
        key: str | None = None,
        fingerprint: bytes | None = None,
    ) -> None:
        self.seq = seq
        self.time_ns = time_ns
        self.event = event
        self.source = source
        self.key = key
        self.fingerprint = fingerprint

    @property
    def time(self) -> datetime:
        """The moment as an aware datetime, to the microsecond."""
        return moment(self.time_ns)


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="reply", gc=False):
    """The outcome of a handler that returned."""

    value: Any


class RefusedOutcome(msgspec.Struct, frozen=True, array_like=True, tag="refused", gc=False):
    """The outcome of a handler that raised ``Refused``: what the peer hears."""

    reason: str
    http_status: int
    smtp_code: int
    smtp_status: str


@attrs.frozen
class FailedOutcome:
    """The outcome of a handler that raised anything else; nothing changed.

    ``error`` is the exception of this run, for the log; the outcome's identity is its seq.
    """

    seq: int
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen
class Retired:
    """An event that once did something and does nothing now; see ``App.retired``."""

    name: str
    version: int


def name_of(event: object) -> str:
    """Return the journal's name of an event, of a retired one too."""
    return event.name if isinstance(event, Retired) else event_meta(type(event)).name


ANY_VERSION: Final = 0
"""Stands for the version where all versions of a name are meant."""

Outcome = Reply | RefusedOutcome | FailedOutcome


class Waiting(Protocol):
    """Somebody who waits for what becomes of an event, and is told once."""

    def replied(self, seq: int, value: Any) -> None:
        """Take the reply to the event, which is durable and has this seq."""

    def failed(self, seq: int, error: HappyError) -> None:
        """Take what came instead; ``seq`` is 0 when the event got no place. Once told, deaf."""


class Prepared(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An event that is encoded and checked, and can be put in the order any number of times."""

    event: Any
    source: str
    record: bytes
    key: ClassVar[None] = None
    fingerprint: ClassVar[None] = None


# --- the events that happy itself puts in the order ------------------------------------------


@attrs.frozen
class Blob:
    """A large body, kept beside the journal in a file named by its SHA-256 (hex)."""

    sha256: str
    size: int


@event(name="happy.Configured")
class Configured:
    """The application started with other settings than the journal remembers.

    ``settings`` is their JSON; handlers see them as ``context.settings``, so that a replay
    sees what was true then, not what the configuration says today. For the same reason the
    number of keys to remember stands here: what was forgotten then is forgotten in a replay;
    and of mail that comes back or is held: see ``happy.bounces`` and ``happy.holds``.
    """

    settings: bytes
    domains: tuple[str, ...] = ()
    keys_remembered_max: int = 100_000
    mail_failures_max: int = 3
    mail_returns_max: int = 100_000
    mail_unreached_max: int = 100_000
    mail_held_max: int = 10_000


@event(name="happy.Mail")
class Mail:
    """A message as it came: the envelope, what is known of the peer, and its exact bytes.

    ``content`` is the whole message with CRLF line ends (a ``Blob`` when large), ``header`` its
    header section. ``options`` are the parameters of MAIL, ``recipient_options`` of each RCPT,
    ``forwarded`` what a relay tells of its client, ``via`` who told of ``peer``, ``login`` a user.
    ``host`` is who took it, ``checked`` what was looked up about it, if anything was; ``early``
    when its 250 did not wait for its handler.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    header: bytes
    content: bytes | Blob
    peer: str = ""
    helo: str = ""
    protocol: str = "ESMTP"
    tls: bool = False
    options: tuple[str, ...] = ()
    recipient_options: tuple[tuple[str, ...], ...] = ()
    forwarded: tuple[str, ...] = ()
    sha256: bytes = b""
    acknowledged: tuple[tuple[int, bytes], ...] = ()
    via: str = ""
    login: str = ""
    host: str = ""
    checked: Facts | None = None
    early: bool = False

    @property
    def facts(self) -> Facts:
        """What was looked up about it: SPF, DKIM, DMARC, ARC; all empty when nothing was."""
        return self.checked or UNCHECKED

    @property
    def size(self) -> int:
        """The length of the whole message in bytes."""
        return self.content.size if isinstance(self.content, Blob) else len(self.content)


@event(name="happy.MailAcknowledged")
class MailAcknowledged:
    """The senders have read that these messages were taken, so that a copy is a new one now.

    Each is told by its place and what its copies share (``happy.unacknowledged``).
    """

    acknowledged: tuple[tuple[int, bytes], ...]


@event(name="happy.TimerFired")
class TimerFired:
    """A timer came due: ``event_seq`` and ``n`` say which one was owed."""

    event_seq: int
    n: int


@attrs.frozen
class ScheduledWhen:
    """A schedule's name, its calendar or interval, and its time zone."""

    name: str
    when: str
    zone: str = ""


@event(name="happy.Scheduled")
class Scheduled:
    """The application started with other schedules than the journal remembers."""

    schedules: tuple[ScheduledWhen, ...] = ()


@event(name="happy.ScheduleFired")
class ScheduleFired:
    """A schedule came due at ``due_ns``; ``event`` is the record of what came."""

    name: str
    due_ns: int
    event: bytes


@event(name="happy.MailSending")
class MailSending:
    """A message we owe is about to be given to a server, for the ``attempt``-th time, from 1.

    Whether it was, nobody knows until one of the events below says what came of it.
    """

    event_seq: int
    n: int
    recipient: str
    attempt: int


@event(name="happy.MailSent")
class MailSent:
    """A message was taken by the next server, with ``reply``; twice, maybe, if ``ambiguous``."""

    event_seq: int
    n: int
    recipient: str
    reverse_path: str = ""
    tag: str = ""
    reply: str = ""
    ambiguous: bool = False


@event(name="happy.MailDelayed")
class MailDelayed:
    """A message we owe was not taken yet; ``attempts`` so far, next at ``retry_ns``.

    ``ambiguous`` when the connection broke after the last dot: it may have been taken.
    """

    event_seq: int
    n: int
    recipient: str
    attempts: int
    retry_ns: int
    reply: str = ""
    ambiguous: bool = False


@event(name="happy.MailFailed")
class MailFailed:
    """A message we owed will never be taken; ``reply`` says why (5xx, or too old).

    It may have been taken all the same when an attempt before was ``ambiguous``. ``hard`` when it
    is the address that will never do; ``suppressed`` when so much mail there had failed that this
    was not tried.
    """

    event_seq: int
    n: int
    recipient: str
    reverse_path: str = ""
    tag: str = ""
    reply: str = ""
    ambiguous: bool = False
    hard: bool = False
    suppressed: bool = False


@event(name="happy.CallEnded")
class CallEnded:
    """An HTTP call we owed came to its end: ``status`` and ``body``, or 0 and ``error``."""

    event_seq: int
    n: int
    tag: str = ""
    status: int = 0
    body: bytes = b""
    error: str = ""
