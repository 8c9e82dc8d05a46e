"""Watching over fronts: real links, processes that are the test's own, and a clock."""

import subprocess

import msgspec
import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from happy.config import load
from happy.doors import shared_doors_of
from happy.errors import StartError
from happy.return_paths import ReturnPaths
from happy.split import fronts as module
from happy.split.front import LogLines
from happy.split.fronts import Fronts
from happy.split.link import Link
from happy.split.messages import Kind, Line, Order, Ready
from happy.split.pipe import socket
from happy.split.queries import schema_digest

CONFIG = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
fronts = 2
[limits]
front_start_timeout_s = 20
front_silence_s = 5
front_restart_ms = 1000
front_restart_max_s = 4
"""


class Reactor(Clock):
    """A clock that knows who reads."""

    def __init__(self):
        super().__init__()
        self.readers, self.writers = set(), set()
        self.addReader, self.addWriter = self.readers.add, self.writers.add
        self.removeReader, self.removeWriter = self.readers.discard, self.writers.discard

    def turn(self):
        """Let everybody read what is there."""
        for reader in tuple(self.readers):
            try:
                reason = reader.doRead()
            except OSError:
                continue
            if reason is not None:
                self.readers.discard(reader)
                reader.connectionLost(reason)


class Process:
    """A front as ``subprocess.Popen`` shows one, that does what the test says."""

    def __init__(self, command, *, pass_fds, **_):
        self.pid = int(command[-2]) + 1000
        self.came, self.gone, self.status = [], False, None
        self.passed = pass_fds
        end = socket.socket(fileno=socket.dup(int(command[-2])))
        self.link = Link(end, Reactor(), lambda *came: self.came.append(came), self._ended)
        self.link.start()

    def _ended(self):
        self.gone = True

    @property
    def kinds(self):
        self.link.doRead()
        return [kind for kind, _ in self.came]

    def say(self, kind, value=None):
        self.link.send(kind, b"" if value is None else msgspec.msgpack.encode(value))

    def kill(self):
        if self.status is None:
            self.status = -9
            self.link.close()

    def wait(self, timeout=None):
        if self.status is None:
            raise subprocess.TimeoutExpired("front", timeout)
        return self.status


class Port:
    def fileno(self):
        return 77

    def getHost(self):
        return "here"

    def stopReading(self):
        """Accept nothing."""


class Stream:
    """A stream to which nothing comes."""

    return_paths = ReturnPaths()

    soon = None


class House:
    """The fronts of an application, and all processes that there were."""

    def __init__(self, folder, monkeypatch):
        self.made = []
        self.can_start = True
        monkeypatch.setattr(module.subprocess, "Popen", self._make)
        (folder / "happy.toml").write_text(CONFIG)
        self.config = load(folder / "happy.toml")
        app = self.config.apps[0]
        self.schema = schema_digest(app.definition)
        doors = shared_doors_of(app)
        for door in doors:
            door.listens(Port())
        self.reactor = Reactor()
        self.fronts = Fronts(app, self.config, Stream(), doors, self.reactor, maybeDeferred)

    def _make(self, command, **more):
        if not self.can_start:
            raise OSError(11, "no more processes")
        self.made.append(Process(command, **more))
        return self.made[-1]

    def start(self):
        self.fronts.launch()
        for process in self.made:
            process.say(Kind.READY, Ready(self.schema))
        self.fronts.await_ready()
        self.fronts.begin()
        return self

    def pass_s(self, seconds, *alive):
        for _ in range(seconds):
            for process in alive:
                process.say(Kind.COUNTS, 3)
            self.reactor.turn()
            self.reactor.advance(1)
        self.reactor.turn()

    def states(self):
        return [front["state"] for front in self.fronts.status()]


@pytest.fixture
def house(tmp_path, monkeypatch):
    made = House(tmp_path, monkeypatch)
    yield made
    made.fronts.kill()


def test_a_front_is_told_what_to_serve_and_when(house):
    """The order with the sockets first; nothing is accepted before all are ready."""
    house.fronts.launch()
    first, second = house.made
    ((kind, body),) = first.came if first.kinds else ()
    assert kind is Kind.ORDER
    order = msgspec.msgpack.decode(body, type=Order)
    assert (order.number, order.name, order.app) == (
        1, "numbers", "happy.examples.numbers:NumberService"
    )  # fmt: skip
    assert order.doors == [("http", "tcp:0:interface=127.0.0.1", 77)]
    assert 77 in first.passed
    for process in (first, second):
        process.say(Kind.READY, Ready(house.schema))
    house.fronts.await_ready()
    assert Kind.GO not in first.kinds
    house.fronts.begin()
    assert first.kinds[-1] is second.kinds[-1] is Kind.GO
    house.pass_s(1, first, second)
    assert [(f["state"], f["connections"], f["restarts"]) for f in house.fronts.status()] == [
        ("serving", 3, 0)
    ] * 2


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (lambda front: front.kill(), "numbers: front 1 cannot start: its process has ended"),
        (lambda front: front.link.send(Kind.FAILED, b"no app"), "cannot start: no app"),
        (lambda front: front.say(Kind.READY, Ready("x")), "declares other events, rows or"),
    ],
)
def test_a_start_is_all_or_nothing(house, does, why):
    """Whatever keeps a front from it is told in a sentence, and no process is left."""
    house.fronts.launch()
    does(house.made[0])
    house.made[0].link.close()
    with pytest.raises(StartError, match=why):
        house.fronts.await_ready()
    house.fronts.kill()
    assert [process.status for process in house.made] == [-9, -9]


def test_processes_that_cannot_be_made_end_the_start(house):
    """In the system's words."""
    house.can_start = False
    with pytest.raises(StartError, match="numbers: a front cannot be started: no more processes"):
        house.fronts.launch()


