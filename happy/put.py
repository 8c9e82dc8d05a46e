"""Putting a row, written out for the fields that a table has indexed and for how it has them.

It is what a table does most. A loop over indexes spends more on finding out which fields there
are than on comparing and moving, and a call of each index more than what it does then. So for
each set of indexes there are functions with lines of their own for each of them, made as attrs
makes an ``__init__``. They do what ``Table`` promises, in that order: what cannot be looked up,
or is another's, is said; the change is logged; it is made, and taken back if it breaks off.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator
from functools import cache
from keyword import iskeyword
from textwrap import indent
from typing import Any, Final

from attrs import frozen

from happy.errors import DefinitionError
from happy.index import Index, SortedIndex, UniqueIndex
from happy.lookup import ABSENT, GONE

_PUT: Final = """\
def __setitem__(self, key, row):
    rows, log = self._rows, self.log
    old = rows.get(key, ABSENT)
    if old is ABSENT or old is GONE:
        self._insert(key, row, old)
        return
{compared}
    if not ({moved}):
        if log is not None:
            log.append((self, key, old))
        rows[key] = row
        return
    {indexes}, = self._indexes
{looked_if_moved}
    if log is not None:
        log.append((self, key, old))
    try:
        rows[key] = row
{left_and_joined_if_moved}
    except BaseException as error:
        self._mend(key, old, error)
        raise


def _insert(self, key, row, old):
    {indexes}, = self._indexes
{read}
{looked}
    try:
        self._place(key, row, old)
{joined}
    except BaseException as error:
        self._mend(key, old, error)
        raise
"""
_COMPARED: Final = """\
was_{n}, now_{n} = old.{name}, row.{name}
moved_{n} = was_{n} is not now_{n} and was_{n} != now_{n}
"""


@frozen
class _Steps:
    """What is done to an index, the ``n``th, when a row has the value ``now`` instead of ``was``.

    Who comes anew looks and joins.
    """

    look: str
    """Raises, before anything has changed, when the row cannot have the value."""
    leave: str
    join: str


_STEPS: Final[dict[type, _Steps]] = {
    Index: _Steps(
        look="""\
groups_{n} = index_{n}.groups
group_{n} = groups_{n}.get(now_{n})
""",
        leave="""\
left_{n} = groups_{n}[was_{n}]
del left_{n}[key]
if not left_{n}:
    del groups_{n}[was_{n}]
""",
        join="""\
if group_{n} is None:
    groups_{n}[now_{n}] = {{key: None}}
else:
    group_{n}[key] = None
""",
    ),
    UniqueIndex: _Steps(
        look="""\
holders_{n} = index_{n}.holders
if now_{n} in holders_{n}:
    index_{n}.check(now_{n}, key)
""",
        leave="del holders_{n}[was_{n}]\n",
        join="holders_{n}[now_{n}] = key\n",
    ),
    SortedIndex: _Steps(
        look="index_{n}.check(now_{n}, key)\n",
        leave="index_{n}.discard(was_{n}, key)\n",
        join="index_{n}.add(now_{n}, key)\n",
    ),
}


@cache
def put_of(indexes: tuple[tuple[str, type], ...]) -> dict[str, Callable[..., None]]:
    """Return ``__setitem__`` and ``_insert`` of a table that has these indexes, in their order.

    Each is told by its field and its class. Raises ``DefinitionError`` for what is no name of a
    field.
    """
    names = [name for name, _ in indexes]
    for name in names:
        if not name.isidentifier() or iskeyword(name):
            raise DefinitionError(f"table: {name!r} is no name of a field to index")
    steps = [_STEPS[kind] for _, kind in indexes]
    each = range(len(indexes))
    source = _PUT.format(
        compared=_lines(1, (_COMPARED.format(n=n, name=name) for n, name in enumerate(names))),
        moved=" or ".join(f"moved_{n}" for n in each),
        indexes=", ".join(f"index_{n}" for n in each),
        looked_if_moved=_lines(1, _if_moved(step.look for step in steps)),
        left_and_joined_if_moved=_lines(2, _if_moved(step.leave + step.join for step in steps)),
        read=_lines(1, (f"now_{n} = row.{name}" for n, name in enumerate(names))),
        looked=_lines(1, (step.look.format(n=n) for n, step in enumerate(steps))),
        joined=_lines(2, (step.join.format(n=n) for n, step in enumerate(steps))),
    )
    file = f"<put of {', '.join(f'{kind.__name__} {name}' for name, kind in indexes)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    made: dict[str, Any] = {"ABSENT": ABSENT, "GONE": GONE, "__name__": __name__}
    exec(compile(source, file, "exec"), made)  # noqa: S102 - no names but checked ones
    return {name: made[name] for name in ("__setitem__", "_insert")}


def _lines(depth: int, parts: Iterator[str]) -> str:
    return indent("\n".join(part.rstrip() for part in parts), "    " * depth)


def _if_moved(parts: Iterator[str]) -> Iterator[str]:
    for n, part in enumerate(parts):
        yield f"if moved_{n}:\n" + indent(part.format(n=n), "    ")
