"""Mail out: whose turn it is, what becomes of a message, and when it is tried again."""

from __future__ import annotations

import io
import random
import re
from collections import deque
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from happy.effects import Outbox, Owed, SendMail
from happy.errors import Busy, HandlerFailed, NoRoom
from happy.event import Blob, MailDelayed, MailFailed, MailSending, MailSent
from happy.holds import Holds
from happy.limits import Limits
from happy.system_events import MailHeld, MailReleased
from happy.wire.next_hop import Smarthost
from happy.wire.smtp_out import MailOut

NS = 1_000_000_000
HEADER = (
    b"Subject: hello\r\nMessage-ID: <1@app.example>\r\n"
    b"Date: Mon, 30 Nov 2026 08:00:00 +0000\r\n\r\n"
)
MAIL = SendMail("bob@x.example", "ann@y.example", HEADER, b"Hello.\r\n", tag="t")


class Line:
    """One connection to the smarthost in memory."""

    def __init__(self, house, client):
        self.house = house
        self.client = client
        self.transport = StringTransport()
        self.lost = False
        self.data = None
        self.recipient = None
        client.makeConnection(self.transport)
        self.reply("220 mx")

    def reply(self, word):
        if word == "drop":
            self.drop()
        elif word is not None:
            self.client.dataReceived(word.encode() + b"\r\n")

    def drop(self):
        if not self.lost:
            self.lost = True
            self.client.connectionLost(Failure(ConnectionDone()))

    def pump(self):
        """Take what the client has said, and answer it; say whether there was anything."""
        if self.lost:
            return False
        if self.transport.disconnecting:
            self.drop()
            return True
        if self.transport.producer is not None:
            self.transport.producer.resumeProducing()
        said = self.transport.value()
        self.transport.clear()
        for line in said.splitlines(keepends=True):
            self.take(line)
        return bool(said)

    def take(self, line):
        if self.data is not None:
            self.data += line
            if line == b".\r\n":
                message, self.data = self.data[:-3], None
                reply = self.house.answer("DOT", self.recipient)
                if reply is None or reply[0] in "2d":
                    self.house.taken.append((self.recipient, message))
                self.reply(reply)
            return
        verb = line.split()[0].decode()
        self.house.verbs.append(verb)
        if verb == "RCPT":
            self.recipient = re.search(rb"<(.*)>", line)[1].decode()
        reply = self.house.answer(verb, self.recipient)
        if verb == "DATA" and reply.startswith("354"):
            self.data = b""
        self.reply(reply)


