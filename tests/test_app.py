"""What an application declares, and what its instances do."""

from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from happy.app import App, definition_of, exchange, handles, query
from happy.errors import DefinitionError
from happy.event import Blob, Configured, Exchange, Mail, event, event_meta
from happy.return_paths import ReturnPaths
from happy.routes import MailRoutes
from happy.state import state
from happy.system_events import SYSTEM_EVENTS


@event
class Add:
    count: int = 1


@event
class Drop:
    pass


@event(name="Add")
class AlsoAdd:
    pass


@event(name="Add", version=2)
class NewAdd:
    pass


@event(name="happy.Mail")
class FalseMail:
    pass


@state
class Total:
    total: int = 0


@attrs.frozen
class Settings:
    step: int = 1


class Counter(App):
    """Counts."""

    state = Total
    Settings = Settings

    @handles(Add, NewAdd)
    def add(state, event, context):
        state.total += 1
        return state.total

    @handles(Configured)
    @staticmethod
    def configured(state, event, context):
        return None

    @query
    def total(state, plus=0):
        return state.total + plus

    @handles(Drop)
    @query
    def both(state, event=None, context=None):
        return None


class WithMail(App):
    state = Total
    mail = MailRoutes()

    @mail.to("<list>@", when=lambda state, list: list == "dev")  # noqa: A006 - as in the pattern
    def post(state, mail, context, list):  # noqa: A002 - as in the pattern
        return None


class Port:
    """A stream that writes down what is asked of it."""

    def __init__(self):
        self.calls = []

    def submit(self, event, exchange):
        self.calls.append((event, exchange))
        return succeed("reply")

    def ask(self, query, *args, **kwargs):
        return succeed(query(Total(3), *args, **kwargs))

    def blob_writer(self):
        return "writer"

    def open_blob(self, blob):
        return blob

    return_paths = ReturnPaths(b"key")


def result(awaitable):
    """Return what an awaitable that has fired holds."""
    results = []
    Deferred.fromCoroutine(_wait(awaitable)).addCallback(results.append)
    return results[0]


async def _wait(awaitable):
    return await awaitable


def made(*bases, **members):
    """Return an application class with these members."""
    return type("Made", bases or (App,), {"state": Total, **members})


def handler_of(*events):
    return handles(*events)(lambda state, event, context: None)


# --- definitions -------------------------------------------------------------------------------


def test_a_definition_holds_what_the_class_declares():
    """State, handlers by event type, and every event by the name the journal has for it."""
    definition = definition_of(Counter)
    assert (definition.app, definition.state) == (Counter, Total)
    assert definition.handlers == {
        Add: Counter.add, NewAdd: Counter.add, Configured: Counter.configured, Drop: Counter.both,
    }  # fmt: skip
    assert definition.events[("Add", 1)] is Add
    assert definition.events[("Add", 2)] is NewAdd
    for cls in SYSTEM_EVENTS:
        meta = event_meta(cls)
        assert definition.events[(meta.name, meta.version)] is cls


def test_handlers_are_plain_functions_of_the_state():
    """A handler has no ``self``, on the class and on an instance alike."""
    total = Total()
    assert Counter.add(total, Add(), None) == 1
    assert Counter("n", Port()).add(total, Add(), None) == 2


def test_handlers_are_inherited_and_overridden_by_name():
    """A subclass has the handlers of its base, and its own in place of those it names anew."""

    class Double(Counter):
        @handles(Add)
        def add(state, event, context):
            state.total += 2

    handlers = definition_of(Double).handlers
    assert handlers[Add] is Double.add
    assert NewAdd not in handlers
    assert handlers[Drop] is Counter.both


def test_two_marks_on_a_handler_both_count():
    """``@handles`` twice is the same as once with both types."""
    function = handles(Add)(handles(Drop)(lambda state, event, context: None))
    assert set(definition_of(made(take=function)).handlers) == {Add, Drop}


