"""A smarthost that keeps what it is given: a server of few words, in a thread of its own."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time

WAIT_S_MAX = 60


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # killed in the middle, as tests do
            self.converse()

    def converse(self) -> None:
        self.say("220 sink ESMTP")
        sender, recipients = "", []
        while line := self.rfile.readline().decode("latin-1").strip():
            verb = line.partition(" ")[0].upper()
            if verb == "EHLO":
                self.say("250-sink\r\n250-8BITMIME\r\n250 SIZE 100000000")
            elif verb == "MAIL":
                sender, recipients = line.partition("<")[2].partition(">")[0], []
                self.say("250 2.1.0 Ok")
            elif verb == "RCPT":
                recipients.append(line.partition("<")[2].partition(">")[0])
                refusal = self.server.refuse(recipients[-1])
                self.say(refusal or "250 2.1.5 Ok")
            elif verb == "DATA":
                self.say("354 go on")
                self.server.keep(sender, tuple(recipients), self.message())
                self.say("250 2.0.0 Ok")
            elif verb == "QUIT":
                self.say("221 2.0.0 Bye")
                return
            else:
                self.say("250 2.0.0 Ok")

    def message(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return b""
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Sink(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1; ``messages`` are (sender, recipients, bytes)."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.messages: list[tuple[str, tuple[str, ...], bytes]] = []
        self.refuse = lambda _recipient: None
        self._news = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def keep(self, sender: str, recipients: tuple[str, ...], message: bytes) -> None:
        with self._news:
            self.messages.append((sender, recipients, message))
            self._news.notify_all()

    def wait_for(self, count: int, part: bytes = b"") -> list[tuple[str, tuple[str, ...], bytes]]:
        """Wait until so many messages came that hold ``part``; return them."""
        until = time.monotonic() + WAIT_S_MAX
        with self._news:
            while True:
                found = [message for message in self.messages if part in message[2]]
                if len(found) >= count:
                    return found
                if not self._news.wait(until - time.monotonic()):
                    raise AssertionError(f"{len(found)} of {count} messages came: {self.messages}")

    def close(self) -> None:
        self.shutdown()
        self.server_close()
