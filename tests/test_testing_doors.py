"""The doors without sockets hear what a client would hear."""

from __future__ import annotations

import pytest
from klein import Klein
from twisted.web.static import File

from happy import App, MailRoutes, Table, state, table
from happy.limits import Limits
from happy.testing import message, running
from happy.testing.doors import MailReply, Response


@state
class Letters:
    raw: Table[int, bytes] = table()


class Postbox(App):
    """Keeps letters as they came, and streams."""

    state = Letters
    http = Klein()
    mail = MailRoutes()

    @mail.to("box@")
    def keep(state, mail, context):
        state.raw[context.seq] = mail.content

    @http.route("/stream", methods=["GET"])
    def stream(self, request):
        request.write(b"one ")
        request.write(b"two")
        request.finish()

    @http.route("/files/", branch=True)
    def files(self, request):
        return File(self.settings)


@pytest.fixture
def app():
    """A post box in memory."""
    with running(Postbox) as box:
        yield box


def test_a_streamed_answer_is_put_together(app):
    """A body in chunks reads like any other."""
    answer = app.get("/stream")
    assert isinstance(answer, Response)
    assert (answer.status, answer.text) == (200, "one two")


def test_a_file_is_answered_whole(tmp_path):
    """What a resource of twisted.web sends piece by piece, as fast as it is read, arrives."""
    content = bytes(range(256)) * 1_000
    (tmp_path / "photo.bin").write_bytes(content)
    with running(Postbox, settings=str(tmp_path)) as box:
        assert box.get("/files/photo.bin").body == content
        part = box.get("/files/photo.bin", headers={"Range": "bytes=1-3"})
        assert (part.status, part.body) == (206, content[1:4])


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\n.\r\n..\r\n.dots\r\n",
        b"\r\n\r\n",
        b"Subject: x\r\n\r\nno end\r\n",
        message("hello", "text", From_="ann@example.org"),
    ],
)
def test_a_message_arrives_as_it_was_given(app, content):
    """Dots, empty lines and the last line end are kept; only line ends become CRLF."""
    assert app.mail("ann@example.org", "box@app.example", content).code == 250
    (kept,) = app.state.raw.values()
    assert kept == content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_a_message_without_a_line_end_gets_one(app):
    """SMTP carries lines: the last one is ended."""
    app.mail("ann@example.org", "box@app.example", "hello")
    assert list(app.state.raw.values()) == [b"hello\r\n"]


def test_the_reply_is_the_first_refusal(app):
    """What follows a refused command is not sent."""
    reply = app.mail("ann@example.org", ("box@app.example", "nobody@app.example"), "hello")
    assert isinstance(reply, MailReply)
    assert (reply.code, reply.accepted) == (550, False)
    assert len(app.state.raw) == 0


def test_a_test_may_send_as_many_as_it_likes():
    """Each request and each mail is a connection that ends: none counts against the next."""
    limits = Limits(
        http_connections_max=2,
        smtp_connections_max=2,
        smtp_connections_per_peer_max=2,
        segment_bytes_max=1024 * 1024,
    )
    with running(Postbox, limits=limits) as box:
        assert [box.get("/stream").status for _ in range(5)] == [200] * 5
        codes = [box.mail("ann@example.org", "box@app.example", "hello").code for _ in range(5)]
        assert codes == [250] * 5