class House:
    """A smarthost in memory, and everything else that a runner needs."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.lines = []
        self.verbs = []
        self.taken = []
        self.answers = {"DATA": ["354 go on"], "QUIT": ["221 bye"]}
        self.connecting = []
        self.refuse = False
        self.hold = False
        self.begun = []
        self.events = []
        self.errors = deque()
        self.errors_begun = deque()
        self.outbox = Outbox()
        self.holds = Holds()
        self.runner = self.make_runner(**limits)

    def make_runner(self, endpoint="self", sign=None, **limits):
        return MailOut(
            name="desk",
            hops=Smarthost(self) if endpoint == "self" else endpoint,
            submit=self.submit,
            open_blob=None,
            key_of=lambda effect_id: "key-{}-{}".format(*effect_id),
            owed_now=self.owed_now,
            limits=Limits(**limits),
            identity="happy.example",
            clock=self.clock,
            time_ns=self.time_ns,
            chance=random.Random(7),
            sign=sign,
        )

    def owed_now(self, effect_id):
        return self.outbox.get(effect_id)

    def time_ns(self):
        return int(self.clock.seconds() * NS)

    def answer(self, verb, recipient):
        answers = self.answers.get((verb, recipient)) or self.answers.get(verb, ["250 ok"])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def submit(self, event):
        if isinstance(event, MailSending):
            if self.errors_begun:
                return fail(self.errors_begun.popleft())
            self.begun.append(event)
        else:
            if self.errors:
                return fail(self.errors.popleft())
            self.events.append(event)
        self.outbox.settle(event)
        return succeed(None)

    def connect(self, factory):
        if self.refuse:
            return fail(ConnectError())
        if self.hold:
            self.connecting.append((Deferred(), factory))
            return self.connecting[-1][0]
        self.lines.append(Line(self, factory.buildProtocol(None)))
        return succeed(self.lines[-1].client)

    def go_on(self):
        """Let what waits for a connection have it."""
        self.hold = False
        for connecting, factory in self.connecting:
            self.connect(factory).chainDeferred(connecting)

    def say(self, event):
        """Take in what an operator says of a message; perform what is due then."""
        if isinstance(event, MailFailed):
            self.outbox.settle(event)
        else:
            self.holds.owe(event, 99, self.time_ns(), self.outbox)
        for owed in self.outbox.due(self.time_ns()):
            self.runner.perform(owed)

    def owe(self, seq, recipient="bob@x.example", attempts=0, since_s=None, header=HEADER):
        since_ns = self.time_ns() if since_s is None else since_s * NS
        mail = evolve(MAIL, recipient=recipient, header=header)
        owed = Owed((seq, 0), mail, since_ns, self.time_ns(), attempts)
        self.perform(owed)
        return owed

    def perform(self, owed):
        self.outbox.owe(owed)
        self.runner.perform(owed)

    def pump(self):
        while sum(line.pump() for line in self.lines):
            pass

    @property
    def open(self):
        return sum(not line.lost for line in self.lines)


@pytest.fixture
def caught():
    texts = []

    def observer(event):
        texts.append(formatEvent(event))

    globalLogPublisher.addObserver(observer)
    yield texts
    globalLogPublisher.removeObserver(observer)


def test_sent_mail_comes_back_as_an_event():
    """A message that was taken ends as MailSent, with the tag and the server's word."""
    house = House()
    house.owe(5)
    house.pump()
    assert house.taken == [("bob@x.example", HEADER + b"Hello.\r\n")]
    assert house.events == [MailSent(5, 0, "bob@x.example", "ann@y.example", "t", "250 ok")]
    assert house.open == 0
    assert house.clock.getDelayedCalls() == []


def test_the_log_calls_a_message_as_the_commands_do(caught):
    """What the log says can be given to `happy mail show`."""
    house = House()
    house.owe(5)
    house.pump()
    assert "mail desk/5.0 to bob@x.example: MailSent in the clear: 250 ok" in caught


def test_a_permanent_refusal_fails_at_once():
    """5xx ends the debt: MailFailed, at the first attempt; hard, when it is about the address."""
    for reply, hard in (("550 5.1.1 who?", True), ("554 5.7.1 not from you", False)):
        house = House()
        house.answers["RCPT"] = [reply]
        house.owe(5)
        house.pump()
        assert house.events == [
            MailFailed(5, 0, "bob@x.example", "ann@y.example", "t", reply, hard=hard)
        ]


def test_the_rest_waits_its_turn_in_order():
    """So many connections at once and no more; each takes the next message in the queue."""
    house = House(outbox_deliveries_max=3)
    names = [f"r{n}@x.example" for n in range(50)]
    for n, name in enumerate(names):
        house.owe(n, name)
    assert len(house.lines) == 3
    house.pump()
    assert len(house.lines) == 3
    assert [recipient for recipient, _ in house.taken] == names
    assert [event.recipient for event in house.events] == names
    assert house.open == 0


def test_a_connection_takes_a_bounded_number_of_messages():
    """After mail_out_messages_max messages a fresh connection is made."""
    house = House(outbox_deliveries_max=1, mail_out_messages_max=4)
    for n in range(10):
        house.owe(n)
    house.pump()
    assert len(house.events) == 10
    assert len(house.lines) == 3
    assert house.open == 0


def test_one_refusal_does_not_concern_the_next_message():
    """After a refused message the same connection goes on with the next."""
    house = House(outbox_deliveries_max=1)
    house.answers["RCPT", "bad@x.example"] = ["550 no"]
    for n, name in enumerate(["bad@x.example", "good@x.example"]):
        house.owe(n, name)
    house.pump()
    assert [type(event) for event in house.events] == [MailFailed, MailSent]
    assert len(house.lines) == 1


