"""What cannot be taken is refused before the message is sent, and time is not lost on asking."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed

from happy import MailRoutes
from happy.errors import Busy, CoreLost, Halted, NoMemory, NoRoom, NotOpen
from happy.limits import Limits
from happy.wire.mail_homes import MailHomes
from happy.wire.smtp_envelope import Envelope, read_recipient, read_sender
from smtp_kit import Door, FakeApp, FakeStream

TROUBLES = [
    (Busy("full"), "452 4.3.1 full", True),
    (NoRoom("full"), "452 4.3.1 full", True),
    (NoMemory("full"), "452 4.3.1 full", True),
    (CoreLost("away"), "451 4.3.0 away", True),
    (Halted("stopped"), "451 4.3.0 stopped", True),
    (NotOpen("closing"), "421 4.3.2 closing", False),
]


@pytest.mark.parametrize(("trouble", "said", "lives"), TROUBLES)
def test_trouble_is_said_at_mail_and_passes_by_itself(trouble, said, lives):
    """Promises 7, 8: nobody sends a message for nothing; the session may go on."""
    door = Door()
    peer = door.connect().greet()
    door.stream.full = trouble
    assert peer.say(b"MAIL FROM:<a@s.example> SIZE=10") == f"{said}\r\n"
    assert peer.wire.open is lives
    door.stream.full = None
    peer = peer if lives else door.connect().greet()
    assert peer.mail().startswith("250 ")


@pytest.mark.parametrize(("trouble", "said", "lives"), TROUBLES)
def test_trouble_that_comes_behind_mail_is_said_at_rcpt(trouble, said, lives):
    """It is asked for each recipient, and those that were accepted stay."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<dev@lists.example>")
    door.stream.full = trouble
    assert peer.say(b"RCPT TO:<info@lists.example>") == f"{said}\r\n"
    assert peer.wire.open is lives


def two_apps():
    door = Door()
    stream = FakeStream()
    shop = FakeApp("shop", stream, domains=("shop.example",))
    door.factory.homes.add(shop, Limits())
    return door, stream


def test_trouble_of_one_application_is_not_that_of_the_door():
    """MAIL is refused when nobody behind it would take the message, RCPT by the one it is for."""
    door, shop = two_apps()
    peer = door.connect().greet()
    shop.full = NotOpen("closing")
    assert peer.say(b"MAIL FROM:<>").startswith("250 ")
    assert peer.say(b"RCPT TO:<dev@shop.example>") == "451 4.3.2 closing\r\n"
    assert peer.say(b"RCPT TO:<dev@lists.example>").startswith("250 ")
    peer.say(b"RSET")
    door.stream.full = Busy("full")
    assert peer.say(b"MAIL FROM:<>") == "452 4.3.1 full\r\n"


class Routed(FakeApp):
    """An application with routes, one of which depends on the state."""

    mail = MailRoutes()

    @mail.to("box@")
    def take(state, mail, context): ...

    @mail.to("<who>-list@", when=lambda state, who: True)
    def post(state, mail, context, who): ...


def early_door():
    door = Door()
    door.app = Routed("lists", door.stream, domains=("lists.example",))
    door.factory.homes = MailHomes()
    door.factory.homes.add(door.app, Limits(mail_recipient_timeout_s=5), early=True)
    return door


def test_where_mail_does_not_wait_patterns_alone_say_what_they_can():
    """The state is not asked for what it cannot change."""
    door = early_door()
    door.app.answer = lambda _: pytest.fail("it was asked")
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    assert peer.say(b"RCPT TO:<box@lists.example>").startswith("250 2.1.5")
    assert peer.say(b"RCPT TO:<nobody@lists.example>").startswith("550 5.1.1")
    peer.say(b"DATA")
    assert peer.say(b"x", b".") == "250 2.0.0 Ok lists/1\r\n"
    assert door.mails[0].early


def test_where_mail_does_not_wait_the_state_must_answer_in_time():
    """451 4.3.0 then, and a late answer reaches nobody; one in time counts."""
    door = early_door()
    late = Deferred()
    door.app.answer = lambda _: late
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<>")
    assert peer.say(b"RCPT TO:<dev-list@lists.example>") == ""
    for _ in range(5):
        door.clock.advance(1)
    assert peer.replies.splitlines()[-1].startswith("451 4.3.0 ")
    late.callback(True)
    door.app.answer = lambda _: succeed(True)
    assert peer.say(b"RCPT TO:<dev-list@lists.example>").startswith("250 2.1.5")


def test_an_envelope_is_read_or_a_reply_says_why_not():
    """What MAIL and RCPT say, without a session."""
    envelope = read_sender(b"FROM:<a@s.example> SIZE=7", 10, auth=False)
    assert isinstance(envelope, Envelope)
    assert (envelope.reverse_path, envelope.size) == ("a@s.example", 7)
    assert read_sender(b"FROM:<a@s.example> SIZE=11", 10, auth=False).code == 552
    assert read_sender(b"FROM:<a>", 10, auth=False).status == "5.1.7"
    recipient, parameters = read_recipient(b"TO:<b@s.example>", utf8=False)
    assert (str(recipient), parameters) == ("b@s.example", ())
    assert read_recipient(b"TO:<>", utf8=False).status == "5.1.3"
