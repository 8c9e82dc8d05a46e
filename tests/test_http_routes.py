"""Declared routes: what can be declared, what is found, and how a reply becomes an answer."""

from __future__ import annotations

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy import (
    Answer,
    App,
    DefinitionError,
    HttpRoutes,
    Refused,
    Table,
    event,
    handles,
    query,
    state,
    table,
)
from happy.codec import to_json
from happy.http_routes import RouteTable, answer_of
from happy.testing import running


@attrs.frozen
class Item:
    name: str
    size: int = 1


@state
class Stock:
    items: Table[str, Item] = table()
    notes: tuple[str, ...] = ()


@event
class Put:
    key: str
    name: str
    size: int = 1


@event
class Drop:
    key: str


@event
class Noted:
    text: str
    by: str = ""


def found(item):
    if item is None:
        raise Refused("there is no such item", http_status=404)
    return item


class Shop(App):
    state = Stock
    routes = HttpRoutes()

    @routes.put("/items/<key>", status=201)
    @routes.post("/items/<key>", reply=lambda item: Answer(item.name, 202, (("X-Size", "1"),)))
    @handles(Put)
    def put(state, event, context):
        if event.size > 99:
            raise Refused("too large", http_status=409)
        if event.size == 99:
            raise ZeroDivisionError
        state.items[event.key] = item = Item(event.name, event.size)
        return item

    @routes.delete("/items/<key>")
    @handles(Drop)
    def drop(state, event, context):
        del state.items[event.key]

    @routes.post("/notes", body="text")
    @handles(Noted)
    def note(state, event, context):
        state.notes = (*state.notes, event.text)
        return len(state.notes)

    @routes.get("/items/<key>", reply=found)
    @query
    def item(state, key: str):
        return state.items.get(key)

    @routes.get("/items", headers={"cache-control": "max-age=5"})
    @query
    def items(state, least: int = 0):
        return [item.name for item in state.items.values() if item.size >= least]

    @routes.get("/broken", reply=lambda value: 1 / 0)
    @routes.get("/odd")
    @query
    def odd(state):
        return object()


@pytest.fixture
def shop():
    """A shop in memory."""
    with running(Shop) as app:
        yield app


def put(shop, path, body=b"", *, json=None, headers=None):
    given = dict(headers or {})
    if json is not None:
        body, given["Content-Type"] = to_json(json), "application/json"
    return shop.request("PUT", path, body, headers=given)


def test_path_query_form_and_json_all_spell_an_event(shop):
    """The fields of an event come from wherever the peer put them."""
    assert put(shop, "/items/a?name=one").json() == {"name": "one", "size": 1}
    assert put(shop, "/items/b", json={"name": "two", "size": 2}).status == 201
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    put(shop, "/items/c%20%C3%A9", b"name=three&size=3", headers=form)
    assert dict(shop.state.items) == {
        "a": Item("one"), "b": Item("two", 2), "c \xe9": Item("three", 3),
    }  # fmt: skip


def test_a_reply_can_say_its_status_and_fields(shop):
    """An ``Answer`` has a status and header fields of its own."""
    answer = shop.post("/items/a?name=one")
    assert (answer.status, answer.text, answer.headers["x-size"]) == (202, "one", "1")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["happy-seq"] == "1"


def test_nothing_is_204(shop):
    """A handler that returns nothing is answered without a body, and its place is shown."""
    put(shop, "/items/a?name=one")
    answer = shop.request("DELETE", "/items/a")
    assert (answer.status, answer.body, answer.headers["happy-seq"]) == (204, b"", "2")
    assert "content-length" not in answer.headers


def test_a_query_reads_its_arguments_and_changes_nothing(shop):
    """GET asks; its answer names no place, and its fields are those of the route."""
    put(shop, "/items/a?name=one")
    put(shop, "/items/b?name=two&size=2")
    answer = shop.get("/items?least=2")
    assert answer.json() == ["two"]
    assert answer.headers["cache-control"] == "max-age=5"
    assert "happy-seq" not in answer.headers
    assert shop.get("/items/a").json() == {"name": "one", "size": 1}
    assert shop.get("/items/z").status == 404


def test_the_body_as_it_is_can_be_a_field(shop):
    """A text or bytes that are the whole body need no form."""
    assert shop.post("/notes", b"a=b&c", headers={"Content-Type": "text/x"}).json() == 1
    assert shop.post("/notes?by=ann", b"two").json() == 2
    assert shop.state.notes == ("a=b&c", "two")
    assert shop.post("/notes", b"\xff").status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "status"),
    [
        ("PUT", "/items/a", b"", None, 400),
        ("PUT", "/items/a?name=x&size=y", b"", None, 400),
        ("PUT", "/items/a?name=x&name=y", b"", None, 400),
        ("PUT", "/items/a?name=x&no=1", b"", None, 400),
        ("PUT", "/items/%ff?name=x", b"", None, 400),
        ("PUT", "/items/a?name=%ff", b"", None, 400),
        ("PUT", "/items/a", b'{"name": 1}', "application/json", 400),
        ("PUT", "/items/a", b"[]", "application/json", 400),
        ("PUT", "/items/a", b'{"name": "x", "key": "b"}', "application/json", 400),
        ("PUT", "/items/a", b"{", "application/json", 400),
        ("PUT", "/items/a", b"<a/>", "text/xml", 415),
        ("PUT", "/items/a", b"name=x", None, 415),
        ("PUT", "/items/a?name=x&size=100", b"", None, 409),
        ("GET", "/items?least=x", b"", None, 400),
        ("GET", "/items?most=1", b"", None, 400),
        ("GET", "/items/a/b", b"", None, 404),
        ("GET", "/", b"", None, 404),
        ("POST", "/items", b"", None, 405),
        ("OPTIONS", "/items/a", b"", None, 405),
    ],
)
def test_what_is_wrong_is_a_problem_and_changes_nothing(shop, method, path, body, kind, status):
    """A request that spells no event is told why, as a problem, and leaves no trace."""
    answer = shop.request(
        method, path, body, headers={} if kind is None else {"Content-Type": kind}
    )
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert not shop.state.items
    if status == 405:
        allowed = "GET, HEAD" if path == "/items" else "DELETE, GET, HEAD, POST, PUT"
        assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


