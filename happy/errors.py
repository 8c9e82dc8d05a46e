"""Every error there is, in one tree: the peer's fault, ours for now, or the disk's.

``str(error)`` is a sentence a person can act on. Each class says how a door puts it:
``http_status``, and ``smtp_code`` with ``smtp_status`` (the enhanced code of RFC 3463).
"""

from __future__ import annotations

from typing import ClassVar


class HappyError(Exception):
    """The root; never raised itself. Unless told otherwise: our trouble, try again later."""

    http_status: int = 500
    smtp_code: int = 451
    smtp_status: str = "4.3.0"


# --- the peer's or the application's no ----------------------------------------------------


class PeerError(HappyError):
    """The peer sent something that cannot be accepted; sending it again will not help."""

    http_status = 400
    smtp_code = 554
    smtp_status = "5.6.0"


class BadRequest(PeerError):
    """A request that cannot be understood; ``errors`` holds one sentence for each fault."""

    def __init__(self, message: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class TooLarge(PeerError):
    """A body or message over its limit (RFC 9110 section 15.5.14, RFC 1870 section 6.1)."""

    http_status = 413
    smtp_code = 552
    smtp_status = "5.3.4"


class KeyReused(PeerError):
    """An idempotency key that was used before, for a different request."""

    http_status = 422


class ReadOnly(PeerError):
    """An event for an application that is shown as it was at a moment of the past."""

    http_status = 409


class Refused(HappyError):
    """The application said no. Raised by a handler: nothing changes, the peer hears the reason.

    ``http_status`` and ``smtp`` (code and enhanced status) say how the doors put it.
    """

    http_status = 409
    smtp_code = 554
    smtp_status = "5.7.1"

    def __init__(
        self, reason: str, *, http_status: int = 409, smtp: tuple[int, str] = (554, "5.7.1")
    ) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.smtp_code, self.smtp_status = smtp


class HandlerFailed(HappyError):
    """A handler raised: nothing changed; ``reference`` finds the traceback in the log."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the application failed on this event (reference {reference})")
        self.reference = reference


# --- ours, for now -------------------------------------------------------------------------


class Unavailable(HappyError):
    """Not now: nothing was admitted, the peer may try again. ``retry_after_s`` says when."""

    http_status = 503
    retry_after_s: ClassVar[int] = 1


class Busy(Unavailable):
    """The queue of this application is full (452: RFC 5321 section 4.2.3)."""

    smtp_code = 452
    smtp_status = "4.3.1"


class NoRoom(Unavailable):
    """The disk is full: new events are refused until there is room again."""

    smtp_code = 452
    smtp_status = "4.3.1"
    retry_after_s: ClassVar[int] = 10


class NoMemory(Unavailable):
    """The state is as large as it may be, or the machine has no more: see ``happy.memory``."""

    smtp_code = 452
    smtp_status = "4.3.1"
    retry_after_s: ClassVar[int] = 10


class NotOpen(Unavailable):
    """The application is still replaying, or is closing."""

    smtp_code = 421
    smtp_status = "4.3.2"


class Halted(Unavailable):
    """The application stopped after an inner failure; whether the event holds is unknown."""

    retry_after_s: ClassVar[int] = 10


class CoreLost(Unavailable):
    """The core's process ended: an event that it had is kept, its outcome is not known."""


class Late(Unavailable):
    """What a door has asked was not answered in time: the handlers take theirs."""


class DeadlyEvent(HappyError):
    """An event whose handler raised what ends a program; after some such ends it is quarantined."""


# --- the author's --------------------------------------------------------------------------


class DefinitionError(HappyError, TypeError):
    """An application, event or state that is declared in a way that cannot work."""


class Nondeterministic(DefinitionError):
    """A handler or query that would not do the same in a replay; the message has file and line."""


class DuplicateKey(HappyError, KeyError):
    """A row whose unique index value another row of the table already has."""

    __str__ = Exception.__str__


# --- the operator's ------------------------------------------------------------------------


class ConfigError(HappyError):
    """A configuration that cannot start; ``complaints`` are ``FILE:LINE: key: sentence``."""

    def __init__(self, complaints: tuple[str, ...]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


class StartError(HappyError):
    """Something outside the configuration keeps the container from starting (a port in use)."""


# --- the disk's ----------------------------------------------------------------------------


class JournalError(HappyError):
    """The journal cannot be used; the message names the file and what to do."""


class Locked(JournalError):
    """Another process holds this journal; the message names it."""


class NotAJournal(JournalError):
    """The directory holds something else, or a format this version does not know."""


class Corrupt(JournalError):
    """Damage with good frames after it: opening would lose answered events."""


class Ambiguous(JournalError):
    """The last frame is whole but wrong: damage and a torn write look alike here."""


class UnknownEvent(JournalError):
    """The journal holds an event that no handler of this application takes."""


class CannotUpcast(JournalError):
    """No upcaster leads from an old version to the present one, or one of them failed."""


class BadSnapshot(JournalError):
    """A snapshot is damaged: it is not used."""


class UnfitSnapshot(BadSnapshot):
    """A snapshot is whole, and of another state than the application's: it is not used."""


class Diverged(JournalError):
    """A replay came to something else than the journal says, within this range of seqs."""

    def __init__(self, message: str, first_seq: int, last_seq: int) -> None:
        super().__init__(message)
        self.first_seq = first_seq
        self.last_seq = last_seq


class NoSnapshot(JournalError):
    """No snapshot could be made; the application does not mind, and it is tried again."""


class SyncFailed(JournalError):
    """The disk did not take what was promised to be durable; the process must end."""
