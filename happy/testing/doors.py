"""The doors without sockets, for tests: words go in, what the door says is read back.

The protocols are the real ones; only their transport is a string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

_PEER: Final = IPv4Address("TCP", "127.0.0.1", 40_000)
_HOST: Final = IPv4Address("TCP", "127.0.0.1", 80)

Rest = Callable[[Callable[[], bool], str], None]
"""Lets the application come to rest, and complains when what was awaited did not come."""


@attrs.frozen
class Response:
    """An answer of the HTTP door; header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    def json(self) -> Any:
        """Return the body read as JSON."""
        return msgspec.json.decode(self.body)


@attrs.frozen
class MailReply:
    """What the mail door said to the end of a message, or to the first command it refused."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the message was taken."""
        return self.code == 250


class Wire(StringTransport):
    """Keeps what a protocol says, and knows whom to tell."""

    def __init__(self, factory: Any) -> None:
        super().__init__(_HOST, _PEER)
        self.protocol = factory.buildProtocol(_PEER)
        self.protocol.makeConnection(self)

    def draw(self) -> bool:
        """Ask a producer that waits to be asked, as a file does, for all it has; say yes."""
        told = -1
        while self.producer is not None and not self.streaming and self.io.tell() > told:
            told = self.io.tell()
            self.producer.resumeProducing()
        return True

    def hang_up(self) -> None:
        """End the connection, as a peer does who has read the last answer."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


def ask(  # noqa: PLR0913 - a request has as many parts
    factory: Any, rest: Rest, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> Response:
    """Send one request to an HTTP door and return its answer."""
    given = {"Host": "localhost", "Connection": "close", **headers}
    if body or method in {"POST", "PUT", "PATCH"}:
        given.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in given.items()), "", ""]
    wire = Wire(factory)
    wire.protocol.dataReceived("\r\n".join(lines).encode() + body)
    rest(wire.draw, "")
    rest(lambda: wire.disconnecting, f"{method} {path} was not answered")
    wire.hang_up()
    return _read_response(wire.value(), head_only=method == "HEAD")


def send_mail(
    factory: Any, rest: Rest, sender: str, recipients: tuple[str, ...], content: bytes
) -> MailReply:
    """Send one message to a mail door, like a client that waits for each reply."""
    wire = Wire(factory)

    def say(line: bytes) -> MailReply:
        if line:
            wire.clear()
            wire.protocol.dataReceived(line)
        rest(lambda: wire.value().endswith(b"\r\n"), "the mail door says nothing")
        last = wire.value().decode("utf-8").splitlines()[-1]
        return MailReply(int(last[:3]), last[4:])

    raw = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    lines = [line + b"\r\n" for line in raw.removesuffix(b"\r\n").split(b"\r\n")]
    stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in lines)
    commands = [
        "EHLO test.example",
        f"MAIL FROM:<{sender}>",
        *(f"RCPT TO:<{recipient}>" for recipient in recipients),
        "DATA",
    ]
    reply = say(b"")
    for command in commands:
        reply = say(command.encode() + b"\r\n")
        if reply.code >= 400:
            break
    else:
        reply = say(stuffed + b".\r\n")
    say(b"QUIT\r\n")
    wire.hang_up()
    return reply


def _read_response(raw: bytes, *, head_only: bool) -> Response:
    head, _, rest = raw.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = rest
    if headers.get("transfer-encoding") == "chunked" and not head_only:
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            count = int(size, 16)
            body += rest[:count]
            rest = rest[count + 2 :]
    return Response(int(status_line.split(" ")[1]), headers, body)