def test_a_handler_that_fails_is_500_with_its_place(shop):
    """What failed has a place in the order like anything else, and a reference for the log."""
    answer = put(shop, "/items/a?name=x&size=99")
    assert answer.status == 500
    assert answer.headers["happy-seq"] == "1"
    assert answer.json()["reference"] == "shop/1"


@pytest.mark.parametrize("path", ["/odd", "/broken"])
def test_a_reply_that_cannot_be_rendered_is_500(shop, path, caplog):
    """An author's mistake is told in the log, and not to the peer."""
    answer = shop.get(path)
    assert answer.status == 500
    assert "reference" in answer.json()
    assert "object" not in answer.text


def test_head_is_get_without_the_body(shop):
    """HEAD has the fields of GET, its length included."""
    put(shop, "/items/a?name=one")
    whole, head = shop.get("/items/a"), shop.request("HEAD", "/items/a")
    assert head.body == b""
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_a_key_gives_the_same_outcome(shop):
    """Promise 5 holds for declared routes, for what was refused too."""
    key = {"Idempotency-Key": "k1"}

    def again():
        answer = put(shop, "/items/a?name=one", headers=key)
        answer.headers.pop("date")  # when it is said, which is now
        return answer

    first = again()
    assert again() == first
    assert put(shop, "/items/a?name=two", headers=key).status == 422
    refused = put(shop, "/items/a?name=x&size=100", headers={"Idempotency-Key": "k2"})
    assert refused.status == 409
    assert refused.headers["happy-seq"] == "2"
    shop.crash()
    assert again() == first


def test_a_declaration_that_cannot_work_is_refused():
    """Each mistake is the author's, and told when the class is defined."""
    routes = HttpRoutes()
    put, asked = Shop.__dict__["put"], Shop.__dict__["item"]
    for declare, words in (
        (lambda: routes.post("items"), "begins with /"),
        (lambda: routes.post("/items/x<key>"), "whole segment"),
        (lambda: routes.post("/<a>/<a>"), "twice"),
        (lambda: routes.get("/a")(put), "GET changes nothing"),
        (lambda: routes.post("/a/<colour>")(put), "has no 'colour'"),
        (lambda: routes.post("/a", body="colour")(put), "has no 'colour'"),
        (lambda: routes.post("/a")(lambda state: None), "neither a handler nor a query"),
        (lambda: routes.post("/a", headers={"a b": "c"}), "header field"),
        (lambda: routes.post("/a", headers={"a": "c\r\n"}), "header field"),
        (lambda: [routes.get("/b/<key>")(asked), routes.get("/b/<key>")(asked)], "twice"),
        (lambda: routes.post("/two")(handles(Put, Drop)(lambda s, e, c: None)), "several events"),
    ):
        with pytest.raises(DefinitionError, match=words):
            declare()


def test_a_route_of_an_event_that_nobody_handles_is_refused():
    """Routes and handlers belong to one class."""

    class Other(App):
        state = Stock
        routes = Shop.routes

    with pytest.raises(DefinitionError, match="nobody here handles its event"), running(Other):
        pass


def test_a_fixed_path_goes_before_a_pattern():
    """What is said exactly is meant; among patterns the first that fits is."""
    routes = HttpRoutes()
    asked = Shop.__dict__["item"]
    routes.get("/<key>/x")(asked)
    routes.get("/y/<key>")(asked)

    @query
    def fixed(state):
        return 1

    routes.get("/y/x")(fixed)
    tried = RouteTable(routes)
    assert tried.find(b"GET", b"/y/x")[0].path == "/y/x"
    assert tried.find(b"GET", b"/z/x")[0].path == "/<key>/x"
    assert tried.find(b"HEAD", b"/y/z")[1] == (b"z",)
    assert tried.find(b"GET", b"/y/") is None
    assert tried.methods_of(b"/y/x") == ("GET", "HEAD")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.builds(Item, st.text(max_size=3)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ).filter(lambda value: value is not None and not isinstance(value, str))
)  # fmt: skip
def test_json_is_the_same_by_either_way(value):
    """A declared route and a Klein route write the same value the same way."""
    (route,) = [route for route in Shop.routes if route.path == "/odd"]
    _status, body, content_type, _headers = answer_of(route, value)
    assert content_type == "application/json"
    assert msgspec.json.decode(body) == msgspec.json.decode(to_json(value))
