"""What a server in front tells of its client, and whose word is taken for it."""

from __future__ import annotations

import pytest
from twisted.internet.address import UNIXAddress

from edge_kit import free_port
from happy.wire.xforward import Relays, parse_xforward
from mail_kit import LISTS, STRANGER, forwarded_to
from postfix_kit import postfix
from smtp_kit import Door

SAID = b"XFORWARD NAME=client.example ADDR=198.51.100.7 PROTO=ESMTP"


def test_attributes_are_decoded_and_what_is_unknown_is_empty():
    """As xtext; ``[UNAVAILABLE]`` is nothing, and takes back what was told before."""
    assert parse_xforward(b"name=a+2Bb ADDR=IPv6:2001:db8::1 HELO=[UNAVAILABLE]") == {
        "NAME": "a+b",
        "ADDR": "IPv6:2001:db8::1",
        "HELO": "",
    }


@pytest.mark.parametrize(
    "text", [b"", b"NAME", b"NAME=", b"COLOR=red", b"NAME=a+0Ab", b"NAME=a+zz", b"NAME=\xff"]
)
def test_what_is_no_attribute_is_refused(text):
    """No line end gets in by any spelling of it."""
    with pytest.raises(ValueError, match=r"XFORWARD|xtext"):
        parse_xforward(text)


def test_relays_are_networks_addresses_and_the_unix_socket():
    """Whoever is in none of them is not believed."""
    relays = Relays(("127.0.0.1", "2001:db8::/32", "unix"))
    assert all(map(relays.trusts, ["127.0.0.1", "2001:db8::7", ""]))
    assert not any(map(relays.trusts, ["127.0.0.2", "2001:db9::1", "fe80::1%eth0"]))
    assert not Relays().trusts("")
    with pytest.raises(ValueError, match="mx"):
        Relays(("mx.example",))


def test_what_a_relay_tells_is_in_the_event():
    """It may come in several commands, and is of the next message only."""
    door = Door(relays=("192.0.2.0/24",))
    peer = door.connect()
    assert " XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n" in peer.say(
        b"EHLO mta.example"
    ).replace("250-XF", "250 XF")
    assert peer.say(SAID, b"XFORWARD HELO=c IDENT=4Fz") == "250 2.0.0 Ok\r\n" * 2
    peer.mail()
    peer.mail()
    told, not_told = door.mails
    assert told.forwarded == (
        "NAME=client.example", "ADDR=198.51.100.7", "PROTO=ESMTP", "HELO=c", "IDENT=4Fz",
    )  # fmt: skip
    assert (told.peer, told.helo) == ("192.0.2.7", "mta.example")
    assert not_told.forwarded == ()


def test_it_is_told_before_a_transaction_and_forgotten_with_it():
    """Within one it is 503; RSET and a hello forget it."""
    door = Door(relays=("192.0.2.7", "unix"))
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    assert peer.say(SAID).startswith("503 ")
    peer.say(b"RSET", SAID, b"RSET")
    peer.mail()
    local = door.connect(address=UNIXAddress(b"")).greet()
    assert local.say(SAID).startswith("250 ")
    assert local.say(b"XFORWARD NAME").startswith("501 5.5.4 ")
    local.greet()
    local.mail()
    assert [mail.forwarded for mail in door.mails] == [(), ()]


def test_nobody_else_is_believed():
    """It is not offered to others, and refused."""
    for door in (Door(), Door(relays=("192.0.2.8",))):
        peer = door.connect()
        assert "XFORWARD" not in peer.say(b"EHLO c.example")
        assert peer.say(SAID).startswith("550 5.7.1 ")
        peer.mail()
        assert door.mails[0].forwarded == ()


def test_a_real_postfix_tells_of_its_client(container, sink):
    """The address that the client had, its name for itself, and Postfix's name of the message."""
    port = free_port()
    config = LISTS.format(port=port, smarthost=sink.port)
    house = container(config.replace("[mail]", '[mail]\nrelays = ["127.0.0.1"]')).start()
    with postfix(happy=port, smarthost=sink.port) as relay:
        mail, told = forwarded_to(house, relay)
    assert (told["ADDR"], told["HELO"]) == (STRANGER, "client.example")
    assert told["IDENT"]
    assert mail["peer"] == "127.0.0.1"
