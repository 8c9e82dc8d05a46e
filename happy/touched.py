"""What an event touches in a state: noted while its handler runs, for those who look back.

A ``Watch`` stands between the machine and the handlers. When one has returned, the undo log
says which rows it wrote and what stood there before, and a comparison says which fields it set;
so noting costs what the event changed, however large the state is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from happy.app import Definition, Handler
from happy.effects import Owed
from happy.undo import fields_of, writes_in


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Mark("ABSENT")
"""Stands for a row that is not there."""
FIELD: Final = _Mark("FIELD")
"""Stands for the key where a field of the state is no table."""


@attrs.frozen
class Touch:
    """A row that an event wrote, or a field that it set, and what stood there before."""

    field: str
    key: Any
    old: Any


class Watch:
    """Notes what each event touches and owes; ``definition`` is the watched application."""

    def __init__(self, definition: Definition) -> None:
        handlers = {kind: self._watched(h) for kind, h in definition.handlers.items()}
        self.definition = attrs.evolve(definition, handlers=handlers)
        self._plain, self._tables = fields_of(definition.state)
        self._touches: list[Touch] = []
        self._owed: list[Owed] = []

    def take(self) -> tuple[list[Touch], list[Owed]]:
        """Return what the event touched and owes that was applied last, and forget it.

        To be asked after each event that is applied, and believed when its outcome is a reply:
        of a handler that raised, all is taken back.
        """
        taken = self._touches, self._owed
        self._touches, self._owed = [], []
        return taken

    def _watched(self, handler: Handler) -> Callable[..., Any]:
        def run(state: Any, event: Any, context: Any) -> Any:
            before = [getattr(state, name) for name in self._plain]
            value = handler(state, event, context)
            self._owed = context.owed
            self._touches = [
                Touch(name, FIELD, old)
                for name, old in zip(self._plain, before, strict=True)
                if getattr(state, name) is not old
            ]
            seen = set()
            for name, key, old in writes_in(state, self._tables, ABSENT):
                if (name, key) not in seen:
                    seen.add((name, key))
                    self._touches.append(Touch(name, key, old))
            return value

        return run
