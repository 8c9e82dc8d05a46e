"""An application that runs in a test: the kit behind ``happy.testing``."""

from __future__ import annotations

import email.message
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from happy.app import App, definition_of
from happy.apply import Machine
from happy.bounces import suppressed_end
from happy.codec import to_json
from happy.dsn import is_hard, status_of
from happy.effects import Call, Owed, SendMail
from happy.event import CallEnded, Configured, Exchange, Mail, MailFailed, MailSent
from happy.limits import Limits
from happy.opening import Elsewhere
from happy.stream import Stream
from happy.testing.disk import MemoryDisk
from happy.testing.doors import MailReply, Response, ask, send_mail
from happy.testing.sets import check_sets
from happy.testing.watching import watched
from happy.wire.http import site_for
from happy.wire.smtp import MailFactory
from happy.world import World

R = TypeVar("R")

_START_S: Final = 1_000_000_000
"""The time of day when a test begins: 2001-09-09T01:46:40Z."""
_TURNS_MAX: Final = 1_000
_STEP_S_MIN: Final = 1e-6
_PEER: Final = IPv4Address("TCP", "127.0.0.1", 40_000)
_HOST: Final = IPv4Address("TCP", "127.0.0.1", 80)


class Running:
    """An application that runs in a test; made by ``running``."""

    def __init__(
        self, app_class: type[App], settings: Any, domains: tuple[str, ...], limits: Limits
    ) -> None:
        self.clock = Clock()
        self.disk = MemoryDisk()
        self.sent: list[SendMail] = []
        """The mail that went out, in order."""
        self.calls: list[Call] = []
        """The HTTP calls that went out, in order."""
        self.answer_call: Callable[[Call], tuple[int, bytes]] = lambda _call: (200, b"")
        """What the other side of a call answers: status and body."""
        self.refuse_mail: Callable[[SendMail], str | None] = lambda _mail: None
        """Says why the next server refuses a message for good, or None when it takes it."""
        self._app_class = app_class
        self._definition = definition_of(app_class)
        self._settings = settings
        self._domains = domains
        self._limits = limits
        self._wall_s = float(_START_S)
        self._random = random.Random(0)  # noqa: S311 - a test repeats itself
        self.app: App
        self.stream: Stream
        self._open()

    # --- events and questions -------------------------------------------------------------

    @property
    def state(self) -> Any:
        """The state, to look at."""
        return self.ask_with(lambda state: state)

    def submit(self, event: object) -> Any:
        """Submit an event and return the reply; raises as ``App.submit`` does."""
        return self.result(self.stream.submit(event, Exchange("test")))

    def ask(self, query: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Return what a query returns."""
        with self._changed_by_events_only(getattr(query, "__qualname__", "a query")):
            found: R = self.result(self.app.ask(query, *args, **kwargs))
        return found

    def ask_with(self, function: Callable[[Any], R]) -> R:
        """Return what any function of the state returns."""
        found: R = self.result(self.stream.ask(function))
        return found

    # --- the doors ------------------------------------------------------------------------

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send a GET request."""
        return self.request("GET", path, headers=headers)

    def post(
        self,
        path: str,
        body: bytes = b"",
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a POST request, with a body, with ``json`` or with ``form``, as browsers do."""
        given = dict(headers or {})
        if json is not None:
            body = to_json(json)
            given.setdefault("Content-Type", "application/json")
        elif form is not None:
            body = urlencode(form).encode()
            given.setdefault("Content-Type", "application/x-www-form-urlencoded")
        return self.request("POST", path, body, headers=given)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request through the HTTP door and return its answer."""
        assert self._site is not None, f"{self._app_class.__name__} has no HTTP door"
        with self._changed_by_events_only(f"{method} {path}"):
            return ask(self._site, self._until, method, path, body, headers or {})

    def mail(
        self, sender: str, recipients: str | tuple[str, ...], content: bytes | str
    ) -> MailReply:
        """Send a message through the mail door; line ends are made CRLF.

        An ``email.message.EmailMessage`` goes as ``bytes(message)``.
        """
        names = (recipients,) if isinstance(recipients, str) else recipients
        raw = content.encode() if isinstance(content, str) else content
        return send_mail(self._mail_door, self._until, sender, names, raw)

    # --- time and trouble -----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass; timers and schedules fire in it, each at its own moment."""
        left_s = seconds
        while left_s > 0:
            self._turn()
            step_s = min(left_s, max(self._wait_s(), _STEP_S_MIN))
            self.clock.advance(step_s)
            left_s -= step_s
        self._turn()

    def set_wall(self, seconds: float) -> None:
        """Set the clock on the wall ahead, or back; nothing falls due by that alone.

        That is noticed within a minute, or with the next event.
        """
        self._wall_s += seconds

    def restart(self, app_class: type[App] | None = None) -> None:
        """Stop in good order and start again; with ``app_class``, start changed code."""
        self.close()
        self.open(app_class)

    def open(self, app_class: type[App] | None = None) -> None:
        """Start again after ``close``; ``clock.advance`` in between is time without power."""
        if app_class is not None:
            self._app_class, self._definition = app_class, definition_of(app_class)
        self._open()

    def crash(self) -> None:
        """Pull the plug: what was not synced is lost. Then start again."""
        self.stream.stop()
        self.disk.crash()
        self._open()

    def close(self) -> None:
        """Stop in good order."""
        self.result(self.stream.close())

    def result(self, awaitable: Any) -> Any:
        """Return what an awaitable fires with, or raise what it fails with."""
        results: list[Any] = []
        done = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
        done.addBoth(results.append)
        self._until(lambda: bool(results), "nothing came of it")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def time_ns(self) -> int:
        """Return the time of day of this test."""
        return int((self._wall_s + self.clock.seconds()) * 1_000_000_000)

    # --- inside ---------------------------------------------------------------------------

    def _elsewhere(self, _name: str, _world: World) -> Elsewhere | None:
        return None

    def _open(self) -> None:
        world = World(
            self.clock,
            self.time_ns,
            maybeDeferred,
            maybeDeferred,
            self._random.randbytes,
            random.Random,
        )
        check_sets(self._app_class)
        name = self._app_class.__name__.lower()
        elsewhere = self._elsewhere(name, world)
        self.stream = Stream(name, self._definition, self.disk, world, self._limits, elsewhere)
        self.app = self._app_class(name, self.stream, self._settings, self._domains)
        self._site = (
            site_for(self.app, limits=self._limits, reactor=self.clock)
            if self._app_class.has_http()
            else None
        )
        self._mail_door = MailFactory(
            self.app, limits=self._limits, clock=self.clock, hostname="happy.test"
        )
        self.stream.open()
        self.stream.debts.runners = {SendMail: _Smarthost(self), Call: _Elsewhere(self)}
        settings = b"" if self._settings is None else to_json(self._settings)
        self.stream.begin(Configured(settings, self._domains))
        self._turn()

    @contextmanager
    def _changed_by_events_only(self, what: str) -> Iterator[None]:
        """Find a query that changes the state: after a restart its change would be gone."""
        machine: Machine | None = getattr(self.stream.opened.core, "machine", None)
        if machine is None:  # it is in another process
            yield
            return
        seq, digest = machine.seq, machine.digest()
        yield
        if machine.seq == seq and machine.digest() != digest:
            raise AssertionError(
                f"{what} changed the state, and no event did: what changes it belongs in a handler"
            )

    def _wait_s(self) -> float:
        """Return how long it is until something falls due, or will be seen to be due."""
        wait_ns = self.stream.debts.wait_ns()
        if wait_ns is None:
            return math.inf
        if wait_ns > 0:
            return wait_ns / 1e9
        calls = self.clock.getDelayedCalls()
        return min((call.getTime() for call in calls), default=math.inf) - self.clock.seconds()

    def _turn(self) -> None:
        """Run what is due now, and what that makes due now."""
        for _ in range(_TURNS_MAX):
            calls = self.clock.getDelayedCalls()
            if not any(call.getTime() <= self.clock.seconds() for call in calls):
                return
            self.clock.advance(0)
        raise AssertionError("the application does not come to rest")

    def _until(self, done: Callable[[], bool], otherwise: str) -> None:
        self._turn()
        if not done():
            raise AssertionError(otherwise)


@contextmanager
def running(
    app_class: type[App],
    *,
    settings: Any = None,
    domains: tuple[str, ...] | None = None,
    limits: Limits | None = None,
) -> Iterator[Running]:
    """Run an application in memory for the length of a ``with`` block.

    ``domains`` are those it takes mail for: ``app.example``, when it takes mail.
    """
    if domains is None:
        domains = ("app.example",) if Mail in definition_of(app_class).handlers else ()
    if settings is None and app_class.Settings is not None:
        settings = app_class.Settings()
    limits = limits or Limits(segment_bytes_max=1024 * 1024)  # memory is zeroed for it
    with watched():
        running_app = Running(app_class, settings, domains, limits)
        yield running_app
        running_app.close()


def message(subject: str = "", text: str = "", **fields: str) -> bytes:
    """Return a plain message; ``From_="ann@example"`` and the like set header fields."""
    made = email.message.EmailMessage()
    for name, value in fields.items():
        made[name.rstrip("_").replace("_", "-")] = value
    if subject:
        made["Subject"] = subject
    made.set_content(text)
    return bytes(made)


class _Smarthost:
    """Takes all mail, unless the test says otherwise."""

    def __init__(self, running_app: Running) -> None:
        self._running = running_app

    def perform(self, owed: Owed) -> None:
        self._running.clock.callLater(0, self._deliver, owed)

    def _deliver(self, owed: Owed) -> None:
        self._running.stream.submit(self._end_of(owed), Exchange("effect"))

    def _end_of(self, owed: Owed) -> MailSent | MailFailed:
        mail = owed.effect
        assert isinstance(mail, SendMail)
        suppression = self._running.stream.bounces.suppression_of(mail.recipient)
        if suppression is not None:
            return suppressed_end(owed, suppression)
        envelope = (*owed.id, mail.recipient, mail.reverse_path, mail.tag)
        refusal = self._running.refuse_mail(mail)
        if refusal is not None:
            return MailFailed(*envelope, refusal, hard=is_hard(status_of(refusal), refusal))
        self._running.sent.append(mail)
        return MailSent(*envelope, "250 2.0.0 Ok")

    def stop(self) -> Deferred[None]:
        return succeed(None)


class _Elsewhere:
    """Answers all calls, as the test says."""

    def __init__(self, running_app: Running) -> None:
        self._running = running_app

    def perform(self, owed: Owed) -> None:
        call = owed.effect
        assert isinstance(call, Call)
        self._running.clock.callLater(0, self._answer, owed.id, call)

    def _answer(self, effect_id: tuple[int, int], call: Call) -> None:
        self._running.calls.append(call)
        status, body = self._running.answer_call(call)
        self._running.stream.submit(
            CallEnded(*effect_id, call.tag, status, body), Exchange("effect")
        )

    def stop(self) -> Deferred[None]:
        return succeed(None)
