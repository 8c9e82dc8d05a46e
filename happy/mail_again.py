"""Finding a mail that came in, by its place in a journal that may be in use, to handle it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import attrs
import msgspec

from happy.event import Mail
from happy.journal.frame import Frame

_AGAIN: Final = "redelivery of "


class NotDone(Exception):
    """What was asked for was not done; the message says why."""


def again_source(seq: int, who: str = "") -> str:
    """Return the source of a mail that is handled again, which came as event ``seq``."""
    return f"{_AGAIN}{seq} by {who}" if who else f"{_AGAIN}{seq}"


def again_of(source: str) -> int | None:
    """Return which event a source says that this one is again; None when it says no such thing."""
    seq = source.removeprefix(_AGAIN).partition(" ")[0]
    return int(seq) if source.startswith(_AGAIN) and seq.isdecimal() else None


def mail_at(journal: Path, seq: int) -> Mail:
    """Return the mail that came as event ``seq``, as it is to be handled again.

    Nobody waits for its 250, and it acknowledges nothing. ``NotDone`` says why there is none;
    a ``JournalError`` comes from a journal that cannot be read.
    """
    from happy.cli.bodies import MAIL, records_in  # noqa: PLC0415 - few ask, and it loads much
    from happy.cli.bounds import Wanted  # noqa: PLC0415 - as above
    from happy.cli.frames import steps  # noqa: PLC0415 - as above

    for step in steps(journal, Wanted(first=seq, last=seq)):
        if not isinstance(step, Frame):
            continue
        for at, record in records_in(step):
            if at == seq and record.type == MAIL:
                mail: Any = msgspec.msgpack.decode(record.body, type=Mail)
                again: Mail = attrs.evolve(mail, sha256=b"", acknowledged=())
                return again
            if at == seq:
                raise NotDone(f"{journal}: seq {seq} is a {record.type}, no mail")
    raise NotDone(f"{journal}: there is no seq {seq}")
