"""Putting a row in the place of another, written out for the fields that a table has indexed.

It is what a table does most. A loop over indexes spends more on finding out which fields there
are than on comparing and moving; so for each set of fields there is a function with lines of its
own for each of them, made as attrs makes an ``__init__``: a third faster, half where a field has
another value. It does what ``Table`` promises, in that order: what cannot be looked up is
said, the change is logged, it is made, and taken back if it breaks off.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from functools import cache
from keyword import iskeyword
from typing import Any

from happy.errors import DefinitionError
from happy.lookup import ABSENT, GONE

_PUT = """\
def __setitem__(self, key, row):
    rows, log = self._rows, self.log
    old = rows.get(key, ABSENT)
    if old is ABSENT or old is GONE:
        self._insert(key, row, old)
        return
{compared}
    if {moved}:
        hash(({now},))
    if log is not None:
        log.append((self, key, old))
    if not ({moved}):
        rows[key] = row
        return
    try:
        rows[key] = row
        {indexes}, = self._indexes
{moves}
    except BaseException as error:
        self._mend(key, old, error)
        raise
"""
_COMPARED = """\
    was_{n}, now_{n} = old.{name}, row.{name}
    moved_{n} = was_{n} is not now_{n} and was_{n} != now_{n}"""
_MOVES = """\
        if moved_{n}:
            index_{n}.move(was_{n}, now_{n}, key)"""


@cache
def put_of(names: tuple[str, ...]) -> Callable[[Any, Any, Any], None]:
    """Return the ``__setitem__`` of a table whose indexes, in their order, are of these fields.

    Raises ``DefinitionError`` for what is no name of a field.
    """
    for name in names:
        if not name.isidentifier() or iskeyword(name):
            raise DefinitionError(f"table: {name!r} is no name of a field to index")
    numbers = range(len(names))
    source = _PUT.format(
        compared="\n".join(_COMPARED.format(n=n, name=name) for n, name in enumerate(names)),
        moved=" or ".join(f"moved_{n}" for n in numbers),
        now=", ".join(f"now_{n}" for n in numbers),
        indexes=", ".join(f"index_{n}" for n in numbers),
        moves="\n".join(_MOVES.format(n=n) for n in numbers),
    )
    file = f"<put of {', '.join(names)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    made: dict[str, Any] = {"ABSENT": ABSENT, "GONE": GONE, "__name__": __name__}
    exec(compile(source, file, "exec"), made)  # noqa: S102 - no names but checked ones
    put: Callable[[Any, Any, Any], None] = made["__setitem__"]
    return put
