"""Making messages, and reading those that came: right or refused, and never an error."""

from __future__ import annotations

import email
import email.policy
import encodings.aliases
import re
import time
from datetime import datetime, timedelta, timezone
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.message import Mailbox, compose, header_block, is_automatic, parse_header
from happy.mime import read_message, text_of
from happy.text import charset_text, clean, words_decoded

DATE = datetime(2026, 3, 1, 12, 30, 15, tzinfo=timezone(timedelta(hours=2)))


def made(**changes):
    fields = {
        "sender": "ann@app.example",
        "to": "bob@x.example",
        "subject": "Hello",
        "text": "Hello, Bob.\n",
        "message_id": "<1@app.example>",
        "date": DATE,
    }
    return compose(**{**fields, **changes})


def stdlib(message):
    return email.message_from_bytes(message, policy=email.policy.default)


def raw_words(value):
    return str(make_header(decode_header(value)))


# --- making ------------------------------------------------------------------------------------


def test_a_small_message_is_what_one_would_write():
    """A letter in ASCII stands in the message as it was written, and ends its lines with CRLF."""
    assert made() == (
        b"From: ann@app.example\r\nTo: bob@x.example\r\nSubject: Hello\r\n"
        b"Date: Sun, 01 Mar 2026 12:30:15 +0200\r\nMessage-ID: <1@app.example>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n\r\nHello, Bob.\r\n"
    )


LETTERS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=300)


@given(LETTERS, TEXTS, st.none() | TEXTS)
def test_what_is_made_is_read_back(subject, text, html):
    """Any subject and text come out of another parser, and of ours, as they went in."""
    message = made(subject=subject, text=text, html=html)
    assert message == made(subject=subject, text=text, html=html)
    assert message.isascii()
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert b"\r" not in message.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in message.split(b"\r\n"))
    ours = read_message(message)
    assert ours.defects == ()
    assert ours.header.subject == subject.strip(" ")
    assert ours.header.message_id == "<1@app.example>"
    assert ours.header.date == DATE
    expected = text if text.endswith("\n") or not text else text + "\n"
    assert text_of(message, ours.body()) == expected
    theirs = stdlib(message)
    plain = theirs.get_body(["plain"])
    assert plain.get_content().replace("\r\n", "\n") == expected
    assert (ours.body("text/html") is not None) == (html is not None)
    if html is not None:
        assert theirs.get_body(["html"]) is not None


@given(LETTERS)
def test_a_field_survives_folding_and_encoding(value):
    """The value of any field comes back, also to the standard library; its lines are short."""
    block = header_block([("X-Note", value)])
    assert parse_header(block).get("x-note") == value.strip(" ")
    for line in block.split(b"\r\n"):
        assert len(line) <= 78 or b" " not in line.strip().removeprefix(b"X-Note: ")
    assert block.endswith(b"\r\n\r\n") or block == b"\r\n"
    assert b"\r\n\r\n" not in block[:-4]
    raw = re.sub(rb"\r\n(?=[ \t])", b"", block).decode().removeprefix("X-Note:").strip()
    assert raw_words(raw).split() == value.split()


