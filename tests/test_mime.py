"""Taking messages apart: the right parts of good ones, and some parts of any."""

from __future__ import annotations

import email
import email.message
import email.policy
import io
import random
import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.mime import (
    BLOCK_BYTES,
    DASHES_MAX,
    DEPTH_MAX,
    HEADERS_BYTES_MAX,
    PARTS_MAX,
    bytes_of,
    decoded,
    read_message,
    text_of,
)

MIB = 1024 * 1024
MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"


class Dripping:
    """A source that gives fewer bytes than it is asked for, as sources may."""

    def __init__(self, data, sizes):
        self._source = io.BytesIO(data)
        self._sizes = list(sizes)

    def read(self, size=-1):
        wanted = self._sizes.pop() if self._sizes else size
        return self._source.read(max(1, min(size, wanted)))


def raw(message, part):
    """Return a part's bytes as they stand in the message."""
    return message[part.start : part.end]


# --- any message ---------------------------------------------------------------------------------

BITS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b":", b";", b"=", b"--b", b"\n--b\n", b"\n--b--"),
    *(b"Content-Type: ", b"Content-Disposition: ", b"Content-Transfer-Encoding: ", b"base64"),
    *(b"multipart/mixed; boundary=b", b"message/rfc822", b"text/html; charset=", b"utf-16"),
    *(b"\n--b\nContent-Type: multipart/x; boundary=b\n\n", b"filename*0*=", b"name=x"),
    *(b"%", b"\0", b"\xff", b"\xc3\xa4", b"quoted-printable", b"=41", b"QUJD"),
]
SOUP = st.lists(st.one_of(st.sampled_from(BITS), st.binary(max_size=4)), max_size=60).map(b"".join)
SIZES = st.lists(st.integers(1, 90), max_size=400)


@given(SOUP, SIZES)
def test_any_message_can_be_read(soup, sizes):
    """Whatever the bytes, and however they are cut into blocks: there are the same parts.

    A part stands within the one that it is in, and its text can be written.
    """
    for message in (soup, MIXED + soup):
        found = read_message(message)
        assert found == read_message(Dripping(message, sizes))
        assert 1 <= len(found.parts) <= PARTS_MAX
        around = []
        for number, part in enumerate(found.parts):
            assert part.number == number
            assert 0 <= part.depth <= DEPTH_MAX
            del around[part.depth :]
            assert len(around) == part.depth
            assert part.within <= part.depth
            begin, end = (around[-1].start, around[-1].end) if around else (0, len(message))
            assert begin <= part.start <= part.end <= end
            around.append(part)
            text_of(message, part).encode()
            part.filename.encode()
            assert part.shown_name.isprintable()
            assert part.kind.count("/") == 1
            assert part.size >= 0
        for part, after in pairwise(found.leaves):
            assert part.end <= after.start
        found.body()


@given(
    st.binary(max_size=3_000),
    st.sampled_from(["base64", "quoted-printable", "8bit", ""]),
    st.lists(st.integers(1, 50)),
)
def test_decoding_does_not_depend_on_the_blocks(body, encoding, sizes):
    """Cut anywhere, even in the middle of a code, bytes decode to the same."""
    message = f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body
    (part,) = read_message(message).parts
    whole = b"".join(decoded(message, part))
    assert b"".join(decoded(Dripping(message, sizes), part)) == whole
    if not encoding or encoding == "8bit":
        assert whole == body


# --- good messages -------------------------------------------------------------------------------

LETTER = (
    b"Subject: parts\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\nnot shown\r\n--out\r\n"
    b'Content-Type: multipart/alternative; boundary="in"\r\n\r\n--in\r\n\r\nplain\r\n--in\r\n'
    b"Content-Type: text/html; charset=latin1\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    b"\r\n<p>gr=FC=\r\n\xdf</p>\r\n--in--\r\nnot shown\r\n--out  \r\n"
    b"Content-Type: image/png; name=a.png\r\nContent-Disposition: attachment; filename=b.png\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\nAwQ\r\n--out\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nplain too\r\n\r\n--out--\r\n"
)


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_the_parts_of_a_letter(newline):
    """Parts come in their order with depth, type, name, bytes and text; nothing else is shown."""
    message = LETTER.replace(b"\r\n", newline)
    found = read_message(message)
    assert found.defects == ()
    assert found.header.subject == "parts"
    assert [(part.depth, part.within, part.kind) for part in found.parts] == [
        (0, 0, "multipart/mixed"),
        (1, 0, "multipart/alternative"),
        (2, 0, "text/plain"),
        (2, 0, "text/html"),
        (1, 0, "image/png"),
        (1, 0, "message/rfc822"),
        (2, 1, "text/plain"),
    ]
    assert [part.number for part in found.leaves] == [2, 3, 4, 5]
    assert text_of(message, found.body()) == "plain"
    assert text_of(message, found.body("text/html")) == "<p>gr\u00fc\u00df</p>"
    picture = found.parts[4]
    assert (picture.filename, bytes_of(message, picture)) == ("b.png", bytes(range(5)))
    assert picture.is_attachment
    assert found.parts[5].shown_name == "part-5.eml"
    assert found.parts[6].header.subject == "inner"
    assert text_of(message, found.parts[6]) == "plain too\n"
    assert raw(message, found.parts[0]).endswith(b"--out--" + newline)


