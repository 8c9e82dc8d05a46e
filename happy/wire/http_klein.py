"""Klein behind the HTTP door: from a request to a route, and from what it returns to an answer.

Klein declares the routes; running them is done here, so that each request has its exchange,
what a route returns is either rendered or an error, and nothing is ever answered empty by
accident.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from contextvars import Context, copy_context
from inspect import isawaitable
from typing import Any

import attrs
from klein import Klein
from klein import Response as KleinResponse
from klein.interfaces import IKleinRequest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.web.iweb import IRenderable
from twisted.web.resource import IResource, Resource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Tag, flattenString
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter

from happy.app import App
from happy.app import exchange as current_exchange
from happy.codec import to_json
from happy.errors import BadRequest
from happy.http_routes import RouteTable
from happy.limits import Limits
from happy.wire.http_exchange import exchange_of
from happy.wire.http_problem import is_expected, new_reference
from happy.wire.http_request import HappyRequest

HTML = b"text/html; charset=utf-8"
JSON = b"application/json"

_PLAIN_PATH = re.compile(rb"/|(/[A-Za-z0-9._~\-]+)+/?")

_log = Logger()


class Unrenderable(TypeError):
    """A route returned something that is no answer."""


class KleinDoor(Resource):
    """The resource that runs the Klein routes of one application.

    ``declared`` are the routes that were tried before; they are asked here only which methods
    a path has that Klein does not know.
    """

    isLeaf = True

    def __init__(self, app: App, limits: Limits, declared: RouteTable | None = None) -> None:
        super().__init__()
        self.klein: Klein = Klein() if app.http is None else app.http
        self._declared = declared
        self.name = app.name
        self._key_chars_max = limits.key_chars_max
        self._plain_routes = _plain_routes(self.klein)

    def render(self, request: HappyRequest) -> int:
        """Run the route of a request; its answer comes now or later."""
        request.defaultContentType = b"text/html"
        request.exchange = exchange_of(request.head, request.body(), self._key_chars_max)
        context = copy_context()
        context.run(current_exchange.set, request.exchange)
        run = _Run(self, request, context)
        try:
            result = context.run(self._call, request, run)
        except Exception:  # noqa: BLE001 - whatever a route raises ends as an answer
            run.failed(Failure())
        else:
            run.returned(result)
        return NOT_DONE_YET

    def _call(self, request: HappyRequest, run: _Run) -> Any:
        methods = self._plain_routes.get(request.path)
        endpoint = None if methods is None else methods.get(request.method) or methods.get(None)
        kwargs: dict[str, Any] = {}
        if endpoint is None:
            endpoint, kwargs = self._match(request)
        run.endpoint = endpoint
        route: Any = self.klein.endpoints[endpoint]  # a function that Klein has marked
        segments = route.segment_count
        assert request.prepath is not None
        assert request.postpath is not None
        request.prepath.extend(request.postpath[:segments])
        request.postpath = request.postpath[segments:]
        return self.klein.execute_endpoint(endpoint, request, **kwargs)

    def _match(self, request: HappyRequest) -> tuple[str, dict[str, Any]]:
        if request.path.startswith(b"//"):
            raise NotFound  # werkzeug would take it for "/": two names of one thing fool a proxy
        try:
            rule, kwargs = bind(self.klein, request).match(return_rule=True)
        except NotFound:
            methods = self._declared.methods_of(request.path) if self._declared else ()
            if methods:
                raise MethodNotAllowed(methods) from None
            raise
        return rule.endpoint, dict(kwargs)


def _plain_routes(klein: Klein) -> dict[bytes, dict[bytes | None, str]]:
    """Return the endpoints of fixed paths, by path and method (None: any other method).

    What a table finds is what werkzeug would find, for it too prefers a fixed path to a
    pattern, and the rule that came first; the table is ten times as fast.
    """
    table: dict[bytes, dict[bytes | None, str]] = {}
    special: set[bytes] = set()
    for rule in klein.url_map.iter_rules():
        path = rule.rule.encode()
        if (
            rule.arguments or rule.redirect_to or rule.websocket or rule.alias
            or rule.build_only or rule.subdomain or rule.host or not _PLAIN_PATH.fullmatch(path)
        ):  # fmt: skip
            special.add(path)
            continue
        methods = table.setdefault(path, {})
        if None not in methods:
            for method in rule.methods or ():
                methods.setdefault(method.encode(), rule.endpoint)
            if rule.methods is None:
                methods[None] = rule.endpoint
    return {path: methods for path, methods in table.items() if path not in special}


def bind(klein: Klein, request: HappyRequest) -> MapAdapter:
    """Return the map of routes bound to a request; ``BadRequest`` when its path is not UTF-8."""
    segments = [*(request.prepath or ()), *(request.postpath or ())]
    try:
        path = b"/".join(segments).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the path is not UTF-8") from None
    host = request.head.host or b""
    secure = request.isSecure()
    return klein.url_map.bind(
        host.decode("ascii") or "localhost",
        path_info="/" + path,
        default_method=request.method.decode("ascii"),
        url_scheme="https" if secure else "http",
        query_args=request.uri.partition(b"?")[2].decode("ascii"),
    )


class _KleinRequest:
    """Klein's view of a request; the map is bound only when a route builds an URL."""

    def __init__(self, request: HappyRequest) -> None:
        self._request = request
        self._mapper: MapAdapter | None = None
        self.branch_segments = [""]

    @property
    def mapper(self) -> MapAdapter:
        if self._mapper is None:
            self._mapper = bind(self._request.site.resource.klein, self._request)
        return self._mapper

    def url_for(self, *args: Any, **kwargs: Any) -> str:
        return self.mapper.build(*args, **kwargs)


