"""Who is at the other end: trust levels, the PROXY header, and XCLIENT, without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress

from certificate_kit import make_certificate
from happy.wire.certificate import Certificate
from happy.wire.xclient import parse_xclient
from smtp_kit import Door
from test_wire_proxy_header import BAD, BEHIND, BYTES_MAX, V4, binary
from test_wire_smtp_pipelining import cut

PROXY = "192.0.2.7"
FROM_PROXY = b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 25\r\n"
SESSION = (
    b"EHLO c.example\r\nMAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\n"
    b"DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"
)
TOLD = b"XCLIENT NAME=c.example ADDR=198.51.100.7 PORT=50000 PROTO=ESMTP HELO=hello.example"


MESSAGE = b"MAIL FROM:<a@s.example>\r\nRCPT TO:<dev@lists.example>\r\nBDAT 3 LAST\r\nx\r\n"
TOLD_PARTS = [
    TOLD + b"\r\n",
    b"XCLIENT LOGIN=ann ADDR=IPV6:2001:db8::7\r\n",
    b"XCLIENT HELO=[UNAVAILABLE] COLOR=red\r\n",
    b"XFORWARD IDENT=4Fz\r\n",
    b"EHLO mta.example\r\n",
    MESSAGE,
    MESSAGE,
]


def proxied(**options):
    return Door(proxied=True, relays=[PROXY, "unix"], **options)


def relay(**options):
    return Door(level="relay", relays=[PROXY, "unix"], **options)


# --- trust ----------------------------------------------------------------------------------------


def test_a_relay_door_serves_the_listed_servers_alone():
    """Others are told so in place of a greeting, and it is the end."""
    door = relay()
    assert door.connect().codes == [220]
    assert door.connect(address=UNIXAddress(b"")).codes == [220]
    stranger = door.connect("192.0.2.8")
    assert stranger.replies.startswith("554 5.7.1 This door is for servers of ours only")
    assert not stranger.wire.open


def test_a_relay_has_one_address_for_all_its_clients():
    """What bounds a stranger by his address and his errors does not bound it; the totals do."""
    bounds = {"smtp_connections_per_peer_max": 1, "smtp_connections_max": 3, "smtp_errors_max": 2}
    strangers = Door(**bounds)
    assert [strangers.connect().codes for _ in range(2)] == [[220], [421]]
    door = relay(**bounds, smtp_commands_max=50)
    assert [door.connect().codes for _ in range(4)] == [[220], [220], [220], [421]]
    peer = relay(**bounds, smtp_commands_max=50).connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>")
    assert peer.say(*[b"RCPT TO:<x@lists.example>"] * 40).count("550 5.1.1") == 40
    assert peer.say(*[b"FOO"] * 20).count("421 ") == 1


def test_line_ends_that_stand_alone_are_refused_from_strangers_only():
    """A server in front has let them pass already; and nothing but CRLF . CRLF ends a message."""
    data = b"Subject: x\r\n\r\na\nb\r\n\n.\nc\r.\rd\r\n"
    assert Door().connect().greet().mail(data).startswith("550 5.5.2 ")
    door = relay()
    assert door.connect().greet().mail(data).startswith("250 ")
    assert door.mails[0].content == data


# --- PROXY ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [FROM_PROXY, binary(0x21, 0x11, V4)])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_client_behind_a_proxy_is_the_peer(header, size):
    """Nothing is said before its header has come; then it is as if he had come himself."""
    door = proxied()
    peer = door.connect()
    for i in range(0, len(header), size):
        assert peer.replies == ""
        peer.push(header[i : i + size])
    door.clock.advance(0)
    assert peer.codes == [220]
    peer.greet().mail()
    (mail,) = door.mails
    assert (mail.peer, mail.via) == ("198.51.100.7", PROXY)
    assert door.stream.exchanges[0].source == "smtp 198.51.100.7"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", binary(0x20, 0x00, b"")])
def test_a_proxy_may_speak_for_itself(header):
    """LOCAL, as health checks do, and UNKNOWN: then it is the peer."""
    door = proxied()
    peer = door.connect()
    peer.push(header)
    door.clock.advance(0)
    peer.greet().mail()
    assert (door.mails[0].peer, door.mails[0].via) == (PROXY, "")


def test_a_proxy_by_a_unix_socket():
    """It is called unix where an address would stand."""
    door = proxied()
    peer = door.connect(address=UNIXAddress(b""))
    peer.push(FROM_PROXY)
    door.clock.advance(0)
    peer.greet().mail()
    assert (door.mails[0].peer, door.mails[0].via) == ("198.51.100.7", "unix")


@pytest.mark.parametrize("header", BAD)
def test_without_a_header_there_is_no_session(header):
    """Whatever else comes is answered by nothing but the end."""
    peer = proxied(smtp_proxy_bytes_max=BYTES_MAX).connect()
    peer.push(header)
    assert peer.replies == ""
    assert not peer.wire.open
    peer.leave()


def test_only_listed_proxies_are_read():
    """A stranger who knows the protocol is nobody; without the level nobody needs it."""
    peer = proxied().connect("198.51.100.99")
    assert (peer.replies, peer.wire.open) == ("", False)
    peer.leave()
    peer = Door(relays=[PROXY]).connect()
    assert peer.say(FROM_PROXY.strip()).startswith("500 ")


def test_a_header_has_its_time():
    """However it drips, and no matter that something comes."""
    door = proxied(smtp_proxy_timeout_s=30)
    peer = door.connect()
    for byte in FROM_PROXY[:32]:
        if peer.wire.open:
            peer.push(bytes([byte]))
        door.clock.pump([1.0])
    assert not peer.wire.open
    assert "220" not in peer.replies


def test_bounds_are_of_the_client_not_of_the_proxy():
    """His connections are counted as his; and all of them as those of the door."""
    door = proxied(smtp_connections_per_peer_max=1, smtp_connections_max=3)

    def come(header):
        peer = door.connect()
        peer.push(header)
        door.clock.advance(0)
        return peer

    first = come(FROM_PROXY)
    again = come(FROM_PROXY)
    other = come(FROM_PROXY.replace(b"100.7", b"100.8"))
    assert [peer.codes for peer in (first, again, other)] == [[220], [421], [220]]
    too_many = door.connect()
    assert (too_many.replies, too_many.wire.open) == ("", False)
    for peer in (first, again, other, too_many):
        peer.leave()
    assert door.factory.connections_count == 0
    assert come(FROM_PROXY).codes == [220]


def test_one_who_speaks_before_the_greeting_is_found_out_behind_a_proxy_too():
    """In the segment of the header, or in the one after it."""
    together, after = proxied().connect(), proxied().connect()
    together.push(FROM_PROXY + BEHIND)
    after.push(FROM_PROXY, BEHIND)
    assert together.codes == after.codes == [554]


def test_what_a_proxys_client_says_is_not_believed_for_the_proxys_sake():
    """XFORWARD is of servers that are listed themselves."""
    door = proxied()
    peer = door.connect()
    peer.push(FROM_PROXY)
    door.clock.advance(0)
    assert "XFORWARD" not in peer.say(b"EHLO c.example")
    assert peer.say(b"XFORWARD ADDR=192.0.2.9").startswith("550 5.7.1 ")


def test_a_door_that_drains_greets_nobody_behind_a_proxy():
    """A header that comes after the stop began is answered 421."""
    door = proxied()
    peer = door.connect()
    door.factory.drain()
    peer.push(FROM_PROXY)
    assert peer.codes == [421]


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=20))
def test_any_split_of_a_proxied_session_gives_the_same(sizes):
    """The header may be cut anywhere, and be cut with what follows the greeting."""

    def run(pieces):
        door = proxied()
        peer = door.connect()
        peer.push(*pieces)
        door.clock.advance(0)
        peer.push(*cut(SESSION, sizes))
        return peer.replies, [(mail.peer, mail.via, mail.content) for mail in door.mails]

    assert run(cut(FROM_PROXY, sizes)) == run([FROM_PROXY])


# --- XCLIENT --------------------------------------------------------------------------------------


def test_a_relay_speaks_as_its_client():
    """The session begins again with a greeting; the event has the client in the relay's place."""
    door = relay()
    peer = door.connect()
    assert "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n" in peer.say(b"EHLO mta")
    assert peer.say(TOLD + b" LOGIN=ann") == "220 mx.lists.example ESMTP\r\n"
    peer.say(b"EHLO mta.example")
    peer.mail()
    peer.mail()
    for mail in door.mails:
        assert (mail.peer, mail.via) == ("198.51.100.7", PROXY)
        assert (mail.helo, mail.login) == ("hello.example", "ann")
        assert mail.forwarded == (
            "NAME=c.example", "ADDR=198.51.100.7", "PORT=50000", "PROTO=ESMTP",
            "HELO=hello.example", "LOGIN=ann",
        )  # fmt: skip


