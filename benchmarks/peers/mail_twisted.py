"""Twisted's own ESMTP that takes mail and keeps none of it; PORT."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.mail.smtp import ESMTP
from zope.interface import implementer


@implementer(IMessageSMTP)
class Nowhere:
    """A message that is read and forgotten."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        """Hold one line, as the examples do."""
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        """Forget it, for it is whole."""
        self.lines.clear()
        return succeed(None)

    def connectionLost(self) -> None:
        """Forget it as well."""


@implementer(IMessageDelivery)
class Anybody:
    """Takes mail from anybody for anybody."""

    def receivedHeader(self, *_: Any) -> bytes:
        """Return the trace header."""
        return b"Received: by localhost"

    def validateFrom(self, _helo: Any, origin: Any) -> Any:
        """Take it."""
        return origin

    def validateTo(self, _user: Any) -> Any:
        """Take it."""
        return Nowhere


def protocol() -> ESMTP:
    """Return what talks to one peer."""
    made = ESMTP()
    made.delivery = Anybody()
    return made


factory = Factory.forProtocol(protocol)
reactor: Any = real_reactor  # its interfaces are found at run time
reactor.listenTCP(int(sys.argv[1]), factory, backlog=128, interface="127.0.0.1")
reactor.run()
