"""One application's stations joined: what is answered, when, and what is not.

The disk is in memory, the clock the test's own, and the journal's thread is a list of jobs
that the test runs one by one: first the work, then the news of it.
"""

from __future__ import annotations

import copy
import gc
import random
from collections import deque
from datetime import timedelta

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from happy.app import App, definition_of, handles, query
from happy.effects import SendMail
from happy.errors import (
    Busy,
    CoreLost,
    Corrupt,
    DefinitionError,
    Halted,
    HandlerFailed,
    KeyReused,
    Locked,
    NoRoom,
    NotOpen,
    Refused,
    SyncFailed,
    TooLarge,
    UnknownEvent,
)
from happy.event import Configured, Exchange, MailDelayed, MailFailed, MailSent, event
from happy.journal.frame import Kind
from happy.journal.replay import Reader
from happy.lifecycle import Mood
from happy.limits import KIB, Limits
from happy.marks import mark_in
from happy.opening import replay_frame
from happy.state import digest, state
from happy.stream import Stream
from happy.testing import MemoryDisk
from happy.world import World

START_NS = 10**18
SECOND_NS = 10**9


@event
class Add:
    count: int = 1
    end: str = "reply"
    wake_s: int | None = None
    mail: bool = False
    pad: bytes = b""


@event
class Wake:
    number: int = 0


@event
class Stranger:
    pass


@attrs.frozen
class Settings:
    step: int = 1


@state
class Total:
    total: int = 0
    woken: tuple[int, ...] = ()
    woken_ns: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    times: tuple[int, ...] = ()


class Counter(App):
    state = Total
    Settings = Settings

    @handles(Add)
    def add(state, event, context):
        state.total += event.count
        state.times = (*state.times[-3:], context.time_ns)
        if event.wake_s is not None:
            context.after(timedelta(seconds=event.wake_s), Wake(context.seq))
        if event.mail:
            context.mail("a@x", b"\r\n", reverse_path="")
        match event.end:
            case "refuse":
                raise Refused("no", http_status=410, smtp=(550, "5.1.1"))
            case "raise":
                raise ValueError("secret inside")
            case "memory":
                raise MemoryError
            case "interrupt":
                raise KeyboardInterrupt
        return state.total

    @handles(Wake)
    def wake(state, event, context):
        state.woken = (*state.woken, event.number)
        state.woken_ns = (*state.woken_ns, context.time_ns)

    @handles(Configured)
    def configured(state, event, context):
        state.steps = (*state.steps, context.settings.step)

    @query
    def total(state, plus=0):
        return state.total + plus

    @query
    def broken(state):
        raise KeyError("broken")


class Forgetful(App):
    """The same journal, a handler less."""

    state = Total

    @handles(Wake)
    def wake(state, event, context):
        return None


class Runner:
    """Writes down what it is to perform."""

    def __init__(self):
        self.performed = []

    def perform(self, owed):
        self.performed.append((owed.id, owed.attempts))


class House:
    """A stream and its world, which the test moves by hand."""

    def __init__(self, limits=None, app=Counter, disk=None):
        self.limits = limits or Limits(segment_bytes_max=256 * KIB)
        self.app = app
        self.disk = disk or MemoryDisk()
        self.clock = Clock()
        self.shift_ns = 0
        self.jobs = deque()
        self.random = random.Random(1)
        self.mails = Runner()
        self.runners = {SendMail: self.mails}
        self.stream = None

    def now_ns(self):
        return START_NS + self.shift_ns + round(self.clock.seconds() * SECOND_NS)

    def make(self):
        world = World(
            self.clock, self.now_ns, self._run, maybeDeferred, self.random.randbytes, random.Random
        )
        definition = definition_of(self.app)
        elsewhere = self.elsewhere(definition, world)
        return Stream("counter", definition, self.disk, world, self.limits, elsewhere)

    def elsewhere(self, definition, world):
        """Return who has the machine when the stream has not; see ``happy.stream``."""

    def open(self, configured=None):
        """Open a stream, begin, and finish the jobs of that."""
        self.stream = self.make()
        self.stream.open()
        self.stream.debts.runners = dict(self.runners)
        self.halted = []
        self.stream.halted.addCallback(self.halted.append)
        if configured is not None:
            self.stream.begin(configured)
        self.run_all()
        return self

    def _run(self, work):
        done = Deferred()
        self.jobs.append((work, done))
        return done

    def work(self):
        """Do the next job in the thread; return how to tell the stream of it."""
        work, done = self.jobs.popleft()
        try:
            result = work()
        except Exception:  # noqa: BLE001 - as a thread pool does
            failure = Failure()
            return lambda: done.errback(failure)
        return lambda: done.callback(result)

    def turn(self):
        """Do the next job and tell of it."""
        self.work()()

    def run_all(self):
        while self.jobs:
            self.turn()

    def submit(self, event, key=None, fingerprint=None):
        return Answer(self.stream, event, Exchange("test", key, fingerprint))

    def say(self, event, key=None, fingerprint=None):
        """Submit, run all jobs, and return the answer."""
        answer = self.submit(event, key, fingerprint)
        self.run_all()
        return answer

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.run_all()

    def close(self):
        closed = []
        self.stream.close().addBoth(closed.append)
        self.run_all()
        return closed

    def restart(self, configured=None):
        assert self.close() == [None]
        return self.open(configured)

    def crash(self, configured=None):
        self.stream.stop()
        for call in self.clock.getDelayedCalls():  # alarms end with their process
            call.cancel()
        self.jobs.clear()
        self.disk.crash()
        return self.open(configured)

    @property
    def state(self):
        return self.machine.state

    @property
    def machine(self):
        return self.stream._core.machine

    def durable_events(self):
        """Return the (seq, key) of all that would be there after a power cut."""
        disk = copy.deepcopy(self.disk)
        disk.crash()
        reader = Reader(disk, cut=False)
        return [
            frame.first_seq + n
            for frame in reader.frames()
            if frame.kind is Kind.EVENTS
            for n in range(frame.count)
        ]

    def kinds(self):
        """Return the kinds of the frames in the journal."""
        return [frame.kind for frame in Reader(copy.deepcopy(self.disk), cut=False).frames()]


