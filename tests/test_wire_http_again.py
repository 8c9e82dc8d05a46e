"""Heads and targets that came before: what is known of them serves no other request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy import App, HttpRoutes, event, handles, query, state
from happy.app import definition_of
from happy.codec import EventDecoder
from happy.limits import Limits
from happy.wire import http_head
from happy.wire.http_head import HeadReader, parse_head
from http_kit import HOST, AppPeer, Peer, answer_in
from http_kit import Stream as Submitted

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"Content-Type: application/json\r\n"


@event
class Order:
    item: str = "book"
    count: int = 1


@state
class Nothing:
    """No state."""


class Shop(App):
    state = Nothing
    routes = HttpRoutes()

    @routes.post("/orders")
    @routes.put("/orders/<item>")
    @handles(Order)
    def order(state, event, context):
        return None

    @routes.get("/price", reply=str)
    @query
    def price(state, item: str = "book"):
        return item


class Stream(Submitted):
    """A stream that answers with what it was given, and with how: encoded, or with a key."""

    decoder = EventDecoder(definition_of(Shop).events)

    def prepare(self, event, source):
        return self.decoder.prepared(event, source)

    def put(self, prepared, waiter):
        order = prepared.event
        waiter.replied(1, [order.item, order.count, prepared.source])

    def look(self, query, arguments, waiter):
        waiter.replied(0, query(None, **arguments))


class Client(AppPeer):
    """A client of the shop, whose requests are made of parts."""

    def __init__(self, **limits):
        super().__init__(Shop, **limits)
        self.site._declared.stream = self.stream = Stream()

    def feed(self, *pieces):
        for piece in pieces:
            self.channel.dataReceived(piece)

    def answers(self):
        found, raw = [], self.transport.value()
        while raw:
            (status, _, body), raw = answer_in(raw, b"POST", ended=False)
            found.append((status, body))
        self.transport.clear()
        return found

    def heard(self):
        return [json.loads(body) for status, body in self.answers() if status == 200]


def post(body, target=b"/orders", fields=JSON, method=b"POST"):
    """The head of a request, and its body."""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + fields + length + b"\r\n", body


def test_a_known_head_takes_each_body_that_comes_behind_it():
    """The same head again and again, and never with the body of another request."""
    client = Client()
    for item in ("a", "b", "a", "c"):
        head, body = post(b'{"item":"%b"}' % item.encode())
        client.feed(head + body)
        assert client.heard() == [[item, 1, "http POST /orders"]]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["book", "cook", "x"]), min_size=1, max_size=5), st.data())
def test_it_does_not_matter_how_known_requests_are_cut(items, data):
    """In pieces, several in one, a head alone: each is heard as it was sent, and in its turn."""
    client = Client()
    client.feed(*2 * [b"".join(post(b'{"item":"look"}'))])
    assert client.heard() == 2 * [["look", 1, "http POST /orders"]]
    wire = b"".join(b"".join(post(b'{"item":"%b"}' % item.encode())) for item in items)
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        client.feed(wire[:size])
        wire = wire[size:]
    assert client.heard() == [[item, 1, "http POST /orders"] for item in items]


def test_a_known_head_without_its_body_waits_for_it():
    """A head that came with a body before is no request yet."""
    client = Client()
    head, body = post(b'{"item":"a"}')
    client.feed(*2 * [head + body])
    client.heard()
    client.feed(head)
    assert client.transport.value() == b""
    client.feed(body[:5], body[5:])
    assert client.heard() == [["a", 1, "http POST /orders"]]


def test_every_request_that_expects_it_hears_that_its_body_is_welcome():
    """Who waits for 100 hears it though the same head was told so before, and only who waits."""
    peer = Peer()
    head, body = post(b"hi", b"/", b"Expect: 100-continue\r\n")
    for _ in range(3):
        peer.transport.clear()
        peer.send(head)
        assert peer.raw() == CONTINUE
        peer.send(body)
        assert b"100 Continue" not in peer.raw().removeprefix(CONTINUE)
        peer.transport.clear()
        peer.send(head + body)
        assert b"100 Continue" not in peer.raw()
    assert peer.echo.seen == [(b"POST", b"/", b"hi")] * 6


def test_a_body_that_is_too_large_is_refused_each_time():
    """It is so before its head is known and after that, with its body and before it."""
    head, body = post(b"x" * 101, b"/", b"")
    peer = Peer(http_body_bytes_max=100)
    for wire in (head + body, head, head + body, head):
        peer.connect()
        assert peer.send(wire).answer()[0] == 413
    assert peer.echo.seen == []


def test_what_one_target_says_depends_on_what_else_came():
    """A body or a key with a target that is known alone, and then alone again."""
    client = Client()
    alone, with_body = post(b""), post(b'{"item":"a","count":2}')
    key = post(b"", fields=b"Idempotency-Key: k\r\n")
    for _ in range(3):
        for request in (alone, with_body, alone):
            client.feed(b"".join(request))
        assert client.heard() == [
            ["book", 1, "http POST /orders"],
            ["a", 2, "http POST /orders"],
            ["book", 1, "http POST /orders"],
        ]
        client.feed(b"".join(key))
        assert client.stream.submitted.pop()[:3] == (Order(), "http POST /orders", "k")
        client.answers()


def test_what_a_path_says_is_joined_with_each_body():
    """A target that captures is read once, its bodies each time; its source is the whole path."""
    client = Client()
    for count in (1, 2, 3):
        client.feed(b"".join(post(b'{"count":%d}' % count, b"/orders/a%20b", method=b"PUT")))
    assert client.heard() == [["a b", n, "http PUT /orders/a%20b"] for n in (1, 2, 3)]
    for target in (b"/orders/%ff", b"/orders/a?count=1", b"/orders/a?x=%ff"):
        for _ in range(3):
            client.feed(b"".join(post(b'{"count":1}', target, method=b"PUT")))
            assert [status for status, _ in client.answers()] == [400]


def test_a_query_is_asked_anew_whatever_came_with_it():
    """A key or a body changes nothing about what a query is asked."""
    client = Client()
    for fields in 3 * (b"", b"Idempotency-Key: k\r\n"):
        for item in (b"cook", b"book"):
            client.feed(b"".join(post(b"", b"/price?item=" + item, fields, b"GET")))
            assert client.answers() == [(200, item)]
    for _ in range(3):
        client.feed(b"".join(post(b'{"item": "a"}', b"/price", method=b"GET")))
        assert [status for status, _ in client.answers()] == [415]


@pytest.mark.parametrize("body", [b"", b"x"])
def test_what_is_remembered_of_heads_is_bounded(body, monkeypatch):
    """A peer that never says the same twice costs a known number of heads, whichever it sends."""
    monkeypatch.setattr(http_head, "_KNOWN_HEADS_MAX", 8)
    reader = HeadReader(Limits())
    for number in range(100):
        head, _ = post(body, b"/%d" % number)
        reader.read(head)
        known = reader.read(head)
        assert reader.read(head) is known
        long, _ = post(body, b"/%d" % number, b"X: %b\r\n" % (b"x" * 2_000))
        _, second, third = [reader.read(long) for _ in range(3)]
        assert second is not third
        assert sum(map(len, (reader._alone, reader._before_body, reader._seen))) <= 16


def test_a_head_that_comes_once_is_not_kept():
    """What nobody asks again would only push out what is asked all the time."""
    reader = HeadReader(Limits())
    once, _ = post(b"", b"/once")
    assert reader.read(once) is not reader.read(once)
    assert reader.known(once) is reader.read(once)


def test_a_head_is_read_once_whenever_the_rest_comes(monkeypatch):
    """What was read to see whether all is there is not read again when there is more, or less."""
    heads = []
    read = http_head.parse_head
    monkeypatch.setattr(
        http_head, "parse_head", lambda data, limits: heads.append(data) or read(data, limits)
    )
    client = Client()
    for item in (b"a", b"bb"):
        head, body = post(b'{"item":"%b"}' % item)
        client.feed(head, body)
        assert heads.pop() == head
        assert heads == []
    (first, body), (second, _) = post(b'{"item":"ccc"}'), post(b"", b"/orders?item=d")
    client.feed(first + body + second)
    assert heads == [first, second]
    assert [item for item, _, _ in client.heard()] == ["a", "bb", "ccc", "d"]


NAMES = ("Connection", "Idempotency-Key", "Content-Type", "Referer", "User-Agent", "X-Other")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([str.lower, str.upper, str.title]),
                  st.sampled_from(["close", "keep-alive, x", "a b", ""])),
        max_size=6,
    )
)  # fmt: skip
def test_what_a_head_says_in_several_fields(fields):
    """Of some fields all count, of some the first, however their names are spelt."""
    sent = [(spell(name).encode(), value.encode()) for name, spell, value in fields]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in sent)
    head = parse_head(b"GET / HTTP/1.1\r\n" + HOST + lines + b"\r\n", Limits())
    said = {name: [v.encode() for n, _, v in fields if n == name] for name in NAMES}
    assert head.fields[1:] == sent
    assert head.keys == tuple(said["Idempotency-Key"])
    assert head.persistent is (b"close" not in said["Connection"])
    for name, told in zip(
        NAMES[2:5], (head.content_type, head.referer, head.user_agent), strict=True
    ):
        assert told == (said[name][0] if said[name] else None)
