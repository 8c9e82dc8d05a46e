"""Taking back what a handler did to a state; and the state's digest, kept up meanwhile.

Saving reads the root's fields into a tuple and notes how long the log of the tables is. That
costs something per event, and nothing per assignment or per row. Committing only takes away the
marks of deleted rows.

The log goes on over many events, and the digest is brought up to date from it, for all of them at
once: a row that changed a hundred times is hashed once. When the log has grown long, it is
gathered: of each row that changed we keep what it was at first, and forget what it was in between.

Hashing a row takes some microseconds, for rows lie far apart in memory, and whoever waits for an
event would wait for all of them. So the rows that changed first are hashed a few at a time, as
others come, and never many are left when a digest is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import attrs

from happy.digest import hexdigest
from happy.lookup import Mark
from happy.table import Log, Table
from happy.untracked import untrack

TABLE: Final = "happy_table"
"""The key, in an attrs field's metadata, that says it holds a table."""
_LOG_MAX: Final = 256
"""How many changes may have been logged before they are gathered: old rows are kept until then."""
_CHANGED_MAX: Final = 1024
"""How many gathered rows may wait for the digest: who asks for one waits until they are hashed,
some 5 ms. As many rows may change again and again and are hashed once for each digest."""
_CHANGED_MAX_IN_REPLAY: Final = 16_384
"""The same while nobody waits for a single event: it is more than change between two digest marks,
and bounds the old rows that are kept."""


class Undo:
    """Takes back what a handler did to a state: ``save``, then ``commit`` or ``rollback``."""

    __slots__ = ("_fields", "_replaying", "_root", "_tables", "log", "read", "saved")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._fields, tables = fields_of(type(root))
        self._tables: dict[str, Table[Any, Any]] = {name: getattr(root, name) for name in tables}
        self._replaying = True  # until somebody waits for events
        self.log = Log()
        self.read = attrgetter(*self._fields) if self._fields else None
        """What reads the fields, in C; None when there are none."""
        self.saved: Any = None
        """What ``read`` returned when this event began: a tuple, or of one field the value."""
        self.save()
        for rows in self._tables.values():
            rows.attach(self.log)

    def save(self) -> None:
        """Remember the state as it is."""
        if self.read is not None:
            self.saved = self.read(self._root)
        self.log.mark = len(self.log)

    def commit(self) -> None:
        """Keep what was done since ``save``; for that alone, there is nothing to do.

        Marks of deleted rows are taken away, so it is needed if the log has ``deleted`` something.
        Raises, and keeps nothing, when a change of a table had broken off half done and the
        handler went on as if it had not: then what broke it off.
        """
        log = self.log
        if log.broken is not None:
            error = log.broken
            self.rollback()
            raise error
        if log.deleted:
            for rows, key in log.deleted:
                rows.sweep(key)
            log.deleted.clear()

    def rollback(self) -> None:
        """Take back what was done since ``save``; what breaks it off is raised when it is done."""
        try:
            self._roll_back()
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        fields = self._fields
        values = self.saved if len(fields) > 1 else (self.saved,)
        for name, value in zip(fields, values, strict=False):
            # Not setattr: a converter or a frozen field must not get in the way.
            object.__setattr__(self._root, name, value)
        log = self.log
        while len(log) > log.mark:
            rows, key, old = log[-1]
            rows.restore(key, old)
            del log[-1]
        log.deleted.clear()
        log.broken = None

    def tidy(self, *, replaying: bool = False) -> None:
        """Let go of old rows when there are many; between events, once for a batch.

        As many rows are hashed as have changed too many. While ``replaying``, a row that changes
        again and again is hashed less often, and nothing is hidden from the garbage collector: it
        is held back meanwhile, and told of all of it at the end.
        """
        self._replaying = replaying
        if len(self.log) >= _LOG_MAX:
            changed = self._gather()
            self._settle(changed - (_CHANGED_MAX_IN_REPLAY if replaying else _CHANGED_MAX))
            if not replaying:
                self.put_in_order(anew=False)

    def put_in_order(self, *, anew: bool) -> None:
        """Do what the next to ask a sorted index would wait for; ``anew`` sorts all its values."""
        for rows in self._tables.values():
            rows.put_in_order(anew=anew)

    def _gather(self) -> int:
        """Empty the log, and keep what each row was at first; return how many have changed."""
        last: Any = None
        keep: Any = None
        for rows, key, old in self.log:
            if rows is not last:
                last, keep = rows, rows.before.setdefault
            keep(key, old)
        self.log.clear()
        self.log.mark = 0
        return sum(len(rows.before) for rows in self._tables.values())

    def _settle(self, count: int) -> None:
        """Bring the digest up to date with so many changed rows."""
        for rows in self._tables.values():
            part = min(count, len(rows.before))
            if part > 0:
                taken = rows.settle(part)
                count -= part
                if not self._replaying:
                    untrack(taken)

    def settle(self) -> None:
        """Bring the digest up to date; between events."""
        self._settle(self._gather())

    def digest(self) -> str:
        """Return the digest of the state, as ``happy.state.digest`` computes it from all of it."""
        self.settle()
        sums = {name: rows.digest_parts() for name, rows in self._tables.items()}
        return hexdigest(parts_of(self._root, sums))


def fields_of(cls: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the fields of a state that are no tables, and of those that are."""
    fields = attrs.fields(cls)
    return (
        tuple(f.name for f in fields if TABLE not in f.metadata),
        tuple(f.name for f in fields if TABLE in f.metadata),
    )


def writes_in(root: Any, tables: tuple[str, ...], absent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what the running handler wrote to tables, in order: table, key, and the row before.

    ``absent`` stands for a row that was not there.
    """
    named = {id(getattr(root, name)): name for name in tables}
    log = getattr(root, tables[0]).log if tables else None
    if log is not None:
        for rows, key, old in islice(log, log.mark, None):
            yield named[id(rows)], key, absent if isinstance(old, Mark) else old


def parts_of(root: Any, sums: Mapping[str, tuple[int, int, str]]) -> list[Any]:
    """Return what the digest of a state is made of: names, values, and sums for tables."""
    names = [field.name for field in attrs.fields(type(root))]
    return [(name, sums[name] if name in sums else getattr(root, name)) for name in names]
