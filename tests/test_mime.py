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
    found = read_message(LETTER.replace(b"\r\n", newline))
    assert found.defects == ()
    assert found.header.subject == "parts"
    assert [(part.depth, part.within, part.content_type) for part in found.parts] == [
        (0, 0, "multipart/mixed"),
        (1, 0, "multipart/alternative"),
        (2, 0, "text/plain"),
        (2, 0, "text/html"),
        (1, 0, "image/png"),
        (1, 0, "message/rfc822"),
        (2, 1, "text/plain"),
    ]
    assert found.body().text == "plain"
    assert found.body("text/html").text == "<p>gr\u00fc\u00df</p>"
    picture = found.parts[4]
    assert (picture.filename, picture.payload) == ("b.png", bytes(range(5)))
    assert picture.is_attachment
    assert found.parts[6].header.subject == "inner"
    assert found.parts[6].text == "plain too\n"


def test_other_parsers_find_the_same_parts():
    """The standard library sees the same leaves, types and payloads in a well-formed letter."""
    theirs = [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in email.message_from_bytes(LETTER, policy=email.policy.default).walk()
        if not part.is_multipart()
    ]
    ours = [
        (part.content_type, part.payload)
        for part in read_message(LETTER).parts
        if not part.is_multipart and part.content_type != "message/rfc822"
    ]
    assert ours == theirs


def test_the_text_of_an_attached_message_is_not_the_letters_own():
    """A letter that only carries another letter has no text of its own."""
    found = read_message(
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n"
        b"Subject: inner\n\nnot mine\n--b--\n"
    )
    assert [part.content_type for part in found.parts][-1] == "text/plain"
    assert found.body() is None


def test_empty_parts_are_parts():
    """Boundaries one right after the other enclose empty parts."""
    found = read_message(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n--b--\n")
    assert [part.raw for part in found.parts[1:]] == [b"", b""]
    assert found.defects == ()


def test_a_charset_cannot_be_used_to_stall():
    """A megabyte in a charset that is slow, or no charset of mail, is text in a moment."""
    begin = time.process_time()
    for charset in (b"idna", b"punycode", b"unicode_escape", b"raw-unicode-escape", b"utf-7"):
        found = read_message(
            b"Content-Type: text/plain; charset=%s\n\n%s" % (charset, b"-aa9\\q" * 160_000)
        )
        assert len(found.body().text) >= 900_000
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
    wide = read_message(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 5_000)
    assert len(wide.parts) == PARTS_MAX
    assert any(str(PARTS_MAX) in defect for defect in wide.defects)


@pytest.mark.parametrize(
    ("message", "defect"),
    [
        (b"Content-Type: multipart/mixed\n\nx", "without a boundary"),
        (b'Content-Type: multipart/mixed; boundary=" "\n\nx', "without a boundary"),
        (b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx", "does not end"),
        (b"Content-Type: multipart/mixed; boundary=b\n\nx\r--b\r\r", "does not end"),
        (b"x" * 70_000, "is not read"),
    ],
)
def test_what_is_wrong_is_said(message, defect):
    """A message that breaks the rules is read as far as it can be, and says what is wrong."""
    found = read_message(message)
    assert any(defect in said for said in found.defects)
    assert found.parts[-1].raw.endswith(b"x") or b"--b" in found.parts[-1].raw


def test_a_large_letter_is_taken_apart_quickly():
    """Twenty megabytes of attachment cost little: nothing is copied before it is asked for."""
    data = random.Random(1).randbytes(20_000_000).replace(b"\n", b"-")
    message = LETTER.replace(b"not shown", data, 1)
    begin = time.process_time()
    assert len(read_message(message).parts) == 7
    assert time.process_time() - begin < 1