@given(LETTERS, st.sampled_from(["ann@x.example", '"a b"@x.example', "a+b@[127.0.0.1]"]))
def test_a_name_comes_with_its_address(name, address):
    """Whatever a person is called: the address beside the name stays what it is."""
    message = made(sender=Mailbox(name, address), to=[Mailbox(name, "c@y.example"), "d@z.example"])
    header = parse_header(message)
    assert [box.address for box in header.addresses("from")] == [address]
    assert [box.address for box in header.addresses("to")] == ["c@y.example", "d@z.example"]
    assert header.addresses("from")[0].name.split() == name.split()


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\r\nBcc: eve@x.example"},
        {"subject": "a\nb"},
        {"subject": "a\0b"},
        {"subject": "a\u2028b"},
        {"subject": "x" * 2_000},
        {"sender": "ann@x.example\r\nBcc: eve@x.example"},
        {"sender": "ann"},
        {"sender": "ann@x.example bob"},
        {"sender": Mailbox("Ann\r\n", "ann@x.example")},
        {"to": "a b@x.example"},
        {"to": ""},
        {"to": []},
        {"to": ["bob@x.example", "j\u00f6rg@x.example"]},
        {"to": "bob@x.example, <>"},
        {"message_id": "1@app.example"},
        {"message_id": "<1>"},
        {"message_id": "<1@a>\r\n"},
        {"message_id": "<1@a b>"},
        {"date": datetime(2026, 1, 1)},  # noqa: DTZ001 - the fault it is about
        {"extra": [("X-Bad\r\nBcc", "x")]},
        {"extra": [("X: y", "x")]},
        {"extra": [("", "x")]},
        {"extra": [("X-\u00e9", "x")]},
        {"extra": [("X-Note", "a\r\nb")]},
        {"extra": [("subject", "again")]},
        {"extra": [("Cc", "not an address")]},
        {"text": "\ud800"},
    ],
)
def test_what_cannot_stand_in_a_message_is_refused(changes):
    """A line break or a nonsense in an argument is a ValueError, never another field."""
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
        made(**changes)


def test_further_fields_stand_in_the_header():
    """Extra fields are added in their order; long lists of ids are folded, never encoded."""
    ids = " ".join(f"<{n}.{'x' * 60}@lists.example>" for n in range(5))
    message = made(
        extra=[
            ("Auto-Submitted", "auto-replied"),
            ("References", ids),
            ("List-Id", "Gr\u00fc\u00dfe und mehr <dev.lists.example>"),
        ]
    )
    header = parse_header(message)
    assert header.references == tuple(ids.split(" "))
    assert header.auto_submitted == "auto-replied"
    assert header.get("list-id") == "Gr\u00fc\u00dfe und mehr <dev.lists.example>"
    assert b"und mehr <dev.lists.example>" in message
    assert max(map(len, message.split(b"\r\n"))) <= 90


def test_long_or_foreign_text_is_quoted_printable():
    """Lines over 998 characters and other letters are encoded, so any server takes them."""
    for text in ["x" * 5_000, "gr\u00fc\u00df", "\x0c", "a\0b"]:
        message = made(text=text)
        assert b"quoted-printable" in message
        assert max(map(len, message.split(b"\r\n"))) <= 78
        assert text_of(message, read_message(message).body()) == text + "\n"


# --- reading -----------------------------------------------------------------------------------

MAIL_BITS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b";", b"=", b'"', b"\\", b"(", b")"),
    *(b"<", b">", b"@", b",", b"'", b"*", b"?=", b"=?utf-8?b?", b"=?idna?q?", b"=?x?Q?", b"--b"),
    *(b"From", b"Date", b"Subject", b"Message-ID", b"References", b"List-Id", b"Precedence"),
    *(b"Content-Type", b"Content-Disposition", b"Content-Transfer-Encoding", b"base64", b"\n--b--"),
    *(b"multipart/mixed; boundary=b", b"message/rfc822", b"charset=", b"utf-16", b"filename*0*="),
    *(b"%", b"\0", b"\xff", b"\xc3\xa4", b"quoted-printable", b"=41", b"QUJD", b"\n--b\n"),
]
SOUP = st.lists(st.one_of(st.sampled_from(MAIL_BITS), st.binary(max_size=4)), max_size=60).map(
    b"".join
)


def writable(text):
    assert isinstance(text, str)
    text.encode()
    return text


def one_line(text):
    assert clean(writable(text)) == text