def test_what_was_told_last_counts():
    """XCLIENT may come again; what becomes unknown is forgotten, what is not named stays."""
    door = relay()
    peer = door.connect().greet()
    peer.say(TOLD + b" LOGIN=ann")
    peer.say(b"XCLIENT ADDR=IPV6:2001:DB8::7 NAME=[UNAVAILABLE] LOGIN=[TEMPUNAVAIL]")
    peer.greet().mail()
    peer.say(b"XCLIENT ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]")
    assert peer.say(b"MAIL FROM:<a@s.example>").startswith("503 5.5.1 Say hello")
    peer.greet().mail()
    known, unknown = door.mails
    assert (known.peer, known.login, known.helo) == ("2001:db8::7", "", "hello.example")
    assert "NAME" not in " ".join(known.forwarded)
    assert (unknown.peer, unknown.via, unknown.helo) == ("", PROXY, "client.example")


def test_the_hello_it_tells_of_is_one():
    """The client has said hello, so mail may come (XCLIENT_README)."""
    peer = relay().connect().greet()
    assert peer.say(TOLD, b"MAIL FROM:<a@s.example>").endswith("250 2.1.0 Ok\r\n")


def test_xforward_goes_beside_it():
    """One names the client, the other what more there is about a message."""
    door = relay()
    peer = door.connect().greet()
    peer.say(b"XCLIENT ADDR=198.51.100.7")
    peer.greet().say(b"XFORWARD IDENT=4Fz")
    peer.mail()
    assert door.mails[0].forwarded == ("ADDR=198.51.100.7", "IDENT=4Fz")


