import tracemalloc

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from happy.errors import NoRoom
from happy.limits import Limits
from happy.wire.smtp_reader import CommandReader, EndlessLine, LineTooLong, MessageReader
from smtp_kit import FakeStream

LIMITS = Limits(
    smtp_line_bytes_max=40,
    smtp_message_bytes_max=300,
    mail_inline_bytes_max=60,
    mail_header_bytes_max=80,
    mail_hops_max=2,
)
# Pieces that line ends, dots and headers are made of, so that every border case comes up.
pieces = st.lists(
    st.sampled_from(
        [
            *(b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n..", b"a", b"\0", b"\xff"),
            *(b"a: b\r\n", b"x" * 30, b"Received: y\r\n", b"\r\n\r\n"),
        ]
    ),
    max_size=25,
).map(b"".join)
cuts = st.lists(st.integers(1, 12), max_size=60)


def cut(data, sizes):
    """Cut data into pieces of the given sizes, the last one taking what is left."""
    for size in sizes:
        if data:
            yield data[:size]
            data = data[size:]
    if data:
        yield data


def read(parts, limits=LIMITS):
    """Feed a message; return the reader and what stood behind the end (None: no end)."""
    stream = FakeStream()
    reader = MessageReader(limits, stream.blob_writer)
    rest = None
    for part in parts:
        rest = part if rest is not None and not part else rest
        rest = reader.feed(part) if rest is None else rest + part
    return reader, rest, stream


def content_of(reader, stream):
    """Return the bytes that would be kept."""
    found = []
    Deferred.fromCoroutine(reader.content()).addCallback(found.append)
    return found[0] if isinstance(found[0], bytes) else bytes(stream.blobs[-1].data)


def stuffed(content):
    """Put a message into the form it has on the wire (RFC 5321 section 4.5.2)."""
    return b"\r\n".join(
        b"." + line if line.startswith(b".") else line for line in content.split(b"\r\n")
    )


@given(pieces, cuts)
@example(b".", [1])
@example(b"..", [1, 1])
def test_a_message_with_proper_lines_is_kept_byte_for_byte(text, sizes):
    """Stuffing and reading give the same bytes back, whatever the pieces they come in."""
    content = text.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    limits = Limits(mail_inline_bytes_max=60)
    reader, rest, stream = read(cut(stuffed(content) + b".\r\nNOOP\r\n", sizes), limits)
    assert rest == b"NOOP\r\n"
    assert reader.refusal is None
    assert reader.size == len(content)
    assert content_of(reader, stream) == content
    assert bool(stream.blobs) == (len(content) > 60)
    head, end, _ = (b"\r\n" + content).partition(b"\r\n\r\n")
    assert reader.header == (head + end)[2:]


@given(pieces, cuts)
def test_every_split_is_read_the_same(text, sizes):
    """End, size, header, refusal and kept bytes do not depend on how the input is cut."""
    data = text + b"\r\n.\r\nQUIT\r\n"

    def facts(parts):
        reader, rest, stream = read(parts)
        kept = content_of(reader, stream) if reader.refusal is None else None
        return rest, reader.size, reader.header, reader.refusal, kept

    whole = facts([data])
    assert facts(cut(data, sizes)) == whole
    assert facts(data[i : i + 1] for i in range(len(data))) == whole


@given(pieces)
def test_a_lone_cr_or_lf_refuses_the_message(text):
    """A message is refused for line ends exactly when a CR or LF stands alone in it."""
    reader, _, stream = read([text + b"\r\n.\r\n"], Limits())
    content = text[: (b"\r\n" + text + b"\r\n.\r\n").find(b"\r\n.\r\n")] + b"\r\n"
    alone = content.replace(b"\r\n", b"")
    bad = reader.refusal is not None and reader.refusal.status == "5.5.2"
    assert bad == (b"\r" in alone or b"\n" in alone)
    if bad:
        assert content_of(reader, stream) == b""


ENDINGS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n"]


@pytest.mark.parametrize("ending", [*ENDINGS, b"\n\n.\r\n", b"\r\n.\n\r\n", b"\n.\r", b"\r.\n"])
def test_no_other_ending_ends_a_message(ending):
    """Malformed ends stay inside one message, which is refused; nothing after them is split off."""
    data = b"Subject: x\r\n\r\none" + ending + b"MAIL FROM:<b@s.example>\r\n"
    for parts in ([data], [data[i : i + 1] for i in range(len(data))]):
        reader, rest, _ = read(parts, Limits())
        assert rest is None
        assert reader.feed(b".\r\nNOOP\r\n") == b"NOOP\r\n"
        assert reader.refusal is not None
        assert (reader.refusal.code, reader.refusal.status) == (550, "5.5.2")


def test_a_nul_before_the_dot_does_not_end_a_message():
    """CRLF NUL . CRLF is a line of the message, and is kept as it is."""
    data = b"x\r\n\0.\r\ny\r\n"
    reader, rest, stream = read([data + b".\r\n"], Limits())
    assert rest == b""
    assert reader.refusal is None
    assert content_of(reader, stream) == data


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"x" * 39 + b"\r\n", 552, "5.5.2"),
        (b"x\r\n" * 99, 552, "5.3.4"),
        (b"abc: d\r\n" * 11, 552, "5.3.4"),
        (b"Received: a\r\nRECEIVED : b\r\nreceived:\r\n\r\n", 554, "5.4.6"),
    ],
)
def test_limits_on_a_message(content, code, status):
    """One octet or field over a limit is refused, with its own words."""
    limits = evolve(LIMITS, smtp_message_bytes_max=296)
    reader, rest, _ = read([content + b".\r\n"], limits)
    assert rest == b""
    assert reader.refusal is not None
    assert (reader.refusal.code, reader.refusal.status) == (code, status)


