"""The head of an HTTP/1.x request: bytes to ``RequestHead``, or the refusal they deserve.

llhttp reads the fields; what it leaves to its user is decided here: the request line, the
bounds, ``Host``, and which of the body's framings the fields declare (RFC 9112 sections 3, 5
and 6). A head is parsed once, when it is whole, so how it was cut into packets cannot matter.
"""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final

import httptools

from happy.errors import PeerError
from happy.limits import Limits

_KNOWN_HEADS_MAX: Final = 1_024
_KNOWN_HEAD_BYTES_MAX: Final = 1_024

HEAD_END: Final = b"\r\n\r\n"

ALLOWED_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What the answer to TRACE and CONNECT names; an application may know more methods."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])")
_LINE_FAULT = re.compile(rb"[^\x20-\x7e]")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]+)(.*)", re.DOTALL)


class Rejected(PeerError):
    """A request that ends its connection: ``http_status`` and, for 405, what is allowed."""

    def __init__(self, http_status: int, reason: str, *, allow: bytes | None = None) -> None:
        super().__init__(reason)
        self.http_status = http_status
        self.allow = allow


class RequestHead:
    """What a request says before its body.

    ``target`` is the request target in origin form (or ``*``) as it was sent; ``fields`` are
    the header fields in their order. ``body_bytes`` is the declared length of the body, -1
    when it is chunked. ``persistent`` says whether the peer wants to keep the connection.
    ``keys`` are the values of ``Idempotency-Key``, ``content_type``, ``referer`` and
    ``user_agent`` the first of those fields. ``asked`` is what it asks of a
    declared route, False when none takes it, None when that is not known yet;
    ``requested`` is what the access log tells of it, None before it was told. Many requests
    may share a head: nothing else changes once it is read.
    """

    __slots__ = (
        "asked", "body_bytes", "content_type", "expects_continue", "fields", "host", "http11",
        "keys", "method", "persistent", "referer", "requested", "target", "user_agent",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, *, http11: bool) -> None:
        self.method = method
        self.target = target
        self.http11 = http11
        self.fields: list[tuple[bytes, bytes]] = []
        self.host: bytes | None = None
        self.keys: tuple[bytes, ...] = ()
        self.body_bytes = 0
        self.persistent = http11
        self.expects_continue = False
        self.content_type: bytes | None = None
        self.referer: bytes | None = None
        self.user_agent: bytes | None = None
        self.asked: Any = None
        self.requested: Any = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field from llhttp."""
        self.fields.append((name, value.rstrip(b" \t")))

    @property
    def is_bare(self) -> bool:
        """Whether its method and its target say all: no body comes, and no key."""
        return not (self.body_bytes or self.keys)


def after_empty_lines(data: bytes) -> bytes:
    """Return what follows the empty lines at the beginning (RFC 9112 section 2.2)."""
    match = _EMPTY_LINES.match(data)
    return data[match.end() :] if match else data


def check_partial(data: bytes, limits: Limits) -> None:
    """Raise ``Rejected`` for a head that is not whole yet and can only get worse."""
    line_end = data.find(b"\r\n")
    line = data.removesuffix(b"\r") if line_end < 0 else data[:line_end]
    if len(line) > limits.http_request_line_bytes_max:
        raise Rejected(414, "the request line is too long")
    if _LINE_FAULT.search(line):
        raise Rejected(400, "the request line holds bytes that no request line has")
    if line_end >= 0:
        _read_line(data, line_end)
        if len(data) - line_end > limits.http_header_bytes_max + len(HEAD_END):
            raise Rejected(431, "the header fields are too long")
        if data.count(b"\n") != data.count(b"\r\n"):  # a tenth of the time of a look behind each
            raise Rejected(400, "a line of the header ends without CR")


def parse_head(data: bytes, limits: Limits) -> RequestHead:
    """Return the head that ``data`` holds, empty line included; raise ``Rejected``."""
    line_end = data.find(b"\r\n")
    if line_end > limits.http_request_line_bytes_max:
        raise Rejected(414, "the request line is too long")
    if len(data) - line_end > limits.http_header_bytes_max + len(HEAD_END):
        raise Rejected(431, "the header fields are too long")
    head = _read_line(data, line_end)
    _read_fields(head, data[line_end + 2 :])
    if len(head.fields) > limits.http_headers_max:
        raise Rejected(431, "there are too many header fields")
    _weigh_fields(head)
    _settle_target(head)
    if head.method in {b"TRACE", b"CONNECT"}:
        raise Rejected(405, f"{head.method.decode()} is not served here", allow=ALLOWED_METHODS)
    return head


class HeadReader:
    """Reads heads, and knows again those that came before: the same bytes say the same.

    A client asks with the same few heads again and again. Only short heads that came twice are
    kept, so many of those without a body and as many of those with one; then all of that kind are
    forgotten.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._alone: dict[bytes, RequestHead] = {}
        self._before_body: dict[bytes, RequestHead] = {}
        self._seen: set[int] = set()
        self._aside: tuple[bytes, RequestHead] | None = None  # read, and not yet asked for
        self.known = self._alone.get
        """Returns the head without a body that these very bytes were before, or None."""

    def read(self, data: bytes) -> RequestHead:
        """Return the head that ``data`` holds; see ``parse_head``. It may be shared."""
        head = self._alone.get(data) or self._before_body.get(data)
        if head is None:
            aside, self._aside = self._aside, None
            if aside is not None and aside[0] == data:
                return aside[1]
            head = parse_head(data, self._limits)
            if len(data) <= _KNOWN_HEAD_BYTES_MAX and self._comes_again(data):
                kept = self._before_body if head.body_bytes else self._alone
                if len(kept) >= _KNOWN_HEADS_MAX:
                    kept.clear()
                kept[data] = head
        return head

    def _comes_again(self, data: bytes) -> bool:
        """Say whether a head was seen before; and note it, if only by a number.

        To keep each that comes once would fill the processor's caches for nothing.
        """
        number = hash(data)
        if number in self._seen:
            self._seen.remove(number)
            return True
        if len(self._seen) >= _KNOWN_HEADS_MAX:
            self._seen.clear()
        self._seen.add(number)
        return False

    def whole(self, data: bytes) -> tuple[RequestHead, BytesIO | None] | None:
        """Return the head and the body that ``data`` is, as nearly all that comes is.

        None for anything else, be it more, less, too large, malformed or in chunks.
        """
        end = data.find(HEAD_END, 0, _KNOWN_HEAD_BYTES_MAX) + len(HEAD_END)
        if end < len(HEAD_END) or data.startswith(b"\r"):
            return None
        head_bytes = data[:end]
        try:
            head = self.read(head_bytes)
        except Rejected:
            return None
        size = len(data) - end
        if head.body_bytes != size or size > self._limits.http_body_bytes_max:
            self._aside = head_bytes, head
            return None
        return head, BytesIO(data[end:]) if size else None


