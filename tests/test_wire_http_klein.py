"""Klein behind the HTTP door: what routes return, errors, exchanges and JSON."""

from contextvars import ContextVar

import attrs
import pytest
from klein import Klein
from klein import Response as KleinResponse
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Element, Tag, XMLString, renderer, tags
from werkzeug.exceptions import Conflict, NotFound, abort
from werkzeug.wrappers import Response

from happy.app import App
from happy.errors import Busy, HandlerFailed, NoRoom, Refused
from happy.event import event
from happy.state import state
from http_kit import AppPeer


@event
class Next:
    count: int = 1


@state
class Nothing:
    pass


@attrs.frozen
class Order:
    name: str
    count: int = 1


LOCAL: ContextVar[str] = ContextVar("local", default="clean")


class Page(Element):
    loader = XMLString(
        '<p xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1"><b t:render="word"/></p>'
    )

    @renderer
    def word(self, request, tag: Tag):
        return succeed(tag("snö & <x>"))


class Hidden(Exception):
    pass


class Site(App):
    state = Nothing
    http = Klein()

    @http.route("/bytes")
    def as_bytes(self, request):
        return b"bytes"

    @http.route("/str")
    def as_str(self, request):
        return "snö"

    @http.route("/plain")
    def as_plain(self, request):
        request.setHeader("content-type", "text/plain")
        return "plain"

    @http.route("/dict")
    async def as_dict(self, request):
        return {"a": [1, None]}

    @http.route("/list")
    def as_list(self, request):
        return [Order("x")]

    @http.route("/attrs")
    def as_attrs(self, request):
        return succeed(Order("x", 2))

    @http.route("/element")
    def as_element(self, request):
        return Page()

    @http.route("/tag")
    def as_tag(self, request):
        return tags.html("x")

    @http.route("/response")
    def as_response(self, request):
        return KleinResponse(201, {"X-A": ["1", "2"]}, {"made": True})

    @http.route("/own", methods=["GET"])
    def own(self, request):
        request.write(b"own ")
        request.write(b"answer")
        request.finish()

    @http.route("/own-async")
    async def own_async(self, request):
        request.write(b"one ")
        await self.gate
        request.write(b"two")

    @http.route("/later")
    def later(self, request):
        self.kept = request
        return NOT_DONE_YET

    @http.route("/wait")
    async def wait(self, request):
        return await self.gate

    @http.route("/items/<int:number>", methods=["GET", "DELETE"])
    def item(self, request, number):
        return f"{number} {request.prepath!r} {request.postpath!r}"

    @http.route("/folder/")
    def folder(self, request):
        return "folder"

    @http.route("/static/", branch=True)
    def static(self, request):
        return Tree()

    with http.subroute("/sub") as sub:

        @sub.route("/leaf")
        def leaf(self, request):
            return "leaf"

    # --- what is no answer ---

    @http.route("/bad/<kind>")
    def bad(self, request, kind):
        return {
            "none": None, "int": 7, "generator": (x for x in "ab"), "object": object(),
            "set": {1}, "bool": True, "class": Order,
        }[kind]  # fmt: skip

    @http.route("/bad-later/<kind>")
    async def bad_later(self, request, kind):
        return {"none": None, "one": 1, "zero": 0}[kind]

    # --- errors ---

    @http.route("/raise/<kind>")
    async def raising(self, request, kind):
        raise {
            "refused": Refused("no more", http_status=410),
            "busy": Busy("full"),
            "room": NoRoom("disk"),
            "failed": HandlerFailed("abc123"),
            "conflict": Conflict("twice"),
            "hidden": Hidden("secret"),
            "key": KeyError("handled"),
            "again": ZeroDivisionError("handled twice"),
        }[kind]

    @http.route("/abort")
    def aborting(self, request):
        abort(gone())

    @http.handle_errors(KeyError)
    def on_key_error(self, request, failure):
        request.setResponseCode(418)
        return "handled " + failure.value.args[0]

    @http.handle_errors(ZeroDivisionError)
    def on_division(self, request, failure):
        raise NotFound("from the error handler")

    @http.handle_errors(NotFound)
    async def on_not_found(self, request, failure):
        return f"nothing here: {failure.value.description}"


def gone():
    return Response("gone fishing", 410, {"X-B": "c"})


class Tree(Resource):
    def getChild(self, path, request):
        return self

    def render_GET(self, request):
        return repr((request.prepath, request.postpath)).encode()


