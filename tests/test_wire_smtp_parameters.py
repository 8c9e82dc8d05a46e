"""The parameters of MAIL and RCPT, and how they reach the event."""

import pytest

from happy.wire.smtp_parameters import refusal_of_mail, refusal_of_rcpt
from smtp_kit import Door


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("SIZE", "1000", None),
        ("SIZE", "1001", 552),
        ("SIZE", "-1", 501),
        ("SIZE", None, 501),
        ("SIZE", "9" * 21, 501),
        ("BODY", "8bitmime", None),
        ("BODY", "BINARYMIME", 501),
        ("SMTPUTF8", None, None),
        ("SMTPUTF8", "yes", 501),
        ("RET", "hdrs", None),
        ("RET", "ALL", 501),
        ("ENVID", "QQ314159+2B", None),
        ("ENVID", "a+2b", 501),
        ("ENVID", "x" * 101, 501),
        ("AUTH", "<>", 555),
        ("REQUIRETLS", None, 555),
    ],
)
def test_parameters_of_mail(keyword, value, code):
    """What is known is checked, what is not is 555 (RFC 5321 section 4.1.1.11)."""
    refusal = refusal_of_mail(((keyword, value),), 1000)
    assert (refusal and refusal.code) == code


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("NOTIFY", "never", None),
        ("NOTIFY", "SUCCESS,DELAY,FAILURE", None),
        ("NOTIFY", "NEVER,SUCCESS", 501),
        ("NOTIFY", "DELAY,DELAY", 501),
        ("NOTIFY", "", 501),
        ("ORCPT", "rfc822;user+2Btag@a.example", None),
        ("ORCPT", "utf-8;\u043f@a.example", None),
        ("ORCPT", "user@a.example", 501),
        ("ORCPT", "rfc822;" + "x" * 501, 501),
        ("SIZE", "1", 555),
    ],
)
def test_parameters_of_rcpt(keyword, value, code):
    """NOTIFY and ORCPT, as RFC 3461 writes them."""
    refusal = refusal_of_rcpt(((keyword, value),))
    assert (refusal and refusal.code) == code


def test_parameters_are_kept_with_the_envelope():
    """What the sender wants to be told is in the event, for each recipient."""
    door = Door()
    peer = door.connect().greet()
    peer.say(b"MAIL FROM:<a@s.example> RET=HDRS ENVID=QQ1 BODY=8BITMIME SIZE=10")
    peer.say(b"RCPT TO:<dev@lists.example> NOTIFY=NEVER")
    peer.say(b"RCPT TO:<info@lists.example>")
    peer.say(b"DATA", b"x", b".")
    (mail,) = door.mails
    assert mail.options == ("RET=HDRS", "ENVID=QQ1", "BODY=8BITMIME", "SIZE=10")
    assert mail.recipient_options == (("NOTIFY=NEVER",), ())


def test_letters_beyond_ascii_are_for_those_who_speak_smtputf8():
    """The local part as it was written, the domain in the form it is compared by."""
    door = Door(domains=("b\u00fccher.example",))
    door.app.known = ("d\u00e9v", "dev")
    peer = door.connect().greet()
    utf8 = "RCPT TO:<d\u00e9v@b\u00fccher.example>".encode()
    peer.say(b"MAIL FROM:<a@s.example>")
    assert peer.say(utf8).startswith("553 5.6.7 ")
    assert peer.say("RCPT TO:<dev@B\u00dcCHER.example>".encode()).startswith("250 ")
    peer.say(b"RSET")
    peer.say("MAIL FROM:<\u00fc@s.example> SMTPUTF8".encode())
    assert peer.say(utf8).startswith("250 ")
    assert peer.say(b"RCPT TO:<dev@xn--bcher-kva.example>").startswith("250 ")
    peer.say(b"DATA", b"x", b".")
    (mail,) = door.mails
    assert mail.reverse_path == "\u00fc@s.example"
    assert mail.recipients == ("d\u00e9v@xn--bcher-kva.example", "dev@xn--bcher-kva.example")
    assert mail.protocol == "UTF8SMTP"
