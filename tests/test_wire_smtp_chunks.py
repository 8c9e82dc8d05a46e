"""Messages in chunks (RFC 3030): every byte is the message's own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_kit import Door

MESSAGE = b"Subject: x\r\n\r\n.\r\n..\r\nbare\nand\rbinary\0\xff\r\n.\r\nQUIT\r\n"
BEGIN = b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\n"


def chunked(pieces, *, last=True):
    """Return a message as BDAT commands."""
    said = b""
    for number, piece in enumerate(pieces, 1):
        end = b" LAST" if last and number == len(pieces) else b""
        said += b"BDAT %d%b\r\n%b" % (len(piece), end, piece)
    return said


def cut(data, sizes):
    """Return bytes in pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=4) | st.sampled_from([b"\r\n.\r\n", b"\r", b"\n", b"."])),
    st.lists(st.integers(0, 9), max_size=5),
    st.lists(st.integers(0, 30), max_size=12),
)
def test_a_message_arrives_byte_for_byte_however_it_is_cut(parts, chunk_sizes, piece_sizes):
    """Into chunks and into segments; what follows LAST is the next command."""
    message = b"".join(parts)
    door = Door()
    peer = door.connect()
    chunks = cut(message, chunk_sizes)
    for piece in cut(BEGIN + chunked(chunks) + b"NOOP\r\n", piece_sizes):
        if piece:
            peer.push(piece)
    (mail,) = door.mails
    assert mail.content == message
    assert peer.codes == [220, 250, 250, 250, *[250] * len(chunks), 250]


def test_bare_line_ends_are_taken_as_they_are():
    """No line end ends a chunk, so none can be misread; the digest is of the same bytes."""
    door = Door()
    peer = door.connect()
    peer.push(BEGIN + chunked([MESSAGE[:20], MESSAGE[20:]]))
    (mail,) = door.mails
    assert mail.content == MESSAGE
    assert mail.header == b"Subject: x\r\n\r\n"


@pytest.mark.parametrize("command", [b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 1 ALL", b"BDAT 1e9"])
def test_a_chunk_of_no_known_size_ends_the_session(command):
    """What follows may be a message, and a message is never read as commands."""
    door = Door()
    peer = door.connect()
    peer.push(BEGIN + command + b"\r\nRSET\r\n")
    assert peer.codes[-1] == 501
    assert not peer.wire.open


def test_a_refused_chunk_is_read_over():
    """Without a recipient the bytes are no commands either."""
    door = Door()
    peer = door.connect().greet()
    assert peer.say(b"BDAT 6 LAST\r\nQUIT").startswith("503 ")
    peer.say(b"MAIL FROM:<>", b"RCPT TO:<nobody@lists.example>")
    assert peer.say(b"BDAT 6\r\nQUIT").startswith("503 ")
    assert peer.say(b"NOOP").startswith("250 ")
    assert door.mails == []


def test_within_a_message_there_are_only_chunks():
    """DATA, RCPT and MAIL wait for its end or for RSET, which forgets it."""
    door = Door(mail_inline_bytes_max=3)
    peer = door.connect()
    peer.push(BEGIN + chunked([b"some"], last=False))
    for command in (b"RCPT TO:<info@lists.example>", b"DATA", b"MAIL FROM:<>"):
        assert peer.say(command).startswith("503 5.5.1 ")
    peer.say(b"RSET")
    (blob,) = door.stream.blobs
    assert blob.abandoned
    assert peer.mail().startswith("250 ")


def test_a_message_over_the_limit_is_refused_at_its_chunk():
    """552, and the chunks that are on their way already are read over."""
    door = Door(smtp_message_bytes_max=10)
    peer = door.connect()
    peer.push(BEGIN + chunked([b"x" * 8, b"x" * 8, b"x" * 8]) + b"NOOP\r\n")
    assert peer.codes[-4:] == [250, 552, 503, 250]
    assert door.mails == []


def test_an_empty_last_chunk_ends_a_message():
    """As servers send it that do not know the end before it has come."""
    door = Door()
    peer = door.connect()
    peer.push(BEGIN + chunked([b"x\r\n", b""]))
    assert [mail.content for mail in door.mails] == [b"x\r\n"]
    assert peer.codes[-2:] == [250, 250]


def test_a_connection_that_ends_between_chunks_leaves_nothing():
    """No event, and the file of what had come is gone."""
    door = Door(mail_inline_bytes_max=3)
    peer = door.connect()
    peer.push(BEGIN + chunked([b"some"], last=False))
    peer.leave()
    assert door.mails == []
    assert door.stream.blobs[0].abandoned


def test_many_small_chunks_are_not_too_many_commands():
    """Some servers send eight kilobytes at a time."""
    door = Door(smtp_commands_max=10)
    peer = door.connect()
    peer.push(BEGIN + chunked([b"x"] * 100))
    assert len(door.mails) == 1


def test_lmtp_answers_the_last_chunk_for_each_recipient():
    """As the dot is answered (RFC 2033 section 4.2)."""
    door = Door(lmtp=True)
    peer = door.connect()
    peer.push(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<dev@lists.example>\r\n")
    peer.push(b"RCPT TO:<info@lists.example>\r\n" + chunked([b"x", b"y"]))
    assert peer.replies.endswith("250 2.0.0 1 bytes taken\r\n" + "250 2.0.0 Ok lists/1\r\n" * 2)