class Answer:
    """What came of a submission."""

    def __init__(self, stream, event, exchange):
        self.exchange = exchange
        self.came = []
        self.deferred = stream.submit(event, exchange)
        self.deferred.addBoth(self.came.append)

    @property
    def value(self):
        (value,) = self.came
        assert not isinstance(value, Failure), value
        return value

    @property
    def error(self):
        (failure,) = self.came
        assert isinstance(failure, Failure), failure
        return failure.value


@pytest.fixture
def house():
    return House().open()


@pytest.fixture
def logged():
    """Return what is logged, as (level, text)."""
    lines = []

    def observe(entry):
        text = str(entry.get("log_failure", "")) + (entry.get("log_format") or "").format_map(entry)
        lines.append((entry["log_level"], text))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


# --- answers -----------------------------------------------------------------------------------


def test_nothing_is_answered_before_its_sync_returned(house):
    """Promise 1: submitted, written, synced: only the news of the sync brings the answer."""
    answer = house.submit(Add())
    assert answer.came == []
    assert house.durable_events() == []
    tell = house.work()
    assert house.durable_events() == [1]
    assert answer.came == []
    assert house.state.total == 0
    tell()
    assert answer.value == 1
    assert answer.exchange.seqs == [1]


def test_queries_see_durable_events_only(house):
    """Promise 1: what is not answered yet cannot be read either."""
    asked = []
    house.submit(Add(5))
    house.stream.ask(Counter.total).addCallback(asked.append)
    tell = house.work()
    house.stream.ask(Counter.total).addCallback(asked.append)
    tell()
    house.stream.ask(Counter.total, plus=1).addCallback(asked.append)
    assert asked == [0, 0, 6]


def test_a_query_that_raises_fails_alone(house):
    """An error in a query comes back to who asked; the stream serves on."""
    failures = []
    house.stream.ask(Counter.broken).addErrback(failures.append)
    assert failures[0].check(KeyError)
    assert house.say(Add()).value == 1


def test_one_batch_is_in_flight_and_the_next_one_gathers(house):
    """One sync at a time; what comes meanwhile is made durable together."""
    first = house.submit(Add())
    others = [house.submit(Add()) for _ in range(5)]
    assert len(house.jobs) == 1
    syncs = house.disk.syncs_count
    house.turn()
    assert first.value == 1
    assert [a.came for a in others] == [[]] * 5
    assert len(house.jobs) == 1
    house.turn()
    assert [a.value for a in others] == [2, 3, 4, 5, 6]
    assert house.disk.syncs_count == syncs + 2
    assert not house.jobs


def test_the_next_batch_is_sent_before_the_last_is_answered(house):
    """The disk is not kept waiting by the machine or by the doors."""
    jobs = []
    answer = house.submit(Add())
    answer.deferred.addCallback(lambda _: jobs.append(len(house.jobs)))
    house.submit(Add())
    house.turn()
    assert jobs == [1]


def test_a_batch_is_no_larger_than_a_frame_may_be():
    """Promise 8: more than fits a frame waits for the next one."""
    house = House(Limits(frame_events_max=3)).open()
    answers = [house.submit(Add()) for _ in range(8)]
    counts = []
    while house.jobs:
        house.turn()
        counts.append(sum(bool(a.came) for a in answers))
    assert counts == [1, 4, 7, 8]


def test_answers_come_in_the_order_of_their_seqs(house):
    """Promise 2: replies go out in the one order, whatever their outcomes."""
    order = []
    ends = ["reply", "refuse", "raise", "reply", "raise"]
    for n, end in enumerate(ends):
        house.submit(Add(1, end)).deferred.addBoth(lambda _, n=n: order.append(n))
    house.run_all()
    assert order == [0, 1, 2, 3, 4]


def test_seqs_have_no_holes_over_mixed_outcomes(house):
    """Promise 2: refused and failed events have their place like any other."""
    answers = [house.say(Add(1, end)) for end in ("reply", "refuse", "raise", "reply")]
    assert [a.exchange.seqs for a in answers] == [[1], [2], [3], [4]]
    assert house.durable_events() == [1, 2, 3, 4]
    assert house.state.total == 2


def test_a_refusal_is_heard_as_it_was_said(house):
    """The peer hears the handler's reason and codes; nothing was changed."""
    error = house.say(Add(1, "refuse")).error
    assert type(error) is Refused
    assert (str(error), error.http_status, error.smtp_code, error.smtp_status) == (
        "no", 410, 550, "5.1.1",
    )  # fmt: skip
    assert house.state.total == 0


def test_a_failure_is_a_reference_for_the_peer_and_a_traceback_for_the_log(house, logged):
    """Promise 3: the peer learns no internals, the log all of them, once."""
    error = house.say(Add(1, "raise")).error
    assert type(error) is HandlerFailed
    assert error.reference == "counter/1"
    assert "secret" not in str(error)
    found = [text for _, text in logged if "secret inside" in text]
    assert len(found) == 1
    assert "counter/1" in found[0]
    assert house.stream.status()["failed"] == 1


