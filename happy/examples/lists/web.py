"""The web door: pages that ask the state, and forms that submit events.

What people wrote is shown as text and never as HTML, and no page has a script. A page that is
reached by a link changes nothing: programs that look for viruses follow each link in a
letter, so confirming and leaving are buttons.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.http import CACHED
from twisted.web.iweb import IRequest
from twisted.web.server import Request as HttpRequest
from werkzeug.exceptions import HTTPException, NotFound

from happy import App, BadRequest, Refused, query
from happy.examples.lists import archive
from happy.examples.lists.download import content_disposition, kind_to_send, send
from happy.examples.lists.model import Action, Ask, Confirm, Leave, Message, checked_address
from happy.examples.lists.shown import find_part, opener, shown_of
from happy.examples.lists.text import as_html, obscured
from happy.mime import decoded
from happy.wire.http import query_int

_PAGES_MAX: Final = 100_000
_SHORTLY: Final = b"public, max-age=10, stale-while-revalidate=60"
_FOR_EVER: Final = b"public, max-age=31536000, immutable"
_NEVER: Final = b"no-store"
_POLICY: Final = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    b"base-uri 'none'; frame-ancestors 'none'"
)

_STYLE: Final = files("happy.examples").joinpath("templates", "style.css").read_bytes()
_STYLE_URL: Final = f"/style.css?v={hashlib.sha256(_STYLE).hexdigest()[:12]}"
_ROBOTS: Final = b"User-agent: *\nDisallow: /confirm/\nDisallow: /unsubscribe/\nDisallow: /*/raw\n"
_REASONS: Final = {404: "There is no such page.", 405: "This page cannot be used like that."}

_templates = Environment(
    loader=PackageLoader("happy.examples"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["as_html"] = as_html
_templates.filters["obscured"] = obscured
_templates.globals["style"] = _STYLE_URL


class Website(App):
    """The pages of the mailing lists; the lists themselves are in ``MailingLists``."""

    http = Klein()

    # What the pages ask.
    overview = query(archive.overview)
    list_page = query(archive.list_page)
    message = query(archive.message)
    message_page = query(archive.message_page)
    search = query(archive.search)
    request = query(archive.request)
    subscriber = query(archive.subscriber)

    # --- the lists and what was written to them -----------------------------------------------

    @http.route("/", methods=["GET"])
    async def get_overview(self, request: HttpRequest) -> bytes:
        """Show all lists."""
        return _page(request, "overview.html", _SHORTLY, lists=await self.ask(self.overview))

    @http.route("/<name>", methods=["GET"])
    async def get_list(self, request: HttpRequest, name: str) -> bytes:
        """Show the threads of a list, ``?page=N`` for the older ones."""
        page = query_int(request, "page", default=1, minimum=1, maximum=_PAGES_MAX)
        found = _found(await self.ask(self.list_page, name, page))
        return _page(request, "list.html", _SHORTLY, list=found)

    @http.route("/<name>/search", methods=["GET"])
    async def get_search(self, request: HttpRequest, name: str) -> bytes:
        """Show the messages that have all the words of ``?q=``."""
        words = _argument(request, b"q")
        found = _found(await self.ask(self.search, name, words))
        return _page(request, "search.html", _SHORTLY, name=name, words=words, found=found)

    @http.route("/<name>/<int:seq>", methods=["GET"])
    async def get_message(self, request: HttpRequest, name: str, seq: int) -> bytes:
        """Show a message, with its attachments and its thread."""
        found = _found(await self.ask(self.message_page, name, seq))
        shown = shown_of(opener(self, found.message))
        return _page(request, "message.html", _SHORTLY, name=name, page=found, shown=shown)

    @http.route("/<name>/<int:seq>/raw", methods=["GET"])
    async def get_raw(self, request: HttpRequest, name: str, seq: int) -> bytes:
        """Send a message as it came, byte for byte."""
        found: Message = _found(await self.ask(self.message, name, seq))
        _set(request, b"cache-control", _FOR_EVER)
        _set(request, b"x-robots-tag", b"noindex")
        _set(request, b"content-type", b"message/rfc822")
        _set(request, b"content-disposition", content_disposition(f"{name}-{seq}.eml"))
        if isinstance(found.content, bytes):
            return found.content
        _set(request, b"content-length", b"%d" % found.content.size)
        return await send(request, self.open_blob(found.content))

    @http.route("/<name>/<int:seq>/part/<int:number>", methods=["GET"])
    async def get_part(self, request: HttpRequest, name: str, seq: int, number: int) -> bytes:
        """Send an attachment, decoded."""
        found: Message = _found(await self.ask(self.message, name, seq))
        open_message = opener(self, found)
        part = _found(find_part(open_message, number))
        _set(request, b"cache-control", _FOR_EVER)
        _set(request, b"content-type", kind_to_send(part).encode("ascii"))
        _set(request, b"content-disposition", content_disposition(part.shown_name))
        _set(request, b"content-security-policy", b"default-src 'none'; sandbox")
        source = open_message()
        return await send(request, source, decoded(source, part))

    # --- joining and leaving --------------------------------------------------------------------

    @http.route("/<name>/subscribe", methods=["POST"])
    async def post_subscribe(self, request: HttpRequest, name: str) -> bytes:
        """Take the form on a list's page."""
        return await self._ask_by_letter(request, name, "subscribe")

    @http.route("/<name>/unsubscribe", methods=["POST"])
    async def post_unsubscribe(self, request: HttpRequest, name: str) -> bytes:
        """Take the form on a list's page."""
        return await self._ask_by_letter(request, name, "unsubscribe")

    async def _ask_by_letter(self, request: HttpRequest, name: str, action: Action) -> bytes:
        address = checked_address(_argument(request, b"address"))
        await self.submit(Ask(name, address, action))
        return _page(request, "asked.html", _NEVER, name=name, address=address)

    @http.route("/confirm/<token>", methods=["GET"])
    async def get_confirm(self, request: HttpRequest, token: str) -> bytes:
        """Show the button that confirms a request."""
        found = _found(await self.ask(self.request, token))
        return _page(request, "confirm.html", _NEVER, asked=found)

    @http.route("/confirm/<token>", methods=["POST"])
    async def post_confirm(self, request: HttpRequest, token: str) -> bytes:
        """Confirm a request."""
        _found(await self.ask(self.request, token))  # only what may be true goes in the journal
        done = await self.submit(Confirm(token))
        return _page(request, "confirmed.html", _NEVER, asked=done)

    @http.route("/unsubscribe/<token>", methods=["GET"])
    async def get_leave(self, request: HttpRequest, token: str) -> bytes:
        """Show the button that leaves a list."""
        found = _found(await self.ask(self.subscriber, token))
        return _page(request, "leave.html", _NEVER, subscriber=found)

    @http.route("/unsubscribe/<token>", methods=["POST"])
    async def post_leave(self, request: HttpRequest, token: str) -> bytes:
        """Leave a list at once: the button, and the one click of RFC 8058."""
        if await self.ask(self.subscriber, token) is not None:
            await self.submit(Leave(token))
        return _page(request, "left.html", _NEVER)  # twice is as good as once

    # --- the rest -------------------------------------------------------------------------------

    @http.route("/health", methods=["GET"])
    async def get_health(self, request: HttpRequest) -> bytes:
        """Say that the application answers."""
        await self.ask(self.overview)
        _set(request, b"content-type", b"text/plain; charset=utf-8")
        return b"ok\n"

    @http.route("/style.css", methods=["GET"])
    def get_style(self, request: HttpRequest) -> bytes:
        """Send the looks of the pages; a new one has a new address."""
        _set(request, b"content-type", b"text/css; charset=utf-8")
        _set(request, b"cache-control", _FOR_EVER)
        return _STYLE

    @http.route("/robots.txt", methods=["GET"])
    def get_robots(self, request: HttpRequest) -> bytes:
        """Ask search engines to leave some pages alone."""
        _set(request, b"content-type", b"text/plain; charset=utf-8")
        _set(request, b"cache-control", _SHORTLY)
        return _ROBOTS

    @http.handle_errors(Refused, BadRequest, HTTPException)
    def show_refusal(self, request: IRequest, failure: Failure) -> bytes:
        """Say why not, or that there is no such page."""
        error = failure.value
        if isinstance(error, HTTPException):
            if error.code is None or error.code < 400:
                raise error
            return _sorry(request, error.code, _REASONS.get(error.code, error.name))
        assert isinstance(error, Refused | BadRequest)
        return _sorry(request, error.http_status, str(error))


# --- pages --------------------------------------------------------------------------------------


def _page(request: IRequest, template: str, cache: bytes, **words: Any) -> bytes:
    """Return a page; a browser that has it already is told so."""
    body = _templates.get_template(template).render(words).encode("utf-8")
    _set(request, b"content-type", b"text/html; charset=utf-8")
    _set(request, b"cache-control", cache)
    _set(request, b"content-security-policy", _POLICY)
    _set(request, b"referrer-policy", b"no-referrer")
    if cache != _NEVER:
        tag = b'"%b"' % hashlib.sha256(body).hexdigest()[:20].encode("ascii")
        if request.setETag(tag) is CACHED:
            return b""
    return body


def _sorry(request: IRequest, status: int, reason: str) -> bytes:
    request.setResponseCode(status)
    return _page(request, "sorry.html", _NEVER, reason=reason)


def _found(thing: Any) -> Any:
    if thing is None:
        raise NotFound
    return thing


def _argument(request: IRequest, name: bytes) -> str:
    values: list[bytes] = request.args.get(name, [])
    return values[0].decode("utf-8", "replace") if values else ""


def _set(request: IRequest, name: bytes, value: bytes) -> None:
    request.setHeader(name, value)
