"""Several applications behind one mail door, in memory."""

import pytest

from happy.errors import Busy, NotOpen
from happy.limits import Limits
from happy.unacknowledged import copy_of
from happy.wire.address import Address
from happy.wire.mail_homes import MailHomes
from smtp_kit import Door, FakeApp, FakeStream

SHOP = b"dev@shop.example"
LISTS = b"dev@lists.example"


class TwoDoor(Door):
    """A door with ``lists`` behind it, and ``shop`` besides; ``theirs`` are the shop's limits."""

    def __init__(self, theirs=None, **more):
        super().__init__(**more)
        self.shop_stream = FakeStream()
        self.shop = FakeApp("shop", self.shop_stream, domains=("shop.example",))
        self.factory.homes.add(self.shop, Limits(**(theirs or {})))


def test_each_message_goes_to_the_application_of_its_domain():
    """The 250 names the application, and each has its own places."""
    door = TwoDoor()
    peer = door.connect().greet()
    assert peer.mail(to=[LISTS]) == "250 2.0.0 Ok lists/1\r\n"
    assert peer.mail(to=[SHOP]) == "250 2.0.0 Ok shop/1\r\n"
    assert peer.mail(to=[SHOP]) == "250 2.0.0 Ok shop/2\r\n"
    assert [mail.recipients for mail in door.mails] == [("dev@lists.example",)]
    assert [mail.recipients for mail in door.shop_stream.mails] == [("dev@shop.example",)] * 2


@pytest.mark.parametrize("lmtp", [False, True])
def test_one_transaction_is_for_one_application(lmtp):
    """RFC 5321 section 4.5.3.1.10: the other's recipients are 452 4.5.3, and come in the next."""
    door = TwoDoor(lmtp=lmtp)
    peer = door.connect()
    peer.say(b"LHLO c" if lmtp else b"EHLO c")
    said = peer.say(
        b"MAIL FROM:<a@s.example>",
        *(b"RCPT TO:<" + to + b">" for to in (LISTS, SHOP, b"info@lists.example", SHOP)),
    )
    assert [line[:9] for line in said.splitlines()] == [
        "250 2.1.0", "250 2.1.5", "452 4.5.3", "250 2.1.5", "452 4.5.3",
    ]  # fmt: skip
    peer.say(b"DATA")
    assert peer.say(b"x", b".") == "250 2.0.0 Ok lists/1\r\n" * (2 if lmtp else 1)
    assert peer.mail(to=[SHOP]) == "250 2.0.0 Ok shop/1\r\n"
    assert door.mails[0].recipients == ("dev@lists.example", "info@lists.example")


def test_an_unknown_recipient_of_another_application_is_refused_at_once():
    """It need not come again to hear that it does not exist."""
    peer = TwoDoor().connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<" + LISTS + b">")
    assert peer.say(b"RCPT TO:<nobody@shop.example>").startswith("550 5.1.1 ")


def test_a_refused_recipient_binds_to_no_application():
    """The message is for whoever took its first recipient."""
    door = TwoDoor()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<nobody@lists.example>")
    assert peer.say(b"RCPT TO:<" + SHOP + b">").startswith("250 ")


def test_chunks_go_to_the_application_of_their_recipients():
    """BDAT knows it as DATA does."""
    door = TwoDoor()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<" + SHOP + b">")
    peer.push(b"BDAT 3 LAST\r\n\r\nx")
    assert peer.replies.endswith("250 2.0.0 Ok shop/1\r\n")
    assert door.mails == []


def test_the_application_that_took_a_message_hears_that_its_250_was_read():
    """And the other one hears nothing."""
    door = TwoDoor()
    peer = door.connect().greet()
    peer.mail(to=[SHOP])
    peer.say(b"NOOP")
    (mail,) = door.shop_stream.mails
    assert door.shop_stream.acknowledged == [((1, copy_of(mail, "dev@shop.example")),)]
    assert door.stream.acknowledged == []


@pytest.mark.parametrize(
    ("error", "reply"),
    [(Busy("full"), "452 "), (NotOpen("halted"), "451 ")],
)
def test_the_trouble_of_one_application_is_not_the_others(error, reply):
    """A full queue, or a state of no use: its mail waits with the sender, the other's is taken."""
    door = TwoDoor()
    door.stream.error = error
    peer = door.connect().greet()
    assert peer.mail(to=[LISTS]).startswith(reply)
    assert peer.mail(to=[SHOP]) == "250 2.0.0 Ok shop/1\r\n"

    async def fails(_):
        raise error

    door.app.answer = fails
    peer.say(b"MAIL FROM:<>")
    assert peer.say(b"RCPT TO:<" + LISTS + b">").startswith(reply)
    assert peer.say(b"RCPT TO:<" + SHOP + b">").startswith("250 ")


def test_the_larger_size_is_told_and_the_own_one_holds():
    """RFC 1870: SIZE is the largest of all; what one does not take is 552 at its RCPT."""
    door = TwoDoor({"smtp_message_bytes_max": 5000}, smtp_message_bytes_max=1000)
    peer = door.connect().greet()
    assert "250-SIZE 5000\r\n" in peer.replies
    assert peer.say(b"MAIL FROM:<> SIZE=5001").startswith("552 5.3.4 ")
    peer.say(b"MAIL FROM:<> SIZE=1001")
    assert peer.say(b"RCPT TO:<" + LISTS + b">").startswith("552 5.3.4 ")
    assert peer.say(b"RCPT TO:<" + SHOP + b">").startswith("250 ")
    peer.say(b"RSET")
    body = b"\r\n" + b"x" * 998 + b"\r\n"
    assert peer.mail(body, to=[LISTS]).startswith("552 5.3.4 ")
    assert peer.mail(body, to=[SHOP]).startswith("250 ")


def test_each_application_bounds_its_own_recipients_and_headers():
    """The bounds of what an application takes are not those of its neighbour."""
    door = TwoDoor({"smtp_recipients_max": 1}, mail_header_bytes_max=100)
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<" + SHOP + b">")
    assert peer.say(b"RCPT TO:<info@shop.example>").startswith("452 4.5.3 ")
    peer.say(b"RSET")
    header = b"X: " + b"x" * 100 + b"\r\n\r\n"
    assert peer.mail(header, to=[LISTS]).startswith("552 5.3.4 ")
    assert peer.mail(header, to=[SHOP]).startswith("250 ")


def test_a_shared_door_tells_that_a_message_has_one_domain():
    """RFC 9422: RCPTDOMAINMAX spares the senders that know it the 452; a lone one needs none."""
    assert " RCPTDOMAINMAX=1\r\n" in TwoDoor().connect().greet().replies
    assert "RCPTDOMAINMAX" not in Door().connect().greet().replies


def test_postmaster_without_a_domain_is_of_the_first():
    """RFC 5321 section 4.5.1: somebody has it."""
    peer = TwoDoor().connect().greet()
    assert peer.mail(to=[b"postmaster"]).startswith("250 2.0.0 Ok lists/1")


def test_a_domain_is_of_one_application():
    """Two that take mail for the same one, in any spelling, cannot share a door."""
    homes = MailHomes()
    homes.add(FakeApp("a", FakeStream(), domains=("b\u00fccher.example",)), Limits())
    with pytest.raises(ValueError, match=r"a and b both take mail for xn--bcher-kva\.example"):
        homes.add(FakeApp("b", FakeStream(), domains=("xn--bcher-kva.example",)), Limits())
    found = homes.find(Address("x", "xn--bcher-kva.example"))
    assert found is not None
    assert found[0].app.name == "a"
    assert homes.find(Address("x", "elsewhere.example")) is None
