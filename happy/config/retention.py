"""What an application's configuration says of old segments: kept, unless it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from attrs import frozen

from happy.config.lines import KeyPath
from happy.config.reader import ConfigReader, Positive
from happy.journal.retention import Budget

_KEYS: Final = {"bytes_max": Positive, "age_max_s": Positive, "archive": Path, "delete": bool}


@frozen
class Retention:
    """How much of a journal is kept, and what becomes of the rest."""

    budget: Budget = Budget()  # noqa: RUF009 - it is frozen
    archive: Path | None = None
    """Where segments are moved to; None when they are removed."""

    @property
    def keeps_all(self) -> bool:
        """Whether no segment is ever let go."""
        return self.budget == Budget()


def retention_of(reader: ConfigReader, key: KeyPath, raw: Any) -> Retention:
    """Return what a table says, complaining about what cannot be meant."""
    if raw is None:
        return Retention()
    good = reader.table(key, raw, _KEYS)
    if not isinstance(raw, dict):
        return Retention()
    if not {"bytes_max", "age_max_s"} & raw.keys():
        reader.complain(key, "has no budget: set bytes_max or age_max_s")
    elif ("archive" in raw) == (raw.get("delete") is True):
        reader.complain(
            key, 'say what becomes of old segments: archive = "DIR", or delete = true; one of them'
        )
    budget = Budget(good.get("bytes_max"), good.get("age_max_s"))
    return Retention(budget, good.get("archive"))
