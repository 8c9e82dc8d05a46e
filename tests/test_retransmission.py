"""A message that is sent again because its 250 was lost, and one that is sent again on purpose."""

import itertools

import pytest
from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from happy import App, MailRoutes, state
from happy.codec import encode
from happy.errors import Busy, HandlerFailed, NoRoom, Refused
from happy.event import Entry, Exchange, Mail, MailAcknowledged
from happy.limits import Limits
from happy.order import Order
from happy.retransmission import Retransmissions
from happy.stream_clock import StreamClock
from happy.testing import running
from happy.unacknowledged import Unacknowledged, copy_of
from link_kit import LinkedRunning

NAMES = ("x@d.example", "y@d.example", "z@d.example")
MAIL = Mail("a@s.example", NAMES[:2], b"\r\n", b"\r\nhi\r\n", sha256=b"1" * 32)


@define(eq=False)
class Heard:
    """A door that waits, and what it heard."""

    told: list = field(factory=list)

    def replied(self, seq, value):
        self.told.append(value)

    def failed(self, seq, error):
        self.told.append(type(error))


class Desk:
    """Retransmissions on an order that is written when the test says so."""

    def __init__(self, **limits):
        self.limits = Limits(**limits)
        self.memory = Unacknowledged()
        self.clock = Clock()
        self.seq = 0
        self.events = []
        self.open()

    def open(self):
        """Begin anew with what is in the journal, as after a kill."""
        self.order = Order(self.seq + 1, self.limits)
        stream_clock = StreamClock(lambda: int(self.clock.seconds() * 1e9), self.clock.seconds)
        self.desk = Retransmissions(
            self.order, self.memory, self.limits, stream_clock, self.clock, self.commit
        )

    def send(self, mail):
        heard = Heard()
        self.desk.admit(encode(mail), Entry(0, 0, mail, "smtp"), heard)
        return heard

    def read(self, mail, seqs):
        """The peer has read the 250."""
        pairs = zip(seqs, mail.recipients, strict=True)
        self.send(MailAcknowledged(tuple((seq, copy_of(mail, name)) for seq, name in pairs)))

    def commit(self, error=None):
        """Write what waits: the machine takes it in, or there is no room for it."""
        if not self.order.waiting:
            return
        batch = self.order.take()
        self.order.settle(batch)
        if not isinstance(error, NoRoom):
            for entry in self.order.place(batch, int(self.clock.seconds() * 1e9)):
                self.events.append(entry.event)
                self.seq = entry.seq
                self.memory.forget(entry.event.acknowledged)
                if isinstance(entry.event, Mail) and not isinstance(error, Refused):
                    self.memory.take(entry.seq, entry.time_ns, entry.event)
        for admitted in batch.admitted:
            for waiter in admitted.waiters:
                if error is None:
                    waiter.replied(admitted.seq, "what the handler returned")
                else:
                    waiter.failed(admitted.seq, error)

    @property
    def mails(self):
        return [event for event in self.events if isinstance(event, Mail)]


def taken(desk, mail):
    heard = desk.send(mail)
    desk.commit()
    ((seqs),) = heard.told
    return seqs


def test_a_copy_has_the_place_of_the_message():
    """Nobody read the 250: the same bytes come again, are answered, and are no event."""
    desk = Desk()
    assert taken(desk, MAIL) == (1, 1)
    assert taken(desk, MAIL) == (1, 1)
    assert desk.mails == [MAIL]


def test_after_the_250_was_read_a_copy_is_a_new_message():
    """The acknowledging rides on the next message, so it takes no place of its own."""
    desk = Desk()
    desk.read(MAIL, taken(desk, MAIL))
    assert taken(desk, MAIL) == (2, 2)
    assert taken(desk, MAIL) == (2, 2)
    assert len(desk.events) == 2
    assert [seq for seq, _ in desk.events[1].acknowledged] == [1, 1]


def test_only_the_recipients_that_are_new_are_put_in_the_order():
    """A copy to more recipients: each hears of its own place."""
    desk = Desk()
    taken(desk, MAIL)
    options = ((), (), ("NOTIFY=NEVER",))
    more = evolve(MAIL, recipients=NAMES, recipient_options=options)
    assert taken(desk, more) == (1, 1, 2)
    assert desk.mails[1].recipients == NAMES[2:]
    assert desk.mails[1].recipient_options == options[2:]


