"""While handlers and queries run, files, sockets, processes and threads are closed to them."""

import logging
import random
import sys
import threading
import warnings

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

import guard_kit
from happy import App, event, handles, query, state
from happy.app import definition_of
from happy.errors import HandlerFailed, Nondeterministic
from happy.event import Configured, Exchange
from happy.guard import closed
from happy.limits import Limits
from happy.stream import Stream
from happy.testing import MemoryDisk
from happy.world import World

HERE = __file__


@event
class Call:
    """Call a function of the library with these arguments."""

    name: str
    arguments: tuple[str, ...] = ()


@state
class Calls:
    count: int = 0


class Caller(App):
    state = Calls

    @handles(Call)
    def call(state, event, context):
        state.count += 1
        return str(getattr(guard_kit, event.name)(*event.arguments))

    @query
    def asked(state, name, *arguments):
        return str(getattr(guard_kit, name)(*arguments))


LINE = Caller.call.__code__.co_firstlineno + 3


class House:
    """A stream on a disk in memory, as the container runs it: no test's eyes are on it."""

    def __init__(self):
        self.disk = MemoryDisk()
        self.open()

    def open(self):
        world = World(
            Clock(), lambda: 5, maybeDeferred, maybeDeferred, random.randbytes, random.Random
        )
        limits = Limits(segment_bytes_max=65536)
        self.stream = Stream("calls", definition_of(Caller), self.disk, world, limits)
        self.stream.open()
        self.stream.begin(Configured(b""))

    def restart(self):
        self.stream.close()
        self.open()

    def call(self, name, *arguments):
        return self.result(self.stream.submit(Call(name, arguments), Exchange("test")))

    def ask(self, name, *arguments):
        return self.result(self.stream.ask(Caller.asked, name, *arguments))

    def result(self, answer):
        results = []
        answer.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    @property
    def failed(self):
        return self.stream.status()["failed"]


@pytest.fixture
def house():
    return House()


@pytest.fixture
def errors():
    """The errors of handlers, as they were logged."""
    found = []

    def observe(logged):
        if "log_failure" in logged:
            found.append(logged["log_failure"].value)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.mark.parametrize("function", guard_kit.OPENS, ids=lambda function: function.__name__)
def test_a_handler_that_opens_anything_fails_the_same_at_every_replay(
    house, errors, tmp_path, function
):
    """Promises 3 and 4: nothing changed, the outcome is *failed*, and the log has the place."""
    (tmp_path / "file").write_text("there")
    arguments = (str(tmp_path / "file"),) if function.__code__.co_argcount else ()
    if function is guard_kit.listed:
        arguments = (str(tmp_path),)
    with pytest.raises(HandlerFailed):
        house.call(function.__name__, *arguments)
    (error,) = errors
    assert isinstance(error, Nondeterministic)
    line = function.__code__.co_firstlineno
    said = str(error)
    assert said.startswith(f"{guard_kit.__file__}:"), said
    assert line < int(said.split(":")[1]) < line + 4
    assert f": {function.__name__}: " in said
    assert house.failed == 1
    assert (tmp_path / "file").read_text() == "there"
    house.restart()
    assert house.failed == 1


@pytest.mark.parametrize("heard", ["_thread.start_new_thread", "time.sleep", "sqlite3.connect"])
def test_whatever_the_interpreter_tells_of_the_outside_is_closed(heard):
    """Later versions of Python tell more; what they tell is closed where they do."""
    sys.audit(heard)
    with closed, pytest.raises(Nondeterministic, match=heard):
        sys.audit(heard)


def test_other_things_that_are_told_are_none_of_ours():
    """Looking at a frame, or ending the process, opens nothing."""
    with closed:
        sys.audit("sys._getframe")
        sys.audit("os.kill", 0, 0)
        sys.audit("import", "anything")
        with pytest.raises(Nondeterministic):  # the guard was up all the while
            sys.audit("time.sleep")


def test_a_query_may_not_open_anything_either(house, tmp_path):
    """What is asked of the state depends on the state."""
    (tmp_path / "file").write_text("there")
    with pytest.raises(Nondeterministic, match=r"guard_kit\.py:.*: read: open touches files"):
        house.ask("read", str(tmp_path / "file"))
    assert guard_kit.read(tmp_path / "file") == "there"


def test_the_doors_stay_open(house, tmp_path):
    """Behind a handler, and behind one that failed, the same thread opens files again."""
    (tmp_path / "file").write_text("there")
    with pytest.raises(HandlerFailed):
        house.call("read", str(tmp_path / "file"))
    assert guard_kit.read(tmp_path / "file") == "there"
    guard_kit.beside()


def test_other_threads_are_not_concerned(tmp_path):
    """The journal's thread writes on while a handler runs."""
    (tmp_path / "file").write_text("there")
    inside, done = threading.Event(), threading.Event()
    found = []

    def write():
        inside.wait(60)
        found.append(guard_kit.read(tmp_path / "file"))
        guard_kit.listed(tmp_path)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    with closed:
        inside.set()
        assert done.wait(60)
        with pytest.raises(Nondeterministic):
            guard_kit.read(tmp_path / "file")
    thread.join()
    assert found == ["there"]


def test_handlers_of_two_threads_do_not_open_each_other():
    """When one thread is through, the other's handler is closed still."""
    inside, out = threading.Event(), threading.Event()

    def other():
        with closed:
            inside.wait(60)
        out.set()

    thread = threading.Thread(target=other)
    thread.start()
    with closed:
        inside.set()
        assert out.wait(60)
        with pytest.raises(Nondeterministic):
            guard_kit.connected()
    thread.join()


def test_what_python_does_for_itself_is_left_alone(house, tmp_path, monkeypatch):
    """A module that is imported late, a log and a warning are no doing of the handler."""
    (tmp_path / "imported_late.py").write_text("VALUE = 5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(guard_kit, "late", lambda: __import__("imported_late").VALUE, raising=False)
    assert house.call("late") == "5"
    del sys.modules["imported_late"]
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    logger = logging.getLogger("handlers")
    logger.addHandler(handler)

    def logged():
        logger.warning("from a handler")

    monkeypatch.setattr(guard_kit, "logged", logged, raising=False)
    assert house.call("logged") == "None"
    handler.close()
    logger.removeHandler(handler)
    assert (tmp_path / "log").read_text() == "from a handler\n"

    def warned():
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(guard_kit, "warned", warned, raising=False)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert house.call("warned") == "None"


def test_what_no_hook_is_told_passes_while_serving(house):
    """The documents say so: a library that asks the clock is seen by tests, not by the house."""
    assert float(house.call("clock")) > 0