@given(SOUP, st.sampled_from([b"", b"From: ", b"Content-Type: ", b"Subject: ", b"Date: "]))
def test_any_header_can_be_read(soup, start):
    """Whatever the bytes: every question has an answer, of one line, that can be written."""
    header = parse_header(start + soup)
    for name in (*header.names, "from", "content-type", "none"):
        for value in (header.get(name), *header.all(name), *header.message_ids(name)):
            one_line(value)
        for box in header.addresses(name):
            one_line(box.name)
            one_line(box.address)
            assert "@" in box.address
    for found in (header.content_type, header.disposition):
        one_line(found.kind)
        for name, value in found.parameters.items():
            one_line(name)
            one_line(value)
    assert header.date is None or header.date.tzinfo is not None
    for value in (header.subject, header.message_id, header.auto_submitted):
        one_line(value)
    assert is_automatic(header, "ann@x") in (True, False)


def test_a_bare_cr_ends_no_line():
    """A CR alone begins no field: nothing can hide one behind it."""
    header = parse_header(b"Subject: a\rBcc: eve@x.example\r\nTo: b@x\r\n\r\nFrom: c@x\r\n")
    assert header.names == ("subject", "to")
    assert header.subject == "a Bcc: eve@x.example"
    assert "bcc" not in header
    assert "SUBJECT" in header


def test_values_are_unfolded_and_decoded():
    """Folded lines and encoded words become one line of text; charsets may be wrong."""
    header = parse_header(
        b"Subject: =?utf-8?B?R3LDvA==?=\r\n =?utf-8?q?=C3=9Fe?= an\r\n\talle\r\n"
        b"X-Cut: =?utf-8?q?=C3?= =?utf-8?q?=A4?=\r\n"
        b"X-No: =?none-such?q?=C3=A4?=\r\nX-Latin: gr\xfc\xdf\r\nX-Utf: gr\xc3\xbc\r\n"
        b"X-Break: =?utf-8?q?a=0D=0ABcc:_b?=\r\nX-Mix: a =?utf-8?q?b?= c =?utf-8?q?d?=\r\n"
        b"no field at all\r\n and its rest\r\nX-Last : yes\r\n"
    )
    assert header.subject == "Gr\u00fc\u00dfe an alle"
    assert header.get("x-cut") == "\u00e4"
    assert header.get("x-no") == "\u00e4"
    assert header.get("x-latin") == "gr\u00fc\u00df"
    assert header.get("x-utf") == "gr\u00fc"
    assert header.get("x-break") == "a  Bcc: b"
    assert header.get("x-mix") == "a b c d"
    assert header.get("x-last") == "yes"
    assert header.names[-1] == "x-last"


def test_the_first_field_counts_and_all_are_there():
    """``get`` gives the first field of a name, ``all`` every one, whatever their case."""
    header = parse_header(b"X-A: 1\r\nx-a: 2\r\n\r\n")
    assert header.get("X-a") == "1"
    assert header.all("x-A") == ("1", "2")
    assert header.get("x-b") == ""
    assert header.all("x-b") == ()


def test_ids_are_told_apart():
    """Ids come as they stand, in angle brackets; what is none is left out."""
    header = parse_header(
        b"Message-ID:\r\n <a@b>\r\nIn-Reply-To: Your letter <c@d> of today\r\n"
        b"References: <e@f>\r\n <c@d>junk<g@h>\r\n\r\n"
    )
    assert header.message_id == "<a@b>"
    assert header.in_reply_to == ("<c@d>",)
    assert header.references == ("<e@f>", "<c@d>", "<g@h>")
    assert parse_header(b"Message-ID: none\r\n").message_id == ""


def test_a_name_is_decoded_after_the_addresses_are_told_apart():
    """An encoded name cannot bring in an address of its own."""
    header = parse_header(b"From: =?utf-8?q?eve=40x=2Eexample=2C?= <ann@y.example>, bob@z\r\n")
    assert header.addresses("from") == (
        Mailbox("eve@x.example,", "ann@y.example"),
        Mailbox("", "bob@z"),
    )