@pytest.mark.parametrize(
    "content",
    [
        b"x" * 38 + b"\r\n",
        b"\r\n" * 150,
        b"abc: d\r\n" * 10,
        b"Received: a\r\nReceived: b\r\nX-Received: c\r\n\r\nReceived: d\r\n",
    ],
)
def test_what_is_just_within_the_limits_is_taken(content):
    """A limit is what is still allowed."""
    reader, _, stream = read([content + b".\r\n"])
    assert reader.refusal is None
    assert content_of(reader, stream) == content


def test_a_message_of_any_size_takes_bounded_memory():
    """Forty megabytes go through to the blob writer piece by piece."""

    class Sink:
        size = 0

        def write(self, data):
            self.size += len(data)

    sink = Sink()
    reader = MessageReader(Limits(), lambda: sink)
    block = b"y" * 62 + b"\r\n"
    reader.feed(b"Subject: x\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(640):
            reader.feed(block * 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.feed(b".\r\n") == b""
    assert sink.size == reader.size == 640 * 1024 * 64 + 14
    assert peak < 1_000_000


def test_a_refused_message_lets_go_of_its_blob():
    """What will not be taken is not kept: neither in memory nor in a file."""
    reader, _, stream = read([b"\r\n", b"yy\r\n" * 30, b"bare\nline\r\n", b"yy\r\n" * 30])
    assert reader.refusal is not None
    assert [blob.abandoned for blob in stream.blobs] == [True]
    assert b"bare" not in stream.blobs[0].data


@pytest.mark.parametrize(
    ("error", "code"), [(NoRoom("the disk is full"), 452), (OSError("broken"), 451)]
)
def test_a_blob_that_cannot_be_written_is_temporary_trouble(error, code):
    """The message is read to its end and refused for now; what nobody foresaw is kept to log."""
    stream = FakeStream(blob_error=error)
    reader = MessageReader(LIMITS, stream.blob_writer)
    assert reader.feed(b"\r\n" + b"x\r\n" * 40) is None
    assert reader.feed(b"x\r\n.\r\n") == b""
    assert reader.refusal is not None
    assert reader.refusal.code == code
    assert reader.unexpected is (error if code == 451 else None)
    assert stream.blobs[0].abandoned


def lines_of(parts, line_max=10, endless=30):
    """Return what a command reader makes of input: lines, and words for its troubles."""
    reader = CommandReader(line_max, endless)
    found = []
    for part in parts:
        reader.push(part)
        while True:
            try:
                line = reader.line()
            except LineTooLong:
                found.append("too long")
                continue
            except EndlessLine:
                return [*found, "endless"]
            if line is None:
                break
            found.append(line)
    return found


@given(pieces, cuts)
def test_command_lines_are_the_same_for_every_split(data, sizes):
    """Lines, too long lines and endless ones do not depend on how the input is cut."""
    whole = lines_of([data])
    assert lines_of(cut(data, sizes)) == whole
    assert lines_of(data[i : i + 1] for i in range(len(data))) == whole


def test_only_crlf_ends_a_command():
    """A lone CR or LF stays in the line, for the session to refuse."""
    assert lines_of([b"a\nb\rc\r\r\nd\r\n"]) == [b"a\nb\rc\r", b"d"]


def test_a_line_of_exactly_the_limit_is_a_line():
    """The limit counts the CRLF, as RFC 5321 section 4.5.3.1.4 does."""
    assert lines_of([b"x" * 8 + b"\r\n"]) == [b"x" * 8]
    assert lines_of([b"x" * 9 + b"\r\n", b"y\r\n"]) == ["too long", b"y"]
    assert lines_of([b"x" * 28 + b"\r\ny\r\n"]) == ["too long", b"y"]
    assert lines_of([b"x" * 29 + b"\r\ny\r\n"]) == ["endless"]
