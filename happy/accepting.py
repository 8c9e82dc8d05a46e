"""Which divergences a replay may pass: those that somebody accepted, then or now."""

from __future__ import annotations

from twisted.logger import Logger

from happy.errors import Diverged, JournalError
from happy.journal.disk import Disk
from happy.journal.frame import Kind
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.marks import DigestMark, mark_in

log = Logger()


class Acceptance:
    """Accepts what differs before an accepting mark of a journal or, with ``now``, all of it.

    The journal is read ahead for such a mark when something differs, and not before: that is
    once, and much faster than replaying.
    """

    def __init__(self, disk: Disk, *, now: bool = False, start: Start | None = None) -> None:
        self.now = now
        self.first: Diverged | None = None
        """The first divergence that is accepted by this start."""
        self._ahead = Reader(disk, cut=False, start=start)
        self._looked = False
        self._accepting: DigestMark | None = None

    def report(self, name: str) -> None:
        """Say in the log what this start has accepted, or that it need not have been told to."""
        if self.first is not None:
            log.warn("{name}: accepted: {diverged}", name=name, diverged=self.first)
        elif self.now:
            log.warn("{name}: nothing differed: leave --accept-divergence away", name=name)

    def __call__(self, said: DigestMark, diverged: Diverged) -> bool:
        """Say whether a replay may go on that came to something else than a mark says."""
        if not self._looked:
            self._looked = True
            self._accepting = _last_accepting(self._ahead)
        known = self._accepting
        # The last accepting mark says what is right from there on, and must itself agree.
        if known is not None and said != known and said.seq <= known.seq:
            return True
        if self.now and self.first is None:
            self.first = diverged
        return self.now


def _last_accepting(reader: Reader) -> DigestMark | None:
    found = None
    try:
        for frame in reader.frames():
            if frame.kind is Kind.DIGEST_MARK:
                mark = mark_in(frame)
                found = mark if mark.accepting else found
    except JournalError:
        return found  # the replay itself will say what is wrong there
    return found
