"""The test kit that authors use does what it says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from klein import Klein

from happy import (
    App,
    CallEnded,
    Mail,
    MailFailed,
    MailRoutes,
    MailSent,
    Refused,
    Table,
    event,
    handles,
    query,
    state,
    table,
)
from happy.codec import to_json
from happy.testing import message, running
from happy.wire.http import json_body


@event
class Note:
    text: str


@event
class Remind:
    text: str


@state
class Notes:
    lines: Table[int, str] = table()


class Notebook(App):
    """Takes notes by web and mail, reminds, answers and calls."""

    state = Notes
    http = Klein()
    mail = MailRoutes()

    @handles(Note)
    def note(state, event, context):
        if event.text == "bad":
            raise Refused("not that")
        if event.text == "worse":
            raise ZeroDivisionError
        state.lines[context.seq] = event.text
        context.after(timedelta(hours=1), Remind(event.text))
        if event.text == "call":
            context.call("POST", "http://elsewhere.example/", b"hello", tag="it")
        return context.seq

    @handles(Remind)
    def remind(state, event, context):
        state.lines[context.seq] = f"reminder: {event.text}"

    @mail.to("notes+<topic>@")
    def by_mail(state, mail, context, topic):
        state.lines[context.seq] = f"{mail.reverse_path} on {topic}: {mail.size} bytes"
        context.mail(
            mail.reverse_path, b"Subject: thanks\r\n\r\n", reverse_path="", tag=f"thanks {topic}"
        )

    @handles(MailSent, MailFailed)
    def ended(state, event, context):
        state.lines[context.seq] = f"{type(event).__name__} {event.tag}: {event.reply}"

    @handles(CallEnded)
    def called(state, event, context):
        state.lines[context.seq] = f"called {event.tag}: {event.status} {event.body.decode()}"

    @query
    def all_lines(state):
        return list(state.lines.values())

    @http.route("/", methods=["GET"])
    async def get(self, request):
        return to_json(await self.ask(self.all_lines))

    @http.route("/", methods=["POST"])
    async def post(self, request):
        return to_json({"seq": await self.submit(json_body(request, Note))})


@pytest.fixture
def app():
    """A notebook in memory."""
    with running(Notebook) as notebook:
        yield notebook


def lines(app) -> list[str]:
    return app.ask(Notebook.all_lines)


def test_requests_go_through_the_real_door(app):
    """JSON goes in and out, and a body that does not fit is a problem with its path."""
    answer = app.post("/", json={"text": "one"})
    assert (answer.status, answer.json()) == (200, {"seq": 2})
    assert app.get("/").json() == ["one"]
    wrong = app.post("/", json={"text": 7})
    assert wrong.status == 400
    assert "$.text" in wrong.json()["errors"][0]


def test_what_a_handler_says_comes_out_as_itself(app):
    """A refusal is raised by ``submit`` and a 409 at the door; a failure is a 500."""
    with pytest.raises(Refused, match="not that"):
        app.submit(Note("bad"))
    assert app.post("/", json={"text": "bad"}).status == 409
    failed = app.post("/", json={"text": "worse"})
    assert failed.status == 500
    assert "ZeroDivisionError" not in failed.text
    assert "notebook/4" in failed.text
    assert lines(app) == []


def test_time_passes_when_told(app):
    """``advance`` fires what falls due, no sooner."""
    app.submit(Note("one"))
    app.advance(3599)
    assert lines(app) == ["one"]
    app.advance(1)
    assert lines(app) == ["one", "reminder: one"]


def test_a_timer_that_fell_due_while_down_fires_after_the_start(app):
    """A restart loses no timer and fires none twice."""
    app.submit(Note("one"))
    app.crash()
    app.clock.advance(7200)
    app.restart()
    assert lines(app) == ["one", "reminder: one"]
    app.advance(7200)
    assert lines(app) == ["one", "reminder: one"]


def test_mail_goes_in_by_the_real_door_and_out_to_sent(app):
    """A message is answered with its place; what is owed is in ``sent``, its end is an event."""
    reply = app.mail("ann@example.org", "notes+tea@app.example", message("hi", "hello"))
    assert reply.accepted
    assert reply.text == "2.0.0 Ok notebook/2"
    app.advance(0)
    (thanks,) = app.sent
    assert (thanks.recipient, thanks.header) == ("ann@example.org", b"Subject: thanks\r\n\r\n")
    assert lines(app)[0].startswith("ann@example.org on tea: ")
    assert lines(app)[1] == "MailSent thanks tea: 250 2.0.0 Ok"


def test_mail_for_nobody_is_refused(app):
    """The reply is the first refusal."""
    assert app.mail("a@b.example", "nobody@app.example", "x").code == 550
    assert app.mail("a@b.example", "notes+tea@elsewhere.example", "x").code == 550


def test_the_next_server_may_refuse(app):
    """``refuse_mail`` makes a message fail for good."""
    app.refuse_mail = lambda mail: f"550 5.1.1 no {mail.recipient}"
    app.mail("ann@example.org", "notes+tea@app.example", "hello")
    app.advance(0)
    assert app.sent == []
    assert lines(app)[1] == "MailFailed thanks tea: 550 5.1.1 no ann@example.org"


def test_nothing_is_sent_on_a_replay(app):
    """Promise 6: after a crash what was done is not done again."""
    app.mail("ann@example.org", "notes+tea@app.example", "hello")
    app.advance(0)
    app.crash()
    app.advance(86_400)
    assert len(app.sent) == 1


def test_calls_are_answered_as_the_test_says(app):
    """A call that is owed goes to ``answer_call``, and its end is an event."""
    app.answer_call = lambda call: (201, call.body.upper())
    app.submit(Note("call"))
    app.advance(0)
    assert [call.url for call in app.calls] == ["http://elsewhere.example/"]
    assert lines(app)[1] == "called it: 201 HELLO"


def test_a_large_message_is_a_blob_that_survives(app):
    """A message over the inline limit is kept beside the journal, whole."""
    text = "x" * 78 + "\r\n"
    content = f"Subject: big\r\n\r\n{text * 5000}".encode()
    assert app.mail("ann@example.org", "notes+tea@app.example", content).accepted
    app.crash()
    assert lines(app)[0].endswith(f": {len(content)} bytes")


class Unconnected(App):
    """Has no door at all."""

    state = Notes

    @handles(Mail)
    def take(state, event, context):
        state.lines[context.seq] = event.reverse_path


def test_an_application_without_a_web_door_can_be_tested():
    """A mail-only application runs; asking it for a page is the test's mistake."""
    with running(Unconnected) as app:
        with pytest.raises(AssertionError, match="Unconnected has no HTTP door"):
            app.get("/")
        assert app.mail("ann@example.org", "anybody@app.example", "hello").accepted
        assert list(app.state.lines.values()) == ["ann@example.org"]


def test_a_query_that_changes_the_state_is_found():
    """Asked by a test or by a door: a restart would come to another state, and say so too late."""

    class Careless(Notebook):
        http = Klein()

        @query
        def count(state):
            state.lines[0] = "counted"
            return len(state.lines)

        @http.route("/count")
        async def get_count(self, request):
            return str(await self.ask(self.count))

    changed = r"Careless\.count changed the state"
    with running(Careless) as app, pytest.raises(AssertionError, match=changed):
        app.ask(Careless.count)
    with running(Careless) as app:
        app.submit(Note("one"))
        with pytest.raises(AssertionError, match="GET /count changed the state, and no event did"):
            app.get("/count")
