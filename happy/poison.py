"""Events that end the program: told to the operator, and quarantined when it is sure."""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from happy.applying import Suspect
from happy.journal.appender import Appender
from happy.journal.frame import Frame, Kind
from happy.journal.quarantine import Quarantined
from happy.limits import Limits

log = Logger()


def report_suspect(name: str, suspect: Suspect, limits: Limits) -> None:
    """Say that the last process ended while it applied something, or one before it did."""
    log.warn(
        "{name}: the program ended while {events} was applied; that is death {deaths} of at most "
        "{deaths_max}",
        name=name,
        events=_events(suspect),
        deaths=suspect.deaths,
        deaths_max=limits.poison_deaths_max,
    )


def report_poison(name: str, suspect: Suspect, frame: Frame, limits: Limits) -> None:
    """Say why poison in a frame that is applied now is not quarantined, if it is not."""
    seq = suspect.first_seq
    if not suspect.is_poison(limits.poison_deaths_max) or seq in frame.quarantined:
        return
    if not frame.first_seq <= seq < frame.first_seq + frame.count:
        return
    log.critical(
        "{name}/{seq}: its handler ended the program {deaths} times. It was applied before, and "
        "what came of it was answered, so it is not quarantined: run the code that applied it, "
        "or mend the handler",
        name=name,
        seq=seq,
        deaths=suspect.deaths,
    )


class Doubt(Protocol):
    """Knows which events may never have been applied: ``Foresight``, or who feeds a core."""

    def in_doubt(self, seq: int) -> bool:
        """Say whether an event is one of them."""

    def quarantine(self, seq: int) -> None:
        """Take note that a mark quarantines one of them."""


def convict(  # noqa: PLR0913 - all who take part
    name: str,
    suspect: Suspect,
    doubt: Doubt,
    appender: Appender,
    time_ns: int,
    limits: Limits,
) -> bool:
    """Quarantine a suspect that is poison, durably, before it would be applied again.

    Returns whether it did. Raises as ``Appender.mark`` does; nothing is quarantined then.
    """
    seq = suspect.first_seq
    if not (suspect.is_poison(limits.poison_deaths_max) and doubt.in_doubt(seq)):
        return False
    mark = Quarantined(seq, suspect.deaths)
    appender.mark(Kind.QUARANTINE_MARK, time_ns, body=mark.encode())
    doubt.quarantine(seq)
    log.critical(
        "{name}/{seq}: quarantined: its handler ended the program {deaths} times; it failed, and "
        "is not tried again. `happy quarantine ls` shows it",
        name=name,
        seq=seq,
        deaths=suspect.deaths,
    )
    return True


def _events(suspect: Suspect) -> str:
    if suspect.count == 1:
        return f"seq {suspect.first_seq}"
    return f"one of seq {suspect.first_seq} to {suspect.last_seq}"
