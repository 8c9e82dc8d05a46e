"""What an operator hears when an application is opened: which snapshot, what was cut off."""

from __future__ import annotations

from twisted.logger import Logger

from happy.journal.replay import Reader, Torn
from happy.recall import Recall, Recalled

log = Logger()


def report_recall(name: str, recall: Recall, recalled: Recalled | None) -> None:
    """Say which snapshot is used, and why others are not."""
    for passed in recall.passed_over:
        tell = log.error if passed.damaged else log.warn
        tell("{name}: a snapshot is not used: {reason}", name=name, reason=passed.reason)
    if recalled is not None:
        log.info(
            "{name}: the state as of seq {seq} is taken from {snapshot}",
            name=name,
            seq=recalled.machine.seq,
            snapshot=recalled.snapshot.name,
        )


def report_end(name: str, reader: Reader) -> None:
    """Say what was cut off at the end of a journal, or that there was none."""
    if not reader.segments:
        _report_new(name, reader.torn)
        return
    if reader.torn is not None:
        log.warn(
            "{name}: {finding} at the end of {segment}, offset {offset}: {so} and was cut off; "
            "its {size} bytes are kept in {kept}",
            name=name,
            finding=reader.torn.finding.value,
            segment=reader.torn.segment,
            offset=reader.torn.offset,
            so=_lost(reader.torn) if reader.torn.accepted else "it was never answered",
            size=reader.torn.size,
            kept=reader.torn.kept,
        )


def report_replayed(name: str, events: int, reader: Reader) -> None:
    """Say how many events were replayed."""
    if reader.segments:
        log.info(
            "{name}: replayed {events} from {segments}",
            name=name,
            events=_counted(events, "event"),
            segments=_counted(len(reader.segments), "segment"),
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _report_new(name: str, torn: Torn | None) -> None:
    if torn is not None:
        log.error(
            "{name}: {segment} was cut short inside of its header and nothing else was there; "
            "its {size} bytes are kept in {kept}. If it held events, stop and restore the "
            "journal from a backup",
            name=name,
            segment=torn.segment,
            size=torn.size,
            kept=torn.kept,
        )
    log.info("{name}: a new journal was begun", name=name)


def _lost(torn: Torn) -> str:
    """Return what was lost because somebody accepted it."""
    if not torn.count:  # not known, or a mark, behind which there may have been more
        return f"whatever had seq {torn.seq} or higher may have been answered, is lost"
    last = torn.seq + torn.count - 1
    return f"what had seq {torn.seq} to {last} may have been answered, is lost"
