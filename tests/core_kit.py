"""A core that serves a container, in the same process: the same bytes, and lists for pipes."""

from __future__ import annotations

import copy
import random
from functools import partial

from happy.app import definition_of
from happy.errors import HappyError
from happy.split.aside import Aside, Say
from happy.split.cores import Cores
from happy.split.pickled import pack_error
from happy.split.serving import ServingCore, Surroundings
from happy.testing.running import Running


class Killed(BaseException):
    """What a handler raises in these tests to end its process."""


class Lives:
    """What a house in a test has of its cores: ``lives``, the last one at the end."""

    @property
    def machine(self):
        """The machine of the last life that has begun."""
        begun = (life.core for life in reversed(self.lives) if hasattr(life.core, "_machine"))
        return next(begun)._machine

    @property
    def life(self):
        return self.lives[-1]


class LifeHere:
    """A core that lives in lists; ``turn`` lets it read what came, and answer.

    With ``soon``, it does that by itself, as soon as it can.
    """

    def __init__(self, definition, disk, soon, accept_divergence, received, lost):
        self.pid = 4711
        self.core = ServingCore(
            definition,
            Surroundings(disk, random.Random, lambda _: None, lambda: False, lambda: None),
            handler_timeout_s=7,
            accept_divergence=accept_divergence,
        )
        self.sent = []
        self.alive = True
        self._soon = soon
        self._received, self._lost = received, lost
        self._serving = False
        self._scheduled = self._busy = False

    def send(self, data):
        if self.alive:
            self.sent.append(data)
            self._schedule()

    def _schedule(self):
        if self._serving and self._soon is not None and not self._scheduled:
            self._scheduled = True
            self._soon(self.turn)

    def serve(self):
        self._serving = True
        self._schedule()

    def receive(self):
        alive = self.turn()
        self._serving = alive
        return alive

    def turn(self):
        """Read what was sent, and say what there is to say; return whether it lives."""
        self._scheduled = False
        if not self._busy:
            while self.alive and self.sent:
                self.step()
        return self.alive

    def step(self):
        """Read one piece of what was sent."""
        self._busy = True
        try:
            for said in self.core.feed(self.sent.pop(0)):
                self._received(said)
        except HappyError as error:
            self._received(Aside(Say.ENDED, pack_error(error)).encode())
            self.die()
        except (Killed, MemoryError, KeyboardInterrupt):
            self.die()
        finally:
            self._busy = False

    def die(self):
        """End, as by a signal."""
        if self.alive:
            self.alive = False
            if self._serving:
                self._lost()

    kill = die

    def close(self):
        self.alive = False

    def reap(self):
        return "(here) was ended"

    def wait(self):
        return None


def elsewhere_here(
    name, definition, disk, world, limits, lives, soon=None, on_disk=None, *, ahead=False
):
    """Return what starts cores here; they are appended to ``lives``.

    ``on_disk`` returns the application that a core would find there by now; with ``ahead``, mail
    is accepted before it is applied.
    """

    def launch(*args):
        found = definition if on_disk is None else definition_of(on_disk())
        lives.append(LifeHere(found, disk, soon, *args))
        return lives[-1]

    def begin(accept_divergence):
        return Cores(
            name,
            definition,
            disk,
            world,
            limits,
            launch,
            accept_divergence=accept_divergence,
            ahead=ahead,
        )

    return begin


class CoredRunning(Running):
    """``happy.testing`` with the machine at the other end of a pipe."""

    def _elsewhere(self, name, world):
        self.lives = getattr(self, "lives", [])
        soon = partial(self.clock.callLater, 0)
        return elsewhere_here(
            name, self._definition, self.disk, world, self._limits, self.lives, soon
        )

    def ask_with(self, function):
        return function(copy.deepcopy(self.lives[-1].core._machine.state))
