"""A core in a process of its own, as a user meets it: real processes, sockets and kills."""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
from functools import partial

from test_split_front import WAIT_S_MAX, ask_to_join, await_that, is_gone, place_of, request
from witness_kit import Witness, ask_again, numbers_in, take_number, verified

KILLS = int(os.environ.get("HAPPY_CORE_KILLS", "2"))
CLIENTS = 4

BOTH = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
core = "process"
fronts = 1
[apps.lists]
app = "happy.examples.lists:MailingLists"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["lists.example"]
settings = {{ lists = ["dev"], url = "http://lists.example" }}
core = "process"
[mail]
hostname = "mx.lists.example"
smarthost = "tcp:127.0.0.1:{port}"
[log]
access = "off"
"""

ONE = """
data = "data"
[apps.numbers]
app = "happy.examples.numbers:NumberService"
http = "tcp:0:interface=127.0.0.1"
core = "process"
[limits]
digest_events_max = 50
[log]
access = "off"
"""

ODD = """
from happy import App, HttpRoutes, event, handles, query, state
print("printed where it would be in the way")
@event
class Divide:
    by: int = 1
@state
class Divided:
    total: int = 0
class Divider(App):
    state = Divided
    routes = HttpRoutes()
    @routes.post("/divide")
    @handles(Divide)
    def divide(state, event, context):
        print("printed by a handler")
        state.total += 100 // event.by
        return state.total
    @routes.get("/total")
    @query
    def total(state):
        return state.total
    @routes.get("/broken")
    @query
    def broken(state):
        return {}["secret inside"]
"""


def core_of(house, app="numbers"):
    (status,) = [one for one in house.status()["apps"] if one["name"] == app]
    return status["core"]


def has_restarted(house, times):
    core = core_of(house)
    return core["restarts"] >= times and core["state"] == "serving"


def has_answered(witness, count):
    return len(witness.known()) > count


class Patient:
    """Clients that take numbers, and wait a moment when there is none."""

    def __init__(self, port, witness):
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._take, args=(port, witness)) for _ in range(CLIENTS)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _take(self, port, witness):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S_MAX)
        while not self._stop.is_set():
            if not take_number(connection, witness.new_key(), witness):
                self._stop.wait(0.1)
        connection.close()


def test_kill_9_of_a_core_loses_and_doubles_nothing(container):
    """Promises 1, 2 and 5: every answered number holds, and a key that got none gets its own."""
    house = container(ONE).start()
    port, witness = place_of(house, "numbers")[1], Witness()
    with Patient(port, witness):
        for number in range(1, KILLS + 1):
            wanted = len(witness.known()) + CLIENTS
            await_that(partial(has_answered, witness, wanted), "numbers are answered", house)
            os.kill(core_of(house)["pid"], signal.SIGKILL)
            await_that(partial(has_restarted, house, number), "there is another core", house)
    assert not witness.unanswered
    retried = [key for key in witness.refused if key not in witness.numbers]
    ask_again(port, witness, [*witness.numbers, *retried])
    numbers = sorted(witness.numbers.values())
    assert numbers == list(range(1, len(numbers) + 1))
    assert house.stop() == -signal.SIGTERM
    assert verified(house.data / "numbers") == "whole"
    assert numbers_in(house.data / "numbers") == witness.numbers


def test_a_core_ends_with_its_container_however_that_ends(container):
    """Nobody is left who could answer, and the next start goes on from what was answered."""
    house = container(ONE).start()
    assert request(house, "numbers", "POST", "/next")[2] == b"1\n"
    pid = core_of(house)["pid"]
    os.kill(pid, signal.SIGTERM)  # as a service manager tells all at once
    os.kill(house.process.pid, signal.SIGKILL)
    await_that(lambda: is_gone(pid), "the core ends with it", house)
    house.kill()
    house.start()
    assert request(house, "numbers", "POST", "/next")[2] == b"2\n"
    pid = core_of(house)["pid"]
    assert house.stop() == -signal.SIGTERM
    assert is_gone(pid)
    assert "Traceback" not in "\n".join(house.read_all())


def test_an_application_does_not_see_where_it_runs(container, sink):
    """Promises 2 and 5: web, Klein, queries, keys, mail and effects, with fronts and without."""
    house = container(BOTH.format(port=sink.port)).start()
    assert request(house, "numbers", "POST", "/next?count=5")[2] == b"1\n"
    assert request(house, "numbers", "GET", "/last")[2] == b"5\n"
    key = {"Idempotency-Key": "once"}
    answers = [request(house, "numbers", "POST", "/next", headers=key) for _ in range(3)]
    assert {(h["Happy-Seq"], body) for _, h, body in answers} == {("2", b"6\n")}
    ask_to_join(house, sink)
    await_that(lambda: core_of(house, "lists")["lag"] == 0, "the core has answered all", house)
    core = core_of(house, "lists")
    assert (core["state"], core["restarts"]) == ("serving", 0)
    assert core["resident_bytes"] > 1_000_000
    assert house.stop() == -signal.SIGTERM
    assert verified(house.data / "lists") == "whole"


def test_what_a_handler_raises_or_prints_stays_where_it_belongs(container):
    """A failure is a reference for the peer and a traceback in the log; so is a query's."""
    config = ONE.replace("happy.examples.numbers:NumberService", "odd:Divider")
    house = container(config)
    (house.folder / "odd.py").write_text(ODD)
    house.start()
    assert request(house, "numbers", "POST", "/divide?by=2")[2].strip() == b"50"
    status, _, body = request(house, "numbers", "POST", "/divide?by=0")
    assert (status, b"numbers/2" in body, b"Zero" in body) == (500, True, False)
    assert request(house, "numbers", "GET", "/broken")[0] == 500
    assert request(house, "numbers", "GET", "/total")[2].strip() == b"50"
    assert house.stop() == -signal.SIGTERM
    text = "\n".join(house.read_all())
    assert "numbers/2: Divide: the handler failed; nothing was changed" in text
    assert "ZeroDivisionError" in text


def test_a_core_that_cannot_be_loaded_ends_the_start(container):
    """It is one sentence, and exit status 1."""
    house = container(ONE.replace("happy.examples.numbers", "shop"))
    (house.folder / "shop.py").write_text(
        "import sys\n"
        "if '--journal' in sys.orig_argv:\n"
        "    raise ValueError('not here')\n"
        "from happy.examples import numbers\n"
        "class NumberService(numbers.NumberService):\n"
        "    pass\n"
    )
    assert house.launch().wait(WAIT_S_MAX) == 1
    lines = house.read_all()
    assert re.search(r"numbers: cannot import shop: ValueError: not here", lines[-1])
    assert "Traceback" not in "\n".join(lines)
