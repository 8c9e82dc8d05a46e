"""What the commands that look after journals end with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from happy.cli.output import Unwell, reason
from happy.errors import Ambiguous, Corrupt, JournalError, NoRoom, NotAJournal


class Status(IntEnum):
    """The exit status; what 1 means, each command says."""

    DONE = 0
    NOT_DONE = 1
    DAMAGED = 2
    NOT_A_JOURNAL = 3
    UNUSABLE = 4
    DIFFERENT = 5
    NOT_LOADED = 6
    UNFIT = 7
    BROKE_OFF = 8


@contextmanager
def statuses(path: Path) -> Iterator[None]:
    """End with the status of what goes wrong with the journal in ``path``, and a sentence.

    ``path`` is the one that is written, when one is read and one is written.
    """
    try:
        yield
    except (Corrupt, Ambiguous) as error:
        raise Unwell(str(error), Status.DAMAGED) from None
    except NotAJournal as error:
        raise Unwell(str(error), Status.NOT_A_JOURNAL) from None
    except NoRoom:
        raise Unwell(f"{path}: the disk is full", Status.UNUSABLE) from None
    except JournalError as error:
        raise Unwell(str(error), Status.UNUSABLE) from None
    except OSError as error:
        raise Unwell(f"{error.filename or path}: {reason(error)}", Status.UNUSABLE) from None