def test_a_stale_connection_costs_no_attempt():
    """A kept connection that dies before the next message began is replaced on the spot."""
    for last_word in ("421 too long", "drop"):
        house = House(outbox_deliveries_max=1)
        house.answers["RSET"] = [last_word, "250 ok"]
        house.owe(1)
        house.owe(2)
        house.pump()
        assert [type(event) for event in house.events] == [MailSent, MailSent]
        assert len(house.lines) == 2


@given(st.integers(0, 10_000), st.integers(0, 2**32))
def test_the_pause_doubles_up_to_its_bound(attempts, seed):
    """The n-th pause is mail_out_retry_s doubled n times, bounded, at most a quarter sooner."""
    house = House(mail_out_retry_s=100, mail_out_retry_max_s=4_000)
    house.runner._chance = random.Random(seed)
    house.refuse = True
    house.owe(3, attempts=attempts)
    (event,) = house.events
    assert isinstance(event, MailDelayed)
    assert event.attempts == attempts + 1
    pause_s = (event.retry_ns - house.time_ns()) / NS
    nominal_s = min(100 * 2 ** min(attempts, 10), 4_000)
    assert 0.75 * nominal_s <= pause_s <= nominal_s


def test_pauses_are_spread():
    """What failed together does not come back together."""
    house = House()
    house.refuse = True
    for n in range(20):
        house.owe(n)
    assert len({event.retry_ns for event in house.events}) == 20


@pytest.mark.parametrize(
    ("verb", "word"),
    [("RCPT", "450 later"), ("DOT", "451 later"), ("MAIL", "drop"), ("DOT", "drop")],
)
def test_trouble_for_now_is_a_delay(verb, word):
    """4xx and a lost connection: MailDelayed, and the debt's own next attempt is the outbox's."""
    house = House()
    house.answers[verb] = [word]
    house.owe(3, attempts=1)
    house.pump()
    (event,) = house.events
    assert isinstance(event, MailDelayed)
    assert (event.event_seq, event.n, event.attempts) == (3, 0, 2)
    assert event.retry_ns > house.time_ns()
    assert ("twice" in event.reply) == ((verb, word) == ("DOT", "drop"))
    assert house.clock.getDelayedCalls() == []


def test_the_same_bytes_go_out_at_every_attempt():
    """A second attempt sends the same message, so its Message-ID is the same."""
    house = House()
    house.answers["DOT"] = ["drop", "250 ok"]
    owed = house.owe(3)
    house.pump()
    house.perform(evolve(owed, attempts=1))
    house.pump()
    assert len(house.taken) == 2
    assert house.taken[0] == house.taken[1]


@pytest.mark.parametrize(
    "said",
    [MailHeld(2, 0), MailFailed(2, 0, "bob@x.example")],
    ids=lambda said: type(said).__name__,
)
def test_what_is_held_or_given_up_while_it_waits_its_turn_is_not_sent(said):
    """An operator is quicker than a queue: what was said before a message's turn came counts."""
    house = House(outbox_deliveries_max=1)
    house.owe(1)
    house.owe(2)
    house.say(said)
    house.pump()
    assert [begun.event_seq for begun in house.begun] == [1]
    assert len(house.taken) == 1


def test_what_is_held_while_its_server_is_reached_is_not_sent():
    """The place of both events in the order decides; the connection serves the next message."""
    house = House(outbox_deliveries_max=1)
    house.hold = True
    house.owe(1)
    house.owe(2)
    house.say(MailHeld(1, 0))
    house.go_on()
    house.pump()
    assert [end.event_seq for end in house.events] == [2]
    assert house.outbox.get((1, 0)).state == "held"
    house.say(MailReleased(1, 0))
    house.pump()
    assert [end.event_seq for end in house.events] == [2, 1]