def test_a_copy_joins_the_message_that_is_on_its_way():
    """The connection was lost while the disk was busy, and the peer is quick: one event."""
    desk = Desk()
    first = desk.send(MAIL)
    second, third = desk.send(MAIL), desk.send(evolve(MAIL, recipients=NAMES))
    assert second.told == []
    desk.commit()
    assert (first.told, second.told, third.told) == ([(1, 1)], [(1, 1)], [(1, 1, 2)])
    assert [mail.recipients for mail in desk.mails] == [NAMES[:2], NAMES[2:]]


@pytest.mark.parametrize("error", [NoRoom("full"), Refused("no")])
def test_what_was_not_taken_is_not_remembered(error):
    """All who wait hear why, and the next copy is tried again."""
    desk = Desk()
    heard = desk.send(MAIL), desk.send(MAIL)
    desk.commit(error)
    assert [one.told for one in heard] == [[type(error)]] * 2
    before = desk.seq
    assert taken(desk, MAIL) == (before + 1,) * 2


def test_a_message_whose_handler_failed_was_taken():
    """It is in the journal, so its peer hears its place and a copy is no second event."""
    desk = Desk()
    heard = desk.send(MAIL)
    desk.commit(HandlerFailed("d/1"))
    assert heard.told == [(1, 1)]
    assert taken(desk, MAIL) == (1, 1)


def test_what_was_acknowledged_is_told_again_when_it_did_not_reach_the_journal():
    """A message that found no room takes nothing with it that the next does not say again."""
    desk = Desk()
    desk.read(MAIL, taken(desk, MAIL))
    other = evolve(MAIL, sha256=b"2" * 32)
    desk.send(other)
    desk.commit(NoRoom("full"))
    assert taken(desk, MAIL) == (2, 2)
    assert len(desk.events[1].acknowledged) == 2


def test_a_full_queue_changes_nothing():
    """Who is not admitted is told so, and the peer's next try is like the first."""
    desk = Desk(queue_events_max=1)
    desk.send(evolve(MAIL, sha256=b"2" * 32))
    with pytest.raises(Busy):
        desk.send(MAIL)
    desk.commit()
    assert taken(desk, MAIL) == (2, 2)


def test_acknowledged_is_journaled_by_itself_when_no_message_comes():
    """A quiet door: within a minute the journal knows, so that a crash forgets nothing."""
    desk = Desk(mail_acknowledged_within_s=60)
    desk.read(MAIL, taken(desk, MAIL))
    desk.clock.advance(59)
    assert len(desk.events) == 1
    desk.clock.advance(1)
    assert isinstance(desk.events[1], MailAcknowledged)
    assert len(desk.memory) == 0
    desk.open()
    assert taken(desk, MAIL) == (3, 3)


def test_after_a_crash_what_was_not_acknowledged_in_the_journal_is_not():
    """The peer read the 250, and the process was killed before that was written: a copy is one."""
    desk = Desk()
    desk.read(MAIL, taken(desk, MAIL))
    desk.open()
    assert taken(desk, MAIL) == (1, 1)


def test_the_memory_is_bounded_in_number_and_in_time():
    """The oldest go first, and what nobody sends again for so long is forgotten."""
    desk = Desk(mail_unacknowledged_max=3, mail_unacknowledged_s=1000)
    mails = [evolve(MAIL, recipients=NAMES[:1], sha256=bytes([n]) * 32) for n in range(1, 7)]
    for mail in mails:
        taken(desk, mail)
    assert len(desk.memory) == 3
    assert taken(desk, mails[5]) == (6,)
    assert taken(desk, mails[0]) == (7,)
    desk.clock.advance(1001)
    assert taken(desk, mails[5]) == (8,)
    assert len(desk.memory) == 1


