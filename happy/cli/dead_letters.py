"""The messages that came in and that a handler failed on, as a replay finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from happy.cli.output import rfc3339
from happy.cli.replaying import Replay
from happy.config import AppConfig
from happy.event import Entry, FailedOutcome, Mail


def dead_letters(journal: Path, app: AppConfig, again_mark: str) -> Iterator[dict[str, Any]]:
    """Replay, and yield the mails whose handlers failed and that were not delivered again.

    ``again_mark`` is what the source of a redelivery begins with; the seq it is of follows.
    """
    found: dict[int, dict[str, Any]] = {}
    replay = Replay(journal, app.definition)
    for batch in replay.batches():
        for entry in batch:
            (outcome,) = replay.machine.apply([entry])
            if not isinstance(entry.event, Mail):
                continue
            again = entry.source.removeprefix(again_mark)
            if again != entry.source and again.isdecimal():
                found.pop(int(again), None)
            if isinstance(outcome, FailedOutcome):
                found[entry.seq] = _row(app.name, entry, entry.event, outcome)
    yield from found.values()


def _row(name: str, entry: Entry, came: Mail, outcome: FailedOutcome) -> dict[str, Any]:
    error = outcome.error
    return {
        "id": f"{name}/{entry.seq}",
        "time": rfc3339(entry.time_ns),
        "reverse_path": came.reverse_path,
        "recipients": list(came.recipients),
        "error": "" if error is None else f"{type(error).__name__}: {error}",
    }
