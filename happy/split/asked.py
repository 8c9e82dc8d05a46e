"""Questions to a core that were not answered yet, and who waits for the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from happy.errors import DefinitionError, HappyError
from happy.event import Waiting
from happy.inline_core import Query
from happy.split.aside import Aside, Say
from happy.split.pickled import pack, unpack, unpack_error

log = Logger()

_NUMBER_MAX: Final = 0xFFFF_FFFF


class Asked:
    """The questions of one core; ``names`` are the queries, and how they are called there."""

    def __init__(self, names: Mapping[Query, str]) -> None:
        self._names = names
        self._waiting: dict[int, Waiting] = {}
        self._last_number = 0

    def ask(self, query: Query, args: Any, kwargs: Mapping[str, Any], waiter: Waiting) -> Aside:
        """Return a question to be sent; ``DefinitionError`` for a query that is not known."""
        name = self._names.get(query)
        if name is None:
            raise DefinitionError(f"{query.__qualname__} is no query of this application")
        body = pack((name, args, dict(kwargs)))
        self._last_number = self._last_number % _NUMBER_MAX + 1
        self._waiting[self._last_number] = waiter
        return Aside(Say.ASK, body, self._last_number)

    def take(self, aside: Aside) -> None:
        """Tell who waits what was found, or what was raised instead."""
        if aside.kind is Say.FOUND:
            value, error = _found(aside.body)
        else:
            value, error = None, unpack_error(aside.body)
        _tell(self._waiting.pop(aside.number), value, error)

    def lose(self, error_of: Callable[[], HappyError]) -> None:
        """Tell all who wait that nobody will answer."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            _tell(waiter, None, error_of())


@attrs.frozen(eq=False)
class Asking:
    """Somebody who waits for a query by a Deferred."""

    answer: Deferred[Any]

    def replied(self, _seq: int, value: Any) -> None:
        """See ``Waiting``."""
        self.answer.callback(value)

    def failed(self, _seq: int, error: Any) -> None:
        """See ``Waiting``."""
        self.answer.errback(error)


def _found(body: bytes) -> tuple[Any, Exception | None]:
    try:
        return unpack(body), None
    except HappyError as error:
        return None, error


def _tell(waiter: Waiting, value: Any, error: Any) -> None:
    try:
        if error is None:
            waiter.replied(0, value)
        else:
            waiter.failed(0, error)
    except Exception:  # noqa: BLE001 - a door's; the core is as good as before
        log.failure("an answer could not be given")