def test_other_parsers_find_the_same_parts():
    """The standard library sees the same leaves, types and payloads in a well-formed letter."""
    theirs = [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in email.message_from_bytes(LETTER, policy=email.policy.default).walk()
        if not part.is_multipart()
    ]
    ours = [
        (part.kind, bytes_of(LETTER, part))
        for part in read_message(LETTER).parts
        if not part.is_multipart and part.kind != "message/rfc822"
    ]
    assert ours == theirs


@given(st.lists(st.binary(max_size=400), max_size=5), st.lists(st.integers(1, 90)))
def test_attachments_come_out_as_they_went_in(bodies, sizes):
    """However a message is cut into blocks, every attachment is found, whole and in order."""
    made = email.message.EmailMessage(policy=email.policy.SMTP)
    made.set_content("Hello.\n")
    for number, body in enumerate(bodies):
        made.add_attachment(body, maintype="application", subtype="x", filename=f"f{number}.bin")
    message = bytes(made)
    hello, *files = read_message(Dripping(message, sizes)).leaves
    assert [part.filename for part in files] == [f"f{n}.bin" for n in range(len(bodies))]
    assert [bytes_of(io.BytesIO(message), part) for part in files] == bodies
    assert text_of(io.BytesIO(message), hello).strip() == "Hello."


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_boundary_on_the_edge_of_a_block_is_found(newline):
    """Wherever a boundary meets the end of a block, both parts are found."""
    for shift in range(-120, 8):
        filler = b"x" * (BLOCK_BYTES + shift)
        message = (
            MIXED + b"--b\n\n" + filler + b"\n--b\nContent-Type: text/html\n\nend\n--b--\n"
        ).replace(b"\n", newline)
        first, second = read_message(message).leaves
        assert (first.size, second.kind) == (len(filler), "text/html")
        assert bytes_of(message, second) == b"end"


def test_the_text_of_an_attached_message_is_not_the_letters_own():
    """A letter that only carries another letter has no text of its own."""
    found = read_message(
        MIXED + b"--b\nContent-Type: message/rfc822\n\nSubject: inner\n\nnot mine\n--b--\n"
    )
    assert found.parts[-1].kind == "text/plain"
    assert found.body() is None


def test_the_parts_of_a_digest_are_messages():
    """Unless they say otherwise (RFC 2046 section 5.1.5)."""
    text = b"Content-Type: multipart/digest; boundary=b\n\n"
    text += b"--b\n\nSubject: one\n\nfirst\n--b\nContent-Type: text/x-two\n\nsecond\n--b--\n"
    message = read_message(text)
    assert [part.kind for part in message.parts] == [
        "multipart/digest",
        "message/rfc822",
        "text/plain",
        "text/x-two",
    ]
    assert message.parts[2].header.get("Subject") == "one"
    assert raw(text, message.parts[2]) == b"first"
    assert message.defects == ()


def test_empty_parts_are_parts():
    """Boundaries one right after the other enclose empty parts."""
    message = MIXED + b"--b\n--b\n--b--\n\nepilogue"
    found = read_message(message)
    assert [raw(message, part) for part in found.parts[1:]] == [b"", b""]
    assert found.defects == ()


def test_a_header_ends_where_its_part_does():
    """A part that has only a header does not take the header and text of the next one."""
    message = MIXED + b"--b\nContent-Type: text/html\nX: --b\n--bb\n--b\n\nnext\n--b--\n"
    _, first, second = read_message(message).parts
    assert first.header.names == ("content-type", "x")
    assert (first.kind, raw(message, first), raw(message, second)) == ("text/html", b"", b"next")


def test_what_follows_the_end_of_a_multipart_is_not_a_part():
    """After its last boundary a multipart has no parts, until the one around it goes on."""
    inner = MIXED.replace(b"=b", b"=in") + b"--in\n\none\n--in--\n--in\n\nno\n"
    message = MIXED + b"--b\n" + inner + b"--b\n\ntwo\n--b--\n--b\n\nno\n"
    found = read_message(message)
    assert [raw(message, part) for part in found.leaves] == [b"one", b"two"]
    assert found.defects == ()


# --- bounds --------------------------------------------------------------------------------------