def test_a_cancelled_answer_harms_nobody(house, logged):
    """A peer that went away does not keep its event, nor the others of its batch, from ending."""
    house.submit(Add())
    gone, there = house.submit(Add()), house.submit(Add())
    gone.deferred.cancel()
    house.run_all()
    assert there.value == 3
    assert gone.exchange.seqs == [2]
    gc.collect()
    assert [level for level, _ in logged if level >= LogLevel.error] == []


def test_a_callback_may_submit_again(house):
    """A door may submit its next event from within the answer to the last."""
    answers = []

    def again(total):
        if total < 5:
            answers.append(house.submit(Add()))
            answers[-1].deferred.addCallback(lambda _: again(answers[-1].value))

    house.submit(Add()).deferred.addCallback(lambda _: again(1))
    house.run_all()
    assert house.state.total == 5
    assert house.durable_events() == [1, 2, 3, 4, 5]


def test_an_error_in_a_callback_stays_with_its_owner(house):
    """What a door makes of its answer does not touch the answers of others."""
    first, second = house.submit(Add()), house.submit(Add())
    first.deferred.addCallback(lambda _: 1 / 0)
    failures = []
    first.deferred.addErrback(failures.append)
    house.run_all()
    assert second.value == 2
    assert failures[0].check(ZeroDivisionError)


# --- what is not admitted ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [Add("three"), Add(2**64), Add(pad="text"), Add("\ud800"), Stranger(), object(), None, Add],
    ids=range(8),
)
def test_what_cannot_be_read_back_is_refused_before_the_journal(house, wrong):
    """Promise 4: a wrong value, or an event nobody handles, never gets to the disk."""
    assert isinstance(house.submit(wrong).error, DefinitionError)
    assert not house.jobs
    assert house.say(Add()).exchange.seqs == [1]


def test_a_full_queue_is_busy_and_has_room_again():
    """Promise 8: what does not fit the queue is refused at once, and never kept."""
    house = House(Limits(queue_events_max=3)).open()
    answers = [house.submit(Add()) for _ in range(5)]
    assert [isinstance(a.error, Busy) for a in answers[3:]] == [True, True]
    house.run_all()
    assert [a.value for a in answers[:3]] == [1, 2, 3]
    assert house.say(Add()).exchange.seqs == [4]


def test_an_event_too_large_is_refused():
    """Promise 8: an event over its bound is the peer's fault, and takes no place."""
    house = House(Limits(event_bytes_max=100)).open()
    assert isinstance(house.submit(Add(pad=bytes(200))).error, TooLarge)
    assert house.say(Add()).exchange.seqs == [1]


# --- idle marks --------------------------------------------------------------------------------

EVENTS, IDLE = Kind.EVENTS, Kind.IDLE_MARK


def test_a_pause_is_marked_once(house):
    """After a short pause one idle mark vouches for the last events, however long it lasts."""
    house.say(Add())
    house.advance(0.049)
    assert house.kinds() == [EVENTS]
    house.advance(0.002)
    assert house.kinds() == [EVENTS, IDLE]
    house.advance(1000)
    assert house.kinds() == [EVENTS, IDLE]
    assert house.clock.getDelayedCalls() == []
    house.say(Add())
    house.advance(0.05)
    assert house.kinds() == [EVENTS, IDLE, EVENTS, IDLE]
    assert house.durable_events() == [1, 2]


def test_a_stream_that_never_rests_writes_no_marks(house):
    """While events come without a pause there is one delayed call at a time, and no mark."""
    for _ in range(100):
        house.say(Add())
        house.advance(0.01)
        assert len(house.clock.getDelayedCalls()) == 1
    assert set(house.kinds()) == {EVENTS}


def test_a_batch_on_its_way_is_no_pause(house):
    """However slow the disk, no mark is written while a batch is being synced."""
    house.say(Add())
    slow = house.submit(Add())
    house.clock.advance(10)
    assert len(house.jobs) == 1
    house.run_all()
    assert slow.value == 2
    house.advance(1)
    assert house.kinds() == [EVENTS, EVENTS, IDLE]


def test_an_event_that_comes_during_a_mark_waits_for_it_only(house):
    """Events that arrive while a mark is synced are one batch right after it."""
    house.say(Add())
    house.clock.advance(1)
    answers = [house.submit(Add()) for _ in range(3)]
    assert len(house.jobs) == 1
    house.turn()
    house.turn()
    assert [a.value for a in answers] == [2, 3, 4]
    assert house.kinds() == [EVENTS, IDLE, EVENTS]


def test_the_pause_is_a_limit():
    """``journal_idle_mark_ms`` says how long the pause is."""
    house = House(Limits(journal_idle_mark_ms=7000)).open()
    house.say(Add())
    house.advance(6.9)
    assert house.kinds() == [EVENTS]
    house.advance(0.2)
    assert house.kinds() == [EVENTS, IDLE]


def test_a_restart_marks_what_was_not_vouched_for(house):
    """Events at the end of a journal that was not closed are marked after the start; marks not."""
    configured = Configured(b"", (), house.limits.keys_remembered_max)
    house.restart(configured)
    house.say(Add())
    house.crash(configured)
    assert house.kinds()[-1] is EVENTS
    for _ in range(3):
        house.advance(1)
        assert house.kinds()[-2:] == [EVENTS, IDLE]
        house.crash(configured)
    kinds = house.kinds()
    house.advance(1)
    assert house.kinds() == kinds


# --- digest marks ------------------------------------------------------------------------------

DIGEST, CLOSE = Kind.DIGEST_MARK, Kind.CLOSE_MARK


@pytest.fixture
def counted():
    """A stream that puts a digest into its journal after every three events."""
    return House(Limits(segment_bytes_max=256 * KIB, digest_events_max=3)).open()


