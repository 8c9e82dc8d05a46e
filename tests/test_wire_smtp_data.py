"""A message as DATA carries it: whole, and nothing but the message."""

from __future__ import annotations

import io
import random
import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from happy.effects import SendMail
from happy.event import Blob
from happy.wire.smtp_data import BLOCK_BYTES, blocks_of, dot_stuffed

HEADER = b"Subject: hello\r\nMessage-ID: <1@app.example>\r\n\r\n"


def as_received(wire: bytes) -> tuple[bytes, bytes]:
    """Read DATA as RFC 5321 section 4.5.2 tells a server to; return message and what follows."""
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    message = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    return message, b"\r\n".join(lines[end + 1 :])


def in_blocks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


LINES = st.lists(st.binary(max_size=8).map(lambda b: re.sub(rb"[\r\n]", b".", b)), max_size=12)
DOTTY = st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"..", b"a", b"\0"]), max_size=40)
CUTS = st.lists(st.integers(min_value=0), max_size=12)


@given(LINES, CUTS)
def test_a_message_arrives_as_it_is_however_it_was_cut(lines, cuts):
    """A message with CRLF line ends is received byte for byte, wherever the blocks were cut."""
    message = b"".join(line + b"\r\n" for line in lines)
    wire = b"".join(dot_stuffed(in_blocks(message, cuts)))
    assert as_received(wire + b".\r\nQUIT") == (message, b"QUIT")


@given(DOTTY, CUTS)
def test_no_bytes_can_end_a_message_early(parts, cuts):
    """Whatever is in a message: no bare CR or LF leaves, and its first end is its last."""
    message = b"".join(parts)
    wire = b"".join(dot_stuffed(in_blocks(message, cuts)))
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")
    received, rest = as_received(wire + b".\r\n")
    assert rest == b""
    mended = re.sub(rb"\r(?!\n)", b" ", re.sub(rb"(?<!\r)\n", b"\r\n", message))
    assert received in (mended, mended + b"\r\n")
    assert received == mended or not mended.endswith(b"\r\n")


@given(DOTTY, CUTS)
def test_blocks_do_not_matter(parts, cuts):
    """The same message is the same on the wire in one block and in many, and none is empty."""
    message = b"".join(parts)
    blocks = list(dot_stuffed(in_blocks(message, cuts)))
    assert b"".join(blocks) == b"".join(dot_stuffed([message]))
    assert all(blocks)


def test_a_dot_after_a_full_block_is_doubled():
    """A line with a leading dot right after a block's end stays inside the message."""
    message = b"a" * (16_384 - 2) + b"\r\n.\r\nMAIL FROM:<x@y>\r\n"
    for size in (16_384, BLOCK_BYTES, 1):
        blocks = [message[i : i + size] for i in range(0, len(message), size)]
        assert as_received(b"".join(dot_stuffed(blocks)) + b".\r\n") == (message, b"")


class Reader(io.BytesIO):
    largest = 0

    def read(self, size=-1):
        data = super().read(size)
        self.largest = max(self.largest, len(data))
        return data


@pytest.mark.parametrize("offset", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES, 10**9])
def test_content_offset_leaves_out_the_beginning(offset):
    """Inline or in a blob, the content goes out from its offset on, in bounded blocks."""
    content = random.Random(1).randbytes(3 * BLOCK_BYTES + 5)
    reader = Reader(content)
    mail = SendMail("b@x", "", HEADER, Blob("00", len(content)), offset)
    blocks = list(blocks_of(mail, lambda blob: reader))
    assert b"".join(blocks) == HEADER + content[offset:]
    assert max(map(len, blocks)) <= BLOCK_BYTES >= reader.largest
    assert reader.closed
    inline = evolve(mail, content=content)
    assert b"".join(blocks_of(inline, None)) == HEADER + content[offset:]


def test_a_body_that_is_cut_short_is_an_error():
    """A blob with fewer bytes than it says is never taken for the whole message."""
    mail = SendMail("b@x", "", HEADER, Blob("00", 100))
    with pytest.raises(OSError, match="ends at byte 60 of 100"):
        list(blocks_of(mail, lambda blob: Reader(b"x" * 60)))
