"""A journal that two older versions of an application wrote, read by the third, for ever."""

from __future__ import annotations

import random
from hashlib import blake2b
from pathlib import Path

import attrs
import msgspec
import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from happy import App, Refused, Table, event, handles, state, table, upcast
from happy.app import definition_of
from happy.codec import EventDecoder, encode
from happy.errors import UnknownEvent
from happy.limits import Limits
from happy.opening import open_application
from happy.state import digest
from happy.testing import MemoryDisk
from happy.world import World

GOLDEN = Path(__file__).parent / "golden" / "versions-v1"

SEGMENT_DIGEST = "e14eb963e99562776c649d76fead38dc"

DIGEST = "f23836d1448ff0207cdeef27b87d5176"
"""Of the accounts, spelt out as plain values: it knows nothing of how a state is digested."""


@attrs.frozen
class Person:
    name: str
    address: str


@event(name="golden.Opened", version=3)
class Opened:
    account: str
    owner: Person


@event(name="golden.Paid", version=3)
class Paid:
    parties: tuple[str, str]
    cents: int
    towns: tuple[str, ...]
    fee: int = 0


@upcast(Opened, 1)
def _(old):
    owner, _, address = old["owner"].partition(" <")
    return {"name": old["name"], "owner": owner, "address": address.removesuffix(">")}


@upcast(Opened, 2)
def _(old):
    return {"account": old["name"], "owner": Person(old["owner"], old["address"])}


@upcast(Paid, 1)
def _(old):
    old["cents"] = old.pop("euros") * 100
    old["places"] = []
    return old


@upcast(Paid, 2)
def _(old):
    return {
        "parties": (old["payer"], old["payee"]),
        "cents": old["cents"],
        "towns": [place["town"] for place in old["places"]],
    }


@attrs.frozen
class Account:
    owner: Person
    cents: int = 0
    towns: tuple[str, ...] = ()
    chance: float = 0.0


@state
class Bank:
    accounts: Table[str, Account] = table(index=("cents",))


class ThirdVersion(App):
    state = Bank
    retired = ("golden.Noted",)

    @handles(Opened)
    def opened(state, event, context):
        state.accounts[event.account] = Account(event.owner, chance=context.random.random())

    @handles(Paid)
    def paid(state, event, context):
        if any(name not in state.accounts for name in event.parties):
            raise Refused("no such account")
        for name, sign in zip(event.parties, (-1, 1), strict=True):
            account = state.accounts[name]
            state.accounts[name] = attrs.evolve(
                account, cents=account.cents + sign * event.cents, towns=account.towns + event.towns
            )
        return context.seq


def golden_disk():
    disk = MemoryDisk()
    for path in GOLDEN.glob("*.segment"):
        disk.create(path.name)
        disk.write(path.name, 0, path.read_bytes())
        disk.sync(path.name)
    return disk


def open_(disk, app=ThirdVersion):
    definition = definition_of(app)
    world = World(Clock(), lambda: 0, maybeDeferred, maybeDeferred, bytes, random.Random)
    decoder = EventDecoder(definition.events)
    limits = Limits(segment_bytes_max=6_000)
    return open_application("golden", definition, decoder, disk, world, limits)


def spelt_out(state):
    return msgspec.to_builtins([[name, row] for name, row in state.accounts.items()])


def test_the_golden_journal_was_never_touched():
    """Its bytes are those of the day it was made."""
    (segment,) = GOLDEN.iterdir()
    assert blake2b(segment.read_bytes()).hexdigest()[:32] == SEGMENT_DIGEST


def test_it_opens_with_new_classes_and_upcasters():
    """Promise 9: what versions 1 and 2 wrote comes to the recorded state under version 3."""
    opened = open_(golden_disk())
    ann, bob, cyd = opened.core.machine.state.accounts.values()
    assert ann.owner == Person("Ann", "ann@home.example")
    assert bob.owner == Person("Bob Ünal", "bob@x.example")
    assert (ann.cents, bob.cents, cyd.cents) == (
        -1200 + 100 + 2**40 * 100 + 5 - 1 - 7,
        1200 - 100 - 2**40 * 100 - 99 + 7,
        -5 + 1 + 99,
    )
    assert (ann.towns, bob.towns, cyd.towns) == (("Bonn", "Ulm"), ("",), ("Bonn", "Ulm", ""))
    assert opened.core.machine.seq == 14
    assert opened.core.machine.keys.get("key").outcome.value == 14
    assert opened.core.machine.configured.domains == ("golden.example",)
    plain = msgspec.json.encode(spelt_out(opened.core.machine.state))
    assert blake2b(plain).hexdigest()[:32] == DIGEST


def test_two_replays_agree_also_with_what_is_written_on():
    """Promise 4: the same digest again, and after an event of the new version."""
    disk = golden_disk()
    opened = open_(disk)
    assert digest(opened.core.machine.state) == digest(open_(golden_disk()).core.machine.state)
    later = encode(Paid(("ann", "cyd"), 3, ("Trier",)))
    opened.appender.append([later], opened.tail.position.time_ns)
    first, second = open_(disk), open_(disk)
    assert first.core.machine.state.accounts["cyd"].towns == ("Bonn", "Ulm", "", "Trier")
    assert digest(first.core.machine.state) == digest(second.core.machine.state)


def test_without_its_upcasters_all_of_it_is_named():
    """Promise 4: the kinds, their counts and their places."""

    class Forgetful(App):
        state = Bank

        @handles(event(name="golden.Paid", version=2)(type("Paid", (), {})))
        def paid(state, event, context):
            pass

    with pytest.raises(UnknownEvent) as refused:
        open_(golden_disk(), Forgetful)
    opened, noted, first, second = str(refused.value).splitlines()
    assert opened.startswith("seq 2 to 9, 3 events: the journal holds an event 'golden.Opened'")
    assert noted.startswith("seq 4 to 12, 2 events: the journal holds an event 'golden.Noted'")
    assert first.startswith("seq 5 to 8, 4 events: event golden.Paid has version 1")
    assert second.startswith("seq 10 to 14, 4 events: event golden.Paid version 2 does not fit")
