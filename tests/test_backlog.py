"""Mail that is accepted as soon as it is durable, however far its application is behind."""

from __future__ import annotations

import copy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core_kit import Killed, Lives, elsewhere_here
from happy import App, MailRoutes, Refused, event, handles, state
from happy.backlog import is_early
from happy.errors import Busy, CoreLost, NotOpen
from happy.event import Configured, Mail, MailAcknowledged
from happy.journal.frame import Kind
from happy.journal.quarantine import foreseen
from happy.journal.replay import Reader
from happy.lifecycle import Mood
from happy.limits import KIB, Limits
from happy.unacknowledged import copy_of
from test_stream import House

CONFIGURED = Configured(b"", ("d.example",))


@event
class Look:
    """Something that is no mail, and waits for its outcome."""


@state
class Letters:
    came: str = ""


class Post(App):
    """Notes the subject of each message; what one says ends its process, while ``deadly``."""

    state, mail = Letters, MailRoutes()
    deadly = True

    @mail.to("box@")
    def take(state, mail, context):
        word = mail.header.decode().strip()
        if word == "poison" and Post.deadly:
            raise Killed
        if word == "refused":
            raise Refused("no")
        state.came += word

    @handles(Look)
    def look(state, event, context):
        return state.came


def letter(word, *, early=True):
    text = word.encode()
    return Mail(
        "a@s.example", ("box@d.example",), text, text, sha256=text.ljust(32), early=early
    )  # fmt: skip


class PostHouse(Lives, House):
    """A house whose machine is elsewhere and behind; ``apply`` lets it catch up."""

    def __init__(self, **limits):
        limits = {"segment_bytes_max": 8 * KIB, "core_restart_ms": 1000, **limits}
        super().__init__(Limits(**limits), Post)
        self.lives = []

    def elsewhere(self, definition, world):
        return elsewhere_here(
            "counter", definition, self.disk, world, self.limits, self.lives, ahead=True
        )

    def start(self):
        """Open, and be at rest: the first event is that the application was configured."""
        self.open(CONFIGURED)
        self.apply()
        return self

    def crash(self, configured=None):
        """End the container with its core, so that neither does anything any more."""
        self.stream.stop()
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.jobs.clear()
        self.disk.crash()
        return self.open(configured)

    def apply(self):
        """Let the core do all that it was sent, and the stream what follows from it."""
        while self.life.turn() and (self.jobs or self.life.sent):
            self.run_all()

    def come_back(self):
        """Let a core that has ended be started again, and read the journal."""
        self.advance(31)
        self.apply()

    def place(self, mail):
        """Send a message; return the place that its 250 names."""
        ((seq,),) = (self.say(mail).value,)
        return seq


@pytest.fixture
def house():
    return PostHouse().start()


def backlogs(house):
    return house.kinds().count(Kind.BACKLOG_MARK)


def test_mail_has_its_place_while_the_core_does_nothing(house):
    """Promises 1, 2: durable and in order, and applied once, in order, when there is time."""
    words = [f"{n:02}" for n in range(20)]
    places = [house.place(letter(word)) for word in words]
    assert places == list(range(places[0], places[0] + 20))
    assert house.durable_events()[-20:] == places
    assert house.state.came == ""
    assert house.stream.status()["waiting"] == house.stream.status()["core"]["lag"] == 20
    house.apply()
    assert house.state.came == "".join(words)
    assert house.stream.status()["waiting"] == 0


def test_mail_has_its_place_while_there_is_no_core(house):
    """Also what came while the next one was reading the journal; each is applied once."""
    assert house.place(letter("a")) == 2
    house.life.die()
    assert house.place(letter("b")) == 3
    house.advance(31)
    assert len(house.lives) == 2
    assert house.place(letter("c")) == 4
    house.apply()
    assert house.place(letter("d")) == 5
    house.apply()
    assert house.state.came == "abcd"
    assert house.stream.status()["waiting"] == 0


