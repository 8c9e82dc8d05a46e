"""The memory budget: a warning, then new events are refused, until there is room."""

import re
import sys
import tracemalloc
from datetime import timedelta
from http.client import HTTPConnection
from signal import SIGTERM
from time import monotonic, sleep

import attrs
import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from happy import App, Table, event, handles, query, state, table
from happy.effects import Outbox
from happy.errors import NoMemory
from happy.event import Configured, MailSent
from happy.footprint import Footprint
from happy.limits import Limits
from happy.memory import MemoryWatch, state_bytes
from happy.testing import running

MIB = 1024 * 1024


@event
class Keep:
    """Keep a text."""

    text: str
    remind: bool = False


@event(frees_memory=True)
class Drop:
    """Let go of all."""


@attrs.frozen
class Row:
    owner: str
    text: str
    words: tuple[str, ...] = ()


@state
class Kept:
    rows: Table[int, Row] = table(index=("owner",))
    note: str = ""


class Keeper(App):
    state = Kept

    @handles(Keep)
    def keep(state, event, context):
        state.rows[context.seq] = Row("ann", event.text)
        if event.remind:
            context.after(timedelta(hours=1), Keep("reminder"))

    @handles(Drop)
    def drop(state, event, context):
        state.rows.clear()

    @query
    def count(state):
        return len(state.rows)


@pytest.fixture
def said():
    """What is logged, as sentences, with its level."""
    events = []

    def observe(logged):
        events.append(f"{logged['log_level'].name}: {logged['log_format'].format(**logged)}")

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


class Watched:
    """A watch over a state and a machine of the test's own."""

    def __init__(self, free=1024 * MIB, **limits):
        self.clock = Clock()
        self.free = free
        self.looks = 0
        self.state = Kept()
        limits = Limits(**limits)
        self.watch = MemoryWatch(
            "keeper", lambda: state_bytes(self.state, Outbox()), limits, self.clock, self.footprint
        )

    def footprint(self):
        self.looks += 1
        return Footprint(50 * MIB, self.free)

    def later(self):
        self.clock.advance(1)
        self.watch.touch()


def full(watch, event):
    try:
        watch.check(event)
    except NoMemory:
        return True
    return False


def test_the_estimate_is_near_the_truth():
    """Rows of one kind: what is estimated is within a quarter of what was allocated."""
    kept = Kept()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for key in range(1000, 21_000):
            kept.rows[key] = Row(f"owner {key % 100}", f"text {key} " * 20, (f"w{key}", "and"))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.75 * taken < state_bytes(kept, Outbox()) < 1.25 * taken


def test_all_of_a_state_counts():
    """Root fields, rows and what they hold, from both ends of a table; an empty state is small."""
    kept = Kept()
    empty = state_bytes(kept, Outbox())
    assert 0 < empty < 1000
    kept.note = "x" * 10_000
    assert state_bytes(kept, Outbox()) >= empty + 10_000 - sys.getsizeof("")
    for key in range(100):
        kept.rows[key] = Row("o", "x" * (100 if key < 50 else 300))
    assert 100 * 200 < state_bytes(kept, Outbox()) - 10_000 < 100 * 700


def test_what_is_owed_counts():
    """A timer holds its event."""
    with running(Keeper, limits=Limits(segment_bytes_max=MIB)) as app:
        app.submit(Keep("x"))
        before = app.stream.status()["memory"]["state_bytes"]
        app.submit(Keep("y", remind=True))
        assert app.stream.status()["memory"]["state_bytes"] > before + 300


def test_memory_that_the_machine_lacks_is_told_and_refused(said):
    """A warning at four fifths, an error and refusals at the bound, and it ends by itself."""
    watched = Watched(memory_free_bytes_min=100 * MIB)
    watched.watch.touch()
    assert (said, full(watched.watch, Keep("x"))) == ([], False)
    watched.free = 120 * MIB
    watched.later()
    assert re.match(r"warn: keeper: memory is running short: .* \(memory_bytes_max\)", said[-1])
    assert not full(watched.watch, Keep("x"))
    watched.free = 100 * MIB
    watched.later()
    assert said[-1].startswith("error: keeper: no memory, new events are refused: ")
    with pytest.raises(NoMemory, match=r"memory_free_bytes_min.*until there is room"):
        watched.watch.check(Keep("x"))
    watched.free = 200 * MIB
    watched.clock.advance(1)
    assert not full(watched.watch, Keep("x"))
    assert said[-1].startswith("info: keeper: there is memory again: ")
    assert len(said) == 3


def test_it_is_told_once(said):
    """However often it is looked at."""
    watched = Watched(free=0)
    for _ in range(20):
        watched.later()
    assert len(said) == 1


