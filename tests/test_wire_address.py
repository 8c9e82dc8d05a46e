import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from happy.wire.address import (
    Address,
    AddressError,
    ParameterError,
    canonical_domain,
    parse_parameters,
    parse_path,
)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<a@x.example>", "a@x.example"),
        (b"<A.b+c@X.Example>", "A.b+c@x.example"),
        (b"<!#$%&'*+/=?^_`{|}~-@x>", "!#$%&'*+/=?^_`{|}~-@x"),
        (b"<@r.example,@s.example:a@x.example>", "a@x.example"),
        (b'<"a"@x.example>', "a@x.example"),
        (b'<"a\\b"@x.example>', "ab@x.example"),
        (b'<"two words"@x.example>', '"two words"@x.example'),
        (b'<"a\\"b\\\\"@x.example>', '"a\\"b\\\\"@x.example'),
        (b'<"a@b>"@x.example>', '"a@b>"@x.example'),
        (b'<""@x.example>', '""@x.example'),
        (b"<a@[127.0.0.1]>", "a@[127.0.0.1]"),
        (b"<a@[ipv6:2001:DB8::1]>", "a@[IPv6:2001:db8::1]"),
        (b"<a@xn--bcher-kva.example>", "a@xn--bcher-kva.example"),
        ("<a@B\u00fccher.example>".encode(), "a@xn--bcher-kva.example"),
        ("<\u00fc@x.example>".encode(), "\u00fc@x.example"),
        ('<"\u00fc \u043f"@x.example>'.encode(), '"\u00fc \u043f"@x.example'),
    ],
)
def test_paths_are_read_in_one_canonical_form(path, address):
    """An address has one form, however it was quoted, routed or capitalized."""
    found, rest = parse_path(path + b" SIZE=1")
    assert str(found) == address
    assert rest == b" SIZE=1"


def test_the_empty_path_and_postmaster_need_no_domain():
    """``<>`` is no address; ``<Postmaster>`` is one without a domain."""
    assert parse_path(b"<>") == (None, b"")
    assert parse_path(b"<Postmaster>") == (Address("Postmaster", ""), b"")


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"<",
        b"a@x.example",
        b"<a@x.example",
        b"<a>",
        b"<@r.example:postmaster>",
        b"<@x.example>",
        b"<a@>",
        b"<a@@x>",
        b"<a b@x>",
        b"<a..b@x>",
        b"<.a@x>",
        b"<a.@x>",
        b"<a@x.>",
        b"<a@.x>",
        b"<a@x..y>",
        b"<a@-x>",
        b"<a@x->",
        b"<a@x_y>",
        b"<a@" + b"x" * 64 + b">",
        b"<a@" + b".".join([b"x" * 60] * 5) + b">",
        b"<" + b"a" * 256 + b"@x>",
        b"<a@[127.0.0.256]>",
        b"<a@[IPv6:zz]>",
        b"<a@[tag:words]>",
        b"<a@[]>",
        b'<"a@x>',
        b'<"a"b@x>',
        b"<a\x00@x>",
        b'<"a\x00"@x>',
        b'<"a\r\n"@x>',
        b'<"\xff"@x>',
        b"<\xe9@x>",
        b"<a\xc2\x85@x>",
        b"<a@\xc2\xa0>",
        b"<a@\xe2\x80\xa8.example>",
    ],
)
def test_what_is_no_path_is_refused(path):
    """Nothing outside the grammar gets through, 8-bit, CR, LF and NUL least of all."""
    with pytest.raises(AddressError):
        parse_path(path)


@given(st.binary(max_size=60))
@example(b"\xc3\x80")
def test_every_accepted_path_has_no_controls_and_reads_back(data):
    """Any bytes give an address or AddressError; an address is stable under reading again."""
    try:
        address, _ = parse_path(b"<" + data + b"@x.example>")
    except AddressError:
        return
    if address is None:
        assert data.startswith(b">")
        return
    text = str(address)
    assert text.isascii() is not address.needs_utf8
    assert "Cc" not in map(unicodedata.category, text)
    assert parse_path(f"<{text}>".encode()) == (address, b"")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_quoting_keeps_the_local_part(local):
    """A local part that is quoted by the rules is taken, and means the same afterwards."""
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    address, _ = parse_path(f"<{quoted}@x.example>".encode())
    assert address is not None
    assert address.local in (local, quoted)


def test_parameters_are_words_in_capitals():
    """Keywords come in capitals, values as they stand, blanks around them are nothing."""
    assert parse_parameters(b"") == ()
    assert parse_parameters(b" ") == ()
    assert parse_parameters(b" size=12  body=8bitmime X-y ") == (
        ("SIZE", "12"),
        ("BODY", "8bitmime"),
        ("X-Y", None),
    )


@pytest.mark.parametrize(
    "text",
    [b"SIZE=1", b" SIZE=", b" =1", b" -A=1", b" A=b=c", b" A\t=1", b" A=1 a=2", b" <"],
)
def test_malformed_parameters_are_refused(text):
    """A parameter that is no KEYWORD=value, or is there twice, is an error."""
    with pytest.raises(ParameterError):
        parse_parameters(text)


def test_domains_compare_in_one_form():
    """Case does not matter, and a U-label is its A-label."""
    assert canonical_domain("Lists.Example") == "lists.example"
    assert canonical_domain("Bücher.example") == "xn--bcher-kva.example"
    assert canonical_domain("BÜCHER.Example") == canonical_domain("xn--bcher-KVA.example")
    with pytest.raises(ValueError, match=r".+"):
        canonical_domain("a\u2028.example")


@pytest.mark.parametrize(
    "make",
    [
        lambda n: b"<" + b"a." * n + b">",
        lambda n: b'<"' + b"\\a" * n,
        lambda n: b"<" + b"@a," * n + b"a@x>",
        lambda n: b"<" + b"@a.b" * n,
        lambda n: b"<a@" + b"a." * n + b"!>",
    ],
)
def test_reading_takes_linear_time(make):
    """Sixteen times the input takes nothing like 256 times the time."""

    def seconds(n):
        text = make(n)
        best = 1.0
        for _ in range(5):
            begin = time.thread_time()
            with pytest.raises(AddressError):
                parse_path(text)
            best = min(best, time.thread_time() - begin)
        return best

    assert seconds(64_000) < 100 * max(seconds(4_000), 20e-6)
