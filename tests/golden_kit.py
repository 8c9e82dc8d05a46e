"""The application whose journal with digest marks is kept for ever: a bit of everything."""

from __future__ import annotations

import random
from datetime import timedelta

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from happy import App, Refused, Table, event, handles, state, table
from happy.app import definition_of
from happy.limits import Limits
from happy.stream import Stream
from happy.world import World

BEGIN_NS = 1_700_000_000_000_000_000
LIMITS = Limits(segment_bytes_max=8_192, digest_events_max=10)


@event(name="golden.Paid")
class Paid:
    """So much for somebody; below zero it is refused, and zero makes the handler fail."""

    payee: str
    amount: int


@event(name="golden.Reminded")
class Reminded:
    """What a timer brings."""

    payee: str


@attrs.frozen
class Account:
    """What somebody has."""

    town: str
    balance: float
    shares: tuple[int, ...] = ()


@state
class Bank:
    """Accounts by owner."""

    payments: int = 0
    last: str = ""
    accounts: Table[str, Account] = table(index=("town",))


class Ledger(App):
    """Replies of many sorts, refusals, failures, keys, timers and chance."""

    state = Bank

    @handles(Paid)
    def pay(state, event, context):
        state.payments += 1
        if event.amount < 0:
            raise Refused(f"{event.payee} cannot be paid {event.amount}")
        share = 100 // event.amount
        old = state.accounts.get(event.payee)
        if old is not None and event.amount == 13:
            del state.accounts[event.payee]
            return {"gone": old, "at": context.time}
        balance = event.amount + (0 if old is None else old.balance)
        shares = (*(() if old is None else old.shares[-3:]), share, context.random.randrange(100))
        town = f"town {len(event.payee) % 3}"
        state.accounts[event.payee] = Account(town, balance * 1.1, shares)
        if event.amount % 5 == 0:
            context.after(timedelta(seconds=event.amount), Reminded(event.payee))
        return {"shares": shares, "towns": {"a", "b", town}, "ä": balance, "big": 7**event.amount}

    @handles(Reminded)
    def remind(state, event, context):
        state.last = event.payee
        return state.accounts.get(event.payee)


class Keeper:
    """A ledger's stream over a disk, its clock in the test's hand."""

    def __init__(self, disk, chance=None):
        self.clock = Clock()
        self.disk = disk
        chance = chance or random.Random(0)
        world = World(
            self.clock,
            lambda: BEGIN_NS + round(self.clock.seconds() * 10**9),
            maybeDeferred,
            maybeDeferred,
            chance.randbytes,
            random.Random,
        )
        self.stream = Stream("ledger", definition_of(Ledger), disk, world, LIMITS)
