"""Mail out: performs the ``SendMail`` debts of one application over its smarthost.

A few connections at once, the rest waits its turn in the order it fell due. What becomes of a
message goes back into the order as ``MailSent``, ``MailDelayed`` or ``MailFailed``; the debt
itself, and when to try again, is kept by the outbox. Delivery is at least once: a message is
sent again when its end did not come into the journal (RFC 1047 tells how that comes).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from happy.app import BlobReader
from happy.effects import Owed, SendMail
from happy.event import Blob, MailDelayed, MailFailed, MailSent
from happy.limits import Limits
from happy.wire.ends import Ends, Submit
from happy.wire.lanes import Lanes
from happy.wire.smtp_client import Permanent, Result, Sent, SmtpClient, Transient

log = Logger()

_NS: Final = 1_000_000_000


class Chance(Protocol):
    """What spreads the retries; ``random.Random`` outside the tests."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class MailOut:
    """The runner of ``SendMail``: ``perform`` what is due, ``stop`` in the end.

    ``endpoint`` is the smarthost, None when there is none: then mail stays owed. ``identity``
    is the host name to greet with; ``time_ns`` the clock of the stream.
    """

    def __init__(  # noqa: PLR0913 - each is a part of the world that a test replaces
        self,
        *,
        endpoint: IStreamClientEndpoint | None,
        submit: Submit,
        open_blob: Callable[[Blob], BlobReader],
        limits: Limits,
        identity: str,
        clock: IReactorTime,
        time_ns: Callable[[], int],
        chance: Chance,
    ) -> None:
        self._endpoint = endpoint
        self._open_blob = open_blob
        self._limits = limits
        self._identity = identity
        self._clock = clock
        self._time_ns = time_ns
        self._chance = chance
        self._ends = Ends(submit, clock)
        self._lanes = Lanes(self._lane, limits.outbox_deliveries_max, clock)
        self._clients: set[SmtpClient] = set()
        self._connecting: set[Deferred[SmtpClient]] = set()
        self._warned = False
        self._was_cut = False

    def perform(self, owed: Owed) -> None:
        """Send a message that is due, when its turn comes."""
        if self._endpoint is not None:
            self._lanes.add(owed)
        elif not self._warned:
            self._warned = True
            log.warn("mail is owed and there is no way out for it: set [mail] smarthost")

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what was on its way has ended or was cut.

        What was not sent, or whose end could not be handed in, stays owed.
        """
        stopped = self._lanes.stop(self._limits.drain_timeout_s, self._cut)
        self._ends.stop()
        for connecting in tuple(self._connecting):
            connecting.cancel()
        return stopped

    def _cut(self) -> None:
        self._was_cut = True
        for client in tuple(self._clients):
            client.abort()

    # --- a lane: one connection, as long as there is mail for it ----------------------------

    async def _lane(self, waiting: deque[Owed]) -> None:
        client: SmtpClient | None = None
        try:
            while waiting:
                owed = waiting.popleft()
                client, result = await self._send(client, owed)
                # Only then the next: so few ends at a time can be lost in a crash.
                await self._report(owed, result)
        finally:
            await self._part(client)

    async def _send(
        self, client: SmtpClient | None, owed: Owed
    ) -> tuple[SmtpClient | None, Result]:
        mail = owed.effect
        assert isinstance(mail, SendMail)
        if client is not None:
            if client.messages < self._limits.mail_out_messages_max:
                result = await client.deliver(mail)
                if not isinstance(result, Transient) or result.begun:
                    return client, result
            await self._part(client)
        try:
            fresh = await self._connect()
        except Exception as error:  # noqa: BLE001 - an endpoint may fail with anything
            why = str(error) or type(error).__name__
            return None, Transient(f"cannot connect: {why}", begun=False)
        return fresh, await fresh.deliver(mail)

    async def _connect(self) -> SmtpClient:
        assert self._endpoint is not None
        factory = Factory.forProtocol(
            partial(
                SmtpClient,
                identity=self._identity,
                clock=self._clock,
                limits=self._limits,
                open_blob=self._open_blob,
            )
        )
        factory.noisy = False
        connecting = cast("Deferred[SmtpClient]", self._endpoint.connect(factory))
        connecting.addTimeout(self._limits.mail_out_timeout_s, self._clock)
        self._connecting.add(connecting)
        try:
            client = await connecting
        finally:
            self._connecting.discard(connecting)
        self._clients.add(client)
        return client

    async def _part(self, client: SmtpClient | None) -> None:
        if client is not None:
            client.quit()
            await client.closed
            self._clients.discard(client)

    # --- ends -------------------------------------------------------------------------------

    async def _report(self, owed: Owed, result: Result) -> None:
        cut_off = isinstance(result, Transient) and (self._was_cut or not result.begun)
        if cut_off and self._lanes.stopping:
            return  # our doing, not the smarthost's: it is simply still owed
        event = self._end_of(owed, result)
        log.info(
            "mail {id} to {recipient}: {kind}: {reply}",
            id=owed.id,
            recipient=event.recipient,
            kind=type(event).__name__,
            reply=event.reply,
        )
        await self._ends.hand_in(event)

    def _end_of(self, owed: Owed, result: Result) -> MailSent | MailDelayed | MailFailed:
        mail = owed.effect
        assert isinstance(mail, SendMail)
        about = (*owed.id, mail.recipient)
        if isinstance(result, Sent):
            return MailSent(*about, mail.reverse_path, mail.tag, result.reply)
        if isinstance(result, Permanent):
            return MailFailed(*about, mail.reverse_path, mail.tag, result.reply)
        attempts = owed.attempts + 1
        now_ns = self._time_ns()
        if now_ns - owed.since_ns >= self._limits.mail_out_lifetime_s * _NS:
            reply = f"given up after {attempts} attempts, the last one: {result.reply}"
            return MailFailed(*about, mail.reverse_path, mail.tag, reply)
        return MailDelayed(*about, attempts, now_ns + self._pause_ns(attempts), result.reply)

    def _pause_ns(self, attempts: int) -> int:
        limits = self._limits
        doublings = min(attempts - 1, 30)
        pause_s = min(limits.mail_out_retry_s << doublings, limits.mail_out_retry_max_s)
        # Up to a quarter sooner, so that what failed together does not come back together.
        return int(pause_s * _NS * (1 - self._chance.random() / 4))
