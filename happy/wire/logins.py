"""Who may log in: passwords checked in threads, for to check one is to work for a while."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore

from happy.wire.failed_logins import FailedLogins
from happy.wire.passwords import COST, hash_of_nothing
from happy.wire.users import Users

RunAside = Callable[..., Deferred[Any]]
"""Calls a function with arguments in a thread, as ``deferToThread`` does."""


class Logins:
    """The users of the doors of one application; ``users_now`` tells them at any time.

    At most ``at_once_max`` passwords are checked at once: strangers choose how many there are,
    and each takes a core and its memory. None is from where too many were wrong: ``failed``.
    """

    def __init__(
        self,
        users_now: Callable[[], Users],
        run_aside: RunAside,
        at_once_max: int,
        failed: FailedLogins,
    ) -> None:
        self._users_now = users_now
        self._run_aside = run_aside
        self._slots = DeferredSemaphore(at_once_max)
        self._failed = failed
        self._users: Users = {}
        self._nobody = hash_of_nothing(COST)

    def knows(self, name: str) -> bool:
        """Say whether there is a user of this name."""
        return name in self._now()

    def refuses(self, peer: str) -> bool:
        """Say whether too many passwords from there were wrong; then none is right."""
        return self._failed.is_full(peer)

    async def check(self, peer: str, name: str, password: str) -> bool:
        """Say whether this is the user's password; whoever does not exist takes as long."""
        check = partial(self._check, peer, name, password)
        return bool(await self._slots.run(lambda: Deferred.fromCoroutine(check())))

    async def _check(self, peer: str, name: str, password: str) -> bool:
        # Asked only now: others from there may have been wrong while this one waited.
        if self.refuses(peer):
            return False
        users = self._now()
        kept = users.get(name, self._nobody)
        right = await self._run_aside(kept.matches, password) and name in users
        if not right:
            self._failed.add(peer)
        return right

    def _now(self) -> Users:
        users = self._users_now()
        if users is not self._users:
            self._users = users
            costs = [each.cost for each in users.values()]
            dearest = max(costs, key=lambda cost: cost.memory_bytes * cost.p, default=COST)
            self._nobody = hash_of_nothing(dearest)
        return users
