"""Mail out: performs the ``SendMail`` debts of one application.

A few connections at once to each destination, the rest waits its turn in the order it fell due.
That a message is on its way goes into the order as ``MailSending``, what becomes of it as
``MailSent``, ``MailDelayed`` or ``MailFailed``; the debt itself, and when to try again, is kept
by the outbox. Delivery is at least once: a message is sent again, the same bytes, when nobody
knows whether it was taken (RFC 1047 tells how that comes); then it is called ambiguous.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, cast

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from happy.app import BlobReader
from happy.bounces import Unreached, suppressed_end
from happy.dsn import is_hard, status_of
from happy.effects import EffectId, Owed, SendMail
from happy.event import Blob, MailDelayed, MailFailed, MailSending, MailSent
from happy.limits import Limits
from happy.wire.destinations import Destinations, Queue
from happy.wire.ends import Ends, Submit
from happy.wire.next_hop import Hop, NextHops, NoHop
from happy.wire.smtp_client import Permanent, Result, Sent, SmtpClient, Transient
from happy.wire.smtp_data import completed
from happy.wire.starttls import Opportunistic

log = Logger()

_NS: Final = 1_000_000_000


class Chance(Protocol):
    """What spreads the retries; ``random.Random`` outside the tests."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


OwedNow = Callable[[EffectId], Owed | None]
"""What has become of a debt by now; None when it is owed no more."""


class _Attempt:
    """One attempt to send a message, which is in the journal before the message is on its way."""

    def __init__(self, ends: Ends, owed: Owed) -> None:
        self.owed = owed
        self.number = owed.attempts + owed.sending + 1
        self.is_void = False
        """Whether it could not be noted, and so was not made."""
        self.came_too_late = False
        """Whether it is void for what an operator said of the message meanwhile."""
        self._ends = ends
        self._noted = False

    async def begin(self, owed_now: OwedNow) -> bool:
        """Note it, once; say whether it may be made: not when it is held by then, or given up."""
        mail = self.owed.effect
        assert isinstance(mail, SendMail)
        if not self._noted:
            event = MailSending(*self.owed.id, mail.recipient, self.number)
            noted = await self._ends.hand_in(event)
            owed = owed_now(self.owed.id)
            self._noted = noted and owed is not None and owed.sending
            self.is_void = not self._noted
            self.came_too_late = noted and self.is_void
        return self._noted


