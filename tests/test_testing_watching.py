"""In tests every call of a handler is seen, and every set that it goes through."""

import random

import pytest

import guard_kit
from happy import App, Table, event, guard, handles, query, state, table
from happy.errors import HandlerFailed, Nondeterministic
from happy.testing import running


@event
class Call:
    """Call a function of the library."""

    name: str


@state
class Calls:
    last: str = ""
    rows: Table[str, str] = table()


class Caller(App):
    state = Calls

    @handles(Call)
    def call(state, event, context):
        state.last = str(getattr(guard_kit, event.name)())

    @query
    def asked(state, name):
        return getattr(guard_kit, name)()


@pytest.mark.parametrize("function", guard_kit.ASKS, ids=lambda function: function.__name__)
def test_a_library_that_asks_clock_chance_or_surroundings_fails(function):
    """Whatever name it goes by, and the message has the line that asked."""
    with running(Caller) as app:
        with pytest.raises(HandlerFailed):
            app.submit(Call(function.__name__))
        assert app.state.last == ""
        with pytest.raises(Nondeterministic) as refused:
            app.ask(Caller.asked, function.__name__)
        file, line, where = str(refused.value).split(":")[:3]
        assert (file, where) == (guard_kit.__file__, f" {function.__name__}")
        assert 0 < int(line) - function.__code__.co_firstlineno < 3
        function()  # a test may ask


def test_a_seeded_generator_and_the_context_pass():
    """What repeats itself is no business of the watch."""

    class Fair(App):
        state = Calls

        @handles(Call)
        def call(state, event, context):
            drawn = random.Random(5).random() + context.random.random()
            state.last = f"{context.time} {drawn} {context.token()}"
            state.rows[state.last] = "x"
            context.mail("ann@example.com", b"Subject: x\r\n\r\n", reverse_path="")

    with running(Fair) as app:
        app.submit(Call(""))
        assert app.state.rows


def test_it_ends_with_the_test():
    """Behind ``running`` nothing is watched any more, also when the test failed in it."""
    with pytest.raises(ZeroDivisionError), running(Caller):
        raise ZeroDivisionError
    assert guard.watcher is None


def of(handler):
    return type("Setting", (App,), {"state": Calls, "call": handles(Call)(handler)})


def looped(state, event, context):
    for word in {"a", event.name}:
        state.last += word


def listed(state, event, context):
    words = set(event.name.split())
    words |= {"more"}
    return ", ".join(words)


def combined(state, event, context):
    return [word + "s" for word in set(event.name) - {"a"}]


def popped(state, event, context):
    left: set[str] = {"a", event.name}
    return left.pop()


def made(state, event, context):
    return tuple(frozenset(event.name))


def unpacked(state, event, context):
    return (*{"a", "b"}, 5)


def generated(state, event, context):
    return " ".join(word.upper() for word in {"a", "b"}.union(event.name))


@pytest.mark.parametrize("handler", [looped, listed, combined, popped, made, unpacked, generated])
def test_a_set_that_is_gone_through_is_refused(handler):
    """Its order changes with the seed of hashes; the message says where, and to sort."""
    with (
        pytest.raises(Nondeterministic, match="go through sorted") as refused,
        running(of(handler)),
    ):
        pass
    file, line, name = str(refused.value).split(":")[:3]
    assert (file, name) == (__file__, f" {handler.__name__}")
    assert 0 < int(line) - handler.__code__.co_firstlineno < 4


def sorted_first(state, event, context):
    words = set(event.name)
    return [word + "s" for word in sorted(words)], sorted({"b", "a"})


def looked_up(state, event, context):
    known = {"a", "b"}
    same = {word.upper() for word in known}
    return "a" in known, len(known), any(word in same for word in known)


def no_set(state, event, context):
    words = {"a"}
    words = sorted(words)
    return [word + "s" for word in words], list(state.rows)


@pytest.mark.parametrize(
    ("handler", "reply"),
    [
        (sorted_first, (["as", "bs", "cs"], ["a", "b"])),
        (looked_up, (True, 2, False)),
        (no_set, (["as"], [])),
    ],
)
def test_a_set_whose_order_does_not_count_is_allowed(handler, reply):
    """Sorted, looked into, counted, made into another set: fine."""
    with running(of(handler)) as app:
        assert app.submit(Call("abc")) == reply