def marks_in(house):
    frames = Reader(house.disk, cut=False).frames()
    return [mark_in(frame) for frame in frames if frame.kind is DIGEST]


def test_a_digest_goes_before_the_batch_that_follows_so_many_events(counted):
    """Counted in events, and never with a write or a sync of its own."""
    for _ in range(3):
        counted.say(Add())
    syncs = counted.disk.syncs_count
    counted.say(Add())
    assert counted.disk.syncs_count == syncs + 1
    assert counted.kinds() == [EVENTS, EVENTS, EVENTS, DIGEST, EVENTS]
    assert [mark.seq for mark in marks_in(counted)] == [3]
    assert counted.durable_events() == [1, 2, 3, 4]


def test_a_digest_speaks_of_all_that_is_in_the_journal(counted):
    """Under load a batch that completes the number is applied before the next one is written."""
    for _ in range(5):
        answers = [counted.submit(Add()) for _ in range(2)]
        counted.turn()
        answers += [counted.submit(Add()) for _ in range(2)]
        counted.run_all()
        assert all(answer.value for answer in answers)
    marks = marks_in(counted)
    assert len(marks) >= 4
    frames = [f for f in Reader(counted.disk, cut=False).frames() if f.kind is DIGEST]
    assert [mark.seq + 1 for mark in marks] == [frame.first_seq for frame in frames]
    counted.crash()
    assert counted.stream._core.agreed == marks[-1]


def test_a_pause_brings_the_digest_that_is_due(counted):
    """No batch follows: the digest goes with the idle mark, and is not written again."""
    for _ in range(3):
        counted.say(Add())
    counted.advance(0.1)
    counted.advance(100)
    assert counted.kinds() == [EVENTS, EVENTS, EVENTS, DIGEST, IDLE]


def test_a_close_brings_a_digest_unless_the_last_one_says_it_all(house):
    """So a journal that was closed in good order is vouched for to its end."""
    house.say(Add())
    house.close()
    assert house.kinds()[-3:] == [EVENTS, DIGEST, CLOSE]
    house.open()
    assert house.stream.status()["digest"]["seq"] == 1
    house.close()
    assert house.kinds()[-3:] == [DIGEST, CLOSE, CLOSE]


def test_a_digest_that_found_no_room_is_written_with_the_next_batch(counted):
    """A full disk refuses the batch and its mark together; neither is lost track of."""
    for _ in range(3):
        counted.say(Add())
    counted.disk.before_step = _full_disk
    assert isinstance(counted.say(Add()).error, NoRoom)
    counted.disk.before_step = lambda step: None
    counted.say(Add())
    assert counted.kinds()[-2:] == [DIGEST, EVENTS]
    counted.crash()
    assert counted.stream._core.agreed.seq == 3


def _full_disk(step):
    if step.verb == "write":
        raise NoRoom("full")


def test_a_process_that_ended_marks_nothing(house):
    """What a stream would have written is not written by another one's clock."""
    house.say(Add())
    house.crash()
    before = house.kinds()
    house.advance(10)
    assert house.kinds() == before


@pytest.mark.parametrize("when", ["before", "during"])
def test_closing_is_not_disturbed_by_a_mark(house, when):
    """A close before or during an idle mark ends with the close mark, and leaves no call behind."""
    house.say(Add())
    if when == "during":
        house.clock.advance(1)
    assert house.close() == [None]
    assert house.stream.mood is Mood.CLOSED
    assert house.kinds()[-1] is Kind.CLOSE_MARK
    assert house.kinds().count(IDLE) == (when == "during")
    assert house.clock.getDelayedCalls() == []


def test_a_full_disk_is_not_disturbed_by_marks(logged):
    """A mark without room is no failure and is not tried over and over; all goes on after it."""
    house = House(Limits(segment_bytes_max=8 * KIB)).open()
    while house.stream._pen._appender._at.offset + 72 <= 8 * KIB:
        house.say(Add(pad=bytes(10)))
    house.disk.remove("next.part")
    house.stream._pen._appender._prepared = False
    house.disk.room = 0
    kinds = house.kinds()
    logged.clear()
    house.advance(100)
    assert house.kinds() == kinds
    assert [text for _, text in logged] == ["counter: there is no room for the idle mark"]
    assert isinstance(house.say(Add()).error, NoRoom)
    house.advance(100)
    assert house.stream.mood is Mood.OPEN
    house.disk.room = None
    house.say(Add())
    house.advance(1)
    assert house.kinds()[-2:] == [EVENTS, IDLE]


def test_a_mark_that_fails_halts(house):
    """Promise 7: a failed sync is final, that of a mark too; who waits behind it hears of it."""
    house.say(Add())
    house.disk.syncs_left = 0
    house.clock.advance(1)
    waiting = house.submit(Add())
    house.run_all()
    assert house.stream.mood is Mood.HALTED
    assert isinstance(waiting.error, Halted)
    assert isinstance(house.halted[0], SyncFailed)
    assert house.clock.getDelayedCalls() == []