def test_a_front_that_ends_is_started_again_after_a_growing_pause(house):
    """1, 2 and 4 s, no longer; and from 1 s again when one has served for long enough."""
    house.start()
    other, victim = house.made
    for pause_s in (1, 2, 4, 4):
        victim.kill()
        house.reactor.turn()
        assert house.states() == ["serving", "ended"]
        count = len(house.made)
        house.pass_s(pause_s - 1, other)
        assert len(house.made) == count
        house.pass_s(1, other)
        victim = house.made[count]
        assert house.states() == ["serving", "starting"]
        victim.say(Kind.READY, Ready(house.schema))
        house.reactor.turn()
        assert house.states() == ["serving", "serving"]
        assert victim.kinds == [Kind.ORDER, Kind.GO]
    assert [front["restarts"] for front in house.fronts.status()] == [0, 4]
    house.pass_s(5, other, victim)
    victim.kill()
    house.reactor.turn()
    house.pass_s(1, other)
    assert house.states() == ["serving", "starting"]


def test_a_front_that_hangs_is_killed_and_started_again(house):
    """After front_silence_s without a word; one that speaks each second is left alone."""
    house.start()
    alive, stuck = house.made
    house.pass_s(5, alive)
    assert stuck.status is None
    house.pass_s(1, alive)
    assert (alive.status, stuck.status) == (None, -9)
    house.pass_s(1, alive)
    assert house.states() == ["serving", "starting"]


def test_a_container_that_could_not_run_blames_no_front(house):
    """After an hour in which nobody could read, both are heard, and go on."""
    house.start()
    house.reactor.advance(3600)
    house.pass_s(3, *house.made)
    assert house.states() == ["serving", "serving"]
    assert len(house.made) == 2


def test_a_front_that_does_not_get_ready_again_is_killed(house):
    """After front_start_timeout_s; and one of another schema at once."""
    house.start()
    other, victim = house.made
    victim.kill()
    house.reactor.turn()
    house.pass_s(1, other)
    third = house.made[2]
    house.pass_s(20, other)
    assert third.status is None
    house.pass_s(1, other)
    assert third.status == -9
    house.pass_s(2, other)
    fourth = house.made[3]
    fourth.say(Kind.READY, Ready("of newer code"))
    house.reactor.turn()
    assert fourth.status == -9
    assert Kind.GO not in [kind for kind, _ in fourth.came]


