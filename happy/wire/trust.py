"""Whom a mail endpoint faces: the world, our own mail server, or users who log in.

``untrusted`` is for anybody: all bounds hold, and nothing is believed but what servers that the
configuration lists say by XFORWARD. ``relay`` is for those servers alone: they may also tell who
their client is by XCLIENT, and the bounds that are there for strangers do not hold for them.
``submission`` (RFC 6409) is for users: under TLS, and with a password, before any mail.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs
from attrs import frozen

from happy.limits import Limits
from happy.wire.logins import Logins
from happy.wire.xforward import Relays

Level = Literal["untrusted", "relay", "submission"]

LEVELS: Final[tuple[Level, ...]] = ("untrusted", "relay", "submission")


@frozen
class Trust:
    """What one endpoint asks of its peers, and how far it believes them.

    ``proxied`` when each connection begins with a PROXY header, from one of ``relays``;
    ``logins`` has the users of a ``submission``.
    """

    level: Level = "untrusted"
    proxied: bool = False
    relays: Relays = attrs.Factory(Relays)
    logins: Logins | None = None

    @property
    def serves_relays_only(self) -> bool:
        """Whether everybody else is sent away."""
        return self.level == "relay"

    @property
    def needs_login(self) -> bool:
        """Whether mail is taken from users alone."""
        return self.level == "submission"

    @property
    def takes_bare_line_ends(self) -> bool:
        """Whether a CR or LF alone may stand in a message: the server in front let it pass."""
        return self.level == "relay"

    def believes(self, peer: str) -> bool:
        """Say whether a peer may tell of its client; it is empty for a unix socket."""
        return self.level != "submission" and self.relays.trusts(peer)

    def bounds(self, limits: Limits) -> Limits:
        """Return the bounds of a session.

        A server in front has one address for all, and refusals that its clients brought about.
        """
        if self.level != "relay":
            return limits
        return attrs.evolve(
            limits,
            smtp_connections_per_peer_max=limits.smtp_connections_max,
            smtp_errors_max=limits.smtp_commands_max,
        )
