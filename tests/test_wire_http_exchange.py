"""Exchanges at the HTTP door, and what comes in: keys, seqs, JSON, numbers of a query."""

from contextvars import ContextVar, copy_context

import attrs
import pytest
from klein import Klein
from twisted.internet.defer import inlineCallbacks

from happy.app import App
from happy.errors import Refused
from happy.event import event
from happy.state import state
from happy.wire.http import json_body, query_int
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


class Shop(App):
    state = Nothing
    http = Klein()

    @http.route("/str")
    def as_str(self, request):
        return "str"

    @http.route("/next", methods=["POST"])
    async def post_next(self, request):
        count = query_int(request, "count", default=1, minimum=1, maximum=10)
        return b"%d" % await self.submit(Next(count))

    @http.route("/two", methods=["POST"])
    @inlineCallbacks
    def post_two(self, request):
        yield self.submit(Next())
        yield self.submit(Next())
        LOCAL.set("dirty")
        return LOCAL.get()

    @http.route("/long/<path>", methods=["POST"])
    def long(self, request, path):
        return self.submit(Next()).addCallback(str)

    @http.route("/then-fail", methods=["POST"])
    async def then_fail(self, request):
        await self.submit(Next())
        raise Refused("after all")

    @http.route("/local")
    def local(self, request):
        before = LOCAL.get()
        LOCAL.set("dirty")
        return before

    @http.route("/order", methods=["POST"])
    def order(self, request):
        order = json_body(request, Order)
        return f"{order.name} {order.count}"


@pytest.fixture
def peer():
    return AppPeer(Shop)


# --- exchanges -------------------------------------------------------------------------------


def test_answer_shows_the_seq(peer):
    """An answer that committed shows where; one that did not shows nothing."""
    answer = peer.ask("/next?count=3", "POST")
    assert (answer.body, answer.fields["happy-seq"]) == (b"100", "100")
    assert peer.stream.submitted == [(Next(3), "http POST /next", None, None)]
    assert "happy-seq" not in peer.ask("/str").fields


def test_answer_shows_every_seq(peer):
    """Several events of one request are all shown, over inlineCallbacks too."""
    assert peer.ask("/two", "POST").fields["happy-seq"] == "100,101"


def test_error_after_commit_shows_the_seq(peer):
    """An error answer of a request that committed shows where."""
    answer = peer.ask("/then-fail", "POST")
    assert (answer.status, answer.fields["happy-seq"]) == (409, "100")


def test_each_request_has_its_own_context(peer):
    """What a route sets in its context is gone with the request."""
    assert peer.ask("/local").body == b"clean"
    assert peer.ask("/local").body == b"clean"
    assert peer.ask("/two", "POST").body == b"dirty"
    assert LOCAL.get() == "clean"


def test_route_sees_the_context_around_it(peer):
    """The context of a request is a copy of the one it came in."""
    copy_context().run(lambda: (LOCAL.set("around"), peer.send("/local")))
    assert peer.answer().body == b"around"


def test_source_is_bounded(peer):
    """The journal is told the path, not a novel, and no query."""
    peer.ask("/two?q=1", "POST")
    assert peer.stream.submitted[0][1] == "http POST /two"
    peer.ask("/long/" + "a" * 500, "POST")
    assert peer.stream.submitted[2][1] == "http POST /long/" + "a" * (200 - len("/long/"))


@pytest.mark.parametrize("value", ['"k-1"', "k-1"])
def test_key_is_taken_plain_or_quoted(peer, value):
    """Idempotency-Key is a word, in quotes or not; the fingerprint tells requests apart."""
    field = f"Idempotency-Key: {value}\r\n"
    peer.ask("/next", "POST", field)
    peer.ask("/next?count=1", "POST", field)
    peer.ask("/next", "POST", field, b"body")
    peer.ask("/next", "POST", field)
    keys = [key for _, _, key, _ in peer.stream.submitted]
    marks = [mark for _, _, _, mark in peer.stream.submitted]
    assert keys == ["k-1"] * 4
    assert marks[0] == marks[3]
    assert len(set(marks)) == 3
    assert {len(mark) for mark in marks} == {16}


@pytest.mark.parametrize(
    "fields",
    [
        "Idempotency-Key: \r\n",
        'Idempotency-Key: ""\r\n',
        "Idempotency-Key: a b\r\n",
        'Idempotency-Key: "a\r\n',
        'Idempotency-Key: "a"b"\r\n',
        "Idempotency-Key: sn\xf6\r\n",
        "Idempotency-Key: " + "k" * 256 + "\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
    ],
)
def test_malformed_key_is_refused(peer, fields):
    """A key that is no key is 400; nothing is submitted."""
    answer = peer.ask("/next", "POST", fields)
    assert (answer.status, answer.fields["content-type"]) == (400, "application/problem+json")
    assert peer.stream.submitted == []


def test_longest_key_is_taken(peer):
    """The bound itself is allowed."""
    assert peer.ask("/next", "POST", "Idempotency-Key: " + "k" * 255 + "\r\n").status == 200


# --- what comes in ---------------------------------------------------------------------------


def test_json_body_is_structured(peer):
    """JSON becomes the attrs class it is asked to be."""
    json_type = "Content-Type: application/json; charset=utf-8\r\n"
    body = b'{"name": "x", "count": 3}'
    assert peer.ask("/order", "POST", json_type, body).body == b"x 3"
    assert peer.ask("/order", "POST", "", body).body == b"x 3"


def test_json_faults_are_listed_with_their_paths(peer):
    """Every fault of a body is told, each with its path."""
    answer = peer.ask("/order", "POST", "", b'{"name": 1, "count": "3", "more": 0}')
    assert answer.status == 400
    faults = answer.json["errors"]
    assert len(faults) == 3
    assert any("name" in fault and "text" in fault for fault in faults)
    assert any("count" in fault and "whole number" in fault for fault in faults)
    assert peer.ask("/order", "POST", "", b"{").status == 400


def test_other_types_than_json_are_refused(peer):
    """A body that says it is something else is 415."""
    assert peer.ask("/order", "POST", "Content-Type: text/xml\r\n", b"<a/>").status == 415


@pytest.mark.parametrize("query", ["count=0", "count=11", "count=x", "count=", "count=1&count=2",
                                   "count=-1", "count=" + "1" * 5000])  # fmt: skip
def test_query_number_out_of_bounds(peer, query):
    """A number of the query is one number within its bounds, or 400."""
    answer = peer.ask("/next?" + query, "POST")
    assert answer.status == 400
    assert "count" in answer.json["detail"]
    assert peer.stream.submitted == []


def test_broken_form_is_the_peers_fault():
    """Reading the arguments of a malformed form is 400."""

    class Forms(App):
        state = Nothing
        http = Klein()

        @http.route("/")
        def form(self, request):
            return str(request.args)

    fields = "Content-Type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nv\r\n'
    assert AppPeer(Forms).ask("/", "POST", fields, b"not a form").status == 400
    assert AppPeer(Forms).ask("/", "POST", fields, part).status == 400
    assert AppPeer(Forms).ask("/", "POST", fields, part + b"--x--\r\n").status == 200