def test_a_message_that_is_handed_out_twice_is_sent_once():
    """While it waits for its turn or is on its way, an operator's hurry makes no second copy."""
    house = House(outbox_deliveries_max=1)
    for _ in range(2):
        house.owe(1)
        house.owe(2)
    house.pump()
    assert len(house.taken) == 2
    house.owe(1)
    house.owe(2)
    house.pump()
    assert len(house.taken) == 4


def test_an_attempt_is_in_the_journal_before_the_message_is_on_its_way():
    """MailSending says which attempt it is; while it finds no room, no message is sent."""
    house = House()
    house.errors_begun.append(NoRoom("full"))
    house.owe(3, attempts=4)
    house.pump()
    assert "MAIL" not in house.verbs
    house.clock.advance(NoRoom.retry_after_s)
    house.pump()
    assert house.begun == [MailSending(3, 0, "bob@x.example", 5)]
    assert len(house.taken) == 1


def test_nothing_is_sent_that_could_not_be_noted():
    """When a stop gives the note up, the message is not sent, and stays owed."""
    house = House()
    house.errors_begun.extend(NoRoom("full") for _ in range(3))
    house.owe(3)
    house.pump()
    stopped = house.runner.stop()
    house.pump()
    assert stopped.called
    assert (house.begun, house.events, house.taken) == ([], [], [])


@pytest.mark.parametrize(
    ("word", "ambiguous"),
    [("drop", True), (None, True), ("451 later", False), ("421 bye", False)],
)
def test_what_is_not_answered_after_the_dot_is_ambiguous(word, ambiguous):
    """RFC 1047: lost or silent after the last dot, it may have been taken; a 4xx says no."""
    house = House()
    house.answers["DOT"] = [word]
    house.owe(3)
    house.pump()
    house.clock.advance(Limits().mail_out_final_timeout_s)
    house.pump()
    (event,) = house.events
    assert isinstance(event, MailDelayed)
    assert event.ambiguous is ambiguous


@pytest.mark.parametrize("before", [{"ambiguous": True}, {"sending": True}], ids=str)
@pytest.mark.parametrize(
    ("word", "kind"), [("250 ok", MailSent), ("450 no", MailDelayed), ("550 no", MailFailed)]
)
def test_an_attempt_whose_end_is_not_known_stays_ambiguous(before, word, kind):
    """Also after a crash in its middle: whatever comes later says that it may be a second copy."""
    house = House()
    house.answers["DOT"] = [word]
    house.perform(Owed((3, 0), MAIL, house.time_ns(), 0, 1, **before))
    house.pump()
    (event,) = house.events
    assert isinstance(event, kind)
    assert event.ambiguous
    assert house.begun[0].attempt == (3 if "sending" in before else 2)


def test_a_message_without_id_and_date_gets_them_the_same_at_each_attempt():
    """They come from the effect's id and its moment, not from the attempt."""
    house = House()
    house.answers["DOT"] = ["drop", "250 ok"]
    mail = evolve(MAIL, header=b"Subject: hello\r\n\r\n")
    owed = Owed((3, 1), mail, 1_700_000_000 * NS, 0)
    for attempts in range(2):
        house.perform(evolve(owed, attempts=attempts))
        house.pump()
    first, second = (message for _, message in house.taken)
    assert first == second
    assert first == (
        b"Message-ID: <key-3-1@y.example>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        b"Subject: hello\r\n\r\nHello.\r\n"
    )


def test_a_message_is_given_up_after_its_lifetime():
    """Older than mail_out_lifetime_s and still refused: MailFailed, with the last reason."""
    house = House(mail_out_lifetime_s=1_000)
    house.answers["RCPT"] = ["450 later"]
    since_s = int(house.clock.seconds())
    for age_s, kind in [(999, MailDelayed), (1_000, MailFailed)]:
        house.clock.advance(since_s + age_s - house.clock.seconds())
        house.owe(3, attempts=8, since_s=since_s)
        house.pump()
        assert type(house.events[-1]) is kind
    assert house.events[-1].reply == "5.4.7 given up after 9 attempts, the last one: 450 later"
    assert house.events[-1].tag == "t"


