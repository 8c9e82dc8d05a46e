"""Forms that are posted: read by Klein's routes with ``form_body``, and by declared ones."""

from __future__ import annotations

import pytest
from klein import Klein

from happy import App, HttpRoutes, event, handles, state
from happy.testing import running
from happy.wire.http import form_body

PHOTO = b"\x89PNG\r\n\x00\xff"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@event
class Shown:
    title: str
    photo: bytes = b""
    rank: int = 1


@state
class Gallery:
    last: str = ""


class Hall(App):
    state = Gallery
    http = Klein()
    routes = HttpRoutes()

    @routes.post("/declared")
    @handles(Shown)
    def show(state, event, context):
        state.last = f"{event.title} {event.rank} {event.photo.hex()}"
        return state.last

    @http.route("/klein", methods=["POST"])
    async def show_by_klein(self, request):
        return await self.submit(form_body(request, Shown))


@pytest.fixture
def hall():
    """A hall in memory."""
    with running(Hall) as hall:
        yield hall


def parts(**fields: bytes) -> bytes:
    """Return the body that a browser makes of a form with a file."""
    made = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    )
    return made + b"--x--\r\n"


@pytest.fixture(params=["/declared", "/klein"])
def path(request):
    """Either way."""
    return request.param


def test_a_form_is_an_event(hall, path):
    """Each text is read by the type of its field, and what is left away has its default."""
    assert hall.post(path, form={"title": "Sunrise é", "rank": "2"}).text == "Sunrise é 2 "


def test_a_file_comes_as_it_is(hall, path):
    """A field of bytes has every byte of the file that was chosen."""
    body = parts(title=b"Moon", photo=PHOTO)
    assert hall.post(path, body, headers=MULTIPART).text == f"Moon 1 {PHOTO.hex()}"


def test_every_fault_of_a_form_is_said(hall, path):
    """One answer lists them all, and nothing has happened."""
    answer = hall.post(path, parts(rank=b"x", title=PHOTO, more=b""), headers=MULTIPART)
    assert answer.status == 400
    assert answer.json()["errors"] == [
        "rank is not a whole number",
        "title is not UTF-8",
        "more is not known here",
    ]
    name = b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\r\n--x--\r\n'
    assert hall.post(path, name, headers=MULTIPART).status == 400
    assert hall.state.last == ""


def test_what_is_no_form_is_415(hall):
    """Where a form is asked for, JSON and nothing at all are other types."""
    assert hall.post("/klein", json={"title": "Sunset"}).status == 415
    assert hall.post("/klein").status == 415
