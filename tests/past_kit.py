"""What the tests that look back share: an application with a past of posts, mails and timers."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from happy.journal.names import SNAPSHOTS
from happy.testing import message, running

APPLICATION = '''
from datetime import timedelta

import attrs
from klein import Klein

from happy import (
    App, MailRoutes, MailSent, Refused, Table, event, handles, query, state, table,
)


@event
class Put:
    """Put a thing on the shelf."""

    name: str
    size: int = 1


@event
class Grow:
    """Let a thing grow."""

    name: str


@event
class Drop:
    """Take a thing away."""

    name: str


@attrs.frozen
class Item:
    size: int
    source: str = "web"


@state
class Shelf:
    puts: int = 0
    items: Table[str, Item] = table()
    sizes: Table[tuple[str, int], int] = table()
    sent: Table[int, str] = table()


class Shop(App):
    state, http, mail = Shelf, Klein(), MailRoutes()

    @handles(Put)
    def put(state, event, context):
        if event.size > 90:
            raise Refused("too large")
        if event.size < 0:
            raise ValueError(event.size)
        state.puts += 1
        state.items[event.name] = Item(event.size)
        state.sizes[event.name, event.size] = context.seq
        if event.size == 7:
            context.after(timedelta(seconds=60), Grow(event.name))
        return state.puts

    @handles(Grow)
    def grow(state, event, context):
        item = state.items[event.name]
        state.items[event.name] = attrs.evolve(item, size=item.size + 1)
        context.mail("ann@example.org", b"Subject: it grew\\r\\n\\r\\n", reverse_path="")

    @handles(Drop)
    def drop(state, event, context):
        del state.items[event.name]

    @handles(MailSent)
    def mailed(state, event, context):
        state.sent[context.seq] = event.recipient

    @mail.to("put-<name>@")
    def put_by_mail(state, mail, context, name):
        state.puts += 1
        state.items[name] = Item(2, mail.reverse_path)

    @query
    def listing(state):
        return " ".join(f"{name}={item.size}" for name, item in state.items.items())

    @http.route("/", methods=["GET"])
    async def get(self, request):
        return await self.ask(self.listing)

    @http.route("/<name>", methods=["POST"])
    async def post(self, request, name):
        size = int(request.args.get(b"size", [b"1"])[0])
        return {"puts": await self.submit(Put(name, size))}

    @http.route("/<name>", methods=["DELETE"])
    async def delete(self, request, name):
        await self.submit(Drop(name))
        return b""
'''
CONFIG = """
data = "data"
[apps.shop]
app = "{module}:Shop"
http = "tcp:0:interface=127.0.0.1"
smtp = "tcp:0:interface=127.0.0.1"
domains = ["app.example"]
"""
# What `script` does, by seq.
CONFIGURED, POSTED, BY_MAIL, REFUSED, FAILED, AGAIN = range(1, 7)
_ACKNOWLEDGED, FIRED, SENT, DROPPED, LAST = range(7, 12)


def script(app):
    """Let something happen; the seqs are above."""
    app.post("/b7?size=7", headers={"Idempotency-Key": "k1"})
    app.mail("bob@example.org", "put-pot@app.example", message("a pot"))
    app.post("/huge?size=99")
    app.post("/odd?size=-1")
    app.post("/pot?size=3")
    app.advance(61)
    app.request("DELETE", "/pot")
    app.post("/cup?size=1")


def dump(disk, path):
    """Write what is on a disk in memory to a directory."""
    path.mkdir(parents=True, exist_ok=True)
    for name in (*disk.names(), *disk.names(SNAPSHOTS)):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(disk.read(name))


class Past:
    """A configuration, its application's module, and the journal of what happened to it."""

    def __init__(self, folder: Path, module: str, play=script, limits=None) -> None:
        self.folder = folder
        self.module = module
        self.config = folder / "happy.toml"
        self.journal = folder / "data" / "shop"
        self.config.write_text(CONFIG.format(module=module))
        self.code = folder / f"{module}.py"
        self.code.write_text(APPLICATION)
        sys.path.insert(0, str(folder))
        try:
            self.app = importlib.import_module(module).Shop
        finally:
            sys.path.remove(str(folder))
        with running(self.app, limits=limits) as app:
            play(app)
            app.restart()
            dump(app.disk, self.journal)

    def other(self, old="", new=""):
        """Return a directory with the same code, but for one change."""
        assert old in APPLICATION
        folder = self.folder / "other"
        folder.mkdir(exist_ok=True)
        (folder / self.code.name).write_text(APPLICATION.replace(old, new, 1))
        return folder