@pytest.mark.parametrize("restarts_every", [0, 3])
def test_a_message_is_tried_for_five_days_through_any_restarts(restarts_every):
    """The schedule is a fold over events: pauses of 5 min to 70 min, for 5 days, then failed."""
    house = House()
    house.answers["RCPT"] = ["450 4.2.1 later"]
    first = Owed((3, 0), MAIL, house.time_ns(), house.time_ns())
    told, moments = [], []
    outbox = house.outbox
    outbox.owe(first)
    while len(outbox):
        house.clock.advance((outbox.next_due_ns() - house.time_ns()) / NS + 0.001)
        moments.append(house.clock.seconds())
        for owed in outbox.due(house.time_ns()):
            house.runner.perform(owed)
        house.pump()
        told += [house.begun.pop(), house.events.pop()]
        if restarts_every and len(moments) % restarts_every == 0:
            outbox = house.outbox = Outbox()
            house.runner = house.make_runner()
            outbox.owe(first)
            for event in told:
                outbox.settle(event)
    pauses_s = [b - a for a, b in pairwise(moments)]
    assert 225 <= pauses_s[0] <= 301
    assert 3_000 <= min(pauses_s[5:]) <= max(pauses_s[5:]) <= 4_001
    assert 432_000 <= moments[-1] - moments[0] <= 436_001
    assert isinstance(told[-1], MailFailed)
    assert told[-1].reply.startswith("5.4.7 given up after ")
    assert [event.attempt for event in told[::2]] == list(range(1, len(moments) + 1))


def test_a_smarthost_that_never_answers_the_connection_times_out():
    """Connecting has its time too."""
    house = House(mail_out_connect_timeout_s=30)
    house.hold = True
    house.owe(3)
    house.clock.advance(29)
    assert house.events == []
    house.clock.advance(1)
    (event,) = house.events
    assert isinstance(event, MailDelayed)
    assert event.reply.startswith("4.4.1 cannot connect: ")


@pytest.mark.parametrize("error", [Busy, NoRoom])
def test_an_end_is_handed_in_until_it_is_taken(error):
    """A stream without room hears the same end again later; the mail is not sent again."""
    house = House()
    house.errors.extend(error("no room") for _ in range(20))
    house.owe(3)
    house.pump()
    for _ in range(20):
        assert house.events == []
        (call,) = house.clock.getDelayedCalls()
        assert 1 <= call.getTime() - house.clock.seconds() <= 60
        house.clock.advance(call.getTime() - house.clock.seconds())
    house.pump()
    assert house.events == [MailSent(3, 0, "bob@x.example", "ann@y.example", "t", "250 ok")]
    assert len(house.taken) == 1


def test_ends_that_wait_hold_back_further_mail():
    """While an end is not in the journal its lane sends no more: few can be doubled by a crash."""
    house = House(outbox_deliveries_max=2)
    house.errors.extend(NoRoom("full") for _ in range(2))
    for n in range(10):
        house.owe(n)
    house.pump()
    assert len(house.taken) == 2
    house.clock.advance(NoRoom.retry_after_s)
    house.pump()
    assert len(house.taken) == len(house.events) == 10


def test_a_handler_that_raises_does_not_keep_the_end_out():
    """When the application failed on an end it is in the journal: it is not handed in again."""
    house = House()
    house.errors.append(HandlerFailed("1"))
    house.owe(3)
    house.pump()
    assert house.clock.getDelayedCalls() == []
    assert house.open == 0


def test_without_a_smarthost_mail_stays_owed(caught):
    """No way out: nothing happens to the debt, and one warning names the key to set."""
    house = House()
    house.runner = house.make_runner(endpoint=None)
    house.owe(1)
    house.owe(2)
    assert house.events == []
    (warning,) = caught
    assert "[mail] smarthost" in warning
    assert house.runner.stop().called


def test_stop_lets_the_message_on_its_way_end():
    """A stop waits for what is on its way, begins nothing more, and leaves no call behind."""
    house = House(outbox_deliveries_max=1)
    house.owe(1)
    house.owe(2)
    stopped = house.runner.stop()
    assert house.runner.stop() is stopped
    house.owe(3)
    assert not stopped.called
    house.pump()
    assert stopped.called
    assert [event.event_seq for event in house.events] == [1]
    assert house.clock.getDelayedCalls() == []