class MailOut:
    """The runner of ``SendMail``: ``perform`` what is due, ``stop`` in the end.

    ``name`` is the application's, as messages are called in the log. ``hops`` finds the way of
    mail, None when there is none: then mail stays owed. ``identity`` is the host name to greet
    with; ``sign`` returns the fields to put before a message, if it is not None; ``key_of``
    gives the stable name of an effect; ``time_ns`` is the clock of the stream.
    ``owed_now`` tells a debt as it is, ``suppression_of`` why an address is not written to.
    """

    def __init__(  # noqa: PLR0913 - each is a part of the world that a test replaces
        self,
        *,
        name: str,
        hops: NextHops | None,
        submit: Submit,
        open_blob: Callable[[Blob], BlobReader],
        key_of: Callable[[EffectId], str],
        owed_now: OwedNow,
        limits: Limits,
        identity: str,
        clock: IReactorTime,
        time_ns: Callable[[], int],
        chance: Chance,
        sign: Callable[[SendMail], Awaitable[bytes]] | None = None,
        suppression_of: Callable[[str], Unreached | None] = lambda _: None,
    ) -> None:
        self._name = name
        self._hops = hops
        self._open_blob = open_blob
        self._key_of = key_of
        self._owed_now = owed_now
        self._limits = limits
        self._identity = identity
        self._clock = clock
        self._time_ns = time_ns
        self._chance = chance
        self._sign = sign
        self._suppression_of = suppression_of
        self._ends = Ends(submit, clock)
        self._destinations = Destinations(self._lane, limits, clock)
        self._clients: set[SmtpClient] = set()
        self._connecting: set[Deferred[SmtpClient]] = set()
        self._in_hand: set[EffectId] = set()
        self._warned = False
        self._was_cut = False

    def perform(self, owed: Owed) -> None:
        """Send a message that is due, when its turn comes."""
        mail = owed.effect
        assert isinstance(mail, SendMail)
        if owed.id in self._in_hand:
            return  # it is sent already, or will be in its turn
        suppression = self._suppression_of(mail.recipient)
        if suppression is not None:
            self._in_hand.add(owed.id)
            Deferred.fromCoroutine(self._suppress(owed, suppression))
        elif self._hops is not None:
            self._in_hand.add(owed.id)
            self._destinations.add(self._hops.destination_of(mail.recipient), owed)
        elif not self._warned:
            self._warned = True
            log.warn("mail is owed and there is no way out: set [mail] smarthost, or direct = true")

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when what was on its way has ended or was cut.

        What was not sent, or whose end could not be handed in, stays owed.
        """
        stopped = self._destinations.stop(self._limits.drain_timeout_s, self._cut)
        self._ends.stop()
        for connecting in tuple(self._connecting):
            connecting.cancel()
        return stopped

    def _cut(self) -> None:
        self._was_cut = True
        for client in tuple(self._clients):
            client.abort()

    # --- a lane: one connection, as long as there is mail for it ----------------------------

    async def _lane(self, queue: Queue) -> None:
        client: SmtpClient | None = None
        taken = 0
        try:
            while (owed := await queue.take(taken)) is not None:
                taken += 1
                if not self._is_to_be_sent(owed.id):
                    self._in_hand.discard(owed.id)
                    continue
                attempt = _Attempt(self._ends, owed)
                client, result = await self._send(client, attempt, queue.name)
                queue.worked(not isinstance(result, Transient) or result.begun)
                # Only then the next: so few ends at a time can be lost in a crash.
                await self._report(attempt, result, "" if client is None else f" {client.over}")
                self._in_hand.discard(owed.id)
                if attempt.came_too_late and self._is_to_be_sent(owed.id):
                    self.perform(owed)  # it was released meanwhile, and handed out in vain
        finally:
            await self._part(client)

    def _is_to_be_sent(self, effect_id: EffectId) -> bool:
        """Say whether a message is still owed, and nobody holds it."""
        owed = self._owed_now(effect_id)
        return owed is not None and owed.hold is None

    async def _send(
        self, client: SmtpClient | None, attempt: _Attempt, destination: str
    ) -> tuple[SmtpClient | None, Result]:
        """Send over the connection there is, or over a new one to the first hop that works."""
        if client is not None:
            if client.messages < self._limits.mail_out_messages_max:
                result = await self._deliver(client, attempt)
                if not isinstance(result, Transient) or result.begun:
                    return client, result
            await self._part(client)
        assert self._hops is not None
        try:
            hops = await self._hops.find(destination)
        except NoHop as none:
            return None, Permanent(none.reply) if none.permanent else _not_begun(none.reply)
        result = _not_begun("4.4.4 nobody takes mail there")
        for hop in hops[: self._limits.mail_out_hops_max]:
            for secret in (True, False) if hop.tls is None else (True,):
                try:
                    client = await self._connect(hop, secret=secret)
                except Exception as error:  # noqa: BLE001 - an endpoint may fail with anything
                    why = str(error) or type(error).__name__
                    at = f" to {hop.name}" if hop.name else ""
                    result = _not_begun(f"4.4.1 cannot connect{at}: {why}")
                    break
                result = await self._deliver(client, attempt)
                if not isinstance(result, Transient) or result.begun:
                    return client, result
                await self._part(client)
                if not client.tls_failed:
                    break
        return None, result

    async def _deliver(self, client: SmtpClient, attempt: _Attempt) -> Result:
        mail = attempt.owed.effect
        assert isinstance(mail, SendMail)
        owed = attempt.owed
        mail = completed(mail, self._key_of(owed.id), owed.since_ns, self._identity)
        if self._sign is not None:
            try:
                mail = evolve(mail, header=await self._sign(mail) + mail.header)
            except OSError as error:
                return _not_begun(f"4.3.0 the message cannot be read: {error}")
        if not await attempt.begin(self._owed_now):
            return Transient("the attempt could not be noted in the journal", begun=True)
        return await client.deliver(mail)

    async def _connect(self, hop: Hop, *, secret: bool) -> SmtpClient:
        factory = Factory.forProtocol(
            partial(
                SmtpClient,
                identity=self._identity,
                clock=self._clock,
                limits=self._limits,
                open_blob=self._open_blob,
                tls=(hop.tls or Opportunistic(hop.name)) if secret else None,
                tls_required=hop.tls is not None,
                proof=hop.proof,
            )
        )
        factory.noisy = False
        connecting = cast("Deferred[SmtpClient]", hop.endpoint.connect(factory))
        connecting.addTimeout(self._limits.mail_out_connect_timeout_s, self._clock)
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

    async def _suppress(self, owed: Owed, why: Unreached) -> None:
        """End what is to an address where mail has failed too often."""
        await self._ends.hand_in(suppressed_end(owed, why))
        self._in_hand.discard(owed.id)

    # --- ends -------------------------------------------------------------------------------

    async def _report(self, attempt: _Attempt, result: Result, over: str) -> None:
        cut_off = isinstance(result, Transient) and (self._was_cut or not result.begun)
        if attempt.is_void or (cut_off and self._destinations.stopping):
            return  # our doing, not the server's: it is simply still owed
        event = self._end_of(attempt, result)
        log.info(
            "mail {name}/{seq}.{n} to {recipient}: {kind}{over}: {reply}",
            name=self._name,
            seq=attempt.owed.id[0],
            n=attempt.owed.id[1],
            recipient=event.recipient,
            kind=type(event).__name__,
            over=over,
            reply=event.reply,
        )
        await self._ends.hand_in(event)

    def _end_of(self, attempt: _Attempt, result: Result) -> MailSent | MailDelayed | MailFailed:
        owed, number = attempt.owed, attempt.number
        mail = owed.effect
        assert isinstance(mail, SendMail)
        before = owed.ambiguous or owed.sending
        about = (*owed.id, mail.recipient)
        envelope = (*about, mail.reverse_path, mail.tag)
        if isinstance(result, Sent):
            return MailSent(*envelope, result.reply, before)
        if isinstance(result, Permanent):
            hard = is_hard(status_of(result.reply), result.reply)
            return MailFailed(*envelope, result.reply, before, hard)
        now_ns = self._time_ns()
        if now_ns - owed.since_ns >= self._limits.mail_out_lifetime_s * _NS:
            reply = f"5.4.7 given up after {number} attempts, the last one: {result.reply}"
            return MailFailed(*envelope, reply, before or result.ambiguous)
        retry_ns = now_ns + self._pause_ns(number)
        return MailDelayed(*about, number, retry_ns, result.reply, before or result.ambiguous)

    def _pause_ns(self, attempts: int) -> int:
        limits = self._limits
        doublings = min(attempts - 1, 30)
        pause_s = min(limits.mail_out_retry_s << doublings, limits.mail_out_retry_max_s)
        # Up to a quarter sooner, so that what failed together does not come back together.
        return int(pause_s * _NS * (1 - self._chance.random() / 4))


def _not_begun(reply: str) -> Transient:
    return Transient(reply, begun=False)
