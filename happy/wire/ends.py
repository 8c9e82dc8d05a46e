"""Handing the ends of effects to the stream, again and again until it takes them.

A mail that was sent, a call that was answered: that is known only here until its event is in
the journal, and forgetting it would do the effect a second time. So a stream that is busy or
out of room is asked again later; only a stop, or a stream that never will, gives an end up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from happy.errors import HandlerFailed, Refused, Unavailable

log = Logger()

Submit = Callable[[object], Deferred[Any]]
"""Puts an event in the order, as ``Stream.submit`` does."""

_PAUSE_S: Final = 1
_PAUSE_S_MAX: Final = 60


class Ends:
    """Submits events until the stream has taken them, or until ``stop``."""

    def __init__(self, submit: Submit, clock: IReactorTime) -> None:
        self._submit = submit
        self._clock = clock
        self._pausing: set[Deferred[None]] = set()
        self._stopping = False

    async def hand_in(self, event: object) -> bool:
        """Return True when the stream has the event, False when it was given up at a stop."""
        pause_s = _PAUSE_S
        while True:
            last = self._stopping
            try:
                await self._submit(event)
            except (Refused, HandlerFailed):
                # The application's answer to an event that is in the journal: debt settled.
                return True
            except Unavailable as error:
                if last:
                    log.warn("{kind} was given up: {error}", kind=_kind(event), error=error)
                    return False
                await self._pause(max(pause_s, error.retry_after_s))
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
            except Exception:  # noqa: BLE001 - whatever it was, the other ends go on
                log.failure("{kind} was given up until the next start", kind=_kind(event))
                return False
            else:
                return True

    def stop(self) -> None:
        """Try once more what waits, then give it up: it stays owed, and is done again."""
        self._stopping = True
        for pause in tuple(self._pausing):
            pause.callback(None)

    async def _pause(self, pause_s: float) -> None:
        if self._stopping:
            return
        over: Deferred[None] = Deferred()
        call = self._clock.callLater(pause_s, over.callback, None)
        self._pausing.add(over)
        try:
            await over
        finally:
            self._pausing.discard(over)
            if call.active():
                call.cancel()


def _kind(event: object) -> str:
    return type(event).__name__
