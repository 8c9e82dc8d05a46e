"""Declared routes at the HTTP door: from a head and a body to an event or a query, and back.

Here nothing is made per request that can be kept: what a target asks is found once for each of
its spellings, and when no body can say more its event is prepared once; the head of an answer is
made once for each shape. A request is one object that waits for the outcome itself; there is no
Deferred and no Request object on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import parse_qs
from werkzeug.exceptions import UnsupportedMediaType

from happy.app import App
from happy.codec import from_json, from_plain, members_of
from happy.errors import BadRequest, HappyError
from happy.event import Exchange
from happy.http_routes import Route, RouteTable, answer_of, capture_texts
from happy.limits import Limits
from happy.parameters import Texts, make_event
from happy.wire.access import Answered
from happy.wire.http_answer import NO_BODY, answer_head, reason_of
from happy.wire.http_exchange import exchange_of, source_of
from happy.wire.http_form import FORMS, form_of, texts_of_form
from happy.wire.http_head import RequestHead
from happy.wire.http_problem import (
    CONTENT_TYPE,
    HandlerTimeout,
    is_expected,
    new_reference,
    problem_of,
)

if TYPE_CHECKING:
    from happy.wire.http_channel import HttpChannel

_log = Logger()

_ASKED_MAX: Final = 1_024  # spellings of targets that are kept, then all are forgotten
_ASKED_TARGET_BYTES_MAX: Final = 256

Headers = tuple[tuple[str, str], ...]


class DeclaredDoor:
    """The declared routes of one application, bound to its stream."""

    def __init__(self, app: App, limits: Limits) -> None:
        assert app.routes is not None
        self.table = RouteTable(app.routes)
        self.stream = app._stream  # noqa: SLF001 - a door of the house, not of the author
        self.name = app.name
        self.key_chars_max = limits.key_chars_max
        self._asked: dict[tuple[bytes, bytes, bool], Asked] = {}

    def asked(self, head: RequestHead) -> Asked | None:
        """Return what a head asks of a declared route, None when none takes it."""
        key = head.method, head.target, head.is_bare
        asked = self._asked.get(key)
        if asked is None:
            found = self.table.find(head.method, head.target.partition(b"?")[0])
            if found is None:
                return None
            asked = Asked(self, head, *found)
            if len(head.target) <= _ASKED_TARGET_BYTES_MAX:
                if len(self._asked) >= _ASKED_MAX:
                    self._asked.clear()
                self._asked[key] = asked
        return asked


class Asked:
    """What a target asks of a declared route; a head that is known again has it with it.

    ``source`` is what the journal says of where its events came from. ``ask`` asks it for a
    request. As soon as the event, or the arguments of the query, are known, and no head with
    this target can say more, it does that and nothing else.
    """

    __slots__ = ("_texts", "ask", "captured", "door", "query", "route", "source")

    def __init__(
        self, door: DeclaredDoor, head: RequestHead, route: Route, captured: tuple[bytes, ...]
    ) -> None:
        self.door = door
        self.route = route
        self.captured = captured
        self.query = head.target.partition(b"?")[2]
        self.source = source_of(head)
        self.ask: Callable[[DeclaredRequest], None] = _read_and_ask
        self._texts: Texts | None = None

    @property
    def texts(self) -> Texts:
        """What the path and the query say, in this order; ``BadRequest`` if it is not UTF-8."""
        if self._texts is None:
            texts = capture_texts(self.route, self.captured)
            self._texts = texts + _texts(parse_qs(self.query, 1)) if self.query else texts
        return self._texts


class DeclaredRequest:
    """One request of a declared route, from its head to its answer; a ``Waiting``."""

    __slots__ = ("_asked", "_channel", "_content", "head", "started_s")

    def __init__(
        self, asked: Asked, channel: HttpChannel, head: RequestHead, content: BytesIO | None
    ) -> None:
        self.head = head
        self._asked = asked
        self._channel: HttpChannel | None = channel
        self._content = content
        self.started_s = 0.0

    @property
    def asked(self) -> Asked:
        """What its target asks."""
        return self._asked

    @property
    def body(self) -> bytes:
        """The body of the request."""
        return b"" if self._content is None else self._content.getvalue()

    @property
    def route(self) -> Route:
        """The route that takes it."""
        return self._asked.route

    def process(self) -> None:
        """Put the event in the order, or ask the query; a fault becomes an answer."""
        try:
            self._asked.ask(self)
        except Exception as error:  # noqa: BLE001 - whatever a query raises ends as an answer
            self._failed(0, error)

    def submit(self, exchange: Exchange) -> None:
        """Put the event in the order with the key that came with it."""
        submitted = self._asked.door.stream.submit(event_of(self), exchange)
        Deferred.fromCoroutine(_awaited(submitted)).addCallbacks(
            self._replied_to_key, self._failed_with_key, (exchange,), errbackArgs=(exchange,)
        )

    def _replied_to_key(self, value: Any, exchange: Exchange) -> None:
        self.replied(exchange.seqs[-1], value)

    def _failed_with_key(self, failure: Failure, exchange: Exchange) -> None:
        assert failure.value is not None
        self._failed(exchange.seqs[-1] if exchange.seqs else 0, failure.value)

    # --- the end ------------------------------------------------------------------------------

    def replied(self, seq: int, value: Any) -> None:
        """Answer with what the handler or the query returned; see ``Waiting``."""
        if self._channel is None:
            return
        try:
            status, body, content_type, headers = answer_of(self._asked.route, value)
        except Exception as error:  # noqa: BLE001 - an author's function
            self._failed(seq, error)
            return
        self._answer(seq, status, body, content_type, headers)

    def failed(self, seq: int, error: HappyError) -> None:
        """Answer with an error; see ``Waiting``."""
        self._failed(seq, error)

    def give_up(self, timeout_s: int) -> None:
        """Answer 503: the outcome did not come in time."""
        _log.warn("{route}: no answer after {timeout_s} s", route=self.route, timeout_s=timeout_s)
        self._failed(0, HandlerTimeout("the application did not answer in time"))

    def connectionLost(self, _reason: Failure) -> None:
        """Forget the peer, which is gone; what is in the order stays in it."""
        self._channel = None

    def _failed(self, seq: int, error: BaseException) -> None:
        if self._channel is None:
            return
        reference = None
        if not is_expected(error):
            reference = new_reference()
            _log.failure(
                "{app}: {route} failed (reference {reference})",
                failure=Failure(error),
                app=self._asked.door.name,
                route=str(self.route),
                reference=reference,
            )
        problem = problem_of(error, reference)
        fields = tuple((name.decode(), value.decode()) for name, value in problem.fields)
        self._answer(seq, problem.status, problem.body(), CONTENT_TYPE.decode(), fields)

    def _answer(
        self, seq: int, status: int, body: bytes, content_type: str, headers: Headers
    ) -> None:
        channel, self._channel = self._channel, None
        assert channel is not None
        head, site = self.head, channel.site
        begin = head_of(status, content_type, headers, site.common_fields)
        placed = b"Happy-Seq: %d\r\n" % seq if seq else b""
        if status in NO_BODY:
            framing = body = b""
        else:
            framing = b"Content-Length: %d\r\n" % len(body)
            if head.method == b"HEAD":
                body = b""
        connection = b""
        if site.draining or not channel.persistent:
            channel.persistent = False
            connection = b"Connection: close\r\n"
        elif not head.http11:
            connection = b"Connection: keep-alive\r\n"
        if site.access_log is not None:  # before the peer can know, who may look at the log
            answered = Answered(status, len(body), (seq,) if seq else ())
            site.report(channel, head, answered, self.started_s)
        channel.request_done(b"".join((begin, framing, placed, connection, b"\r\n", body)))


@lru_cache(maxsize=256)
def head_of(status: int, content_type: str, headers: Headers, common: bytes) -> bytes:
    """Return the status line and the fields that an answer of this shape has in this second."""
    fields = [(name.encode(), (value.encode(),)) for name, value in headers]
    default_type = None if status in NO_BODY else content_type.encode()
    head = answer_head(
        status, reason_of(status), common, fields, framing=b"", default_type=default_type
    )
    return head.removesuffix(b"\r\n")


def _read_and_ask(request: DeclaredRequest) -> None:
    """Find out what is asked, and ask it."""
    asked, head = request.asked, request.head
    door, query = asked.door, asked.route.query
    if query is not None:
        ask = partial(door.stream.look, query, asked.route.parameters.read(texts_of(request)))
    elif head.keys:
        request.submit(exchange_of(head, request.body, door.key_chars_max))
        return
    else:
        ask = partial(door.stream.put, door.stream.prepare(event_of(request), asked.source))
    if head.is_bare:
        asked.ask = ask
    ask(request)


async def _awaited(answer: Any) -> Any:
    return await answer


def event_of(request: DeclaredRequest) -> Any:
    """Return the event that a request spells; ``BadRequest`` lists every fault."""
    route = request.route
    assert route.event_type is not None
    if route.body_field is not None:
        values = route.parameters.read([*request.asked.texts, (route.body_field, "")])
        values[route.body_field] = _raw(route, request.body)
        return make_event(route.event_type, values)
    if _is_json(_kind_of(request.head)) and request.body:
        return _event_of_json(request)
    return make_event(route.event_type, route.parameters.read(texts_of(request)))


def _raw(route: Route, body: bytes) -> bytes | str:
    if not route.parameters.takes_text(route.body_field or ""):
        return body
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None


def _event_of_json(request: DeclaredRequest) -> Any:
    route = request.route
    assert route.event_type is not None
    texts = request.asked.texts
    if not texts:
        return from_json(request.body, route.event_type)
    members = members_of(request.body)
    others = route.parameters.read(texts, partly=True)
    twice = members.keys() & others.keys()
    if twice:
        raise BadRequest(f"{min(twice)} is in the path or the query and in the body")
    return from_plain({**members, **_plain(others)}, route.event_type)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def texts_of(request: DeclaredRequest) -> Texts:
    """Return what the path, the query and a form say, in this order."""
    texts = request.asked.texts
    if request.head.body_bytes and request.body:
        kind = _kind_of(request.head)
        if kind not in FORMS:
            raise UnsupportedMediaType("this resource takes application/json or a form")
        return [*texts, *texts_of_form(form_of(request.head.content_type or b"", request.body))]
    return texts


def _kind_of(head: RequestHead) -> bytes | None:
    """Return the media type that a body declares, without its parameters."""
    declared = head.content_type
    return None if declared is None else declared.partition(b";")[0].strip().lower()


def _is_json(kind: bytes | None) -> bool:
    return kind is not None and (kind == b"application/json" or kind.endswith(b"+json"))


def _texts(fields: Mapping[bytes, list[bytes]]) -> list[tuple[str, str]]:
    try:
        return [
            (name.decode("utf-8"), value.decode("utf-8"))
            for name, values in fields.items()
            for value in values
        ]
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8") from None
