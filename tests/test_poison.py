"""An event that ends the program: found out by starting again, quarantined, and done without."""

from __future__ import annotations

import http.client
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from cli_kit import SECOND
from happy import App, Context, event, handles, state
from happy.app import definition_of
from happy.apply import Machine
from happy.applying import NOTE_BYTES
from happy.codec import EventDecoder, encode
from happy.errors import DeadlyEvent, NoRoom
from happy.event import FailedOutcome
from happy.journal.frame import Kind
from happy.journal.quarantine import foreseen
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.opening import open_application, replay_frame
from happy.state import digest
from happy.testing.disk import MemoryDisk
from happy.world import World

HAPPY = Path(sys.executable).with_name("happy")
WAIT_S = 60
LIMITS = Limits(segment_bytes_max=64 * 1024)
JOURNAL_SEGMENT = "00000000000000000001.segment"

# --- in memory ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The process has ended: nothing that would be done after it was."""


@event
class Step:
    """Count; or end the process."""

    deadly: bool = False


@state
class Steps:
    count: int = 0


class Stepper(App):
    state = Steps
    end = None

    @handles(Step)
    def step(state, event, context: Context):
        state.count += 1
        if event.deadly:
            Stepper.end()
        return state.count


class Machinery:
    """A disk, processes that open what is on it, and what they say."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.said = []
        self.time_ns = SECOND
        self._chance = random.Random(1)
        self._definition = definition_of(Stepper)
        self._decoder = EventDecoder(self._definition.events)

    def open(self, ends=Killed):
        """Open the application; its deadly handler raises ``ends``, if that is anything."""
        world = World(
            Clock(),
            lambda: self.time_ns,
            maybeDeferred,
            maybeDeferred,
            self._chance.randbytes,
            random.Random,
        )
        noted = []

        def end():
            noted.append(bytes(self.disk.shared_bytes(NOTE_BYTES)))
            if ends is not None:
                raise ends

        Stepper.end = end
        self.disk.lock()
        try:
            return open_application(
                "steps", self._definition, self._decoder, self.disk, world, LIMITS
            )
        except Killed:
            # As it was at that moment: what unwinding noted since, no process would have.
            self.disk.shared_bytes(NOTE_BYTES)[:] = noted[0]
            raise
        finally:
            self.disk.close()

    def die(self, times):
        """Open so often, and die of it."""
        for _ in range(times):
            with pytest.raises(Killed):
                self.open()

    def write(self, opened, *deadly, keys=()):
        """Write a batch of events."""
        names = [*keys, *[None] * len(deadly)]
        opened.appender.append(
            [encode(Step(d), "test", key) for d, key in zip(deadly, names, strict=False)],
            max(self.time_ns, opened.appender.position.time_ns),
        )

    def marks(self):
        """Return the kinds of the frames there are."""
        return [frame.kind for frame in Reader(self.disk, cut=False).frames()]

    def replay(self):
        """Return the state and the number of failures after a replay of all."""
        reader = Reader(self.disk, cut=False)
        machine = None
        for frame in foreseen(reader.frames()):
            journal_id = reader.segments[0].header.journal_id
            machine = machine or Machine(self._definition, journal_id, random.Random)
            replay_frame(machine, self._decoder, frame)
        return machine.seq, machine.failed, digest(machine.state)


@pytest.fixture
def house():
    """Machines and their log."""
    made = Machinery()

    def observe(logged):
        if logged.get("log_namespace") in ("happy.poison", "happy.opening_reports"):
            level = logged["log_level"].name
            made.said.append(f"{level}: {logged['log_format'].format(**logged)}")

    globalLogPublisher.addObserver(observe)
    yield made
    globalLogPublisher.removeObserver(observe)


def test_three_deaths_of_one_event_and_it_is_quarantined(house):
    """The fourth start writes a mark, passes the event over and applies all others."""
    house.write(house.open(), *[False] * 5, True, *[False] * 4)
    house.die(3)
    opened = house.open()
    assert opened.quarantined == (6,)
    assert (
        opened.core.machine.seq,
        opened.core.machine.state.count,
        opened.core.machine.failed,
    ) == (10, 9, 1)
    assert house.marks() == [Kind.EVENTS, Kind.QUARANTINE_MARK]
    died = "warn: steps: the program ended while {} was applied; that is death {} of at most 3"
    assert house.said[1:4] == [
        died.format("one of seq 1 to 10", 1),
        died.format("seq 6", 2),
        died.format("seq 6", 3),
    ]
    assert house.said[4] == (
        "critical: steps/6: quarantined: its handler ended the program 3 times; it failed, and "
        "is not tried again. `happy quarantine ls` shows it"
    )
    assert house.said[5:] == ["info: steps: replayed 10 events from 1 segment"]


def test_every_replay_obeys(house):
    """Promise 4: the mark is all it takes; replays, on other disks too, come to the same."""
    house.write(house.open(), False, True, False)
    house.die(3)
    house.open()
    known = house.replay()
    assert known[:2] == (3, 1)
    assert [house.replay() for _ in range(2)] == [known] * 2
    house.disk.crash()
    opened = house.open()
    assert (
        opened.core.machine.seq,
        opened.core.machine.failed,
        digest(opened.core.machine.state),
    ) == known
    assert opened.quarantined == (2,)
    assert house.marks() == [Kind.EVENTS, Kind.QUARANTINE_MARK]


def test_the_application_goes_on_behind_it(house):
    """What comes after the quarantine is applied, and a later start finds all of it."""
    house.write(house.open(), True)
    house.die(3)
    for count in range(4):
        opened = house.open()
        assert opened.core.machine.state.count == 2 * count
        house.write(opened, False, False)
    assert house.replay()[:2] == (9, 1)


def test_its_key_is_remembered_as_failed(house):
    """Promise 5: who asks again with the key of a quarantined event hears that it failed."""
    house.write(house.open(), False, True, keys=["one", "two"])
    house.die(3)
    machine = house.open().core.machine
    assert machine.keys.get("two").outcome == FailedOutcome(2)
    assert len(machine.keys) == 2


def test_two_poisons_in_two_batches(house):
    """While a batch waited for its turn another one was written: both may hold poison."""
    opened = house.open()
    house.write(opened, False, True, False)
    house.write(opened, False, True, True, False)
    house.die(9)
    opened = house.open()
    assert opened.quarantined == (2, 5, 6)
    assert (opened.core.machine.seq, opened.core.machine.state.count) == (7, 4)
    assert house.replay()[:2] == (7, 3)


def test_an_event_that_was_applied_once_is_never_quarantined(house):
    """What was answered stays: when changed code dies of it, the code is to be mended."""
    opened = house.open()
    house.write(opened, False, True, False)
    opened.appender.mark(Kind.IDLE_MARK, 2 * SECOND)
    house.die(5)
    assert house.marks() == [Kind.EVENTS, Kind.IDLE_MARK]
    assert house.said[-1] == (
        "critical: steps/2: its handler ended the program 4 times. It was applied before, and "
        "what came of it was answered, so it is not quarantined: run the code that applied it, "
        "or mend the handler"
    )


def test_a_start_that_gets_through_clears_all_suspicion(house):
    """Deaths are counted in a row: what was applied once is not tried for what it was."""
    house.write(house.open(), True)
    house.die(2)
    assert house.open(ends=None).quarantined == ()
    house.die(3)
    assert house.open().quarantined == (1,)


def test_a_power_cut_forgets_the_deaths(house):
    """What is in memory is of this start of the machine; the count begins again."""
    house.write(house.open(), True)
    house.die(2)
    house.disk.crash()
    house.die(3)
    assert house.open().quarantined == (1,)


def test_without_room_for_the_mark_nothing_is_quarantined(house):
    """The mark is durable before the event is passed over, or the start is refused."""
    house.write(house.open(), True)
    house.die(3)
    house.disk.truncate(JOURNAL_SEGMENT, len(house.disk.read(JOURNAL_SEGMENT).rstrip(b"\0")) + 8)
    house.disk.room = 0
    with pytest.raises(NoRoom):
        house.open()
    assert house.marks() == [Kind.EVENTS]
    house.disk.room = None
    assert house.open().quarantined == (1,)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_what_ends_a_start_is_a_sentence(house, error):
    """A handler that raises what ends programs ends a start with its seq, and is a death."""
    house.write(house.open(), False, True)
    for _ in range(3):
        with pytest.raises(DeadlyEvent, match=rf"^seq 2: its handler raised {error.__name__}"):
            house.open(error)
    assert house.open(error).quarantined == (2,)


# --- real processes ----------------------------------------------------------------------------

DEADLY = """
import itertools
import os
import signal
from klein import Klein
from twisted.internet.defer import DeferredList
from happy import App, event, handles, query, state