def test_other_events_wait_for_their_outcomes_and_for_a_core(house):
    """Only mail is told early: who asks for an outcome gets that, or is turned away."""
    early, look = house.submit(letter("a")), house.submit(Look())
    house.run_all()
    assert (early.value, look.came) == ((2,), [])
    house.apply()
    assert look.value == "a"
    waiting = house.submit(Look())
    house.run_all()
    house.life.die()
    assert type(waiting.error) is CoreLost
    assert type(house.say(Look()).error) is NotOpen
    assert house.place(letter("b")) == 5


def test_what_waited_for_the_disk_when_the_core_ended_is_turned_away_but_for_mail(house):
    """Nobody knows when there is a core again, and mail need not know."""
    first = house.submit(letter("a"))
    look, second = house.submit(Look()), house.submit(letter("b"))
    house.life.die()
    house.run_all()
    assert (first.value, second.value) == ((2,), (3,))
    assert type(look.error) is NotOpen
    house.come_back()
    assert house.state.came == "ab"


@pytest.mark.parametrize("lost", [False, True])
def test_a_copy_of_what_was_not_applied_yet_has_its_place(house, lost):
    """Promise 5: the 250 was lost, and the peer is quicker than the handler."""
    place = house.place(letter("a"))
    house.place(letter("b"))
    if lost:
        house.life.die()
    assert house.place(letter("a")) == place
    house.come_back() if lost else house.apply()
    assert house.place(letter("a")) == place
    assert house.state.came == "ab"


@pytest.mark.parametrize("lost", [False, True])
def test_a_copy_on_purpose_is_a_message_of_its_own(house, lost):
    """The 250 was read, though nothing has been applied yet."""
    mail = letter("a")
    place = house.place(mail)
    read = MailAcknowledged(((place, copy_of(mail, mail.recipients[0])),))
    assert house.say(read).value is None
    if lost:
        house.life.die()
    second = house.place(mail)
    assert second > place
    assert house.place(mail) == second
    house.come_back() if lost else house.apply()
    assert house.state.came == "aa"
    assert house.place(mail) == second
    assert [seq for seq, *_ in house.machine.unacknowledged] == [second]


def test_what_is_refused_behind_its_250_stays_known(house):
    """The peer has its 250, and a copy gets the same; all replays agree."""
    place = house.place(letter("refused"))
    house.apply()
    assert house.place(letter("refused")) == place
    assert house.place(letter("b")) == place + 1
    house.apply()
    house.crash(CONFIGURED)
    house.apply()
    assert house.place(letter("refused")) == place


def test_mail_that_is_not_early_waits_for_its_handler(house):
    """As what an operator has handled again."""
    answer = house.submit(letter("a", early=False))
    house.run_all()
    assert answer.came == []
    house.apply()
    assert answer.value == (2,)
    refused = house.submit(letter("refused", early=False))
    house.run_all()
    house.apply()
    assert type(refused.error) is Refused


@pytest.mark.parametrize("lost", [False, True])
def test_the_backlog_has_the_bound_of_the_queue_and_recovers_by_itself(lost):
    """Promise 8: what is durable and not applied counts, through the end of a core, too."""
    house = PostHouse(queue_events_max=5).start()
    for word in "abcd":
        house.place(letter(word))
    assert house.stream.trouble(0) is None
    house.place(letter("e"))
    if lost:
        house.life.die()
    assert type(house.stream.trouble(0)) is Busy
    assert type(house.say(letter("f")).error) is Busy
    house.come_back() if lost else house.apply()
    assert house.stream.trouble(0) is None
    assert house.place(letter("f")) == 7
    house.apply()
    assert house.state.came == "abcdef"


def test_the_journal_says_from_where_on_nothing_was_applied(house):
    """A backlog mark before each batch that is further ahead than the format says by itself."""
    for word in "ab":
        house.place(letter(word))
    assert backlogs(house) == 0
    for word in "cd":
        house.place(letter(word))
    assert backlogs(house) == 2
    house.apply()
    house.place(letter("e"))
    assert backlogs(house) == 2


