"""Which application a message is for: those behind one mail door, each with its domains."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import attrs
from attrs import evolve, frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime

from happy.app import App
from happy.errors import HappyError, Late
from happy.limits import Limits
from happy.wire.address import Address, canonical_domain
from happy.wire.mail_checks import MailChecks

_OF_A_DOOR: Final = [field.name for field in attrs.fields(Limits) if field.name.startswith("smtp_")]


@frozen(eq=False)
class MailHome:
    """An application behind a mail door, with the bounds of what it takes."""

    app: App
    limits: Limits
    domains: tuple[str, ...]
    checks: MailChecks | None = None
    early: bool = False
    """Whether mail has its 250 as soon as it is durable, and is handled behind that."""

    def knows(self, recipient: Address, clock: IReactorTime) -> Deferred[bool]:
        """Fire with whether the application takes an address now; fails with a ``HappyError``.

        Where mail does not wait for handlers, neither does this: what the routes say by
        themselves is enough, and what the state has to say must come in time.
        """
        app, local, domain = self.app, recipient.local, recipient.domain
        known = app.surely_knows(local, domain) if self.early else None
        if known is not None:
            return succeed(known)
        asked: Deferred[Any] = maybeDeferred(app.knows_recipient, local, domain)
        if self.early:
            asked.addTimeout(self.limits.mail_recipient_timeout_s, clock, _too_late)
        return asked


class MailHomes:
    """The applications behind one mail door, found by domain."""

    def __init__(self) -> None:
        self.limits = Limits()
        """What holds for a session, whoever its messages are for: the widest of each bound."""
        self._homes: list[MailHome] = []
        self._of_domain: dict[str, MailHome] = {}

    def add(
        self, app: App, limits: Limits, checks: MailChecks | None = None, *, early: bool = False
    ) -> None:
        """Take an application in; ``ValueError`` for a domain that is none, or not its alone."""
        domains = tuple(canonical_domain(domain) for domain in app.domains)
        home = MailHome(app, limits, domains, checks, early)
        for domain in home.domains:
            other = self._of_domain.setdefault(domain, home)
            if other is not home:
                raise ValueError(f"{other.app.name} and {app.name} both take mail for {domain}")
        if self._homes:
            widest = {n: max(getattr(self.limits, n), getattr(limits, n)) for n in _OF_A_DOOR}
            limits = evolve(self.limits, **widest)
        self.limits = limits
        self._homes.append(home)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one application."""
        return len(self._homes) > 1

    def trouble(self, size: int) -> HappyError | None:
        """Return why no application would take a message of so many bytes now; None if one would.

        Where there are several, the first one's.
        """
        first: HappyError | None = None
        for home in self._homes:
            trouble = home.app.trouble(size)
            if trouble is None:
                return None
            first = first or trouble
        return first

    def find(self, recipient: Address) -> tuple[MailHome, Address] | None:
        """Return whose a recipient is, and its address in full; None when it is nobody's."""
        if not recipient.domain and self._of_domain:  # <postmaster>: of the first domain of all
            recipient = evolve(recipient, domain=next(iter(self._of_domain)))
        home = self._of_domain.get(recipient.domain)
        return None if home is None else (home, recipient)


def _too_late(_failure: object, _timeout_s: float) -> NoReturn:
    raise Late("the application does not say in time whether it takes this recipient")
