"""What handlers may not name: refused when the application is read, with line and remedy."""

# ruff: noqa: PTH110, PTH118, PTH123, PTH208, DTZ003, DTZ011, SIM115 - what handlers may not do

import datetime as dt
import functools
import os
import random
import secrets
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from os import environ
from random import choice
from uuid import uuid4

import attrs
import pytest

from happy import App, MailRoutes, event, handles, query, state
from happy.app import definition_of
from happy.errors import DefinitionError, Nondeterministic
from happy.purity import reason_against


@event
class Go:
    """Go."""


@event
class Stamped:
    """An event may draw its own id: that happens in a door, once."""

    id: uuid.UUID = attrs.field(factory=uuid4)


@state
class Count:
    count: int = 0


@attrs.frozen
class Drawn:
    id: uuid.UUID = attrs.field(factory=uuid4)


@attrs.frozen
class Dated:
    at: datetime = attrs.field(factory=lambda: datetime.now(UTC))


class Clerk:
    @property
    def hour(self):
        return time.localtime().tm_hour


class Clock:
    @staticmethod
    def ticket():
        return secrets.token_hex()


class Apprentice(Clerk):
    pass


dice = random.Random(5)
lock = threading.Lock()


def helper():
    return [deeper() for _ in range(2)]


def deeper():
    return uuid4()


def wrapped(function):
    @functools.wraps(function)
    def wrapper(state, event, context):
        return function(state, event, context)

    return wrapper


def late(state, event, context):
    import time as clock  # noqa: PLC0415 - which is what is tested

    return clock.time_ns()


def late_from(state, event, context):
    from time import monotonic, strptime  # noqa: PLC0415 - which is what is tested

    return strptime, monotonic


def late_inner(state, event, context):
    import os.path  # noqa: PLC0415 - which is what is tested

    return os.path.join("a", "b"), os.urandom(3)


def local(state, event, context):
    now = datetime.now
    return now()


REFUSED = [
    ("time.time", lambda s, e, c: time.time()),
    ("time.sleep", lambda s, e, c: time.sleep(1)),
    ("datetime.datetime.now", lambda s, e, c: datetime.now(UTC)),
    ("datetime.datetime.utcnow", lambda s, e, c: dt.datetime.utcnow()),
    ("datetime.date.today", lambda s, e, c: dt.date.today()),
    ("datetime.datetime.now", local),
    ("uuid.uuid4", lambda s, e, c: uuid4()),
    ("uuid.uuid1", lambda s, e, c: str(uuid.uuid1())),
    ("random.choice", lambda s, e, c: choice("ab")),
    ("random.random", lambda s, e, c: s.count + random.random()),
    ("random.SystemRandom", lambda s, e, c: random.SystemRandom()),
    ("random.Random()", lambda s, e, c: dice.random()),
    ("secrets.token_hex", lambda s, e, c: secrets.token_hex()),
    ("os.urandom", lambda s, e, c: os.urandom(8)),
    ("os.environ", lambda s, e, c: os.environ["HOME"]),
    ("os.environ", lambda s, e, c: environ["HOME"]),
    ("os.getenv", lambda s, e, c: os.getenv("HOME")),
    ("os.listdir", lambda s, e, c: os.listdir()),
    ("open", lambda s, e, c: open("x")),
    ("exists", lambda s, e, c: os.path.exists("x")),
    ("socket.socket", lambda s, e, c: [socket.socket() for _ in "a"]),
    ("threading.Thread", lambda s, e, c: threading.Thread(target=print)),
    ("_thread.lock", lambda s, e, c: lock.acquire()),
    ("hash", lambda s, e, c: hash("x")),
    ("id", lambda s, e, c: id(s)),
    ("time.time", lambda s, e, c, now=time.time: now()),
    ("uuid.uuid4", lambda s, e, c: helper()),
    ("uuid.uuid4", lambda s, e, c: Drawn()),
    ("datetime.datetime.now", lambda s, e, c: Dated()),
    ("time.localtime", lambda s, e, c: Clerk()),
    ("time.localtime", lambda s, e, c: Apprentice()),
    ("secrets.token_hex", lambda s, e, c: Clock.ticket()),
    ("time.time", wrapped(lambda s, e, c: time.time())),
    ("time.time_ns", late),
    ("time.monotonic", late_from),
    ("os.urandom", late_inner),
]
ALLOWED = [
    lambda s, e, c: (c.time, c.random.random(), c.token()),
    lambda s, e, c: datetime(2001, 1, 1, tzinfo=UTC) - dt.timedelta(days=1),
    lambda s, e, c: datetime.fromtimestamp(0, UTC),
    lambda s, e, c: random.Random(c.seq).random(),
    lambda s, e, c: os.path.join("a", "b") + os.sep,
    lambda s, e, c: uuid.UUID(int=5),
    lambda s, e, c: time.strptime("1", "%d"),
    lambda s, e, c: (e.id, e.hash, e.open, e.time()),
    lambda s, e, c: isinstance(e, Stamped),
]