def out_of_memory():
    raise MemoryError


WAYS = {
    "": lambda: None,
    "exit": lambda: os._exit(0),
    "fault": lambda: signal.raise_signal(signal.SIGSEGV),
    "kill": lambda: signal.raise_signal(signal.SIGKILL),
    "loop": lambda: sum(itertools.repeat(1)),  # in native code, where no signal is looked at
    "memory": out_of_memory,
}


@event
class Step:
    how: str = ""


@state
class Steps:
    count: int = 0


class Stepper(App):
    state = Steps
    http = Klein()

    @handles(Step)
    def step(state, event, context):
        WAYS[event.how]()
        state.count += 1

    @query
    def count(state):
        return state.count

    @http.route("/steps", methods=["POST"])
    async def post_steps(self, request):
        how = request.args[b"how"][0].decode()
        steps = [Step(how if n == 499 else "") for n in range(1000)]
        await DeferredList([self.submit(step) for step in steps], consumeErrors=True)
        return b""

    @http.route("/count")
    async def get_count(self, request):
        return b"%d" % await self.ask(self.count)
"""

CONFIG = """
data = "data"
[apps.steps]
app = "deadly:Stepper"
http = "tcp:0:interface=127.0.0.1"
[apps.steps.limits]
handler_timeout_s = {timeout_s}
[log]
access = "off"
"""
STARTS_MAX = 10  # on a machine so busy that a second is short, another event may be suspect


def started(container, forkers, timeout_s=WAIT_S):
    """Start a container of the deadly application."""
    house = container(CONFIG.format(timeout_s=timeout_s))
    house.folder.joinpath("deadly.py").write_text(DEADLY)
    house.spawn = forkers().fork
    return house.start()


def request(house, method, path):
    connection = http.client.HTTPConnection(
        "127.0.0.1", house.port("steps", "http"), timeout=WAIT_S
    )
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def restarted(house):
    """Start it until it serves, as a supervisor would; return the statuses it ended with."""
    ends = [house.process.wait(WAIT_S)]
    for _ in range(STARTS_MAX):
        house.launch()
        if house._serving.wait(WAIT_S) and house._served:
            return ends
        ends.append(house.process.wait(WAIT_S))
    raise AssertionError("\n".join(house.lines[-60:]))


@pytest.mark.parametrize("how", ["exit", "fault", "kill", "loop", "memory"])
def test_one_deadly_event_of_a_thousand(container, forkers, how):
    """Whatever a handler does to the process, it serves again, and lacks that event alone."""
    house = started(container, forkers, timeout_s=1 if how == "loop" else WAIT_S)
    try:
        status, _ = request(house, "POST", f"/steps?how={how}")
    except (OSError, http.client.HTTPException):
        status = 0
    assert status in ((200,) if how == "memory" else (0,))  # of 200: all were told it halted
    ends = restarted(house)
    expected = {
        "exit": 0,
        "fault": -signal.SIGSEGV,
        "kill": -signal.SIGKILL,
        "loop": -signal.SIGALRM,
        "memory": 1,
    }
    assert set(ends) == {expected[how]}
    assert request(house, "GET", "/count") == (200, b"999")
    (app,) = house.status()["apps"]
    (seq,) = app["quarantined"]
    assert (app["seq"], app["failed"]) == (1000, 1)
    told = "\n".join(house.lines)
    assert f"steps/{seq}: quarantined: its handler ended the program 3 times" in told
    if how in ("fault", "loop"):
        assert "deadly.py" in told  # where it was
    house.kill()
    house.start()
    assert request(house, "GET", "/count") == (200, b"999")
    assert house.stop() == -signal.SIGTERM
    assert house.start().status()["apps"][0]["quarantined"] == [seq]


def test_two_replays_agree(container, forkers, tmp_path):
    """Promise 4: `happy restore --verify` replays a backup and its copy past the deadly event."""
    house = started(container, forkers)
    with pytest.raises((OSError, http.client.HTTPException)):
        request(house, "POST", "/steps?how=kill")
    restarted(house)
    backup, copy = tmp_path / "backup", tmp_path / "copy"
    for command in (
        ["backup", house.data / "steps", "--to", backup],
        ["restore", backup, "--to", copy, "--verify", "--config", house.config, "--app", "steps"],
    ):
        done = subprocess.run(
            [str(HAPPY), *map(str, command)], capture_output=True, text=True, timeout=WAIT_S,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
