"""Who may log in: passwords checked in threads, for to check one is to work for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore

from happy.wire.passwords import COST, PasswordHash, hash_of_nothing

RunAside = Callable[..., Deferred[Any]]
"""Calls a function with arguments in a thread, as ``deferToThread`` does."""


class Logins:
    """The users of the doors of one application.

    At most ``at_once_max`` passwords are checked at once: strangers choose how many there are,
    and each takes a core and its memory.
    """

    def __init__(
        self, users: Mapping[str, PasswordHash], run_aside: RunAside, at_once_max: int
    ) -> None:
        self._users = dict(users)
        self._run_aside = run_aside
        self._slots = DeferredSemaphore(at_once_max)
        costs = [each.cost for each in self._users.values()]
        dearest = max(costs, key=lambda cost: cost.memory_bytes * cost.p, default=COST)
        self._nobody = hash_of_nothing(dearest)

    def knows(self, name: str) -> bool:
        """Say whether there is a user of this name."""
        return name in self._users

    async def check(self, name: str, password: str) -> bool:
        """Say whether this is the user's password; whoever does not exist takes as long."""
        kept = self._users.get(name, self._nobody)
        right: bool = await self._slots.run(self._run_aside, kept.matches, password)
        return right and name in self._users
