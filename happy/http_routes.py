"""Declared routes: from a request straight to an event or a query, and its reply as an answer.

What most requests need can be said, so nobody has to write it::

    routes = HttpRoutes()

    @routes.post("/items/<key>")
    @handles(Put)
    def put(state, event, context): ...

    @routes.get("/items/<key>")
    @query
    def item(state, key: str): ...

The fields of the event, or the arguments of the query, are what the path, the query string and
the body say, read by their types. Everything else is for Klein, which gets what no route here
takes. Nothing runs between a request and its event but code of this house, so it is fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict, TypeVar, Unpack
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from happy.errors import BadRequest, DefinitionError
from happy.parameters import Parameters, of_event, of_query

_CAPTURE = re.compile(r"<([a-z_][a-z0-9_]*)>")
_PATH = re.compile(r"/|(/([A-Za-z0-9._~!$&'()*+,;=:@%\-]+|<[a-z_][a-z0-9_]*>))+/?")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"


F = TypeVar("F")


@attrs.frozen
class Answer:
    """What the peer is to get, when a ``reply`` wants to say more than a body."""

    body: Any = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@attrs.frozen(eq=False)
class Route:
    """One declared route; exactly one of ``event_type`` and ``query`` is there."""

    method: str
    path: str
    event_type: type | None
    query: Callable[..., Any] | None
    parameters: Parameters
    captures: tuple[str, ...]
    body_field: str | None
    reply: Callable[[Any], Any] | None
    status: int
    headers: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class RouteOptions(TypedDict, total=False):
    """What a declared route can say beside its path; ``HttpRoutes.route`` tells what it means."""

    reply: Callable[[Any], Any] | None
    body: str | None
    status: int
    headers: Mapping[str, str] | None


class HttpRoutes:
    """The declared routes of an application class: ``routes = HttpRoutes()``."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Any:
        return iter(self._routes)

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer GET (and HEAD) with what a query returns; see ``route``."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer POST with the reply to an event; see ``route``."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer PUT with the reply to an event; see ``route``."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer PATCH with the reply to an event; see ``route``."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[F], F]:
        """Answer DELETE with the reply to an event; see ``route``."""
        return self.route("DELETE", path, **options)

    def route(  # noqa: PLR0913 - all that a route can say
        self,
        method: str,
        path: str,
        *,
        reply: Callable[[Any], Any] | None = None,
        body: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Callable[[F], F]:
        """Declare a route; stands above ``@handles`` (of one event) or ``@query``.

        ``path`` may hold ``<name>`` for a whole segment. ``reply`` makes the body, or a whole
        ``Answer``, of what the handler or query returns; it is pure. Bytes and texts go out as
        they are, None as 204, anything else as JSON. ``status`` and ``headers`` are those of
        a good answer; a Content-Type among them wins. ``body`` names the field (bytes or str)
        that takes the body of a request as it is; without it a body is JSON or a form.
        """
        captures = _captures_of(path)
        fixed = _checked_headers(path, headers or {})

        def declare(function: F) -> F:
            plain: Any = function.__func__ if isinstance(function, staticmethod) else function
            event_type, asked = _target(f"{method} {path}", method, plain)
            parameters = of_event(event_type) if event_type is not None else of_query(plain)
            for name in (*captures, *([body] if body else [])):
                if name not in parameters.names:
                    raise DefinitionError(f"{method} {path}: {plain.__qualname__} has no {name!r}")
            self._add(
                Route(
                    method, path, event_type, asked, parameters, captures, body, reply, status,
                    fixed,
                )
            )  # fmt: skip
            return function

        return declare

    def _add(self, route: Route) -> None:
        shape = _CAPTURE.sub("<>", route.path)
        for known in self._routes:
            if known.method == route.method and _CAPTURE.sub("<>", known.path) == shape:
                raise DefinitionError(f"{route}: this route is declared twice")
        self._routes.append(route)


class RouteTable:
    """The routes of a class, ready to be found by method and path."""

    def __init__(self, routes: HttpRoutes) -> None:
        self._fixed: dict[bytes, dict[bytes, Route]] = {}
        self._patterns: list[tuple[re.Pattern[bytes], Route]] = []
        for route in routes:
            if route.captures:
                self._patterns.append((_compile(route.path), route))
            else:
                self._fixed.setdefault(route.path.encode(), {})[route.method.encode()] = route

    def find(self, method: bytes, path: bytes) -> tuple[Route, tuple[bytes, ...]] | None:
        """Return the route of a request with its captures as they were sent; None for no route.

        A fixed path goes before a pattern, a pattern before those declared after it.
        """
        if method == b"HEAD":
            method = b"GET"
        methods = self._fixed.get(path)
        if methods is not None and method in methods:
            return methods[method], ()
        for pattern, route in self._patterns:
            if route.method.encode() == method:
                match = pattern.fullmatch(path)
                if match is not None:
                    return route, match.groups()
        return None

    def methods_of(self, path: bytes) -> tuple[str, ...]:
        """Return the methods that have a route on this path."""
        found = {method.decode() for method in self._fixed.get(path, ())}
        found |= {route.method for pattern, route in self._patterns if pattern.fullmatch(path)}
        return tuple(sorted(found | {"HEAD"} if "GET" in found else found))


def capture_texts(route: Route, captured: tuple[bytes, ...]) -> list[tuple[str, str]]:
    """Return what the segments of a path say; ``BadRequest`` when one is not UTF-8."""
    try:
        texts = [unquote_to_bytes(segment).decode("utf-8") for segment in captured]
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
    return list(zip(route.captures, texts, strict=True))


def answer_of(route: Route, value: Any) -> tuple[int, bytes, str, tuple[tuple[str, str], ...]]:
    """Return a reply as status, body, type and further headers.

    Raises whatever the route's ``reply`` raises, and ``TypeError`` for what has no form.
    """
    status, headers = route.status, route.headers
    if route.reply is not None:
        value = route.reply(value)
        if isinstance(value, Answer):
            status, headers = value.status, (*headers, *value.headers)
            value = value.body
    if isinstance(value, bytes):
        return status, value, BYTES, headers
    if isinstance(value, str):
        return status, value.encode("utf-8"), TEXT, headers
    if value is None:
        return 204 if status == 200 else status, b"", TEXT, headers
    return status, msgspec.json.encode(value) + b"\n", JSON, headers


def _target(
    where: str, method: str, function: Callable[..., Any]
) -> tuple[type | None, Callable[..., Any] | None]:
    """Return the event type that a function handles, or the query that it is."""
    events = getattr(function, "__happy_handles__", ())
    if hasattr(function, "__happy_query__"):
        return None, function
    if not events:
        raise DefinitionError(
            f"{where}: {function.__qualname__} is neither a handler nor a query; "
            "the route stands above @handles or @query"
        )
    if len(events) > 1:
        raise DefinitionError(f"{where}: {function.__qualname__} handles several events; keep one")
    if method in {"GET", "HEAD"}:
        raise DefinitionError(f"{where}: GET changes nothing; a handler is for POST and the like")
    return events[0], None


def _captures_of(path: str) -> tuple[str, ...]:
    if not _PATH.fullmatch(path):
        raise DefinitionError(
            f"route {path!r}: a path begins with / and a capture is a whole segment, <name>"
        )
    names = tuple(_CAPTURE.findall(path))
    if len(set(names)) < len(names):
        raise DefinitionError(f"route {path!r}: a name stands in it twice")
    return names


def _compile(path: str) -> re.Pattern[bytes]:
    parts = _CAPTURE.split(path)
    regex = "".join(
        r"([^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)
    )
    return re.compile(regex.encode())


def _checked_headers(path: str, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in headers.items():
        if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise DefinitionError(f"route {path!r}: {name!r} is not a header field")
    return tuple((name.title(), value) for name, value in headers.items())