@pytest.mark.parametrize(
    ("value", "kind", "parameters"),
    [
        (b'Text/HTML; Charset="UTF-8"', "text/html", {"charset": "UTF-8"}),
        (
            b"text/plain; name*=utf-8'de'gr%C3%BC%C3%9F.txt",
            "text/plain",
            {"name": "gr\u00fc\u00df.txt"},
        ),
        (b'a/b; n*0="x y"; n*1*=%41; n*2=z', "a/b", {"n": "x yAz"}),
        (b'a/b; n="=?utf-8?q?=C3=A4?="; n=second', "a/b", {"n": "\u00e4"}),
        (b'a/b; n="a\\"b;c"; m=1', "a/b", {"n": 'a"b;c', "m": "1"}),
        (b"a/b; n*9999=x; n**=y; =z; ;;", "a/b", {}),
        (b"nonsense", "text/plain", {}),
        (b"", "text/plain", {}),
    ],
)
def test_parameters(value, kind, parameters):
    """Parameters are read as RFC 2045 and 2231 tell, and as people write them."""
    found = parse_header(b"Content-Type: " + value + b"\r\n").content_type
    assert (found.kind, found.parameters) == (kind, parameters)


@pytest.mark.parametrize(
    ("header", "reverse_path", "automatic"),
    [
        (b"Subject: hello\r\n", "ann@x", False),
        (b"Auto-Submitted: No\r\n", "ann@x", False),
        (b"Precedence: first-class\r\n", "ann@x", False),
        (b"Subject: hello\r\n", "", True),
        (b"Auto-Submitted: auto-replied; x=y\r\n", "ann@x", True),
        (b"Precedence: Bulk\r\n", "ann@x", True),
        (b"List-Unsubscribe: <mailto:x@y>\r\n", "ann@x", True),
        (b"Content-Type: multipart/report; boundary=x\r\n", "ann@x", True),
    ],
)
def test_machines_are_known(header, reverse_path, automatic):
    """What a machine sent is known by its return path or by what it says of itself."""
    assert is_automatic(parse_header(header), reverse_path) is automatic


@given(st.binary(max_size=40))
def test_every_charset_gives_text(data):
    """Any bytes in any charset that Python knows, and in some that nobody does, give text."""
    for charset in {*encodings.aliases.aliases.values(), "", "x", "\0", "undefined", "a" * 999}:
        text = charset_text(data, charset)
        assert writable(text) == text


@given(st.text(max_size=80))
def test_text_without_encoded_words_is_left_alone(text):
    """Decoding touches encoded words only."""
    plain = text.replace("=?", "")
    assert words_decoded(plain) == plain


@pytest.mark.parametrize(
    "hostile",
    [
        b"=?a?b?" * 10_000,
        b"=?utf-8?q?=41?= " * 4_000,
        b"(" * 64_000,
        b'"' * 64_000,
        b"a/b;" + b'n="' * 20_000,
        b"a/b;" + b"n*0=x;" * 10_000,
        b"<" * 64_000,
        b"<a@" * 20_000,
        b"a@b," * 16_000,
        b"a@b " * 16_000,
        b"\\" * 64_000,
        b"@" * 64_000,
        b":" * 64_000,
        b'"a' * 32_000,
        b"[" * 64_000,
        b"(a)" * 20_000,
        b"<@a:" * 16_000,
        b"a.." * 20_000,
        b"a: b;" * 12_000,
        b"a/b;" + b"a" * 64_000,
        b"a/b;a" + b" " * 64_000,
        b"a/b;" + b';n="\\"' * 9_000,
        b"=?idna?q?" + b"x" * 60_000 + b"?=",
        b"\r\n " * 20_000,
    ],
)
def test_hostile_headers_take_no_time(hostile):
    """A header of 64 KiB made to be slow is read in less than a second."""
    begin = time.process_time()
    for name in (b"From", b"Subject", b"Content-Type", b"Content-Disposition", b"Message-ID"):
        header = parse_header(name + b": x" + hostile + b"\r\n")
        _ = (header.addresses("from"), header.subject, header.content_type, header.disposition)
        _ = (header.message_id, header.date, is_automatic(header, "x"))
    assert time.process_time() - begin < 1