def test_a_charset_cannot_be_used_to_stall():
    """A megabyte in a charset that is slow, or no charset of mail, is text in a moment."""
    begin = time.process_time()
    for charset in (b"idna", b"punycode", b"unicode_escape", b"raw-unicode-escape", b"utf-7"):
        message = b"Content-Type: text/plain; charset=%s\n\n%s" % (charset, b"-aa9\\q" * 160_000)
        assert len(text_of(message, read_message(message).body(), MIB)) >= 900_000
    assert time.process_time() - begin < 2


def test_depth_and_number_of_parts_are_bounded():
    """Parts in parts, and parts after parts, are read up to a bound, and the defect is said."""
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5_000)
    )
    found = read_message(deep)
    assert max(part.depth for part in found.parts) == DEPTH_MAX
    assert any("deep" in defect for defect in found.defects)
    attached = read_message(b"Content-Type: message/rfc822\n\n" * 5_000)
    assert len(attached.parts) == DEPTH_MAX + 1
    message = MIXED + b"--b\n\nx\n" * 5_000
    wide = read_message(message)
    assert len(wide.parts) == PARTS_MAX
    assert wide.parts[-1].end == len(message)
    assert any(str(PARTS_MAX) in defect for defect in wide.defects)
    just = read_message(MIXED + b"--b\n\nx\n" * (PARTS_MAX - 1) + b"--b--\n")
    assert (len(just.parts), just.defects) == (PARTS_MAX, ())


def test_lines_that_may_be_boundaries_are_bounded():
    """A message of nothing but dashes is not compared to its end."""
    message = MIXED + b"--b\n\n" + b"--c\n" * DASHES_MAX + b"--b--\n"
    found = read_message(message)
    assert found.leaves[-1].end == len(message)
    assert any(str(DASHES_MAX) in defect for defect in found.defects)


def test_headers_are_bounded_over_all_parts():
    """What is held of a message's headers does not grow with the number of its parts."""
    letter = b"--b\nX-A: " + b"x" * 50_000 + b"\n\ntext\n"
    found = read_message(MIXED + letter * 100 + b"--b--\n")
    assert len(found.parts) == 101
    held = sum(len(value) for part in found.parts for value in part.header.all("x-a"))
    assert 200_000 <= held <= HEADERS_BYTES_MAX
    assert any(str(HEADERS_BYTES_MAX) in defect for defect in found.defects)


@pytest.mark.parametrize(
    ("message", "defect"),
    [
        (b"Content-Type: multipart/mixed\n\nx", "without a boundary"),
        (b'Content-Type: multipart/mixed; boundary=" "\n\nx', "without a boundary"),
        (MIXED + b"--b\n\nx", "does not end"),
        (MIXED + b"x\r--b\r\r", "does not end"),
        (b"x" * (HEADERS_BYTES_MAX + 1), "headers of more than"),
    ],
)
def test_what_is_wrong_is_said(message, defect):
    """A message that breaks the rules is read as far as it can be, and says what is wrong."""
    found = read_message(message)
    assert any(defect in said for said in found.defects)
    last = raw(message, found.parts[-1])
    assert last.endswith(b"x") or b"--b" in last


class Endless:
    """A source of a message that nobody would hold in the memory: a line, again and again."""

    def __init__(self, head, line, lines):
        self._rest = head
        self._line = line
        self._lines = lines
        self.largest = 0

    def read(self, size=-1):
        self.largest = max(self.largest, size)
        while len(self._rest) < size and self._lines:
            self._lines -= 1
            self._rest += self._line
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
@pytest.mark.parametrize("line", [b"=41Q" * 15_000, b"QUJD" * 15_000 + b"\n"])
def test_memory_does_not_grow_with_the_message(encoding, line):
    """Twenty megabytes are read and decoded in blocks, even where no line ends."""
    head = MIXED + f"--b\nContent-Transfer-Encoding: {encoding}\n\n".encode()
    lines = 20 * MIB // len(line)
    source = Endless(head, line, lines)
    tracemalloc.start()
    part = read_message(source).leaves[-1]
    assert part.end - part.start == lines * len(line)
    size = sum(map(len, decoded(Endless(head, line, lines), part)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 5 * MIB
    assert 0 < source.largest <= BLOCK_BYTES
    assert peak < MIB


def test_a_code_in_an_endless_line_is_not_cut():
    """Quoted-printable without line ends is decoded whole, wherever the blocks end."""
    for shift in range(3):
        head = b"Content-Transfer-Encoding: quoted-printable\n\n" + b"x" * shift
        message = head + b"=41" * 100_000
        (part,) = read_message(message).parts
        assert bytes_of(message, part, MIB) == b"x" * shift + b"A" * 100_000


def test_a_large_letter_is_taken_apart_quickly():
    """Twenty megabytes of attachment cost little: they are passed over, not taken in."""
    data = random.Random(1).randbytes(20_000_000).replace(b"\n", b"-")
    message = LETTER.replace(b"not shown", data, 1)
    begin = time.process_time()
    assert len(read_message(message).parts) == 7
    assert time.process_time() - begin < 1
