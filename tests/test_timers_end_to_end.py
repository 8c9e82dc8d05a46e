"""Timers and schedules in a real container, over a real night without power."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing

from edge_kit import wait_until

APPLICATION = """
from datetime import timedelta

from klein import Klein

from happy import App, Table, event, every, handles, query, state, table


@event
class Wind:
    pass


@event
class Ring:
    kind: str


@state
class Rung:
    rings: Table[int, str] = table()


class Clockwork(App):
    state = Rung
    http = Klein()

    @handles(Wind)
    def wind(state, event, context):
        for n in (3, 1, 2):
            context.after(timedelta(seconds=n), Ring(f"timer {n}"))
        gone = context.after(timedelta(seconds=1), Ring("cancelled"))
        context.cancel(gone)

    @every(timedelta(seconds=1), Ring("schedule"))
    @handles(Ring)
    def ring(state, event, context):
        if event.kind != "schedule" or "schedule" not in state.rings.values():
            state.rings[context.seq] = event.kind

    @query
    def rings(state):
        return list(state.rings.values())

    @http.route("/", methods=["POST"])
    async def post(self, request):
        await self.submit(Wind())
        return b""

    @http.route("/", methods=["GET"])
    async def get(self, request):
        return await self.ask(self.rings)
"""
CONFIG = """
data = "data"
[apps.clockwork]
app = "clockwork:Clockwork"
http = "tcp:0:interface=127.0.0.1"
[log]
access = "off"
"""


def ask(house, method):
    made = http.client.HTTPConnection("127.0.0.1", house.port("clockwork", "http"), 60)
    with closing(made) as connection:
        connection.request(method, "/")
        with connection.getresponse() as answer:
            assert answer.status == 200
            # The time of day, though the reactor goes by another clock.
            assert str(time.gmtime().tm_year) in answer.getheader("Date")
            return answer.read()


def await_rings(house, count):
    """Return what has rung of the timers, when that is as much as this."""
    rung = []

    def enough():
        rung[:] = [ring for ring in json.loads(ask(house, "GET")) if ring != "schedule"]
        return len(rung) >= count

    wait_until(enough, f"{count} rings")
    return rung


def test_what_is_due_while_nothing_runs_comes_once_after_the_start(container):
    """Promise 6: after kill -9, each timer rings once, in the order of their moments."""
    house = container(CONFIG)
    (house.folder / "clockwork.py").write_text(APPLICATION)
    house.start()
    ask(house, "POST")
    house.kill()
    time.sleep(3)  # real time without power: nobody can advance the clock of a real machine
    house.start()
    assert await_rings(house, 3) == ["timer 1", "timer 2", "timer 3"]
    (status,) = house.status()["apps"]
    assert (status["timers"], status["schedules"]) == (0, 1)
    house.kill()
    house.start()
    assert await_rings(house, 3) == ["timer 1", "timer 2", "timer 3"]
    wait_until(lambda: "schedule" in json.loads(ask(house, "GET")), "the schedule rings")
