"""The beginning of a mail session: who is at the other end, may he come in, and the greeting.

Behind a proxy the first bytes say who that is (the PROXY protocol); nothing is said before
them, and nothing to one who has no right to send them. A server in front may later speak as its
client (XCLIENT): then the session begins once more, with a new greeting.
"""

from __future__ import annotations

from twisted.logger import Logger

from happy.wire import smtp_reply as say
from happy.wire.proxy_header import ProxyReader
from happy.wire.smtp_connection import SmtpConnection

log = Logger()


class SmtpArrival(SmtpConnection):
    """Knows whom it speaks with.

    ``peer`` is the client's address, empty for a unix socket and when nobody knows; ``via`` is
    that of the server which told it, empty when nobody did. ``login`` is who has proved to be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.via = ""
        self.login = ""
        self.believed = False
        """Whether the server at the other end may tell of its client."""
        self._client: dict[str, str] = {}
        self._came_as = "", ""

    def arrived(self) -> None:
        """Greet the peer, once it is known who that is."""
        trust = self.factory.trust
        if not trust.proxied:
            self._come_in()
            return
        via, self.peer = self.peer, ""  # its connections are not the client's to be counted
        if not trust.relays.trusts(via):
            log.warn("{via} is no proxy of ours, and was sent away", via=via or "a unix socket")
            self.factory.admit(self)
            self.end()
        elif self.factory.admit(self) is not None:
            self.end()
        else:
            limits = self.factory.limits
            self.limit_message_time(limits.smtp_proxy_timeout_s)
            reader = ProxyReader(limits.smtp_proxy_bytes_max)
            self.expect(reader, lambda ended: self._proxied(via, ended))

    def _proxied(self, via: str, header: ProxyReader) -> None:
        if header.fault:
            log.warn(
                "no PROXY header from {via}: {fault}",
                via=via or "a unix socket",
                fault=header.fault,
            )
            self.end()
            return
        if header.client is None:
            self.peer = via
        else:
            self.peer, self.via = header.client.address, via or "unix"
        self.start_message_clock()
        self._come_in()

    def _come_in(self) -> None:
        trust = self.factory.trust
        self._came_as = self.peer, self.via
        # Decided once: what XCLIENT tells is not to give the right to tell it.
        self.believed = (bool(self.peer) or not self.via) and trust.believes(self.peer)
        refusal = self.factory.admit(self)
        if refusal is not None:
            self.answer(refusal)
        elif trust.serves_relays_only and not self.believed:
            self.hang_up(say.NOT_SERVED)
        else:
            # Two turns of the reactor: in between it reads what has come already, and a peer
            # that speaks before it was greeted is found out (RFC 5321 section 4.3.1).
            clock = self.factory.clock
            clock.callLater(0, clock.callLater, 0, self.greet)

    def become(self, told: dict[str, str]) -> None:
        """Take another peer's place, as far as XCLIENT told of it; what it told before stays."""
        peer, via = self._came_as
        self._client |= told
        self.peer, self.via = self._client.get("ADDR", peer), via or peer or "unix"
        self.login = self._client.get("LOGIN", "")

    def be_oneself(self) -> None:
        """Forget what anybody has told of the peer, and who has logged in."""
        self._client = {}
        self.peer, self.via = self._came_as
        self.login = ""
