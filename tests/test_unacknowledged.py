"""What the machine remembers of mail whose 250 may be lost, told by its digest and its place."""

import random

import pytest
from attrs import evolve

from happy import App, MailRoutes, Refused, state
from happy.app import definition_of
from happy.apply import Machine
from happy.event import Entry, Mail, MailAcknowledged
from happy.unacknowledged import copy_of

MAIL = Mail("a@s.example", ("x@d.example", "y@d.example"), b"\r\n", b"\r\nhi\r\n", sha256=b"1" * 32)


@state
class Count:
    taken: int = 0


class Counting(App):
    state = Count
    mail = MailRoutes()

    @mail.to("<who>@")
    def take(state, mail, context, who):
        if who == "refused":
            raise Refused("no")
        if who == "broken":
            raise RuntimeError("broken")
        state.taken += 1


def machine_of(*events):
    machine = Machine(definition_of(Counting), b"j" * 16, random.Random)
    for seq, event in enumerate(events, 1):
        machine.apply([Entry(seq, seq * 1000, event)])
    return machine


def places(machine):
    return {copy: seq for seq, copy, _ in machine.unacknowledged}


def test_a_message_is_remembered_for_each_recipient():
    """By whom, to whom and which bytes: any other of the three is another message."""
    memory = machine_of(MAIL).unacknowledged
    assert memory.place_of(copy_of(MAIL, "x@d.example")) == 1
    assert memory.place_of(copy_of(MAIL, "y@d.example")) == 1
    assert memory.place_of(copy_of(MAIL, "z@d.example")) is None
    assert memory.place_of(copy_of(evolve(MAIL, reverse_path=""), "x@d.example")) is None
    assert memory.place_of(copy_of(evolve(MAIL, sha256=b"2" * 32), "x@d.example")) is None


def test_a_message_without_a_digest_is_not_remembered():
    """What an application submits itself, and what old journals hold, is taken each time."""
    assert len(machine_of(evolve(MAIL, sha256=b"")).unacknowledged) == 0


@pytest.mark.parametrize(("who", "remembered"), [("broken", 1), ("refused", 0)])
def test_what_is_answered_250_is_remembered(who, remembered):
    """A message whose handler raised is kept and was answered; a refused one was not taken."""
    machine = machine_of(evolve(MAIL, recipients=(f"{who}@d.example",)))
    assert len(machine.unacknowledged) == remembered


def test_acknowledged_is_what_stands_at_that_place():
    """Acknowledging forgets one recipient's message, and never a newer one with the same bytes."""
    copy = copy_of(MAIL, "x@d.example")
    assert places(machine_of(MAIL, MailAcknowledged(((1, copy),)))) == {
        copy_of(MAIL, "y@d.example"): 1
    }
    newer = machine_of(MAIL, MAIL, MailAcknowledged(((1, copy),)))
    assert places(newer) == dict.fromkeys((copy, copy_of(MAIL, "y@d.example")), 2)


def test_a_message_acknowledges_earlier_ones_by_the_way():
    """What rides on a message is acknowledged before the message itself is remembered."""
    acknowledged = tuple((1, copy_of(MAIL, recipient)) for recipient in MAIL.recipients)
    machine = machine_of(MAIL, evolve(MAIL, acknowledged=acknowledged))
    assert set(places(machine).values()) == {2}
    refused = evolve(MAIL, recipients=("refused@d.example",), acknowledged=acknowledged)
    assert places(machine_of(MAIL, refused)) == {}


def test_the_digest_tells_what_is_remembered():
    """Machines that remember the same have the same digest, and one that forgot has another."""
    acknowledged = tuple((1, copy_of(MAIL, recipient)) for recipient in MAIL.recipients)
    nothing = evolve(MAIL, sha256=b"")
    digests = [
        machine_of(*events).digest()
        for events in (
            (nothing, MailAcknowledged(())),
            (MAIL, MailAcknowledged(acknowledged)),
            (MAIL, MailAcknowledged(())),
            (MAIL, MailAcknowledged(acknowledged[:1])),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