@pytest.mark.parametrize(
    "line",
    [
        b"XCLIENT",
        b"XCLIENT ADDR",
        b"XCLIENT IDENT=x",
        b"XCLIENT ADDR=mx.example",
        b"XCLIENT ADDR=IPV6:",
        b"XCLIENT PORT=65536",
        b"XCLIENT PORT=-1",
        b"XCLIENT PROTO=LMTP",
        b"XCLIENT HELO=a+20b",
        b"XCLIENT NAME=a+0Ab",
        b"XCLIENT ADDR=198.51.100.7 X",
    ],
)
def test_what_cannot_be_read_changes_nothing(line):
    """It is 501, and the session goes on as it was."""
    door = relay()
    peer = door.connect().greet()
    assert peer.say(line).startswith("501 5.5.4 ")
    peer.mail()
    assert (door.mails[0].peer, door.mails[0].via, door.mails[0].forwarded) == (PROXY, "", ())


def test_not_within_a_transaction():
    """There it is 503, and the transaction goes on."""
    peer = relay().connect().greet()
    peer.say(b"MAIL FROM:<a@s.example>")
    assert peer.say(TOLD).startswith("503 5.5.1 ")
    assert peer.say(b"RCPT TO:<dev@lists.example>").startswith("250 ")


@pytest.mark.parametrize("level", ["untrusted", "submission"])
def test_no_other_door_knows_it(level):
    """Not even of a listed server: it is not offered, and 550 when it is said."""
    door = Door(level=level, relays=[PROXY])
    peer = door.connect()
    assert "XCLIENT" not in peer.say(b"EHLO mta.example")
    assert peer.say(TOLD) == "550 5.7.0 This is believed from servers of ours only\r\n"


def test_the_client_it_names_has_no_right_to_name_another():
    """Nor has it less: the right is that of the server which is connected."""
    peer = relay().connect().greet()
    peer.say(TOLD)
    assert peer.say(b"XCLIENT ADDR=198.51.100.8").startswith("220 ")
    assert "XCLIENT" in peer.say(b"EHLO mta.example")


def test_over_lmtp():
    """The greeting is that of LMTP, and the message has its replies."""
    door = relay(lmtp=True)
    peer = door.connect()
    peer.say(b"LHLO mta.example")
    assert peer.say(b"XCLIENT ADDR=198.51.100.7") == "220 mx.lists.example LMTP\r\n"
    peer.say(b"LHLO mta.example")
    assert peer.mail().startswith("250 ")
    assert door.mails[0].peer == "198.51.100.7"


def test_attributes_are_read_in_one_form():
    """Addresses without their prefix, the protocol in capitals; empty is unknown."""
    assert parse_xclient(b"addr=IPv6:2001:DB8::1 proto=esmtp name=[unavailable] LOGIN=a+2Bb") == {
        "ADDR": "2001:db8::1",
        "PROTO": "ESMTP",
        "NAME": "",
        "LOGIN": "a+b",
    }


@settings(deadline=None)
@given(st.permutations(TOLD_PARTS), st.lists(st.integers(1, 60), max_size=20))
def test_any_split_of_a_session_of_a_relay_gives_the_same(parts, sizes):
    """XCLIENT, a greeting, a hello and a message in any order and any pieces."""

    def run(pieces):
        door = relay()
        peer = door.connect()
        peer.push(*pieces)
        mails = [(mail.peer, mail.helo, mail.login, mail.forwarded) for mail in door.mails]
        return peer.replies, mails

    session = b"".join(parts) + b"QUIT\r\n"
    plain = run([*parts, b"QUIT\r\n"])
    assert run([session]) == plain
    assert run(cut(session, sizes)) == plain


def test_what_was_told_in_the_clear_is_forgotten_under_tls(tmp_path):
    """STARTTLS forgets the client and his login like all else: anybody could have told of them."""
    make_certificate(tmp_path / "mx.pem")
    door = relay(certificate=Certificate(tmp_path / "mx.pem"))
    peer = door.connect().greet()
    peer.say(TOLD + b" LOGIN=ann")
    assert peer.say(b"STARTTLS").startswith("220 2.0.0 ")
    assert peer.say(b"MAIL FROM:<a@s.example>").startswith("503 5.5.1 Say hello")
    peer.greet().mail()
    peer.say(b"XCLIENT ADDR=198.51.100.8")
    peer.greet().mail()
    before, after = door.mails
    assert (before.peer, before.via, before.login, before.forwarded) == (PROXY, "", "", ())
    assert (after.peer, after.via, after.tls) == ("198.51.100.8", PROXY, True)
