"""What an application is: a state, its handlers and queries, and its doors.

The class says everything; ``definition_of`` reads it once and complains about all that cannot
work. An instance is one configured application: it has a name, settings and a stream, and it
is the ``self`` of the doors. Handlers and queries have no ``self``: they are functions of the
state, so that the same events always give the same state.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Final, ParamSpec, Protocol, TypeVar

import attrs

from happy.errors import DefinitionError, HappyError
from happy.event import (
    ANY_VERSION,
    Blob,
    Configured,
    Entry,
    EventMeta,
    Exchange,
    Mail,
    Prepared,
    Retired,
    Waiting,
    event_meta,
)
from happy.http_routes import HttpRoutes
from happy.purity import check_pure
from happy.return_paths import ReturnPaths
from happy.routes import MailRoutes, check_handler
from happy.schedule import Schedule, schedules_of
from happy.state import is_state, rows_of
from happy.system_events import SYSTEM_EVENTS
from happy.upcast import check_upcasters, upcasters_of

P = ParamSpec("P")
R = TypeVar("R")

exchange: ContextVar[Exchange | None] = ContextVar("happy_exchange", default=None)
"""The exchange that the running door code belongs to; set by the doors."""


class BlobWriter(Protocol):
    """Takes a large body piece by piece, outside the memory; see ``StreamPort.blob_writer``."""

    def write(self, data: bytes) -> None:
        """Add bytes."""

    def seal(self) -> Awaitable[Blob]:
        """Make what was written durable under its digest; fires with the ``Blob``."""

    def abandon(self) -> None:
        """Forget what was written; harmless after ``seal``."""


class BlobReader(Protocol):
    """Reads a stored body back, piece by piece."""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, empty at the end."""

    def close(self) -> None:
        """Let go of the file."""


