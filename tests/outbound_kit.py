"""Mail out over real sockets, to real servers that refuse, hang up and take what they are given."""

from __future__ import annotations

import getpass
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import succeed

from conftest import need
from edge_kit import answers, free_port, wait_until
from happy.effects import Outbox, Owed, SendMail
from happy.event import MailSending
from happy.limits import Limits
from happy.wire.smtp_out import MailOut

NS = 1_000_000_000
DEADLINE_S = 60
HEADER = b"From: ann@y.example\r\nSubject: hello\r\n\r\n"


class Post:
    """An outbox and its runner on the reactor; its time is put forward, not waited for."""

    def __init__(self, hops, **limits):
        self.outbox = Outbox()
        self.events = []
        self._ahead_ns = 0
        self.out = MailOut(
            name="desk",
            hops=hops,
            submit=self._submit,
            open_blob=None,
            key_of=lambda effect_id: "{}-{}".format(*effect_id),
            owed_now=self.outbox.get,
            limits=Limits(**limits),
            identity="happy.example",
            clock=reactor,
            time_ns=self._now_ns,
            chance=random.Random(3),
        )

    def owe(self, *recipients, reverse_path="ann@y.example", content=b"Hello.\r\n"):
        """Owe a message to each recipient, and begin to send it."""
        for recipient in recipients:
            mail = SendMail(recipient, reverse_path, HEADER, content)
            effect_id = (len(self.events) + len(self.outbox) + 1, 0)
            self.outbox.owe(Owed(effect_id, mail, self._now_ns(), self._now_ns()))
        self.outbox.commit()
        self._look()

    def go_on_to_the_next_attempt(self, hops=None):
        """Put the time forward to when the next attempt is due; that may go another way."""
        if hops is not None:
            self.out._hops = hops
        self._ahead_ns += self.outbox.next_due_ns() - self._now_ns()
        self._look()

    def wait_for(self, true, what):
        """Turn the reactor until something is true."""
        deadline = reactor.seconds() + DEADLINE_S
        while not true():
            assert reactor.seconds() < deadline, f"not in time: {what}; so far: {self.events}"
            reactor.iterate(0.01)

    def wait_for_ends(self, count):
        """Wait for so many ends in all; return them."""
        self.wait_for(lambda: len(self.ends) >= count, f"{count} ends")
        return self.ends

    @property
    def ends(self):
        return [event for event in self.events if not isinstance(event, MailSending)]

    def close(self):
        stopped = []
        self.out.stop().addBoth(stopped.append)
        self.wait_for(lambda: stopped, "the stop")

    def _submit(self, event):
        self.events.append(event)
        self.outbox.settle(event)
        self.outbox.commit()
        return succeed(None)

    def _look(self):
        for owed in self.outbox.due(self._now_ns()):
            self.out.perform(owed)

    def _now_ns(self):
        return int(reactor.seconds() * NS) + self._ahead_ns


class SmtpSink:
    """A running smtp-sink, and the messages that it took."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    @property
    def messages(self) -> list[bytes]:
        """What it dumped, envelope and peer as fields before the message."""
        return [path.read_bytes() for path in sorted(self.folder.iterdir())]


@contextmanager
def smtp_sink(folder: Path, *options: str) -> Iterator[SmtpSink]:
    """Run Postfix's smtp-sink with some options, for as long as it takes."""
    folder.mkdir(exist_ok=True)
    one = SmtpSink(folder, free_port())
    user = ("-u", getpass.getuser()) if os.geteuid() == 0 else ()
    command = [
        need("smtp-sink"),
        *user,
        "-d",
        f"{folder}/%M.",
        *options,
        f"127.0.0.1:{one.port}",
        "20",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(one.port), "smtp-sink answers")
        yield one
    finally:
        process.kill()
        process.wait()
