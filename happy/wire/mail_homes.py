"""Which application a message is for: those behind one mail door, each with its domains."""

from __future__ import annotations

from typing import Final

import attrs
from attrs import evolve, frozen

from happy.app import App
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


class MailHomes:
    """The applications behind one mail door, found by domain."""

    def __init__(self) -> None:
        self.limits = Limits()
        """What holds for a session, whoever its messages are for: the widest of each bound."""
        self._homes: list[MailHome] = []
        self._of_domain: dict[str, MailHome] = {}

    def add(self, app: App, limits: Limits, checks: MailChecks | None = None) -> None:
        """Take an application in; ``ValueError`` for a domain that is none, or not its alone."""
        domains = tuple(canonical_domain(domain) for domain in app.domains)
        home = MailHome(app, limits, domains, checks)
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

    def find(self, recipient: Address) -> tuple[MailHome, Address] | None:
        """Return whose a recipient is, and its address in full; None when it is nobody's."""
        if not recipient.domain and self._of_domain:  # <postmaster>: of the first domain of all
            recipient = evolve(recipient, domain=next(iter(self._of_domain)))
        home = self._of_domain.get(recipient.domain)
        return None if home is None else (home, recipient)