@pytest.fixture
def peer():
    return AppPeer(Site)


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


# --- what routes return ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/bytes", "text/html", b"bytes"),
        ("/str", "text/html; charset=utf-8", "snö".encode()),
        ("/plain", "text/plain", b"plain"),
        ("/tag", "text/html; charset=utf-8", b"<!DOCTYPE html>\n<html>x</html>"),
        (
            "/element",
            "text/html; charset=utf-8",
            "<!DOCTYPE html>\n<p><b>snö &amp; &lt;x&gt;</b></p>".encode(),
        ),
    ],
)
def test_results_are_rendered(peer, path, content_type, body):
    """Every kind of result has its type and its length."""
    answer = peer.ask(path)
    assert (answer.status, answer.body) == (200, body)
    assert answer.fields["content-type"] == content_type
    assert answer.fields["content-length"] == str(len(body))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/dict", {"a": [1, None]}),
        ("/list", [{"name": "x", "count": 1}]),
        ("/attrs", {"name": "x", "count": 2}),
    ],
)
def test_values_are_json(peer, path, value):
    """Tables, lists and attrs instances become JSON, now or later."""
    answer = peer.ask(path)
    assert (answer.status, answer.json) == (200, value)
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["content-length"] == str(len(answer.body))


def test_klein_response(peer):
    """A Klein Response sets status and fields; its body is rendered like any result."""
    answer = peer.ask("/response")
    assert (answer.status, answer.json) == (201, {"made": True})
    assert [v for n, v in answer.lines if n.lower() == "x-a"] == ["1", "2"]


def test_route_that_answers_itself(peer):
    """A route may write and finish the request itself."""
    answer = peer.ask("/own")
    assert (answer.status, answer.fields["transfer-encoding"]) == (200, "chunked")
    assert answer.body == b"4\r\nown \r\n6\r\nanswer\r\n0\r\n\r\n"


def test_route_that_streams_and_returns(peer):
    """A coroutine that wrote its answer in parts ends it by returning."""
    peer.send("/own-async")
    peer.clock.advance(0)
    assert peer.answer().body == b"4\r\none \r\n"
    peer.app.gate.callback(None)
    assert peer.answer().body == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"


def test_not_done_yet(peer):
    """NOT_DONE_YET leaves the request to whoever kept it."""
    peer.send("/later")
    assert peer.transport.value() == b""
    peer.app.kept.write(b"done")
    peer.app.kept.finish()
    assert peer.answer().body == b"done"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/bad/none", "NoneType"),
        ("/bad/int", "int"),
        ("/bad/bool", "bool"),
        ("/bad/generator", "generator"),
        ("/bad/object", "object"),
        ("/bad/set", "set"),
        ("/bad/class", "type"),
        ("/bad-later/none", "NoneType"),
        ("/bad-later/one", "int"),
        ("/bad-later/zero", "int"),
    ],
)
def test_what_is_no_answer_is_an_error(peer, logged, path, kind):
    """A result that cannot be rendered is 500 and a sentence in the log, never an empty 200."""
    answer = peer.ask(path)
    assert answer.status == 500
    failures = [e["log_failure"] for e in logged if "log_failure" in e]
    assert len(failures) == 1
    text = str(failures[0].value)
    assert f"returned {kind}" in text
    assert path in text


def test_head_of_a_route(peer):
    """HEAD runs the GET route and sends its fields only."""
    of_get, of_head = peer.ask("/str"), peer.ask("/str", "HEAD")
    assert of_head.body == b""
    assert of_head.fields == of_get.fields


# --- routing ---------------------------------------------------------------------------------


def test_captures_and_paths(peer):
    """Captures are converted; prepath and postpath are cut as Klein cuts them."""
    assert peer.ask("/items/7?x=y").body == b"7 [b'items', b'7'] []"


def test_subroute_and_branch(peer):
    """Subroutes and branches lead where Klein leads them."""
    assert peer.ask("/sub/leaf").body == b"leaf"
    assert peer.ask("/static/a/b%20c").body == b"([b'static', b'a', b'b c'], [])"


def test_missing_slash_redirects_and_keeps_the_query(peer):
    """A folder without its slash is redirected to it."""
    answer = peer.ask("/folder?a=b")
    assert answer.status == 308
    assert answer.fields["location"] == "http://shop.example/folder/?a=b"