def test_poison_is_quarantined_however_much_is_behind_it(house):
    """Promise 7: the others are handled, in order, and every replay passes over it."""
    house.place(letter("a"))
    bad = house.place(letter("poison"))
    for word in "bcdefg":
        house.place(letter(word))
    for word in "hijk":
        house.apply()
        assert not house.life.alive or house.state.came == "abcdefghij"
        house.place(letter(word))
        house.advance(31)
    house.apply()
    frames = list(foreseen(Reader(copy.deepcopy(house.disk), cut=False).frames()))
    assert [seq for frame in frames for seq in frame.quarantined] == [bad]
    assert house.state.came == "abcdefghijk"
    house.crash(CONFIGURED)
    house.apply()
    assert house.state.came == "abcdefghijk"


def test_a_kill_of_all_with_a_backlog_loses_nothing(house):
    """Promise 1: what was accepted and not applied is applied by the next start, in order."""
    for word in "abcdef":
        house.place(letter(word))
    house.crash(CONFIGURED)
    assert house.state.came == "abcdef"
    assert house.place(letter("c")) == 4
    assert house.place(letter("g")) == 8


def test_a_stop_waits_for_no_backlog(house):
    """Who was told has nothing to wait for, and the next start reads it."""
    for word in "abcd":
        house.place(letter(word))
    assert house.close() == [None]
    assert house.stream.mood is Mood.CLOSED
    assert house.kinds()[-1] is Kind.EVENTS
    house.start()
    assert house.state.came == "abcd"


def test_which_events_are_early():
    """Mail that says so, and what tells that mail was read."""
    assert is_early(letter("a"))
    assert is_early(MailAcknowledged(()))
    assert not is_early(letter("a", early=False))
    assert not is_early(Look())


class Behind(RuleBasedStateMachine):
    """Any messages, copies and ends of cores and containers, at any moment."""

    def __init__(self):
        super().__init__()
        Post.deadly = False
        self.house = PostHouse(core_restart_max_s=1).start()
        self.places = {}
        self.asked = []
        self.count = 0

    @rule()
    def send(self):
        self.count += 1
        self._ask(letter(f"<{self.count}>"))

    @rule(data=st.data())
    def send_again(self, data):
        if self.count:
            self._ask(letter(f"<{data.draw(st.integers(1, self.count))}>"))

    def _ask(self, mail):
        self.asked.append((mail.header, self.house.submit(mail)))

    @rule()
    def turn(self):
        if self.house.jobs:
            self.house.turn()

    @rule()
    def step(self):
        if self.house.life.alive and self.house.life.sent and self.house.life._serving:
            self.house.life.step()

    @rule()
    def end_core(self):
        self.house.life.die()

    @rule(seconds=st.sampled_from([0, 1, 10]))
    def pass_time(self, seconds):
        self.house.clock.advance(seconds)

    @rule()
    def crash(self):
        self.house.crash(CONFIGURED)
        self.asked.clear()

    @invariant()
    def each_message_has_one_place(self):
        for word, answer in self.asked:
            if answer.came:
                ((place,),) = (answer.value,)
                assert self.places.setdefault(word, place) == place
        self.asked = [(word, answer) for word, answer in self.asked if not answer.came]

    def teardown(self):
        for _ in range(5):
            self.house.come_back()
        self.each_message_has_one_place()
        assert self.asked == []
        came = self.house.state.came
        words = sorted(self.places, key=self.places.get)
        told = [word for word in came.replace(">", "> ").split() if word.encode() in self.places]
        assert [word.encode() for word in told] == words
        assert self.house.stream.status()["waiting"] == 0
        assert self.house.halted == []
        Post.deadly = True


TestBehind = Behind.TestCase
TestBehind.__doc__ = "Promises 1, 2, 5: what has a place is applied once, and there, whatever ends."
TestBehind.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
