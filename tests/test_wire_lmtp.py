import pytest

from happy.errors import Busy, NotOpen, Refused
from smtp_kit import Door

TO = (b"dev@lists.example", b"dev@lists.example", b"nobody@lists.example", b"info@lists.example")


def greeted(**options):
    """Return a door and a peer that has said LHLO."""
    door = Door(lmtp=True, **options)
    peer = door.connect()
    peer.say(b"LHLO mta.example")
    return door, peer


def test_lhlo_in_place_of_helo_and_ehlo():
    """LMTP knows LHLO alone, and lists what RFC 2033 demands."""
    peer = Door(lmtp=True).connect()
    assert peer.replies == "220 mx.lists.example LMTP\r\n"
    assert peer.say(b"HELO c.example").startswith("500 5.5.1 ")
    assert peer.say(b"EHLO c.example").startswith("500 5.5.1 ")
    assert peer.say(b"MAIL FROM:<>").startswith("503 5.5.1 ")
    listed = peer.say(b"LHLO c.example").splitlines()
    assert {"250-PIPELINING", "250-8BITMIME", "250-ENHANCEDSTATUSCODES"} <= set(listed)


def test_one_reply_for_each_accepted_recipient():
    """As many replies as RCPT commands were accepted, the same address twice included."""
    door, peer = greeted()
    assert peer.mail(to=TO) == "250 2.0.0 Ok lists/1\r\n" * 3
    (mail,) = door.mails
    assert mail.recipients == ("dev@lists.example", "info@lists.example")
    assert mail.protocol == "LMTP"
    assert door.stream.exchanges[0].source == "lmtp 192.0.2.7"


@pytest.mark.parametrize(
    ("error", "code"), [(Busy("full"), "452 4.3.1"), (Refused("no"), "554 5.7.1")]
)
def test_a_refusal_is_said_for_each_recipient(error, code):
    """The message is one event: what happens to it happens to all its recipients."""
    door, peer = greeted()
    door.stream.error = error
    replies = peer.mail(to=TO).splitlines()
    assert [reply[:9] for reply in replies] == [code] * 3
    assert peer.say(b"NOOP").startswith("250 ")


def test_a_message_that_cannot_be_taken_is_refused_for_each_recipient():
    """Refusals that are decided at the dot have a reply for each recipient too."""
    _, peer = greeted()
    replies = peer.mail(b"bare\nline\r\n", to=TO).splitlines()
    assert [reply[:9] for reply in replies] == ["550 5.5.2"] * 3


def test_421_is_said_to_all_before_the_end():
    """Every recipient hears 421, then the session ends."""
    door, peer = greeted()
    door.stream.error = NotOpen("closing")
    assert peer.mail(to=TO) == "421 4.3.2 closing\r\n" * 3
    assert not peer.wire.open


def test_data_without_recipients_is_503():
    """No accepted recipient, no data (RFC 2033 section 4.2)."""
    _, peer = greeted()
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<nobody@lists.example>")
    assert peer.say(b"DATA").startswith("503 5.5.1 ")


def test_a_pipelined_session_in_any_pieces():
    """Two messages in one piece and byte by byte: the same replies, the same events."""
    one = b"MAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\nRCPT TO:<info@lists.example>\r\nDATA\r\n"
    session = b"LHLO c\r\n" + (one + b"x\r\n.\r\n") * 2 + b"QUIT\r\n"
    results = []
    for size in (1, 10, 10_000):
        door = Door(lmtp=True)
        peer = door.connect()
        peer.push(*(session[i : i + size] for i in range(0, len(session), size)))
        results.append((peer.replies, door.mails))
    assert results[0] == results[1] == results[2]
    assert peer.codes == [220, 250, *[250, 250, 250, 354, 250, 250] * 2, 221]