def test_method_not_allowed(peer):
    """A method that a route does not take is 405 with what it takes."""
    answer = peer.ask("/items/7", "POST")
    assert (answer.status, answer.json["status"]) == (405, 405)
    assert set(answer.fields["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    assert peer.ask("/own", "POST").status == 405
    assert peer.ask("/own", "BREW").status == 405


def test_the_route_declared_first_wins():
    """Of routes for one path the first that takes the method is run."""

    class Twice(App):
        state = Nothing
        http = Klein()

        @http.route("/a")
        def any_method(self, request):
            return b"any"

        @http.route("/a", methods=["POST"])
        def never(self, request):
            return b"never"

        @http.route("/b", methods=["POST"])
        def post(self, request):
            return b"post"

        @http.route("/b")
        def other(self, request):
            return b"other"

    peer = AppPeer(Twice)
    assert [peer.ask("/a", m).body for m in ("GET", "POST")] == [b"any", b"any"]
    assert [peer.ask("/b", m).body for m in ("GET", "POST")] == [b"other", b"post"]


def test_double_slash_is_another_path(peer):
    """A path has one spelling: ``//str`` is not ``/str``."""
    assert peer.ask("//str").body.startswith(b"nothing here")


def test_path_that_is_not_utf8(peer):
    """A path that is no text is the peer's fault."""
    assert peer.ask("/items/%ff").status == 400


def test_routes_added_later_are_found():
    """A route declared after the door was made is found too."""
    peer = AppPeer(Site)

    @Site.http.route("/added")
    def added(self, request):
        return b"added"

    assert peer.ask("/added").body == b"added"


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "detail"),
    [
        ("refused", 410, "no more"),
        ("busy", 503, "full"),
        ("room", 503, "disk"),
        ("failed", 500, "the application failed on this event (reference abc123)"),
        ("conflict", 409, "twice"),
    ],
)
def test_errors_are_problems(peer, logged, kind, status, detail):
    """An expected error is a problem with its status and sentence, and no line in the log."""
    answer = peer.ask(f"/raise/{kind}")
    assert answer.fields["content-type"] == "application/problem+json"
    assert (answer.status, answer.json["status"], answer.json["detail"]) == (status, status, detail)
    assert answer.json["title"]
    assert not [e for e in logged if "log_failure" in e]


def test_unavailable_says_when(peer):
    """503 says when to come back; 500 of a failed event names its reference."""
    assert peer.ask("/raise/busy").fields["retry-after"] == "1"
    assert peer.ask("/raise/room").fields["retry-after"] == "10"
    assert peer.ask("/raise/failed").json["reference"] == "abc123"


def test_unexpected_error_shows_a_reference_only(peer, logged):
    """Any other error shows a reference that finds the traceback in the log."""
    answer = peer.ask("/raise/hidden")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Hidden" not in answer.body
    found = [e for e in logged if e.get("reference") == answer.json["reference"]]
    assert found[0]["log_failure"].check(Hidden)
    assert peer.ask("/raise/hidden").json["reference"] != answer.json["reference"]


def test_error_handlers(peer):
    """The application's error handlers come first, also for what another of them raised."""
    answer = peer.ask("/raise/key")
    assert (answer.status, answer.body) == (418, b"handled handled")
    answer = peer.ask("/raise/again")
    assert (answer.status, answer.body) == (404, b"nothing here: from the error handler")
    assert peer.ask("/no/such/path").body.startswith(b"nothing here")


def test_abort_with_a_response(peer):
    """A response given to werkzeug's abort is what the peer gets."""
    answer = peer.ask("/abort")
    assert (answer.status, answer.body, answer.fields["x-b"]) == (410, b"gone fishing", "c")


def test_disconnect_cancels_the_route(peer, logged):
    """When the peer goes away, what the route waits for is cancelled, and nothing is logged."""
    cancelled = []
    peer.app.gate = Deferred(cancelled.append)
    peer.send("/wait")
    peer.channel.connectionLost(Failure(ConnectionDone()))
    assert cancelled == [peer.app.gate]
    assert logged == []


def test_timeout_cancels_the_route():
    """A route that does not answer in time is cancelled; the peer hears 503, once."""
    peer = AppPeer(Site, http_handler_timeout_s=2)
    cancelled = []
    peer.app.gate = Deferred(cancelled.append)
    peer.send("/wait")
    for _ in range(4):
        peer.clock.advance(1)
    assert peer.answer().status == 503
    assert cancelled == [peer.app.gate]
    assert peer.ask("/bytes").body == b"bytes"