def test_mail_routes_handle_mail():
    """An application with mail routes handles ``Mail`` with them."""
    assert definition_of(WithMail).handlers[Mail] == WithMail.mail.deliver


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (int, "subclass happy.App"),
        (Counter("n", Port()), "subclass happy.App"),
        (type("NoState", (App,), {}), "set state"),
        (made(state=Settings), "set state"),
        (made(state=Total()), "set state"),
        (made(a=handler_of(Add), b=handler_of(Add)), "both handle Add"),
        (made(a=handler_of(Add), b=handler_of(AlsoAdd)), "same journal name 'Add'"),
        (made(a=handler_of(FalseMail)), "same journal name 'happy.Mail'"),
        (made(WithMail, a=handler_of(Mail)), "mail routes and a handler of Mail"),
        (made(Settings=int), "Settings must be an attrs class"),
    ],
    ids=lambda value: value if isinstance(value, str) else "app",
)
def test_what_cannot_work_is_refused_by_name(app, words):
    """A definition that cannot work says what and where, before anything is opened."""
    with pytest.raises(DefinitionError, match=words):
        definition_of(app)


def test_only_events_are_handled():
    """``@handles`` takes event types; without them it is an error, not a handler of nothing."""
    with pytest.raises(DefinitionError, match="@event"):
        handles(int)
    with pytest.raises(DefinitionError):
        handles(lambda state, event, context: None)
    with pytest.raises(DefinitionError, match="event type"):
        handles()


def test_handlers_and_queries_run_at_once():
    """A coroutine or a generator would never run: refused by name."""

    async def later(state, event=None, context=None):
        pass

    def piecewise(state, event=None, context=None):
        yield

    for wrong in (later, piecewise):
        with pytest.raises(DefinitionError, match=f"{wrong.__name__}.*await or yield"):
            handles(Add)(wrong)
        with pytest.raises(DefinitionError, match=f"{wrong.__name__}.*await or yield"):
            query(staticmethod(wrong))


def test_handlers_and_queries_that_cannot_be_called_are_refused():
    """With what they will be called with; who writes self hears that there is none."""
    for wrong in (lambda state, event: None, lambda state, event, context, more: None):
        with pytest.raises(DefinitionError, match=r"called as \(state, event, context\): "):
            handles(Add)(wrong)
    with pytest.raises(DefinitionError, match=r"\(state, event, context\), without self"):
        handles(Add)(lambda self, event, context: None)
    with pytest.raises(DefinitionError, match=r"\(state\), without self"):
        query(lambda self, count: None)
    with pytest.raises(DefinitionError, match=r"called as \(state\): "):
        query(lambda: None)
    with pytest.raises(DefinitionError, match=r"say which event, as in @handles\(Next\)"):
        handles(lambda state, event, context: None)


# --- instances ---------------------------------------------------------------------------------


def test_submit_names_the_exchange_it_belongs_to():
    """Inside a door the event is its exchange's; elsewhere it is an internal one."""
    port = Port()
    app = Counter("n", port)
    mine = Exchange("http POST /")
    token = exchange.set(mine)
    assert result(app.submit(Add())) == "reply"
    exchange.reset(token)
    app.submit(Drop())
    (first, second) = port.calls
    assert first == (Add(), mine)
    assert second[0] == Drop()
    assert second[1].source == "internal"


def test_two_instances_are_two_applications():
    """The same class under two names has two streams, settings and lists of domains."""
    one, two = Counter("one", Port(), Settings(1), ("a",)), Counter("two", Port(), Settings(2))
    one.submit(Add())
    assert len(one._stream.calls) == 1
    assert len(two._stream.calls) == 0
    assert (one.settings.step, two.settings.step, one.domains, two.domains) == (1, 2, ("a",), ())


def test_ask_takes_queries_only():
    """A function that is no query is refused; a query gets the state and its arguments."""
    app = Counter("n", Port())
    assert result(app.ask(app.total, plus=2)) == 5
    assert result(app.ask(Counter.total, 1)) == 4
    with pytest.raises(DefinitionError, match="not a query"):
        app.ask(lambda state: state.total)


def test_recipients_are_known_by_the_routes():
    """With routes the state says who is known; without them ``Mail`` is taken for everybody."""
    assert result(Counter("n", Port()).knows_recipient("anybody")) is True
    app = WithMail("n", Port())
    assert result(app.knows_recipient("DEV")) is True
    assert result(app.knows_recipient("ops")) is False


def test_blobs_are_the_streams():
    """Large bodies are put and read where the stream keeps them."""
    app, blob = Counter("n", Port()), Blob("0" * 64, 1)
    assert app.open_blob(blob) is blob
    assert app.blob_writer() == "writer"
