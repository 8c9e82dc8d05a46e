"""The queue of mail as an operator sees it: what is owed, and two ways to change that."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed

from happy.bounces import Bounces
from happy.effects import Outbox, Owed, SendMail, Timer
from happy.errors import Busy, HandlerFailed
from happy.event import MailDelayed, MailFailed, MailSending, event
from happy.mail_queue import LISTED_MAX, MailQueue
from happy.return_paths import ReturnPaths

NOW_NS = 5_000


@event
class Wake:
    pass


class Stream:
    """As much of a stream as is asked."""

    def __init__(self):
        self.debts = self.clock = self
        self.outbox = Outbox()
        self.bounces = Bounces(ReturnPaths(b"key"))
        self.events = []
        self.error = None

    def now_ns(self):
        return NOW_NS

    def owe(self, seq, recipient="bob@x.example"):
        mail = SendMail(recipient, "ann@y.example", b"Subject: \xff\r\n\r\n", b"Hello.\r\n", 0, "t")
        self.outbox.owe(Owed((seq, 0), mail, 1_000, 2_000))

    def submit(self, told, exchange):
        if isinstance(self.error, Busy):
            return fail(self.error)
        self.events.append((told, exchange.source))
        exchange.seqs.append(70)
        self.outbox.settle(told)
        return succeed(None) if self.error is None else fail(self.error)


@pytest.fixture
def stream():
    made = Stream()
    made.owe(17)
    return made


@pytest.fixture
def queue(stream):
    return MailQueue({"lists": stream, "other": Stream()})


def answer(queue, line):
    found = queue.command(*line.split())
    if isinstance(found, dict):
        return found
    answers = []
    found.addCallback(answers.append)
    return answers[0]


ROW = {
    "id": "lists/17.0",
    "state": "pending",
    "ambiguous": False,
    "recipient": "bob@x.example",
    "reverse_path": "ann@y.example",
    "tag": "t",
    "attempts": 0,
    "since_ns": 1_000,
    "due_ns": 2_000,
    "size_bytes": 22,
}


def test_what_is_owed_is_listed(queue, stream):
    """Mail and nothing else, of one application or all."""
    stream.outbox.owe(Owed((18, 0), Timer(Wake()), 0, 0))
    for line in ("ls", "ls lists"):
        assert answer(queue, line) == {"mail": [ROW], "count": 1}
    assert answer(queue, "ls other") == {"mail": [], "count": 0}
    assert answer(queue, "show lists 17.0") == {**ROW, "header": "Subject: \ufffd\r\n\r\n"}


def test_a_long_queue_is_listed_in_part(queue, stream):
    """The first of them, and how many there are."""
    for seq in range(18, 18 + LISTED_MAX):
        stream.owe(seq)
    found = answer(queue, "ls")
    assert (len(found["mail"]), found["count"]) == (LISTED_MAX, LISTED_MAX + 1)


def test_a_message_is_sent_now_by_an_event(queue, stream):
    """It was delayed until now; how often it was tried stays as it is."""
    stream.outbox.settle(MailDelayed(17, 0, "bob@x.example", 4, 10**15, ambiguous=True))
    assert answer(queue, "redeliver lists 17.0") == {
        "id": "lists/17.0", "done": "redeliver", "seq": 70,
    }  # fmt: skip
    ((told, source),) = stream.events
    assert source == "operator"
    assert (told.attempts, told.retry_ns) == (4, NOW_NS)
    owed = stream.outbox.get((17, 0))
    assert (owed.due_ns, owed.state) == (NOW_NS, "ambiguous")


@pytest.mark.parametrize("error", [None, HandlerFailed("lists/70")])
def test_a_message_is_given_up_by_an_event(queue, stream, error):
    """The application hears that it failed; that its handler fails on it does not keep it owed."""
    stream.error = error
    assert answer(queue, "bounce lists 17.0")["done"] == "bounce"
    ((told, _),) = stream.events
    assert told == MailFailed(
        17, 0, "bob@x.example", "ann@y.example", "t", "5.0.0 given up by the operator"
    )
    assert answer(queue, "ls")["count"] == 0


def test_what_is_being_sent_is_left_alone(queue, stream):
    """Nobody knows yet what comes of it."""
    stream.outbox.settle(MailSending(17, 0, "bob@x.example", 1))
    for verb in ("redeliver", "bounce"):
        assert "being sent just now" in answer(queue, f"{verb} lists 17.0")["error"]
    assert stream.events == []


def test_a_stream_without_room_says_so(queue, stream):
    """Then nothing has changed."""
    stream.error = Busy("the queue is full")
    assert "the queue is full" in answer(queue, "bounce lists 17.0")["error"]
    assert answer(queue, "ls")["count"] == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ls x", "there is no application x"),
        ("ls x y", "mail has ls"),
        ("show lists", "mail has ls"),
        ("eat lists 17.0", "mail has ls"),
        ("show x 17.0", "there is no application x"),
        ("show lists 17", "no such message is owed"),
        ("show lists 18.0", "no such message is owed"),
        ("bounce lists -1.0", "no such message is owed"),
        ("bounce lists \u00b2.0", "no such message is owed"),
        ("bounce lists " + "9" * 500 + ".0", "no such message is owed"),
    ],
)
def test_what_is_not_understood_is_said_so(queue, line, sentence):
    """One sentence, and nothing done."""
    assert sentence in answer(queue, line)["error"]
