"""Requests that servers are known to read differently, and what is to become of each here.

``/@`` stands for the path of the application. Where happy and h11 are to differ the reason
stands beside it, by section of RFC 9110 or RFC 9112.
"""

from __future__ import annotations

import enum

from attrs import frozen


class Than(enum.Enum):
    """How happy's door stands to h11."""

    SAME = "the same"
    STRICTER = "refuses what h11 takes"
    LAXER = "takes what h11 refuses or ends"


@frozen
class Shape:
    """Some bytes on a connection; ``instead`` is what h11 is to hear in place of them."""

    name: str
    wire: bytes
    than: Than = Than.SAME
    reason: str = ""
    instead: bytes | None = None


HOST = b"Host: x\r\n"
INNER = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(fields: bytes = b"", *, host: bytes = HOST, line: bytes = b"GET /@?n=1 HTTP/1.1") -> bytes:
    """Return a request without a body."""
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields: bytes, body: bytes, line: bytes = b"POST /@?n=2 HTTP/1.1") -> bytes:
    """Return a request with a body."""
    return get(fields, line=line) + body


def chunks(body: bytes) -> bytes:
    """Return a request with a body in chunks."""
    return post(CHUNKED, body)


def same(shapes: dict[str, bytes]) -> list[Shape]:
    return [Shape(name, wire) for name, wire in shapes.items()]


def stricter(reason: str, shapes: dict[str, bytes]) -> list[Shape]:
    return [Shape(name, wire, Than.STRICTER, reason) for name, wire in shapes.items()]