def test_a_state_over_its_bound_is_refused():
    """The sentence names the bound that was met."""
    watched = Watched(memory_bytes_max=50_000)
    watched.watch.touch()
    for key in range(1000):
        watched.state.rows[key] = Row("ann", "text")
    watched.later()
    with pytest.raises(NoMemory, match="memory_bytes_max"):
        watched.watch.check(Keep("x"))


@pytest.mark.parametrize(
    "goes_on", [Drop(), Configured(b""), MailSent(1, 0, "a@b", "", "", "250 Ok")]
)
def test_what_frees_memory_and_what_is_ours_goes_on(goes_on):
    """Else nothing could ever become smaller, and what was done would be done again."""
    watched = Watched(free=0)
    watched.watch.touch()
    assert full(watched.watch, Keep("x"))
    assert not full(watched.watch, goes_on)


def test_it_looks_now_and_then():
    """A thousand batches in half a second are one look."""
    watched = Watched()
    for _ in range(1000):
        watched.watch.touch()
        watched.clock.advance(0.0004)
    assert watched.looks == 1
    watched.later()
    assert watched.looks == 2


def test_a_system_that_tells_nothing_bounds_nothing():
    """Without the kernel's figure only the state's own bound holds."""
    watched = Watched(free=None)
    watched.watch.touch()
    assert not full(watched.watch, Keep("x"))


def test_an_application_that_is_full_serves_what_it_can():
    """Queries, timers and what frees memory go on; a restart comes to the same, and it recovers."""
    limits = Limits(segment_bytes_max=MIB, memory_bytes_max=20_000)
    with running(Keeper, limits=limits) as app:
        app.submit(Keep("first", remind=True))
        while app.stream.status()["memory"]["level"] != "full":
            app.submit(Keep("x" * 100))
        with pytest.raises(NoMemory):
            app.submit(Keep("x"))
        count = app.ask(Keeper.count)
        assert 5 < count < 500
        app.advance(3600)
        assert app.ask(Keeper.count) == count + 1, "the timer"
        app.restart()
        with pytest.raises(NoMemory):
            app.submit(Keep("x"))
        app.submit(Drop())
        app.advance(1)
        app.submit(Keep("x"))
        assert app.ask(Keeper.count) == 1


KEEPER = """
from klein import Klein
from happy import App, Table, event, handles, query, state, table

@event
class Keep:
    text: str

@event(frees_memory=True)
class Drop:
    pass

@state
class Kept:
    rows: Table[int, str] = table()

class Keeper(App):
    state = Kept
    http = Klein()

    @handles(Keep)
    def keep(state, event, context):
        state.rows[context.seq] = event.text

    @handles(Drop)
    def drop(state, event, context):
        state.rows.clear()

    @query
    def count(state):
        return len(state.rows)

    @http.route("/", methods=["POST"])
    async def post(self, request):
        await self.submit(Keep("x" * 1000))
        return b"kept"

    @http.route("/", methods=["GET"])
    async def get(self, request):
        return b"%d" % await self.ask(self.count)

    @http.route("/", methods=["DELETE"])
    async def delete(self, request):
        await self.submit(Drop())
        return b"gone"
"""
CONFIG = """
data = "data"
[apps.keeper]
app = "keeper:Keeper"
http = "tcp:0:interface=127.0.0.1"
limits = { memory_bytes_max = 100_000 }
"""


def test_a_container_on_a_small_budget_refuses_and_recovers(container):
    """503 with Retry-After at the bound, queries answered, and service again after a deletion."""
    house = container(CONFIG)
    (house.folder / "keeper.py").write_text(KEEPER)
    house.start()
    port = house.port("keeper", "http")

    def ask(method):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, "/")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    deadline = monotonic() + 60
    kept = 0
    while (last := ask("POST"))[0].status == 200:
        kept += 1
        assert monotonic() < deadline
    answer, body = last
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert b"memory_bytes_max" in body
    assert ask("GET")[1] == b"%d" % kept
    memory = house.status()["apps"][0]["memory"]
    assert memory["level"] == "full"
    assert memory["process_bytes"] > memory["state_bytes"] >= memory["state_bytes_max"]
    assert ask("DELETE")[1] == b"gone"
    while ask("POST")[0].status != 200:
        sleep(0.1)
        assert monotonic() < deadline
    assert house.status()["apps"][0]["memory"]["level"] == "roomy"
    assert house.stop() == -SIGTERM
    said = "\n".join(house.read_all())
    assert "keeper: memory is running short" in said or "keeper: no memory" in said
    assert "keeper: there is memory again" in said
