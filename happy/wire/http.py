"""The HTTP door: an application's Klein routes behind a ``HappySite``, and readers of input."""

from __future__ import annotations

from typing import Final, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request
from werkzeug.exceptions import UnsupportedMediaType

from happy.app import App
from happy.codec import from_json
from happy.errors import BadRequest
from happy.limits import Limits
from happy.parameters import make_event, of_event
from happy.wire.access import AccessLog
from happy.wire.http_declared import DeclaredDoor
from happy.wire.http_form import FORMS, form_of, texts_of_form
from happy.wire.http_klein import KleinDoor
from happy.wire.http_site import HappySite

T = TypeVar("T")


def site_for(
    app: App, *, limits: Limits, reactor: IReactorTime, access_log: AccessLog | None = None
) -> HappySite:
    """Return the factory that serves the routes of an application over HTTP/1.1.

    Declared routes are tried first; Klein gets the rest.
    """
    declared = None if app.routes is None else DeclaredDoor(app, limits)
    return HappySite(
        KleinDoor(app, limits, None if declared is None else declared.table),
        limits=limits,
        reactor=reactor,
        access_log=access_log,
        name=app.name,
        declared=declared,
    )


def json_body(request: Request, cls: type[T]) -> T:
    """Return the body of a request, JSON, as an attrs class.

    Raises ``BadRequest`` that lists every fault with its path, and 415 when the body declares
    another type than JSON.
    """
    declared = request.getHeader(b"content-type")
    if declared is not None:
        kind = declared.partition(b";")[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
            raise UnsupportedMediaType("this resource takes application/json")
    return from_json(_body_of(request), cls)


def form_body(request: Request, cls: type[T]) -> T:
    """Return the form that was posted, urlencoded or multipart, as an event.

    A text is read by the type of its field, as declared routes do; a field of type bytes has
    what a file holds. Raises ``BadRequest`` that lists every fault, and 415 when the body is no
    form.
    """
    declared = request.getHeader(b"content-type") or b""
    if declared.partition(b";")[0].strip().lower() not in FORMS:
        raise UnsupportedMediaType("this resource takes a form")
    fields = texts_of_form(form_of(declared, _body_of(request)))
    made: T = make_event(cls, of_event(cls).read(fields))
    return made


def _body_of(request: Request) -> bytes:
    content = request.content
    assert content is not None
    content.seek(0)
    body: bytes = content.read()
    return body


def query_int(
    request: Request, name: str, *, default: int, minimum: int = 0, maximum: int = 2**63 - 1
) -> int:
    """Return a whole number of the query, ``default`` when it is not there.

    Raises ``BadRequest`` when it is no number, out of bounds or there twice.
    """
    values = request.args.get(name.encode(), [])
    if not values:
        return default
    text = values[0]
    # Twenty digits hold any bound; Python would take a megabyte of them, and be busy with it.
    number = int(text) if text.isdigit() and len(text) <= 20 else minimum - 1
    if len(values) > 1 or not minimum <= number <= maximum:
        raise BadRequest(f"{name} is one whole number from {minimum} to {maximum}")
    return number


__all__: Final = ["HappySite", "form_body", "json_body", "query_int", "site_for"]