def _read_line(data: bytes, end: int) -> RequestHead:
    match = _REQUEST_LINE.fullmatch(data, 0, end)
    if match is None:
        raise Rejected(400, "the request line is malformed")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise Rejected(505, "this server speaks HTTP/1.1")
    return RequestHead(method, target, http11=minor != b"0")


def _read_fields(head: RequestHead, fields: bytes) -> None:
    # llhttp knows a list of methods and of versions; here any token is a method, and a later
    # minor version is read as the one we know (RFC 9110 section 2.5). So it gets another line.
    try:
        httptools.HttpRequestParser(head).feed_data(b"GET / HTTP/1.1\r\n" + fields)
    except httptools.HttpParserUpgrade:
        return  # llhttp stops after the head of an Upgrade; the head is all we gave
    except httptools.HttpParserError as error:
        raise Rejected(400, f"the request is malformed: {error}") from None


def _weigh_fields(head: RequestHead) -> None:
    fields = head.fields
    first = {name.lower(): value for name, value in reversed(fields)}

    def said(sought: bytes) -> list[bytes]:
        if sought not in first:
            return []
        if len(first) == len(fields):  # no name stands twice
            return [first[sought]]
        return [value for name, value in fields if name.lower() == sought]

    for expectation in said(b"expect"):
        _weigh_expectation(head, expectation)
    _weigh_hosts(head, said(b"host"))
    if b"connection" in first:
        _weigh_options(head, b",".join(said(b"connection")))
    if b"content-length" in first:
        head.body_bytes = int(first[b"content-length"])  # digits, once: llhttp refused the rest
    if b"transfer-encoding" in first:
        _weigh_codings(head, said(b"transfer-encoding"))
    head.keys = tuple(said(b"idempotency-key"))
    head.content_type = first.get(b"content-type")
    head.referer = first.get(b"referer")
    head.user_agent = first.get(b"user-agent")


def _weigh_hosts(head: RequestHead, hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (not hosts and head.http11):
        raise Rejected(400, "a request has one Host field")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Rejected(400, "the Host field is malformed")
    head.host = hosts[0] if hosts else None


def _weigh_options(head: RequestHead, listed: bytes) -> None:
    options = {option.strip(b" \t") for option in listed.lower().split(b",")}
    if b"close" in options:
        head.persistent = False
    elif b"keep-alive" in options:
        head.persistent = True


def _weigh_expectation(head: RequestHead, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise Rejected(417, "the expectation is not known")
    head.expects_continue = head.http11


def _weigh_codings(head: RequestHead, codings: list[bytes]) -> None:
    if not head.http11:
        raise Rejected(400, "HTTP/1.0 has no Transfer-Encoding")
    if [coding.lower() for coding in codings] != [b"chunked"]:  # none beside a Content-Length
        raise Rejected(501, "the only transfer coding known here is chunked")
    head.body_bytes = -1


def _settle_target(head: RequestHead) -> None:
    target = head.target
    if target.startswith(b"/") or (target == b"*" and head.method == b"OPTIONS"):
        return
    if head.method == b"CONNECT":
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise Rejected(400, "the request target is malformed")
    # RFC 9112 section 3.2.2: the target's own authority replaces the Host field.
    head.host = absolute[1]
    head.fields = [
        (name, absolute[1] if name.lower() == b"host" else value) for name, value in head.fields
    ]
    rest = absolute[2]
    head.target = rest if rest.startswith(b"/") else b"/" + rest