class Sending(RuleBasedStateMachine):
    """Peers that send, resend, read and lose; crashes; and a disk that may be full."""

    def __init__(self):
        super().__init__()
        self.desk = Desk()
        self.unread = {}
        self.known = set()
        self.waiting = []
        self.answered = []

    @rule(bytes_of=st.sampled_from([b"1" * 32, b"2" * 32]),
          names=st.sets(st.sampled_from(NAMES), min_size=1))  # fmt: skip
    def send(self, bytes_of, names):
        mail = evolve(MAIL, recipients=tuple(sorted(names)), sha256=bytes_of)
        self.waiting.append((mail, self.desk.send(mail)))
        self.look()

    @rule(error=st.sampled_from([None, None, NoRoom("full")]))
    def write(self, error):
        self.desk.commit(error)
        self.look()

    @precondition(lambda self: self.answered)
    @rule()
    def read(self):
        mail, seqs = self.answered.pop()
        self.desk.read(mail, seqs)
        for seq, name in zip(seqs, mail.recipients, strict=True):
            copy = copy_of(mail, name)
            self.known.add((copy, seq))
            if self.unread.get(copy) == seq:
                del self.unread[copy]

    @rule()
    def rest(self):
        self.desk.clock.advance(61)
        self.look()

    @precondition(lambda self: not self.desk.order.waiting)
    @rule()
    def crash(self):
        self.desk.open()
        assert self.unread.items() <= {(copy, seq) for seq, copy, _ in self.desk.memory}
        self.unread = {copy: seq for seq, copy, _ in self.desk.memory}

    def look(self):
        for mail, heard in self.waiting:
            if heard.told and isinstance(heard.told[0], tuple):
                self.answered.append((mail, heard.told[0]))
                for seq, name in zip(heard.told[0], mail.recipients, strict=True):
                    copy = copy_of(mail, name)
                    if (copy, seq) not in self.known:
                        assert self.unread.setdefault(copy, seq) == seq
        self.waiting = [(mail, heard) for mail, heard in self.waiting if not heard.told]

    @invariant()
    def every_answer_is_of_one_event(self):
        named = [
            (copy_of(mail, name), seq)
            for seq, mail in enumerate(self.desk.events, 1)
            if isinstance(mail, Mail)
            for name in mail.recipients
        ]
        for mail, seqs in self.answered:
            for seq, name in zip(seqs, mail.recipients, strict=True):
                assert named.count((copy_of(mail, name), seq)) == 1


TestSending = Sending.TestCase
TestSending.settings = settings(deadline=None, stateful_step_count=30)


@state
class Count:
    taken: int = 0


class Counting(App):
    state = Count
    mail = MailRoutes()

    @mail.to("<who>@")
    def take(state, mail, context, who):
        state.taken += 1


@pytest.mark.parametrize("how", ["nothing", "crash", "restart"])
def test_a_copy_is_applied_once_whatever_happens_between(how):
    """The memory is a part of history: a kill, and a stop in good order, keep it."""
    with running(Counting, domains=("d.example",)) as counting:
        assert counting.submit(MAIL) == (1, 1) or counting.submit(MAIL) == (2, 2)
        places = counting.submit(MAIL)
        if how == "crash":
            counting.crash()
        elif how == "restart":
            counting.restart()
        assert counting.submit(MAIL) == places
        assert counting.state.taken == 2


@pytest.mark.parametrize("how", ["nothing", "restart"])
def test_a_message_that_is_sent_on_purpose_is_taken_after_a_restart_too(how):
    """The end of a container in good order writes what is acknowledged."""
    with running(Counting, domains=("d.example",)) as counting:
        for turn in itertools.count(1):
            counting.mail("a@s.example", "x@d.example", b"\r\nthe same\r\n")
            assert counting.state.taken == turn
            if turn == 3:
                break
            if how == "restart":
                counting.restart()


def test_through_a_front_it_is_the_same():
    """The door is in another process, and the memory where the order is."""
    limits = Limits(segment_bytes_max=1024 * 1024)
    counting = LinkedRunning(Counting, None, ("d.example",), limits)
    places = counting.result(counting.app.submit(MAIL))
    more = evolve(MAIL, recipients=NAMES)
    assert counting.result(counting.app.submit(more))[:2] == places
    assert counting.state.taken == 3
    for taken_by_then in (4, 5):
        counting.mail("a@s.example", "x@d.example", b"\r\nthe same\r\n")
        assert counting.state.taken == taken_by_then
    counting.close()


def test_nobody_is_told_of_acknowledging():
    """A door that says what was read waits for nothing and takes no place."""
    with running(Counting, domains=("d.example",)) as counting:
        before = counting.stream.status()["seq"]
        counting.result(
            counting.stream.submit(MailAcknowledged(((7, b"x" * 16),)), Exchange("smtp"))
        )
        assert counting.stream.status()["seq"] == before
