"""Made ``tests/golden/helpdesk-v1.tar.xz``, once; kept to show how. It refuses to write over it.

Ten thousand events of a help desk, by HTTP, by mail and by timers, with crashes and restarts in
between; beside the journal, what a replay must come to for ever.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

from twisted.internet.task import Clock

from golden_archive import disk_of, keep, refuse_to_write_over
from happy.app import definition_of
from happy.codec import EventDecoder, decode_record
from happy.journal.frame import Kind, records_of
from happy.journal.replay import Reader
from happy.limits import Limits
from happy.opening import open_application
from happy.testing import message, running
from happy.world import World
from helpdesk import AGENTS, Helpdesk, Settings

GOLDEN = Path(__file__).parent / "golden"
PLACE = GOLDEN / "helpdesk-v1.tar.xz"
EVENTS = 10_006
PEOPLE = [f"user{n}@example.org" for n in range(20)]


def ask(desk, chance):
    """Send one request, of the kinds that a help desk gets."""
    number = chance.randint(1, desk.state.opened + 1)
    headers = {"Idempotency-Key": f"k{chance.randint(1, 400)}"} if chance.random() < 0.1 else {}
    kind = chance.choices(("open", "take", "say", "close", "drop"), weights=(30, 25, 30, 10, 5))[0]
    if kind == "open":
        body = {"by": chance.choice(PEOPLE), "subject": f"it broke \u2116 {number}"}
        desk.post("/tickets", json={**body, "weight": chance.randint(0, 9)}, headers=headers)
    elif kind == "take":
        agent = chance.choice((*AGENTS, "eve"))
        desk.post(f"/tickets/{number}/take", json={"agent": agent}, headers=headers)
    elif kind == "say":
        said = {
            "by": chance.choice(AGENTS),
            "text": "x" * chance.choice((0, 1, 30, 900)),
            "letter": chance.random() < 0.5,
        }
        desk.post(f"/tickets/{number}/say", json=said, headers=headers)
    elif kind == "close":
        desk.post(f"/tickets/{number}/close", headers=headers)
    else:
        desk.request("DELETE", f"/tickets/{number}", headers=headers)


def write(desk, chance):
    """Send one mail: a new ticket, an answer to one, or to nobody."""
    number = chance.randint(1, desk.state.opened + 1)
    to = chance.choice(("desk", f"desk+{number}", f"desk+{number}", "desk+x", "nobody"))
    mail = message("help \u2713", "y" * chance.choice((1, 70, 5_000)), To=f"{to}@app.example")
    desk.mail(chance.choice((*PEOPLE, "")), f"{to}@app.example", mail)


def history(events, seed=1):
    """Return a help desk that has had so many events, closed in good order, and its kinds."""
    chance = random.Random(seed)
    limits = Limits(segment_bytes_max=256 * 1024)
    with running(Helpdesk, settings=Settings(), limits=limits) as desk:
        desk.refuse_mail = lambda mail: "550 no" if mail.recipient == PEOPLE[0] else None
        while desk.stream.status()["seq"] < events:
            step = chance.random()
            if step < 0.70:
                ask(desk, chance)
            elif step < 0.90:
                write(desk, chance)
            elif step < 0.995:
                desk.advance(chance.choice((1, 600, 40_000, 200_000)))
            elif step < 0.998:
                desk.restart()
            else:
                desk.crash()
    return desk


def kinds_of(disk):
    """Return how many events of each kind and origin a journal holds."""
    kinds = Counter()
    for frame in Reader(disk, cut=False).frames():
        if frame.kind is Kind.EVENTS:
            for record in map(decode_record, records_of(frame)):
                origin = record.source.partition(" ")[0]
                kinds[f"{origin} {record.type}"] += 1
    return dict(sorted(kinds.items()))


def replayed(disk):
    """Return the machine that a replay of a journal comes to, through its digest marks."""
    definition = definition_of(Helpdesk)
    world = World(Clock(), lambda: 2 * 10**18, None, None, None, random.Random)
    decoder = EventDecoder(definition.events)
    return open_application("helpdesk", definition, decoder, disk, world, Limits()).core.machine


def golden_disk():
    """Return the golden journal, in memory."""
    return disk_of(PLACE)


def make():
    """Write the journal and what it comes to."""
    refuse_to_write_over(PLACE)
    disk = history(EVENTS).disk
    machine = replayed(disk)
    keep(disk, PLACE)
    expected = {
        "seq": machine.seq,
        "failed": machine.failed,
        "owed": len(machine.outbox),
        "digest": machine.digest(),
        "kinds": kinds_of(disk),
    }
    (GOLDEN / "helpdesk-v1.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--replay"]:
        print(json.dumps(replayed(golden_disk()).digest()))
    else:
        make()