def test_damage_to_what_was_answered_last_is_told_after_a_pause(house):
    """Promise 4: after the pause, any wrong bit in the last answered frame refuses the journal."""
    house.say(Add())
    house.say(Add())
    house.advance(1)
    (name,) = [n for n in house.disk.names() if n.endswith(".segment")]
    *_, last, _ = Reader(house.disk, cut=False).frames()
    house.stream.stop()
    house.disk.close()
    for bit in range(last.offset * 8, last.end * 8):
        byte = house.disk.read(name, bit // 8, 1)
        house.disk.write(name, bit // 8, bytes([byte[0] ^ 1 << bit % 8]))
        with pytest.raises(Corrupt, match=f"{name}, offset {last.offset}, from seq 2 on"):
            house.make().open()
        house.disk.write(name, bit // 8, byte)
    assert house.open().state.total == 2


# --- no room -----------------------------------------------------------------------------------


def fill_up(house):
    """Take all room there is; return how many events that were."""
    house.disk.room = 0
    for count in range(1000):
        if isinstance(house.say(Add()).came[0], Failure):
            return count
    raise AssertionError("there is no end of room")


def test_a_full_disk_refuses_and_recovers_by_itself():
    """Promise 7: without room the batch is refused, keeps no place, and the next is served."""
    house = House(Limits(segment_bytes_max=8 * KIB)).open()
    count = fill_up(house)
    assert house.durable_events() == list(range(1, count + 1))
    assert all(isinstance(house.say(Add(), "k", b"f").error, NoRoom) for _ in range(2))
    assert house.stream.mood is Mood.OPEN
    assert house.state.total == count
    house.disk.room = None
    assert house.say(Add(), "k", b"f").exchange.seqs == [count + 1]
    assert house.crash().state.total == count + 1


def test_a_full_disk_refuses_all_that_was_in_the_batch():
    """Promise 7: each waiter of a batch without room hears it, and those behind it are tried."""
    house = House(Limits(segment_bytes_max=8 * KIB)).open()
    house.disk.room = 0
    first = house.submit(Add(pad=bytes(1000)))
    second = [house.submit(Add(pad=bytes(2000)), key) for key in ("k", "k", None)]
    house.turn()
    third = house.submit(Add())
    house.run_all()
    assert first.exchange.seqs == [1]
    assert [type(a.error) for a in second] == [NoRoom] * 3
    assert third.exchange.seqs == [2]


# --- failures ----------------------------------------------------------------------------------


def test_a_failed_sync_halts(house, logged):
    """Promise 7: after a failed sync nobody is answered with success, and nothing is admitted."""
    house.say(Add())
    house.disk.syncs_left = 0
    answers = [house.submit(Add(), "k"), house.submit(Add(), "k"), house.submit(Add())]
    house.turn()
    assert [type(a.error) for a in answers] == [Halted] * 3
    assert isinstance(house.halted[0], SyncFailed)
    assert house.stream.mood is Mood.HALTED
    assert not house.jobs
    assert isinstance(house.submit(Add()).error, Halted)
    failures = []
    house.stream.ask(Counter.total).addErrback(failures.append)
    assert failures[0].check(Halted)
    with pytest.raises(Halted):
        house.stream.blob_writer()
    assert [text for level, text in logged if level is LogLevel.critical] == [
        f"counter: halted: {house.halted[0]}"
    ]


def test_after_a_halt_the_next_start_reads_what_is_there(house):
    """Promise 1: what was answered before the failure is there; what was not may be."""
    house.say(Add())
    house.disk.syncs_left = 0
    house.say(Add())
    house.close()
    house.disk.syncs_left = None
    house.crash()
    assert house.durable_events() == [1]
    assert house.say(Add()).value == 2


@pytest.mark.parametrize(
    ("end", "error"), [("memory", MemoryError), ("interrupt", KeyboardInterrupt)]
)
def test_what_might_not_repeat_itself_halts(house, end, error):
    """Promise 4: want of memory is no outcome: everybody who waits hears that nothing is known."""
    first = house.submit(Add())
    batch = [house.submit(Add()), house.submit(Add(1, end)), house.submit(Add())]
    house.turn()
    behind = house.submit(Add())
    house.run_all()
    assert first.value == 1
    assert [type(a.error) for a in (*batch, behind)] == [Halted] * 4
    assert isinstance(house.halted[0], error)


def test_events_in_flight_when_the_machine_stops_are_not_answered_with_success(house):
    """A batch that became durable after the halt was never applied: its peers hear *halted*."""
    house.submit(Add(1, "memory"))
    behind = house.submit(Add())
    house.turn()
    assert house.stream.mood is Mood.HALTED
    assert len(house.jobs) == 1
    house.run_all()
    assert isinstance(behind.error, Halted)
    assert len(house.halted) == 1


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["reply", "refuse", "raise"])
@pytest.mark.parametrize("between", ["nothing", "restart", "crash"])
def test_the_same_key_gets_the_same_outcome(house, end, between):
    """Promise 5: at once, after a restart, after a crash: one event, one seq, one outcome."""
    first = house.say(Add(1, end), "k", b"f")
    house.say(Add(10))
    if between != "nothing":
        getattr(house, between)()
    second = house.submit(Add(1, end), "k", b"f")
    assert not house.jobs
    assert second.exchange.seqs == first.exchange.seqs == [1]
    if end == "reply":
        assert second.value == first.value
    else:
        assert type(second.error) is type(first.error)
        assert str(second.error) == str(first.error)
    assert house.durable_events() == [1, 2]


def test_twins_in_flight_are_one_event(house):
    """Promise 5: a repetition that comes before the answer hears the first one's outcome."""
    twins = [house.submit(Add(), "k", b"f") for _ in range(2)]
    house.turn()
    twins.append(house.submit(Add(), "k", b"f"))
    house.run_all()
    assert [a.value for a in twins] == [1, 1, 1]
    assert [a.exchange.seqs for a in twins] == [[1]] * 3


@pytest.mark.parametrize("when", ["in flight", "known", "restarted"])
def test_a_key_for_another_request_is_refused(house, when):
    """Promise 5: a key that was used for something else is never answered with that."""
    first = house.submit(Add(), "k", b"f")
    if when != "in flight":
        house.run_all()
    if when == "restarted":
        house.restart()
    assert isinstance(house.submit(Add(2), "k", b"g").error, KeyReused)
    house.run_all()
    assert first.value == 1
    assert house.durable_events() == [1]


def test_the_second_event_of_an_exchange_has_a_memory_too(house):
    """Promise 5: a repeated exchange of two events finds both."""
    exchanges = [Exchange("test", "k", b"f") for _ in range(2)]
    values = []
    for exchange in exchanges:
        for count in (1, 10):
            house.stream.submit(Add(count), exchange).addCallback(values.append)
            house.run_all()
    assert values == [1, 11, 1, 11]
    assert [exchange.seqs for exchange in exchanges] == [[1, 2], [1, 2]]


def test_a_forgotten_key_stays_forgotten_when_more_are_remembered():
    """Promise 4: another bound on the memory of keys changes nothing that happened."""
    house = House(Limits(keys_remembered_max=1)).open(Configured(b""))
    for key in ("a", "b", "a"):
        house.say(Add(), key)
    total = house.state.total
    house.limits = Limits()
    house.restart(Configured(b""))
    assert house.state.total == total == 3
    house.say(Add(), "b")
    assert house.say(Add(), "a").exchange.seqs == [4]


# --- opening and closing -----------------------------------------------------------------------


def test_a_stream_that_is_not_open_refuses():
    """Before opening and after closing, nothing is admitted and nothing is told."""
    house = House()
    house.stream = house.make()

    def refusals():
        failures = [house.submit(Add()).error]
        house.stream.ask(Counter.total).addErrback(lambda f: failures.append(f.value))
        with pytest.raises(NotOpen):
            house.stream.blob_writer()
        return [type(error) for error in failures]

    assert refusals() == [NotOpen, NotOpen]
    house.open()
    assert house.close() == [None]
    assert refusals() == [NotOpen, NotOpen]


def test_closing_drains_and_seals(house):
    """What was admitted is finished, nothing more is admitted, and a close mark ends it."""
    answers = [house.submit(Add()) for _ in range(3)]
    closed = []
    house.stream.close().addCallback(closed.append)
    assert isinstance(house.submit(Add()).error, NotOpen)
    asked = []
    house.stream.ask(Counter.total).addCallback(asked.append)
    assert asked == [0]
    house.turn()
    assert closed == []
    house.turn()
    assert [a.value for a in answers] == [1, 2, 3]
    assert closed == []
    house.turn()
    assert closed == [None]
    assert house.stream.mood is Mood.CLOSED
    assert house.kinds()[-1] is Kind.CLOSE_MARK


def test_closing_twice_is_closing_once(house):
    """A second close, during the first or after it, ends when the first does."""
    house.submit(Add())
    closed = []
    for _ in range(2):
        house.stream.close().addCallback(closed.append)
    assert closed == []
    house.run_all()
    assert closed == [None, None]
    assert house.close() == [None]
    assert house.kinds().count(Kind.CLOSE_MARK) == 1


def test_closing_without_room_ends_all_the_same(house, monkeypatch):
    """Promise 7: a full disk does not keep a stream from closing, or from opening again."""

    def no_room(kind, time_ns, digest):
        raise NoRoom("full")

    house.say(Add())
    monkeypatch.setattr(house.stream._pen._appender, "mark", no_room)
    assert house.close() == [None]
    assert house.stream.mood is Mood.CLOSED
    assert not house.halted
    assert house.open().state.total == 1


@pytest.mark.parametrize("when", ["draining", "sealing"])
def test_a_sync_that_fails_while_closing_halts(house, when):
    """Promise 7: the stream does not pretend to have closed in good order, and does not hang."""
    if when == "draining":
        answer = house.submit(Add())
    house.disk.syncs_left = 0
    assert house.close() == [None]
    assert house.stream.mood is Mood.HALTED
    assert isinstance(house.halted[0], SyncFailed)
    if when == "draining":
        assert isinstance(answer.error, Halted)
    house.disk.lock()


def test_closing_lets_go_of_the_disk(house):
    """A closed journal can be opened by another; an open one cannot."""
    with pytest.raises(Locked):
        house.make().open()
    house.close()
    house.open()


def test_closing_what_was_never_opened():
    """A stream that did not get as far as opening can be closed."""
    house = House()
    house.stream = house.make()
    assert house.close() == [None]
    assert house.stream.mood is Mood.CLOSED


def test_a_stream_that_is_abandoned_writes_nothing(house):
    """Opened and not begun, it is let go of at once; its thread, not started, is not waited for."""
    house.say(Add())
    house.restart()
    before = house.kinds()
    house.stream.abandon()
    assert isinstance(house.submit(Add()).error, Halted)
    closed = []
    house.stream.close().addCallback(closed.append)
    assert closed == [None]
    assert not house.jobs
    assert house.kinds() == before
    assert house.open().state.total == 1


def test_a_journal_with_an_event_nobody_handles_is_refused(house):
    """Promise 4: opening names the event that cannot be replayed, and lets go of the disk."""
    house.say(Add())
    house.close()
    house.app = Forgetful
    with pytest.raises(UnknownEvent, match="'Add'"):
        house.open()
    house.app = Counter
    assert house.open().state.total == 1


def test_a_replay_comes_to_the_same_state(house):
    """Promise 4: restarts and crashes leave the digest as it was."""
    for n in range(5):
        house.say(Add(n, ("reply", "refuse", "raise")[n % 3], wake_s=60), f"k{n}")
    before = digest(house.state)
    house.restart()
    assert digest(house.state) == before
    house.crash()
    assert digest(house.state) == before
    assert house.say(Add()).exchange.seqs == [6]


def test_status_tells_how_it_is(house):
    """Tools see mood, seq, and what waits."""
    house.say(Add(1, wake_s=5), "k")
    house.submit(Add())
    assert house.stream.status().items() >= {
        "name": "counter", "mood": "open", "seq": 1, "waiting": 1, "owed": 1, "failed": 0,
        "keys": 1,
    }.items()  # fmt: skip


# --- time --------------------------------------------------------------------------------------


def test_time_never_goes_backwards(house):
    """Promise 2: whatever the clock does, over restarts too, later events have later times."""
    house.say(Add())
    house.shift_ns = -3600 * SECOND_NS
    house.say(Add())
    house.restart()
    house.say(Add())
    house.shift_ns = 0
    house.advance(5)
    house.say(Add())
    times = list(house.state.times)
    assert times == sorted(times)
    assert times[:3] == [START_NS] * 3
    assert times[3] == START_NS + 5 * SECOND_NS


# --- debts -------------------------------------------------------------------------------------


def test_a_timer_fires_when_it_is_due(house):
    """An event owed to the application itself comes in order, at its time, once."""
    house.say(Add(1, wake_s=10))
    house.advance(9)
    assert house.state.woken == ()
    house.advance(1)
    assert house.state.woken == (1,)
    assert house.state.woken_ns == (START_NS + 10 * SECOND_NS,)
    house.advance(1000)
    assert house.state.woken == (1,)
    assert house.durable_events() == [1, 2]


@pytest.mark.parametrize("stop", ["restart", "crash"])
def test_a_timer_survives_a_restart(house, stop):
    """Promise 6: what fell due while nobody ran fires at the start, once."""
    house.say(Add(1, wake_s=10))
    house.say(Add(1, wake_s=50))
    getattr(house, stop)(Configured(b""))
    assert house.state.woken == ()
    house.stream.close() if stop == "restart" else house.stream.stop()
    house.run_all()
    house.clock.advance(20)
    house.disk.crash()
    house.open(Configured(b""))
    assert house.state.woken == (1,)
    house.advance(29)
    assert house.state.woken == (1,)
    house.advance(1)
    assert house.state.woken == (1, 2)


@pytest.mark.parametrize("shift_s", [-86_400, 86_400])
def test_timers_follow_a_clock_that_is_set(house, shift_s):
    """Set ahead, a timer fires within a minute; set back, it waits for its time, once."""
    house.say(Add(1, wake_s=3600))
    house.shift_ns = shift_s * SECOND_NS
    house.advance(61)
    assert house.state.woken == ((1,) if shift_s > 0 else ())
    house.shift_ns = 0
    for _ in range(61):
        house.advance(60)
    assert house.state.woken == (1,)
    assert house.state.woken_ns[0] >= START_NS + 3600 * SECOND_NS


def test_a_timer_that_finds_no_room_tries_again():
    """Promise 6: a firing that was not admitted is not lost."""
    house = House(Limits(queue_events_max=1)).open()
    house.say(Add(1, wake_s=10))
    waiting = house.submit(Add())
    house.clock.advance(10)
    house.run_all()
    assert waiting.value == 2
    assert house.state.woken == ()
    house.advance(1)
    assert house.state.woken == (1,)


def test_nothing_is_performed_before_the_stream_is_begun(house):
    """Promise 6: a replay performs nothing; an open stream performs what is still owed."""
    house.say(Add(1, mail=True))
    assert house.mails.performed == [((1, 0), 0)]
    house.mails.performed.clear()
    house.restart()
    assert house.mails.performed == []
    house.stream.begin(Configured(b""))
    assert house.mails.performed == [((1, 0), 0)]


def test_a_debt_is_performed_after_its_event_is_durable(house):
    """Promise 6: the world hears of an event only after the disk has it."""
    house.submit(Add(1, mail=True))
    tell = house.work()
    assert house.mails.performed == []
    tell()
    assert house.mails.performed == [((1, 0), 0)]


@pytest.mark.parametrize("end", ["refuse", "raise"])
def test_what_was_taken_back_is_not_owed(house, end):
    """Promise 3: a handler that raised owes nothing."""
    house.say(Add(1, end, mail=True, wake_s=1))
    house.advance(10)
    assert house.mails.performed == []
    assert house.stream.status()["owed"] == 0


def test_a_debt_that_is_done_is_not_performed_again(house):
    """Promise 6: at least once, and after its end came, never; a delay is kept over a restart."""
    for _ in range(3):
        house.say(Add(1, mail=True))
    house.say(MailSent(1, 0, "a@x"))
    house.say(MailFailed(2, 0, "a@x"))
    house.say(MailDelayed(3, 0, "a@x", 1, START_NS + 300 * SECOND_NS))
    house.mails.performed.clear()
    house.restart(Configured(b""))
    assert house.mails.performed == []
    house.advance(300)
    assert house.mails.performed == [((3, 0), 1)]


def test_a_closing_stream_performs_nothing_new(house):
    """While draining, debts that fall due stay owed."""
    house.say(Add(1, wake_s=5))
    house.submit(Add(1, mail=True))
    house.stream.close()
    house.advance(10)
    assert house.mails.performed == []
    house.open(Configured(b""))
    assert house.mails.performed == [((2, 0), 0)]
    assert house.state.woken == (1,)


def test_a_debt_nobody_performs_is_logged(house, logged):
    """An effect without a runner is said aloud, and stays owed."""
    house.stream.debts.runners.clear()
    house.say(Add(1, mail=True))
    assert any("nobody here performs" in text for _, text in logged)
    assert house.stream.status()["owed"] == 1


def test_a_halted_stream_performs_nothing(house):
    """Promise 7: after a halt nothing is sent any more, whatever falls due."""
    house.say(Add(1, mail=True))
    house.say(MailDelayed(1, 0, "a@x", 1, START_NS + 30 * SECOND_NS))
    house.mails.performed.clear()
    house.disk.syncs_left = 0
    house.say(Add())
    house.advance(100)
    assert house.mails.performed == []
    assert house.clock.getDelayedCalls() == []


def test_a_halt_leaves_no_error_unheard(house, logged):
    """A timer in flight when the disk fails is nobody's unhandled error."""
    house.say(Add(1, wake_s=1))
    house.disk.syncs_left = 0
    house.advance(1)
    house.advance(100)
    assert house.stream.mood is Mood.HALTED
    gc.collect()
    assert not any("Unhandled" in text for _, text in logged)


def test_effect_keys_are_stable_and_tell_no_secret(house):
    """Promise 6: the id an effect shows outside is the same at every attempt and every start."""
    keys = [house.stream.effect_key((1, 0)), house.stream.effect_key((1, 1))]
    other = House()
    other.random = random.Random(2)
    assert other.open().stream.effect_key((1, 0)) != keys[0]
    house.restart()
    assert [house.stream.effect_key((1, 0)), house.stream.effect_key((1, 1))] == keys
    assert len(set(keys)) == 2
    assert house.stream.journal_id.hex() not in "".join(keys)


# --- configuration -----------------------------------------------------------------------------


def test_the_configuration_is_an_event_when_it_is_news(house):
    """Promise 4: other settings than the journal remembers are put in it, and only those."""
    one, two = Configured(b'{"step": 1}', ("a",)), Configured(b'{"step": 2}', ("a",))
    for configured in (one, one, two, two, one):
        house.restart(configured)
    assert house.state.steps == (1, 2, 1)
    assert house.durable_events() == [1, 2, 3]


def test_a_configuration_that_finds_no_room_tries_again():
    """Promise 7: new settings wait for room, and then hold."""
    house = House(Limits(segment_bytes_max=8 * KIB)).open()
    fill_up(house)
    house.stream.begin(Configured(b'{"step": 7}'))
    house.run_all()
    assert house.state.steps == ()
    house.disk.room = None
    house.advance(2)
    assert house.state.steps == (7,)


# --- all of it together ------------------------------------------------------------------------


class Living(RuleBasedStateMachine):
    """Random submissions, syncs, crashes, restarts and full disks; a witness keeps the answers."""

    def __init__(self):
        super().__init__()
        limits = Limits(segment_bytes_max=8 * KIB, queue_events_max=6, frame_events_max=3)
        self.house = self.new_house(limits).open(Configured(b'{"step": 1}'))
        self.answers = []
        self.answered = {}
        self.kept = set()
        self.by_key = {}
        self.tells = []

    def new_house(self, limits):
        return House(limits)

    def watch(self, answer, key):
        self.answers.append((answer, key))

    def witness(self):
        for answer, key in self.answers:
            if not answer.came or not answer.exchange.seqs:
                continue
            (seq,) = answer.exchange.seqs
            said = answer.came[0]
            if isinstance(said, Failure) and said.check(CoreLost):
                self.kept.add(seq)  # what became of it is told to who repeats its key
            else:
                said = str(said.value) if isinstance(said, Failure) else said
                assert self.answered.setdefault(seq, said) == said
            if key is not None:
                assert self.by_key.setdefault(key, seq) == seq
        self.answers = [(a, k) for a, k in self.answers if not a.came]

    @rule(
        end=st.sampled_from(["reply", "reply", "refuse", "raise"]),
        key=st.none() | st.sampled_from("abcd"),
        pad=st.sampled_from([0, 500, 3000]),
        owe=st.booleans(),
    )
    def submit(self, end, key, pad, owe):
        made = Add(1, end, 5 if owe else None, owe, bytes(pad))
        self.watch(self.house.submit(made, key), key)

    @precondition(lambda self: self.house.jobs)
    @rule()
    def turn(self):
        self.house.turn()

    @rule(full=st.booleans())
    def fill(self, full):
        self.house.disk.room = 0 if full else None

    @rule(seconds=st.sampled_from([0, 1, 10]))
    def pass_time(self, seconds):
        self.house.clock.advance(seconds)

    @precondition(lambda self: self.house.jobs)
    @rule()
    def crash_before_the_news(self):
        self.house.work()
        self.crash()

    @rule()
    def crash(self):
        self.witness()
        self.answers.clear()
        self.house.disk.room = None
        self.house.crash(Configured(b'{"step": 1}'))

    @rule()
    def restart(self):
        self.house.disk.room = None
        self.house.restart(Configured(b'{"step": 1}'))
        self.witness()
        assert self.answers == []

    @invariant()
    def nothing_answered_is_lost(self):
        self.witness()
        durable = self.house.durable_events()
        assert durable == list(range(1, len(durable) + 1))
        assert self.kept | set(self.answered) <= set(durable)

    @invariant()
    def a_replay_agrees(self):
        stream, machine = self.house.stream, self.house.machine
        again = type(machine)(definition_of(Counter), stream.journal_id, random.Random)
        for frame in Reader(copy.deepcopy(self.house.disk), cut=False).frames():
            if frame.first_seq + frame.count - 1 <= machine.seq:
                replay_frame(again, stream._decoder, frame)
        assert again.seq == machine.seq
        assert digest(again.state) == digest(machine.state)
        assert [owed.id for owed in again.outbox] == [owed.id for owed in machine.outbox]


TestLiving = Living.TestCase
TestLiving.__doc__ = "Promises 1, 2, 4, 5: answered is durable, in one order, once, the same again."
TestLiving.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