def test_stop_cuts_what_does_not_end():
    """After drain_timeout_s the rest is cut; it stays owed, so no event is made of it."""
    house = House(drain_timeout_s=10)
    house.answers["RCPT"] = [None]
    house.owe(1)
    house.pump()
    stopped = house.runner.stop()
    house.clock.advance(10)
    house.pump()
    assert stopped.called
    assert house.events == []
    assert house.clock.getDelayedCalls() == []


def test_stop_does_not_wait_for_a_connection():
    """A connection that is not made yet is given up at once."""
    house = House()
    house.hold = True
    house.owe(1)
    stopped = house.runner.stop()
    assert stopped.called
    assert house.events == []
    assert house.clock.getDelayedCalls() == []


def test_stop_hands_in_what_waits_once_more():
    """An end that waits for room gets a last chance at the stop; then it stays owed."""
    for errors, events in [(1, 1), (2, 0)]:
        house = House()
        house.errors.extend(Busy("full") for _ in range(errors))
        house.owe(1)
        house.pump()
        stopped = house.runner.stop()
        house.pump()
        assert stopped.called
        assert len(house.events) == events
        assert house.clock.getDelayedCalls() == []


# --- over real sockets -------------------------------------------------------------------------


class Sink(LineReceiver):
    """A small smarthost on a real socket, for one test."""

    MAX_LENGTH = 1 << 20

    def connectionMade(self):
        self.data = None
        self.sendLine(b"220 sink")

    def lineReceived(self, line):
        if self.data is not None:
            if line != b".":
                self.data.append(line.removeprefix(b"."))
                return
            self.factory.taken.append(b"".join(one + b"\r\n" for one in self.data))
            self.data = None
            self.sendLine(b"250 2.0.0 taken")
        elif line == b"DATA":
            self.data = []
            self.sendLine(b"354 go on")
        elif line == b"QUIT":
            self.sendLine(b"221 bye")
            self.transport.loseConnection()
        else:
            self.sendLine(b"250 ok")


def run(awaited, timeout_s=60):
    """Turn the reactor until a Deferred fires; return what it fires with."""
    ends = []
    awaited.addBoth(ends.append)
    deadline = reactor.seconds() + timeout_s
    while not ends:
        assert reactor.seconds() < deadline, "it takes too long"
        reactor.iterate(0.01)
    if isinstance(ends[0], Failure):
        ends[0].raiseException()
    return ends[0]


def test_large_and_small_mail_over_loopback():
    """Over real sockets: 20 messages, two of them large, arrive byte for byte."""
    factory = Factory.forProtocol(Sink)
    factory.taken = []
    server = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port = run(server.listen(factory))
    large = b"".join(b".%d\r\n" % n for n in range(400_000))
    ends, all_in = [], Deferred()

    outbox = Outbox()

    def submit(event):
        outbox.settle(event)
        if not isinstance(event, MailSending):
            ends.append(event)
        if len(ends) == 20:
            all_in.callback(None)
        return succeed(None)

    out = MailOut(
        name="desk",
        hops=Smarthost(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)),
        submit=submit,
        open_blob=lambda blob: io.BytesIO(large),
        key_of=str,
        owed_now=outbox.get,
        limits=Limits(outbox_deliveries_max=3),
        identity="happy.example",
        clock=reactor,
        time_ns=lambda: 0,
        chance=random.Random(1),
    )
    for n in range(20):
        content = Blob("00", len(large)) if n in (4, 9) else b".%d\r\n.\r\n" % n
        owed = Owed((n, 0), evolve(MAIL, content=content), 0, 0)
        outbox.owe(owed)
        out.perform(owed)
    run(all_in)
    run(out.stop())
    run(port.stopListening())
    assert all(isinstance(event, MailSent) for event in ends)
    expected = [HEADER + (large if n in (4, 9) else b".%d\r\n.\r\n" % n) for n in range(20)]
    assert sorted(factory.taken) == sorted(expected)
