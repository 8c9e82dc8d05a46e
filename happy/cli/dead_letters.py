"""The messages that came in and that nobody took, as a replay finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from happy.cli.output import rfc3339
from happy.cli.replaying import Replay
from happy.config import AppConfig
from happy.event import Entry, FailedOutcome, Mail, Outcome, RefusedOutcome
from happy.mail_again import again_of


def dead_letters(journal: Path, app: AppConfig) -> Iterator[dict[str, Any]]:
    """Replay, and yield the mails that nobody took and that wait for somebody to look.

    Their handlers failed, or refused what had been accepted early; and they were neither handled
    again nor returned, and are not held.
    """
    found: dict[int, dict[str, Any]] = {}
    replay = Replay(journal, app.definition)
    for batch in replay.batches():
        for entry in batch:
            (outcome,) = replay.machine.apply([entry])
            if not isinstance(entry.event, Mail):
                continue
            found.pop(again_of(entry.source) or 0, None)
            refused = entry.event.early and isinstance(outcome, RefusedOutcome)
            if refused or isinstance(outcome, FailedOutcome):
                found[entry.seq] = _row(app.name, entry, entry.event, outcome)
    left_alone = replay.machine.holds.why_left_alone
    yield from (row for seq, row in found.items() if left_alone(seq) is None)


def _row(name: str, entry: Entry, came: Mail, outcome: Outcome) -> dict[str, Any]:
    return {
        "id": f"{name}/{entry.seq}",
        "time": rfc3339(entry.time_ns),
        "reverse_path": came.reverse_path,
        "recipients": list(came.recipients),
        "error": _why(outcome),
    }


def _why(outcome: Outcome) -> str:
    if isinstance(outcome, RefusedOutcome):
        return f"refused: {outcome.reason}"
    error = outcome.error if isinstance(outcome, FailedOutcome) else None
    return "" if error is None else f"{type(error).__name__}: {error}"
