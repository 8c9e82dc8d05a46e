"""Calls out: performs the ``Call`` debts of one application, one HTTP request each.

A call is tried once. An answer, whatever its status, and a failure to get one both end the
debt, as ``CallEnded``: what to do next is the application's to decide. After a crash the same
call may be made again, with the same ``Idempotency-Key``. A redirect is an answer like any
other, and a body is handed on as it came: none in a content coding is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn

from attrs import frozen
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from happy.effects import Call, EffectId, Owed
from happy.event import CallEnded
from happy.limits import Limits
from happy.wire.ends import Ends, Submit
from happy.wire.lanes import Lanes

log = Logger()

_ERROR_CHARS_MAX: Final = 500


class CallFailed(Exception):
    """There is no answer that could be handed on; the message says why."""


@implementer(IAgent)
@frozen
class _Plain:
    """An agent below treq that leaves its decoder, which knows no bounds, nothing to do."""

    agent: IAgent

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self.agent.request(method, uri, headers, bodyProducer).addCallback(_as_it_came)


def _as_it_came(response: IResponse) -> IResponse:
    response.headers.removeHeader(b"Content-Encoding")
    return response


class _Answer(Protocol):
    """Gathers the body of an answer, up to a size."""

    def __init__(self, bytes_max: int) -> None:
        self.whole: Deferred[bytes] = Deferred(self._cut)
        self._body = bytearray()
        self._bytes_max = bytes_max

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._bytes_max and not self.whole.called:
            self.whole.errback(CallFailed(f"the answer is longer than {self._bytes_max} bytes"))
            self._cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # An answer without a length ends with its connection (RFC 9112 section 6.3).
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._body))
        else:
            self.whole.errback(CallFailed("the answer broke off"))

    def _cut(self, _: object = None) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class CallOut:
    """The runner of ``Call``: ``perform`` what is due, ``stop`` in the end.

    ``key_of`` gives the ``Idempotency-Key`` of an effect, the same whenever it is asked.
    """

    def __init__(
        self,
        *,
        agent: IAgent,
        submit: Submit,
        key_of: Callable[[EffectId], str],
        limits: Limits,
        clock: IReactorTime,
    ) -> None:
        self._agent = _Plain(agent)
        self._key_of = key_of
        self._limits = limits
        self._clock = clock
        self._ends = Ends(submit, clock)
        self._lanes = Lanes(self._lane, limits.outbox_deliveries_max, clock)
        self._asking: set[Deferred[Any]] = set()
        self._was_cut = False

    def perform(self, owed: Owed) -> None:
        """Make a call that is due, when its turn comes."""
        self._lanes.add(owed)

    def stop(self) -> Deferred[None]:
        """Begin nothing more; fires when the calls on their way have ended or were cut.

        A call that was cut, or whose end could not be handed in, stays owed.
        """
        stopped = self._lanes.stop(self._limits.drain_timeout_s, self._cut)
        self._ends.stop()
        return stopped

    def _cut(self) -> None:
        self._was_cut = True
        for asking in tuple(self._asking):
            asking.cancel()

    async def _lane(self, waiting: deque[Owed]) -> None:
        owed = waiting.popleft()
        call = owed.effect
        assert isinstance(call, Call)
        status, body, error = 0, b"", ""
        asking = Deferred.fromCoroutine(self._ask(call, self._key_of(owed.id)))
        asking.addTimeout(self._limits.call_timeout_s, self._clock, _too_late)
        self._asking.add(asking)
        try:
            status, body = await asking
        except Exception as failed:  # noqa: BLE001 - an agent may fail with anything
            if self._was_cut:
                return  # our doing: it is simply still owed
            error = _sentence(failed)
        finally:
            self._asking.discard(asking)
        log.info("call {id}: {end}", id=owed.id, end=error or status)
        await self._ends.hand_in(CallEnded(*owed.id, call.tag, status, body, error))

    async def _ask(self, call: Call, key: str) -> tuple[int, bytes]:
        headers = Headers()
        for name, value in call.headers:
            if any(c in name + value for c in "\r\n\0"):
                raise CallFailed(f"not a header: {name!a}")
            headers.addRawHeader(name, value)
        headers.setRawHeaders(b"Idempotency-Key", [key])
        # A client of its own, so that no cookie outlives its call.
        response: IResponse = await HTTPClient(self._agent).request(
            call.method,
            call.url,
            headers=headers,
            data=call.body,
            allow_redirects=False,
            unbuffered=True,
        )
        answer = _Answer(self._limits.call_body_bytes_max)
        response.deliverBody(answer)
        return response.code, await answer.whole


async def fetch_text(
    agent: IAgent, clock: IReactorTime, timeout_s: int, bytes_max: int, url: str
) -> bytes:
    """Return what a URL holds, if its status is 200; raises when not, or when it is too much."""

    async def fetch() -> bytes:
        client = HTTPClient(_Plain(agent))
        response: IResponse = await client.get(url, allow_redirects=False, unbuffered=True)
        answer = _Answer(bytes_max)
        response.deliverBody(answer)
        body = await answer.whole
        if response.code != 200:
            raise CallFailed(f"status {response.code}")
        return body

    return await Deferred.fromCoroutine(fetch()).addTimeout(timeout_s, clock, _too_late)


def _too_late(_: object, timeout_s: float) -> NoReturn:
    raise CallFailed(f"no answer within {timeout_s} s")


def _sentence(error: BaseException) -> str:
    reasons = getattr(error, "reasons", None)
    if reasons:
        error = reasons[0].value
    kind = "" if isinstance(error, CallFailed) else f"{type(error).__name__}: "
    return f"{kind}{error}"[:_ERROR_CHARS_MAX]
