"""The queue of mail as an operator sees it: what is owed or held, and what is done about it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed

from happy.bounces import Bounces
from happy.effects import SETTLING, Outbox, Owed, SendMail, Timer
from happy.errors import HandlerFailed
from happy.event import Mail, event
from happy.holds import HOLDING, Holds
from happy.mail_again import NotDone
from happy.mail_queue import LISTED_MAX, MailQueue
from happy.return_paths import ReturnPaths

NOW_NS = 5_000
MAIL = Mail("ann@y.example", ("dev@x.example",), b"\r\n", b"\r\nHello.\r\n")


@event
class Wake:
    pass


class Stream:
    """As much of a stream as is asked."""

    def __init__(self):
        self.debts = self.clock = self
        self.outbox = Outbox()
        self.bounces = Bounces(ReturnPaths(b"key"))
        self.holds = Holds()
        self.events = []
        self.error = None

    def now_ns(self):
        return NOW_NS

    def effect_key(self, effect_id):
        return "key-{}-{}".format(*effect_id)

    def owe(self, seq, recipient="bob@x.example"):
        mail = SendMail(recipient, "ann@y.example", b"Subject: \xff\r\n\r\n", b"Hello.\r\n", 0, "t")
        self.outbox.owe(Owed((seq, 0), mail, 1_000, 2_000))

    def submit(self, told, exchange):
        self.events.append((told, exchange.source))
        exchange.seqs.append(70)
        if isinstance(told, SETTLING):
            self.outbox.settle(told)
        elif isinstance(told, HOLDING):
            self.holds.owe(told, 70, NOW_NS, self.outbox)
            self.holds.take(told, 70, NOW_NS)
        return succeed(None) if self.error is None else fail(self.error)


@pytest.fixture
def stream():
    made = Stream()
    made.owe(17)
    return made


@pytest.fixture
def queue(stream):
    def mail_at(_name, seq):
        return succeed(MAIL) if seq == 4 else fail(NotDone(f"there is no seq {seq}"))

    return MailQueue({"lists": stream, "other": Stream()}, mail_at, "mx.example")


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
        assert answer(queue, line) == {"listed": [ROW], "count": 1}
    assert answer(queue, "ls other") == {"listed": [], "count": 0}
    assert answer(queue, "show lists 17.0") == {**ROW, "header": "Subject: \ufffd\r\n\r\n"}


def test_a_long_queue_is_listed_in_part(queue, stream):
    """The first of them, and how many there are."""
    for seq in range(18, 18 + LISTED_MAX):
        stream.owe(seq)
    found = answer(queue, "ls")
    assert (len(found["listed"]), found["count"]) == (LISTED_MAX, LISTED_MAX + 1)


@pytest.mark.parametrize("error", [None, HandlerFailed("lists/70")])
def test_an_act_is_an_event_with_who_it_was(queue, stream, error):
    """That the application fails on it does not undo it."""
    stream.error = error
    assert answer(queue, "bounce lists 17.0 Ann%20B.") == {
        "id": "lists/17.0", "done": "bounce", "seq": 70,
    }  # fmt: skip
    ((told, source),) = stream.events
    assert (told.reply, source) == ("5.0.0 given up by the operator", "operator Ann B.")
    assert answer(queue, "ls")["count"] == 0


def test_what_is_held_is_listed_with_who_and_why(queue, stream):
    """What is owed first, then what came in."""
    assert answer(queue, "hold lists 17.0 root wait%20for%20it")["done"] == "hold"
    assert answer(queue, "hold lists 4 root")["done"] == "hold"
    why = {"state": "held", "held_ns": NOW_NS, "who": "root", "reason": "wait for it"}
    assert answer(queue, "held") == {
        "listed": [{**ROW, **why}, {"id": "lists/4", **why, "reason": ""}], "count": 2,
    }  # fmt: skip
    assert answer(queue, "ls")["listed"] == [{**ROW, **why}]
    assert answer(queue, "held other") == {"listed": [], "count": 0}
    for place in ("17.0", "4"):
        assert answer(queue, f"release lists {place} root")["done"] == "release"
    assert answer(queue, "held")["count"] == 0


def test_a_message_that_came_in_is_handled_again_or_returned(queue, stream):
    """The same words as for one that is owed, with its place."""
    assert answer(queue, "redeliver lists 4 root")["done"] == "redeliver"
    assert stream.events[-1] == (MAIL, "redelivery of 4 by root")
    assert answer(queue, "bounce lists 4 root no%20such%20list")["done"] == "bounce"
    returned, source = stream.events[-1]
    assert (returned.event_seq, returned.reverse_path, returned.who, returned.reason) == (
        4, "ann@y.example", "root", "no such list",
    )  # fmt: skip
    assert source == "operator root"
    assert "there is no seq 5" in answer(queue, "redeliver lists 5 root")["error"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ls x", "there is no application x"),
        ("ls x y", "mail has ls"),
        ("show lists", "mail has ls"),
        ("eat lists 17.0", "mail has ls"),
        ("hold lists 17.0 root why more", "mail has ls"),
        ("unsuppress bob@x.example", "bob@x.example is not suppressed"),
        ("show x 17.0", "there is no application x"),
        ("show lists 17", "no such message is owed"),
        ("show lists 18.0", "no such message is owed"),
        ("bounce lists -1.0", "lists/-1.0 is no message"),
        ("bounce lists \u00b2.0", "is no message"),
        ("bounce lists " + "9" * 500 + ".0", "is no message"),
    ],
)
def test_what_is_not_understood_is_said_so(queue, line, sentence):
    """One sentence, and nothing done."""
    assert sentence in answer(queue, line)["error"]