def test_a_process_that_cannot_be_made_again_is_tried_later(house):
    """The pause grows as for one that ends."""
    house.start()
    other, victim = house.made
    house.can_start = False
    victim.kill()
    house.reactor.turn()
    house.pass_s(2, other)
    assert house.states() == ["serving", "ended"]
    house.can_start = True
    house.pass_s(2, other)
    assert house.states() == ["serving", "starting"]


def test_draining_waits_for_the_connections_of_all_fronts(house):
    """And one that ends meanwhile has none; nobody is started again."""
    house.start()
    drained = house.fronts.drain()
    first, second = house.made
    assert first.kinds[-1] is second.kinds[-1] is Kind.DRAIN
    first.say(Kind.DRAINED)
    house.reactor.turn()
    assert not drained.called
    second.kill()
    house.reactor.turn()
    assert drained.called
    house.pass_s(10, first)
    assert len(house.made) == 2


def test_a_front_that_is_starting_serves_nobody_when_the_container_closes(house):
    """What gets ready too late is not let go."""
    house.start()
    other, victim = house.made
    victim.kill()
    house.reactor.turn()
    house.pass_s(1, other)
    drained = house.fronts.drain()
    house.made[2].say(Kind.READY, Ready(house.schema))
    house.reactor.turn()
    assert house.made[2].kinds == [Kind.ORDER]
    other.say(Kind.DRAINED)
    house.reactor.turn()
    assert drained.called


def test_fronts_are_stopped_and_waited_for(house):
    """The end of the link ends them; whoever is stuck is killed."""
    house.start()
    first, second = house.made
    first.kill()
    first.status = 0
    stopped = house.fronts.stop()
    assert stopped.called
    assert (first.status, second.status) == (0, -9)
    assert house.states() == ["ended", "ended"]


def test_what_a_front_logs_is_in_the_log_of_the_container(house):
    """With its level, and which front said it; a line of no known level harms nothing."""
    house.start()
    seen = []
    globalLogPublisher.addObserver(seen.append)
    try:
        lines = [Line("noise", "shop", "?"), Line("warn", "shop", "sold {out}")]
        house.made[1].say(Kind.LINES, lines[1:])
        house.made[1].say(Kind.LINES, lines[:1])
        house.made[1].say(Kind.COUNTS, 7)
        house.reactor.turn()
    finally:
        globalLogPublisher.removeObserver(seen.append)
    told = [event for event in seen if event["log_namespace"] == "shop"]
    assert [formatEvent(event) for event in told] == ["numbers: front 2: sold {out}"]
    assert told[0]["log_level"] is LogLevel.warn
    assert house.fronts.status()[1]["connections"] == 7


def test_log_lines_of_a_turn_go_together_and_too_many_are_dropped_and_counted(house):
    """Promise 8: a container that does not read costs a front no memory without bound."""

    class Link:
        unsent_bytes = 0

        def __init__(self):
            self.sent = []

        def send(self, kind, body):
            self.sent.append(msgspec.msgpack.decode(body, type=list[Line]))

    link = Link()
    observer = LogLines(link, house.reactor)
    log = Logger("shop", observer=observer)
    log.info("one")
    log.failure("two", Failure(ValueError("wrong")))
    house.reactor.advance(0)
    link.unsent_bytes = 2**30
    log.info("three")
    link.unsent_bytes = 0
    log.info("four")
    house.reactor.advance(0)
    first, second = link.sent
    assert [(line.level, line.text.partition("\n")[0]) for line in first] == [
        ("info", "one"),
        ("critical", "two"),
    ]
    assert "ValueError: wrong" in first[1].text
    assert [line.text for line in second] == [
        "four",
        "1 lines were dropped: the container did not take them",
    ]
