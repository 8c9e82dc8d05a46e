"""The PROXY header: both versions, cut anywhere, and nothing else taken for one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from happy.wire.proxy_header import Proxied, ProxyReader, plain_address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = b"EHLO c.example\r\n"
BYTES_MAX = 600


def binary(command, family, body, *, length=None):
    """Return a header of version 2."""
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + body


V4 = bytes([198, 51, 100, 7, 192, 0, 2, 1]) + struct.pack("!HH", 50_000, 25)
V6 = bytes.fromhex("20010db8" + "0" * 22 + "07" + "0" * 31 + "1") + struct.pack("!HH", 50_000, 25)
TLV = b"\x04" + struct.pack("!H", 5) + b"noop!"
GOOD = {
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 25\r\n": Proxied("198.51.100.7", 50_000),
    b"PROXY TCP6 2001:db8::7 ::1 50000 25\r\n": Proxied("2001:db8::7", 50_000),
    b"PROXY TCP6 ::ffff:198.51.100.7 ::1 1 25\r\n": Proxied("198.51.100.7", 1),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n": None,
    binary(0x21, 0x11, V4): Proxied("198.51.100.7", 50_000),
    binary(0x21, 0x11, V4 + TLV * 3): Proxied("198.51.100.7", 50_000),
    binary(0x21, 0x21, V6 + TLV): Proxied("2001:db8::7", 50_000),
    binary(0x20, 0x00, b""): None,
    binary(0x20, 0x11, V4): None,
    binary(0x21, 0x00, TLV): None,
    binary(0x21, 0x31, b"/x".ljust(216, b"\0")): None,
}
BAD = [
    BEHIND,
    b"PROXY\r\n",
    b"PROXY  TCP4 198.51.100.7 192.0.2.1 50000 25\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 25 \r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 65536 25\r\n",
    b"PROXY TCP4 198.51.100.256 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2 1 25\r\n",
    b"PROXY TCP4 2001:db8::7 ::1 1 25\r\n",
    b"PROXY TCP6 198.51.100.7 192.0.2.1 1 25\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.1 50000 25\n\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY TCP5 1 1 1 1\r\n",
    SIGNATURE + b"\x11\x11\x00\x0c" + V4,
    binary(0x22, 0x11, V4),
    binary(0x21, 0x12, V4),
    binary(0x21, 0x11, V4[:-1]),
    binary(0x21, 0x21, V4),
    binary(0x21, 0x11, b"", length=BYTES_MAX - 15),
    b"\r\n\r\n\x00\r\nQUIX\n",
]


def read(pieces, bytes_max=BYTES_MAX):
    """Feed pieces; return the client, whether it is a fault, and what is left."""
    reader = ProxyReader(bytes_max)
    left = None
    for piece in pieces:
        if left is not None:
            left += piece
        else:
            left = reader.feed(piece)
    return reader.client, bool(reader.fault), left


def cut(data, sizes):
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@pytest.mark.parametrize("header", GOOD)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_header_says_who_the_client_is_and_ends_where_it_ends(header, size):
    """Of both versions and every kind; what follows is not touched."""
    data = header + BEHIND
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert read(pieces) == (GOOD[header], False, BEHIND)


@pytest.mark.parametrize("header", GOOD)
def test_nothing_is_decided_before_the_last_byte(header):
    """A header that lacks its end is neither one nor a fault."""
    for end in range(len(header)):
        assert read([header[:end]])[1:] == (False, None)


@pytest.mark.parametrize("header", BAD)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_header_is_a_fault(header, size):
    """Whatever is wrong with it, and however it comes; it tells of no client."""
    pieces = [header[i : i + size] for i in range(0, len(header), size)]
    client, fault, _ = read(pieces)
    assert (client, fault) == (None, True)


def test_a_header_is_bounded():
    """The length it says is enough to refuse it: nothing of it is waited for."""
    assert read([binary(0x21, 0x11, b"", length=65_535)])[1]
    assert read([binary(0x21, 0x11, V4 + bytes(BYTES_MAX - 28))]) == (
        Proxied("198.51.100.7", 50_000),
        False,
        b"",
    )
    assert read([b"PROXY UNKNOWN" + b" " * 94])[1]


@settings(deadline=None)
@given(st.sampled_from([*GOOD, *BAD]), st.lists(st.integers(0, 40), max_size=12))
def test_how_it_is_cut_changes_nothing(header, sizes):
    """One piece or many: the same client, or the same fault."""
    whole = read([header + BEHIND])
    client, fault, left = read(cut(header + BEHIND, sizes))
    assert (client, fault) == whole[:2]
    assert fault or left == BEHIND


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_none_and_never_an_error(data):
    """Nothing that comes raises."""
    for sent in (data, SIGNATURE + data, b"PROXY TCP4 " + data):
        client, fault, _ = read([sent])
        assert client is None or not fault


def test_an_address_has_one_form():
    """IPv4 in IPv6 is IPv4."""
    assert plain_address("2001:DB8:0::7") == "2001:db8::7"
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    with pytest.raises(ValueError, match="mx"):
        plain_address("mx.example")
