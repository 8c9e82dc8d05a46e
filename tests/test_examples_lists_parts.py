"""Reading a message in blocks, making text of it, and sending it as the peer reads."""

import email.message
import email.policy
import html
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from happy.examples.lists.download import send
from happy.examples.lists.parts import (
    BLOCK_BYTES,
    DEPTH_MAX,
    PARTS_MAX,
    bytes_of,
    decoded,
    parts_of,
    text_of,
)
from happy.examples.lists.text import plain_text


class Dripping:
    """A source that gives fewer bytes than it is asked for, as sources may."""

    def __init__(self, data, sizes):
        self._source = io.BytesIO(data)
        self._sizes = sizes

    def read(self, size=-1):
        wanted = self._sizes.pop() if self._sizes else size
        return self._source.read(max(1, min(size, wanted)))


def made(*bodies):
    """Return a message with these attachments."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "s"
    message.set_content("Hello.\n")
    for number, body in enumerate(bodies):
        message.add_attachment(body, maintype="application", subtype="x", filename=f"f{number}.bin")
    return bytes(message)


@given(st.lists(st.binary(max_size=400), max_size=5), st.lists(st.integers(1, 90)))
def test_parts_come_out_as_they_went_in(bodies, sizes):
    """However a message is cut into blocks, every attachment is found, whole and in order."""
    raw = made(*bodies)
    parts = parts_of(Dripping(raw, list(sizes)))
    assert [p.filename for p in parts[1:]] == [f"f{n}.bin" for n in range(len(bodies))]
    assert [bytes_of(io.BytesIO(raw), p) for p in parts[1:]] == bodies
    assert text_of(io.BytesIO(raw), parts[0]).strip() == "Hello."


@given(st.lists(st.sampled_from(
    [b"\r\n", b"--x", b"--x--", b"--y", b"-", b"a: b", b"\r", b"\n", b" ", b"z",
     b'Content-Type: multipart/mixed; boundary="y"', b"Content-Type: text/html"]
), max_size=60), st.lists(st.integers(1, 9)))  # fmt: skip
def test_any_bytes_have_parts(words, sizes):
    """Nothing raises; parts stand in the message, in order, and do not overlap."""
    raw = b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"".join(words)
    parts = parts_of(io.BytesIO(raw))
    assert parts == parts_of(Dripping(raw, list(sizes)))
    ends = [0]
    for part in parts:
        assert ends[-1] <= part.start <= part.end <= len(raw)
        ends.append(part.end)
        text_of(io.BytesIO(raw), part)


@given(
    st.binary(max_size=3_000),
    st.sampled_from(["base64", "quoted-printable", "8bit", ""]),
    st.lists(st.integers(1, 50)),
)
def test_decoding_does_not_depend_on_the_blocks(body, encoding, sizes):
    """Cut anywhere, even in the middle of a code, bytes decode to the same."""
    raw = f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body
    (part,) = parts_of(io.BytesIO(raw))
    whole = b"".join(decoded(io.BytesIO(raw), part))
    assert b"".join(decoded(Dripping(raw, list(sizes)), part)) == whole
    if not encoding or encoding == "8bit":
        assert whole == body


def test_a_boundary_on_the_edge_of_a_block_is_found():
    """Wherever a boundary meets the end of a block, both parts are found."""
    for shift in range(-80, 8):
        filler = b"x" * (BLOCK_BYTES + shift)
        raw = (
            b'Content-Type: multipart/mixed; boundary="bnd"\r\n\r\n--bnd\r\n\r\n'
            + filler
            + b"\r\n--bnd\r\nContent-Type: text/html\r\n\r\nend\r\n--bnd--\r\n"
        )
        first, second = parts_of(io.BytesIO(raw))
        assert (first.size, second.kind) == (len(filler), "text/html")
        assert bytes_of(io.BytesIO(raw), second) == b"end"


def test_the_bounds_hold():
    """Parts and their depth are bounded; what is beyond belongs to the last part."""
    head = b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
    parts = parts_of(io.BytesIO(head + b"--x\r\n\r\na\r\n" * 1_000))
    assert len(parts) == PARTS_MAX
    deep = b""
    for level in range(DEPTH_MAX * 3):
        deep += b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (level, level)
    assert len(parts_of(io.BytesIO(deep))) == 1


def test_memory_does_not_grow_with_the_message():
    """Twenty megabytes are read in blocks; no more than a block or two is held."""

    class Counting:
        def __init__(self):
            self.left = 20 * 1024 * 1024
            self.begun = False
            self.largest = 0

        def read(self, size=-1):
            self.largest = max(self.largest, size)
            if not self.begun:
                self.begun = True
                return b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\n'
            size = min(size, self.left)
            self.left -= size
            return b"A" * size

    source = Counting()
    (part,) = parts_of(source)
    assert part.end - part.start == 20 * 1024 * 1024
    assert 0 < source.largest <= BLOCK_BYTES


@pytest.mark.parametrize(
    "unit", ["<!--", "<a", "<p>", "-->", "<![x", "&", "<script>", "</", "-", "<!doctype "]
)
def test_malformed_html_is_read_in_little_time(unit):
    """However HTML is malformed, the time to read it grows with its length and no faster."""
    before = time.process_time()
    plain_text("text/html", unit * 100_000)
    assert time.process_time() - before < 5


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_the_words_of_html_are_the_words(text):
    """What was escaped into an element comes out as it was; what nobody sees does not."""
    page = f"<head><title>no</title></head><!-- {html.escape(text)} --><p>{html.escape(text)}</p>"
    assert plain_text("text/html", page) == text


class SlowPeer:
    """A request whose transport has enough after every block, until it is read."""

    def __init__(self):
        self.written = []
        self.producer = None

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def write(self, data):
        self.written.append(data)
        self.producer.pauseProducing()


def test_sending_waits_for_the_peer():
    """One block is written for each time the peer has read; then the source is closed."""
    source, peer = io.BytesIO(b"x" * (3 * BLOCK_BYTES)), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source))
    for blocks in (1, 2, 3):
        assert len(peer.written) == blocks
        assert not sent.called
        peer.producer.resumeProducing()
    assert (sent.result, peer.producer, source.closed) == (b"", None, True)


def test_sending_ends_when_the_peer_goes_away():
    """A peer that leaves in the middle leaves no open file behind."""
    source, peer = io.BytesIO(b"x" * (3 * BLOCK_BYTES)), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source))
    sent.addErrback(lambda failure: failure.trap(CancelledError))
    peer.producer.stopProducing()
    sent.cancel()
    assert source.closed
    assert len(peer.written) == 1


def test_a_disk_that_fails_ends_the_answer():
    """An error while reading is the route's error, not an answer that looks whole."""

    def blocks():
        yield b"first"
        raise OSError("the disk is gone")

    source, peer = io.BytesIO(), SlowPeer()
    sent = Deferred.fromCoroutine(send(peer, source, blocks()))
    failures = []
    sent.addErrback(lambda failure: failures.append(failure.trap(OSError)))
    peer.producer.resumeProducing()
    assert failures == [OSError]
    assert source.closed