class StreamPort(Protocol):
    """What a door sees of a stream, here or in another process."""

    def submit(self, event: object, exchange: Exchange) -> Awaitable[Any]:
        """Put an event in the order; fires with the handler's reply once it is durable.

        Fails with ``Refused``, ``HandlerFailed``, ``KeyReused`` or an ``Unavailable``.
        """

    def prepare(self, event: object, source: str) -> Prepared:
        """Return an event ready for ``put``; ``DefinitionError`` when it does not hold."""

    def put(self, prepared: Prepared, waiter: Waiting) -> None:
        """Put a prepared event in the order, without a key; ``waiter`` is told the end.

        Raises an ``Unavailable`` when it was not admitted; then the waiter hears nothing.
        """

    def ask(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Fire with what a query of the state returns."""

    def look(
        self, query: Callable[..., Any], arguments: Mapping[str, Any], waiter: Waiting
    ) -> None:
        """Tell ``waiter`` what a query of the state returns, with seq 0; raises what it raises."""

    def trouble(self, size: int) -> HappyError | None:
        """Return why a mail of so many bytes, 0 when unknown, would not be taken now, if so."""

    def blob_writer(self) -> BlobWriter:
        """Return a place for a body that is too large for the memory."""

    def open_blob(self, blob: Blob) -> BlobReader:
        """Open a stored body; ``FileNotFoundError`` when it is not there."""

    @property
    def return_paths(self) -> ReturnPaths:
        """What knows the return paths of happy's own again."""


class handles:  # noqa: N801 - reads as a decorator
    """Declare the handler of an event type: a pure ``(state, event, context) -> reply``.

    The handler changes ``state`` in place and returns the reply, or raises ``Refused``; when
    it raises anything, nothing has changed. It must depend on nothing but its arguments.
    """

    def __init__(self, *event_types: type) -> None:
        if not event_types:
            raise DefinitionError("@handles() needs an event type, as in @handles(Next)")
        for event_type in event_types:
            given: object = event_type
            if not isinstance(given, type):  # @handles without parentheses
                raise DefinitionError(f"{given!r}: say which event, as in @handles(Next)")
            event_meta(event_type)
        self.event_types = event_types

    def __call__(self, function: Callable[P, R] | staticmethod[P, R]) -> staticmethod[P, R]:
        plain = function.__func__ if isinstance(function, staticmethod) else function
        check_handler(plain, "state", "event", "context")
        others = getattr(plain, "__happy_handles__", ())
        _mark(plain, "__happy_handles__", (*others, *self.event_types))
        return staticmethod(plain)


def query(function: Callable[P, R] | staticmethod[P, R]) -> staticmethod[P, R]:
    """Declare a query: a pure function of the state, first argument ``state``, that reads only.

    Doors call it with ``await self.ask(self.name, ...)``.
    """
    plain = function.__func__ if isinstance(function, staticmethod) else function
    check_handler(plain, "state", more=True)
    _mark(plain, "__happy_query__", True)
    return staticmethod(plain)


def _mark(function: Any, name: str, value: object) -> None:
    setattr(function, name, value)


def takes_all(_state: Any) -> bool:
    """Say that any recipient is taken: the query of an application without mail routes."""
    return True


class App:
    """An application; subclass it and declare ``state``, handlers, queries and doors.

    ``state`` is the ``@state`` class. ``routes``, when given, are declared ``HttpRoutes``, and
    ``http`` is a ``klein.Klein`` for what they do not take; ``mail`` are ``MailRoutes``.
    ``Settings``, when given, is the attrs class of what the configuration may set.
    ``retired`` are the names of events that stand in the journal, did something once, and do
    nothing any more.
    """

    state: ClassVar[type]
    routes: ClassVar[HttpRoutes | None] = None
    http: ClassVar[Any] = None
    mail: ClassVar[MailRoutes | None] = None
    Settings: ClassVar[type | None] = None
    retired: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        stream: StreamPort,
        settings: Any = None,
        domains: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.settings = settings
        self.domains = domains
        self._stream = stream

    @classmethod
    def has_http(cls) -> bool:
        """Say whether there is anything to serve over HTTP."""
        return cls.http is not None or cls.routes is not None

    def submit(self, event: object) -> Awaitable[Any]:
        """Put an event in the order; ``await`` the handler's reply, durable when it comes.

        Raises ``Refused`` when the handler refused, ``HandlerFailed`` when it raised, and an
        ``Unavailable`` when the event was not admitted.
        """
        here = exchange.get()
        return self._stream.submit(event, here if here is not None else Exchange("internal"))

    def ask(self, query: Callable[..., R], *args: Any, **kwargs: Any) -> Awaitable[R]:
        """``await`` what a query of the state returns; it sees durable events only."""
        if not hasattr(query, "__happy_query__"):
            raise DefinitionError(f"{query.__qualname__} is not a query: declare it with @query")
        return self._stream.ask(query, *args, **kwargs)

    def open_blob(self, blob: Blob) -> BlobReader:
        """Open a large body that an event named; read-only, for doors."""
        return self._stream.open_blob(blob)

    def blob_writer(self) -> BlobWriter:
        """Return a place to put a large body before an event names it; for doors."""
        return self._stream.blob_writer()

    def trouble(self, size: int = 0) -> HappyError | None:
        """Return why a mail of so many bytes would not be taken now, if it would not; for doors."""
        return self._stream.trouble(size)

    @property
    def return_paths(self) -> ReturnPaths:
        """What knows the return paths of our own mail again; for doors."""
        return self._stream.return_paths

    def surely_knows(self, local: str, domain: str) -> bool | None:
        """Return what ``knows_recipient`` will say whatever the state is; None when it depends."""
        if self.mail is None or self.return_paths.effect_of(local) is not None:
            return True
        return self.mail.surely_knows(local, domain)

    def knows_recipient(self, local: str, domain: str = "") -> Awaitable[bool]:
        """``await`` whether a mail route takes this address now; asked at RCPT.

        An application that handles ``Mail`` itself, without routes, takes all of them; and each
        takes back its own mail, see ``Context.mail``.
        """
        if self.return_paths.effect_of(local) is not None:
            return self._stream.ask(takes_all)
        routes = self.mail
        if routes is None:
            return self._stream.ask(takes_all)
        return self._stream.ask(routes.knows, local, domain)


Handler = Callable[..., Any]


@attrs.frozen
class Definition:
    """What an application class declares, checked and ready for the machine."""

    app: type[App]
    state: type
    handlers: Mapping[type, Handler]
    events: Mapping[tuple[str, int], type]
    """Every event type that may stand in the journal, by name and version."""
    schedules: tuple[Schedule, ...] = ()


def definition_of(app: type[App]) -> Definition:
    """Read an application class; ``DefinitionError`` names what cannot work in it."""
    if not (isinstance(app, type) and issubclass(app, App)):
        raise DefinitionError(f"{app!r} is not a happy application: subclass happy.App")
    state = getattr(app, "state", None)
    if state is None or not is_state(state):
        raise DefinitionError(f"{app.__qualname__}: set state to a class declared with @state")
    handlers = _handlers_of(app)
    if app.mail is not None:
        if Mail in handlers:
            raise DefinitionError(
                f"{app.__qualname__}: mail routes and a handler of Mail; keep one of them"
            )
        handlers[Mail] = app.mail.deliver
    for route in app.routes or ():
        if route.event_type is not None and route.event_type not in handlers:
            raise DefinitionError(f"{app.__qualname__}: {route}: nobody here handles its event")
    if app.Settings is not None and not attrs.has(app.Settings):
        raise DefinitionError(f"{app.__qualname__}: Settings must be an attrs class")
    events = _events_of(app, handlers)
    versioned = {*events.values(), state, *rows_of(state)}
    check_upcasters(versioned)
    _check_no_orphans(app)
    upcasters = [function for cls in versioned for function in upcasters_of(cls).values()]
    check_pure([*functions_of(app), *upcasters], state)
    return Definition(app, state, handlers, events, schedules_of(app, handlers))


def functions_of(app: type[App]) -> list[Callable[..., Any]]:
    """Return all that is replayed or reads what is: handlers, queries and mail routes."""
    marks = ("__happy_handles__", "__happy_query__")
    named: list[Any] = [getattr(app, name, None) for name in dir(app)]
    found = [function for function in named if any(hasattr(function, mark) for mark in marks)]
    return found + (app.mail.functions() if app.mail is not None else [])


def _handlers_of(app: type[App]) -> dict[type, Handler]:
    handlers: dict[type, Handler] = {}
    for name, function, event_type in _handled_by(app):
        if event_type in handlers:
            raise DefinitionError(
                f"{app.__qualname__}: {handlers[event_type].__name__} and {name} both "
                f"handle {event_type.__name__}; keep one"
            )
        handlers[event_type] = function
    return handlers


def _handled_by(app: type[App]) -> Iterator[tuple[str, Handler, type]]:
    for name in dir(app):
        function = getattr(app, name, None)
        for event_type in getattr(function, "__happy_handles__", ()):
            assert callable(function)
            yield name, function, event_type


def _events_of(app: type[App], handlers: Mapping[type, Handler]) -> dict[tuple[str, int], type]:
    events: dict[tuple[str, int], type] = {}
    for event_type in (*SYSTEM_EVENTS, *handlers):
        meta: EventMeta = event_meta(event_type)
        known = events.setdefault((meta.name, meta.version), event_type)
        if known is not event_type:
            raise DefinitionError(
                f"{app.__qualname__}: {known.__qualname__} and {event_type.__qualname__} have "
                f"the same journal name {meta.name!r}; give one of them @event(name=...)"
            )
    for (name, _), event_type in tuple(events.items()):
        for version in upcasters_of(event_type):
            if (name, version) in events:
                raise DefinitionError(
                    f"{app.__qualname__}: event {name} version {version} is handled itself and "
                    f"has @upcast({event_type.__name__}, {version}); keep one of them"
                )
    return events | _retired_of(app, events)


def _retired_of(app: type[App], events: Mapping[tuple[str, int], type]) -> dict[Any, type]:
    if not isinstance(app.retired, tuple) or not all(isinstance(n, str) for n in app.retired):
        raise DefinitionError(f"{app.__qualname__}: retired is a tuple of names: ('Old',)")
    for (name, _), event_type in events.items():
        if name in app.retired:
            raise DefinitionError(
                f"{app.__qualname__}: the event {name} is retired, and {event_type.__qualname__} "
                "of that name is handled; keep one of them"
            )
    return {(name, ANY_VERSION): Retired for name in app.retired}


def _check_no_orphans(app: type[App]) -> None:
    """Refuse an upcaster beside an application that no application there has a use for."""
    beside = [
        cls
        for cls in getattr(inspect.getmodule(app), "__dict__", {}).values()
        if isinstance(cls, type) and cls.__module__ == app.__module__
    ]
    if app not in beside:  # made within a function, where nobody else can look
        return
    used: set[type] = set()
    for one in beside:
        if issubclass(one, App) and is_state(getattr(one, "state", None)):
            used.update((one.state, *rows_of(one.state)), (e for *_, e in _handled_by(one)))
    for cls in beside:
        if upcasters_of(cls) and cls not in used:
            raise DefinitionError(
                f"there are upcasters of {cls.__qualname__}, which {app.__qualname__} neither "
                "handles nor keeps in a table; what stands inside of an event or a row is "
                "covered by the version of that"
            )


__all__: Final = [
    "App",
    "BlobReader",
    "BlobWriter",
    "Configured",
    "Definition",
    "Entry",
    "StreamPort",
    "definition_of",
    "exchange",
    "handles",
    "query",
    "takes_all",
]