def app_of(handler, **more):
    return type("Asking", (App,), {"state": Count, "go": handles(Go)(handler), **more})


@pytest.mark.parametrize(("name", "handler"), REFUSED, ids=range(len(REFUSED)))
def test_what_leads_out_of_history_is_refused_with_its_line(name, handler):
    """Clock, chance, surroundings, files, network, threads, identity: by name, file and line."""
    with pytest.raises(Nondeterministic) as refused:
        definition_of(app_of(handler))
    said = str(refused.value)
    assert f"{name} " in said
    assert said.startswith((f"{__file__}:", f"{__name__}.Drawn, field id: "))
    assert "; " in said, "it says what to do instead"


@pytest.mark.parametrize("handler", ALLOWED, ids=range(len(ALLOWED)))
def test_what_repeats_itself_is_allowed(handler):
    """The context, constants, values and methods of unknown things pass."""
    assert definition_of(app_of(handler)).handlers


def test_the_line_is_that_of_the_call():
    """The place is where the name stands, also when a handler gets there by a helper."""
    with pytest.raises(Nondeterministic) as refused:
        definition_of(app_of(lambda s, e, c: helper()))
    line = deeper.__code__.co_firstlineno + 1
    assert str(refused.value) == (
        f"{__file__}:{line}: deeper: uuid.uuid4 draws from chance; use context.random or "
        "context.token()"
    )


def test_queries_mail_routes_and_states_are_looked_at_too():
    """All that is replayed, or asked of a state, is closed in the same way."""
    asked = query(lambda state: time.time())
    with pytest.raises(Nondeterministic, match=r"time\.time"):
        definition_of(app_of(lambda s, e, c: None, asked=asked))
    for route in (
        {"when": lambda state: os.path.exists("vacation")},
        {},
    ):
        routes = MailRoutes()
        handler = (lambda s, m, c: None) if route else (lambda s, m, c: time.time())
        routes.to("info@", **route)(handler)
        with pytest.raises(Nondeterministic):
            definition_of(app_of(lambda s, e, c: None, mail=routes))

    @state
    class Begun:
        at: float = attrs.field(factory=time.time)

    with pytest.raises(Nondeterministic, match=r"Begun, field at: time\.time reads the clock"):
        definition_of(app_of(lambda s, e, c: None, state=Begun))


def test_it_is_an_error_of_the_definition():
    """It is among an application's complaints at a start, like all that its author must mend."""
    assert issubclass(Nondeterministic, DefinitionError)


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("time.time", True), ("time.strptime", False), ("posix.urandom", True), ("time", False),
        ("concurrent.futures.ThreadPoolExecutor", True), ("concurrent", False),
        ("json.dumps", False), ("twisted.internet.reactor", True), ("twisted.logger.Logger", False),
    ],
)  # fmt: skip
def test_a_module_closes_what_is_below_it(name, closed):
    """A name is closed by itself or by the module that it is of, under the system's names too."""
    assert (reason_against(name) is not None) == closed