VALID = same({
    "plain": get(),
    "case of names": b"GET /@?n=1 HTTP/1.1\r\nhOsT: x\r\nACCEPT: */*\r\n\r\n",
    "space around values": get(b"A: \t b \t\r\nB:\r\nC:c\r\n"),
    "every token character": get(b"!#$%&'*+-.^_`|~09Az: \"quoted\", (comment)\r\n"),
    "obs-text": get(b"A: \x80\xff\r\n"),
    "empty host": get(host=b"Host:\r\n"),
    "host with port": get(host=b"Host: [::1]:8080\r\n"),
    "99 fields": get(b"A: b\r\n" * 98),
    "sized body": post(b"Content-Length: 5\r\n", b"\r\n\0\xffx"),
    "empty body": post(b"Content-Length: 0\r\n", b""),
    "length with zeros": post(b"Content-Length: \t 0005 \r\n", b"GET /"),
    "body like a request": post(b"Content-Length: %d\r\n" % len(INNER), INNER),
    "chunks": chunks(b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"),
    "no chunks": chunks(b"0\r\n\r\n"),
    "case of chunked": post(b"transfer-encoding:CHUNKED\r\n", b"1\r\nx\r\n0\r\n\r\n"),
    "chunk size with zeros": chunks(b"00000a\r\n0123456789\r\n000\r\n\r\n"),
    "chunk extensions": chunks(b'3;a;b=c;d="e f"\r\nabc\r\n0;last\r\n\r\n'),
    "chunk extension of obs-text": chunks(b'3;a="\xe4"\r\nabc\r\n0\r\n\r\n'),
    "trailers": chunks(b"1\r\nx\r\n0\r\nA: b\r\nContent-Length: 9\r\nHost:\r\n\r\n"),
    "chunk like an end": chunks(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    "pipeline": get() + post(b"Content-Length: 1\r\n", b"x") + chunks(b"1\r\ny\r\n0\r\n\r\n"),
    "close": get(b"Connection: close\r\n"),
    "close in a list": get(b"Connection: , x,\tClose ,\r\n"),
    "close in the second field": get(b"Connection: keep-alive\r\nConnection: close\r\n"),
    "close with a body": post(b"Content-Length: 1\r\nConnection: close\r\n", b"x"),
    "keep-alive": get(b"Connection: keep-alive\r\n"),
    "HTTP/1.0": b"GET /@?n=1 HTTP/1.0\r\n\r\n",
    "HTTP/1.0 with a body": b"POST /@?n=2 HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0 close and keep-alive": b"GET /@?n=1 HTTP/1.0\r\nConnection: close\r\n"
    b"Connection: keep-alive\r\n\r\n",
    "HTTP/1.0 expectation": b"POST /@?n=2 HTTP/1.0\r\nExpect: 100-continue\r\n"
    b"Content-Length: 1\r\n\r\nx",
    "HTTP/1.2": get(line=b"GET /@?n=1 HTTP/1.2"),
    "other method": get(line=b"BREW /@?n=1 HTTP/1.1"),
    "method of another protocol": get(line=b"SOURCE /@?n=1 HTTP/1.1"),
    "method with a body": post(b"Content-Length: 1\r\n", b"x", b"PURGE /@?n=2 HTTP/1.1"),
    "absolute form": get(line=b"GET http://y:80/@?n=1 HTTP/1.1"),
    "absolute form in capitals": get(line=b"GET HTTPS://Y/@?n=1 HTTP/1.1"),
    "expectation": post(b"Expect: 100-Continue\r\nContent-Length: 1\r\n", b"x"),
    "expectation with chunks": post(b"Expect: 100-continue\r\n" + CHUNKED, b"1\r\nx\r\n0\r\n\r\n"),
    "expectation without a body": get(b"Expect: 100-continue\r\n"),
    "upgrade": get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "upgrade to HTTP/2": get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
    "upgrade with a body": post(b"Connection: upgrade\r\nUpgrade: x\r\n"
                                b"Content-Length: 1\r\n", b"x"),
    "half of a line": b"GET /@?n=1 HT",
    "half of a head": b"GET /@?n=1 HTTP/1.1\r\nHost: x\r\nA",
    "head without its end": get()[:-2],
    "half of a body": post(b"Content-Length: 1000\r\n", b"x"),
    "half of a chunk": chunks(b"FFF\r\nx"),
    "chunks without an end": chunks(b"1\r\nx\r\n"),
})  # fmt: skip

REFUSED = same({
    "no host": get(host=b""),
    "two hosts": get(HOST),
    "two hosts in HTTP/1.0": get(HOST, line=b"GET /@?n=1 HTTP/1.0"),
    "space before the colon": get(b"A : b\r\n"),
    "no colon": get(b"A\r\n"),
    "no name": get(b": b\r\n"),
    "space before the first field": get(host=b" Host: x\r\n"),
    "NUL in a name": get(b"A\0: b\r\n"),
    "NUL in a value": get(b"A: b\0c\r\n"),
    "bare CR in a value": get(b"A: b\rC: d\r\n"),
    "vertical tab as space": get(b"A: \x0bb\r\n"),
    "name of obs-text": get(b"\xc4: b\r\n"),
    "two lengths": post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"xy"),
    "list of two lengths": post(b"Content-Length: 1, 2\r\n", b"xy"),
    "signed length": post(b"Content-Length: +1\r\n", b"x"),
    "negative length": post(b"Content-Length: -1\r\n", b"x"),
    "hexadecimal length": post(b"Content-Length: 0x1\r\n", b"x"),
    "length of two words": post(b"Content-Length: 1 1\r\n", b"x"),
    "length with underscore": post(b"Content-Length: 1_0\r\n", b"x" * 10),
    "no length": post(b"Content-Length:\r\n", b""),
    "length in other digits": post("Content-Length: \u0661\r\n".encode(), b"x"),
    "length without end": post(b"Content-Length: " + b"9" * 23 + b"\r\n", b"x"),
    "unknown coding": post(b"Transfer-Encoding: gzip\r\n", b"x"),
    "two codings": post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity\r\n", b""),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
    "chunked in two fields": post(CHUNKED + CHUNKED, b"0\r\n\r\n"),
    "chunked and another": post(CHUNKED + b"Transfer-Encoding: x\r\n", b"0\r\n\r\n"),
    "nearly chunked": post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n"),
    "quoted chunked": post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"),
    "chunk size of no digits": chunks(b"x\r\n"),
    "empty chunk size": chunks(b"\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": chunks(b"-1\r\nx\r\n0\r\n\r\n"),
    "prefixed chunk size": chunks(b"0x1\r\nx\r\n0\r\n\r\n"),
    "chunk size with underscore": chunks(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    "space before a chunk size": chunks(b" 1\r\nx\r\n0\r\n\r\n"),
    "chunk size of LF": chunks(b"1\nx\r\n0\r\n\r\n"),
    "longer chunk than said": chunks(b"1\r\nxy\r\n0\r\n\r\n"),
    "chunk without its end": chunks(b"1\r\nx0\r\n\r\n"),
    "trailer without colon": chunks(b"0\r\nA\r\n\r\n"),
    "NUL in a trailer": chunks(b"0\r\nA: \0\r\n\r\n"),
    "no version": b"GET /@?n=1\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "version in small letters": get(line=b"GET /@?n=1 http/1.1"),
    "half a version": get(line=b"GET /@?n=1 HTTP/1"),
    "long version": get(line=b"GET /@?n=1 HTTP/1.10"),
    "two spaces": get(line=b"GET  /@?n=1 HTTP/1.1"),
    "space at the end": get(line=b"GET /@?n=1 HTTP/1.1 "),
    "space in the target": get(line=b"GET /@?n=1 x HTTP/1.1"),
    "tabs": get(line=b"GET\t/@?n=1\tHTTP/1.1"),
    "space at the beginning": get(line=b" GET /@?n=1 HTTP/1.1"),
    "no method": get(line=b"/@?n=1 HTTP/1.1"),
    "method of no token": get(line=b"G(T /@?n=1 HTTP/1.1"),
    "NUL in the target": get(line=b"GET /@?n=1\0 HTTP/1.1"),
    "CR in the target": get(line=b"GET /@?n=1\r HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "words": b"HELO x\r\n\r\n",
})  # fmt: skip

DIFFERENT = [
    *stricter("9112 2.2: a bare LF need not be taken for a line's end; where it is, and where "
              "it is not, is how requests are smuggled", {
        "lines of LF": b"GET /@?n=1 HTTP/1.1\nHost: x\n\n",
        "request line of LF": b"GET /@?n=1 HTTP/1.1\n" + HOST + b"\r\n",
        "field of LF": get(b"A: b\nC: d\r\n"),
        "head ends with LF": b"GET /@?n=1 HTTP/1.1\r\nHost: x\r\n\n",
        "trailer of LF": chunks(b"0\r\nA: b\n\r\n\r\n"),
    }),
    *stricter("9112 5.2: a line fold is rejected or replaced", {
        "folded field": get(b"A: b\r\n c\r\n"),
        "folded host": get(host=b"Host: x\r\n\ty\r\n"),
        "folded length": post(b"Content-Length:\r\n 1\r\n", b"x"),
        "folded trailer": chunks(b"0\r\nA: b\r\n c\r\n\r\n"),
    }),
    *stricter("9112 6.3: equal lengths may be taken for one, or refused", {
        "one length twice": post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"),
        "one length in a list": post(b"Content-Length: 1, 1\r\n", b"x"),
    }),
    *stricter("9112 6.1: a length beside chunks may be refused, and ought to raise an alarm", {
        "length before chunks": post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"),
        "length behind chunks": post(CHUNKED + b"Content-Length: 6\r\n", b"0\r\n\r\nG"),
        "no length beside chunks": post(b"Content-Length: 0\r\n" + CHUNKED, b"0\r\n\r\n"),
        "upgrade, length and chunks": post(b"Connection: upgrade\r\nUpgrade: x\r\n"
                                           b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"),
    }),
    *stricter("9112 6.1: chunks in HTTP/1.0 are a faulty framing", {
        "chunks in HTTP/1.0": post(CHUNKED, b"0\r\n\r\n", b"POST /@?n=2 HTTP/1.0"),
    }),
    *stricter("9110 5.5: control characters have no place in a value", {
        "control character": get(b"A: \x01\r\n"),
        "DEL": get(b"A: \x7f\r\n"),
    }),
    *stricter("9110 7.2: a Host that is none is answered with 400", {
        "host with a path": get(host=b"Host: x/y\r\n"),
        "host with a user": get(host=b"Host: u@x\r\n"),
        "two hosts in one field": get(host=b"Host: x, y\r\n"),
    }),
    *stricter("9112 3.2: none of the four forms of a target", {
        "fragment": get(line=b"GET /@?n=1#f HTTP/1.1"),
        "no slash": get(line=b"GET @?n=1 HTTP/1.1"),
        "star": get(line=b"GET * HTTP/1.1"),
        "other scheme": get(line=b"GET ftp://x/@?n=1 HTTP/1.1"),
        "user in the target": get(line=b"GET http://u@x/@?n=1 HTTP/1.1"),
        "no authority": get(line=b"GET http:///@?n=1 HTTP/1.1"),
    }),
    *stricter("9110 9.3.6 and 9.3.8: a tunnel and an echo of secrets are not served", {
        "CONNECT": get(line=b"CONNECT x:80 HTTP/1.1"),
        "TRACE": get(line=b"TRACE /@?n=1 HTTP/1.1"),
    }),
    *stricter("9110 10.1.1: an expectation that is not known may be answered 417", {
        "other expectation": get(b"Expect: x\r\n"),
    }),
    *stricter("9112 11.2: the one coding in an odd spelling, which a proxy may not know again", {
        "tab behind chunked": post(b"Transfer-Encoding: chunked\t\r\n", b"0\r\n\r\n"),
    }),
    *stricter("9112 7.1: the grammar has no space there", {
        "space behind a chunk size": chunks(b"1 \r\nx\r\n0\r\n\r\n"),
    }),
    *stricter("9112 7.1: a chunk is not as large as that", {
        "chunk size of 17 digits": chunks(b"0" * 16 + b"1\r\nx\r\n0\r\n\r\n"),
    }),
    *stricter("9112 7.1.1: extensions have a bound", {
        "long chunk extension": chunks(b"1;" + b"x" * 300 + b"\r\nx\r\n0\r\n\r\n"),
    }),
    *stricter("9112 2.3: another major version is another protocol", {
        "HTTP/2.0": get(line=b"GET /@?n=1 HTTP/2.0"),
        "HTTP/0.9 with a version": get(line=b"GET /@?n=1 HTTP/0.9"),
        "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    }),
    *stricter("9112 3 and 9110 5.4: 414 and 431 beyond the bounds of limits.py", {
        "long target": get(line=b"GET /@?n=1&" + b"x" * 8_192 + b" HTTP/1.1"),
        "long header": get(b"A: " + b"b" * 16_500 + b"\r\n"),
        "too many fields": get(b"A: b\r\n" * 100),
    }),
    Shape("empty lines before", b"\r\n\r\n" + get(), Than.LAXER,
          "9112 2.2: an empty line before a request ought to be ignored", get()),
    Shape("empty line behind a body", post(b"Content-Length: 1\r\n", b"x") + b"\r\n" + get(),
          Than.LAXER, "9112 2.2: as above: old clients end a body so",
          post(b"Content-Length: 1\r\n", b"x") + get()),
    Shape("LF before", b"\n" + get(), Than.SAME),
    Shape("CR before", b"\r" + get(), Than.SAME),
    Shape("HTTP/1.0 keep-alive", b"GET /@?n=1 HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
          Than.LAXER, "9112 C.2.2: an HTTP/1.0 client may ask to keep the connection", get()),
    Shape("space before an extension", chunks(b"1 ;a\r\nx\r\n0\r\n\r\n"), Than.LAXER,
          "9112 7.1.1: bad whitespace there is to be parsed and removed",
          chunks(b"1;a\r\nx\r\n0\r\n\r\n")),
    Shape("space in extensions", chunks(b"1 ; a = b\r\nx\r\n0\r\n\r\n"), Than.LAXER,
          "9112 7.1.1: as above", chunks(b"1;a=b\r\nx\r\n0\r\n\r\n")),
]  # fmt: skip

SHAPES = [*VALID, *REFUSED, *DIFFERENT]