registerAdapter(_KleinRequest, HappyRequest, IKleinRequest)


class _Run:
    """A route on its way to an answer."""

    __slots__ = ("_context", "_door", "_handlers", "_request", "endpoint")

    def __init__(self, door: KleinDoor, request: HappyRequest, context: Context) -> None:
        self._door = door
        self._request = request
        self._context = context
        # Klein has no public name for them; its own resource reads them here, too.
        self._handlers = iter(door.klein._error_handlers)  # noqa: SLF001 - see above
        self.endpoint = ""

    def returned(self, result: Any, *, later: bool = False) -> None:
        """Take what a route or error handler returned, now or (``later``) by a Deferred."""
        request = self._request
        kind = type(result)
        if kind is bytes and not request.startedWriting:
            if not (request.finished or request._disconnected):  # noqa: SLF001 - Twisted's
                request.answer(result)
            return
        if isinstance(result, Deferred):
            self._wait(result)
            return
        if isawaitable(result):
            self._wait(ensureDeferred(_awaited(result)))
            return
        try:
            self._context.copy().run(self._render, result, later=later)
        except Exception:  # noqa: BLE001 - whatever rendering raises ends as an answer
            self.failed(Failure())

    def _wait(self, deferred: Deferred[Any]) -> None:
        self._request.handling = deferred
        deferred.addCallbacks(self._fired, self._failed_later)
        deferred.addErrback(self._lost_error)

    def _fired(self, result: Any) -> None:
        self._request.handling = None
        self.returned(result, later=True)

    def _failed_later(self, failure: Failure) -> None:
        self._request.handling = None
        self.failed(failure)

    def _lost_error(self, failure: Failure) -> None:
        _log.failure("{app}: {route} failed", failure=failure, app=self._door.name, route=str(self))

    def failed(self, failure: Failure) -> None:
        """Take an error: the application's error handlers first, then an answer."""
        request = self._request
        if request.finished or request._disconnected:  # noqa: SLF001 - twisted.web's own flag
            if not failure.check(CancelledError):
                self._lost_error(failure)
            return
        for kinds, handler in self._handlers:
            if failure.check(*kinds):
                self._handle(handler, failure)
                return
        self._answer_error(failure)

    def _handle(self, handler: Any, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, HTTPException) and error.code is not None:
            self._request.setResponseCode(error.code)
        try:
            result = self._context.copy().run(
                self._door.klein.execute_error_handler, handler, self._request, failure
            )
        except Exception:  # noqa: BLE001 - the next handler may know it
            self.failed(Failure())
        else:
            self.returned(result)

    def _answer_error(self, failure: Failure) -> None:
        error = failure.value
        assert error is not None
        request = self._request
        if isinstance(error, HTTPException) and (
            error.response is not None or (error.code or 500) < 400
        ):
            self._answer_werkzeug(error)
        elif is_expected(error):
            request.fail(error)
        else:
            reference = new_reference()
            _log.failure(
                "{app}: {route} failed (reference {reference})",
                failure=failure,
                app=self._door.name,
                route=str(self),
                reference=reference,
            )
            request.fail(error, reference)

    def _answer_werkzeug(self, error: HTTPException) -> None:
        """Answer with a response that werkzeug made: a redirect, or what the route chose."""
        response = error.get_response({})
        request = self._request
        request.setResponseCode(response.status_code)
        for name, value in response.headers:
            if name.lower() != "content-length":
                request.responseHeaders.addRawHeader(name, value)
        request.answer(response.get_data())

    def _render(self, result: Any, *, later: bool) -> None:
        request = self._request
        if request.finished or request._disconnected:  # noqa: SLF001 - twisted.web's own flag
            return
        while isinstance(result, KleinResponse):
            self._apply(result)
            result = result.body
        if request.startedWriting or request.producer is not None:
            self._end_own_answer(result, later=later)
        elif isinstance(result, str | bytes):
            self._answer_text(result)
        elif result is NOT_DONE_YET and not later and type(result) is int:
            return
        elif IResource.providedBy(result):
            resource = getChildForRequest(result, request)
            request.render(resource)
        elif IRenderable.providedBy(result) or isinstance(result, Tag):
            self._wait(flattenString(request, result).addCallback(_page))
        elif isinstance(result, dict | list | tuple) or attrs.has(type(result)):
            self._set_type(JSON)
            request.answer(to_json(result))
        else:
            raise Unrenderable(
                f"{self} returned {type(result).__qualname__}, which is no answer: return bytes, "
                "str, a dict, a list, an attrs instance, an element, a resource or a Response"
            )

    def _end_own_answer(self, result: Any, *, later: bool) -> None:
        """End the answer of a route that wrote some of it itself, when it is done."""
        request = self._request
        if isinstance(result, str | bytes):
            request.write(result.encode("utf-8") if isinstance(result, str) else result)
        elif result is not None and not (result is NOT_DONE_YET and type(result) is int):
            raise Unrenderable(
                f"{self} wrote a part of its answer and then returned {type(result).__qualname__}"
            )
        if request.producer is None and (later or result is not NOT_DONE_YET):
            request.finish()

    def _answer_text(self, text: str | bytes) -> None:
        if isinstance(text, str):
            self._set_type(HTML)
            text = text.encode("utf-8")
        self._request.answer(text)

    def _set_type(self, content_type: bytes) -> None:
        fields = self._request.responseHeaders
        if not fields.hasHeader(b"Content-Type"):
            fields.setRawHeaders(b"Content-Type", [content_type])

    def _apply(self, response: KleinResponse) -> None:
        request = self._request
        request.setResponseCode(response.code)
        for name, value in response.headers.items():
            values = [value] if isinstance(value, str | bytes) else value
            request.responseHeaders.setRawHeaders(name, values)

    def __str__(self) -> str:
        method = self._request.method.decode("ascii")
        path = self._request.path.decode("ascii")
        return f"the route {self.endpoint!r} ({method} {path})"


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _page(html: bytes) -> str:
    return "<!DOCTYPE html>\n" + html.decode("utf-8")
