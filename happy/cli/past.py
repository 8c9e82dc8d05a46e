"""Serving an application as it was: its web door over a state that was replayed to a seq.

The application's own routes run, over a stream that answers questions and takes no events. What
it owed then stays owed: no mail leaves, no timer fires, and there is no mail door.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.endpoints import serverFromString

from happy.app import App, BlobReader, BlobWriter
from happy.cli.output import Unwell, progress, rfc3339, safe, write_json
from happy.cli.replaying import Replay, check_until
from happy.cli.statuses import Status, statuses
from happy.codec import settings_from_bytes
from happy.config.endpoints import server_endpoint
from happy.doors import Door
from happy.errors import BadRequest, ReadOnly
from happy.guard import closed
from happy.journal.blobs import Blobs
from happy.journal.disk import Disk, FileDisk
from happy.return_paths import ReturnPaths
from happy.wire.http import site_for

if TYPE_CHECKING:
    from happy.apply import Machine
    from happy.cli.applications import Application
    from happy.cli.bounds import Wanted
    from happy.config import AppConfig
    from happy.event import Blob, Exchange, Prepared, Waiting


class PastStream:
    """The stream of an application as it was after seq ``machine.seq``; a ``StreamPort``."""

    def __init__(self, machine: Machine, disk: Disk) -> None:
        self._machine = machine
        self._blobs = Blobs(disk, maybeDeferred)
        self.return_paths = ReturnPaths()  # nothing comes in

    def submit(self, _event: object, _exchange: Exchange) -> Deferred[Any]:
        """Refuse: history is written."""
        return fail(self._no())

    def prepare(self, _event: object, _source: str) -> Prepared:
        """Refuse, as ``submit`` does."""
        raise self._no()

    def put(self, _prepared: Prepared, _waiter: Waiting) -> None:
        """Refuse, as ``submit`` does."""
        raise self._no()

    def look(
        self, query: Callable[..., Any], arguments: Mapping[str, Any], waiter: Waiting
    ) -> None:
        """Tell what a query of the state of then returns."""
        with closed:
            found = query(self._machine.state, **arguments)
        waiter.replied(0, found)

    def ask(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Fire with what a query of the state of then returns."""
        with closed:
            return maybeDeferred(query, self._machine.state, *args, **kwargs)

    def trouble(self, _size: int) -> ReadOnly:
        """Say that ``submit`` refuses."""
        return self._no()

    def blob_writer(self) -> BlobWriter:
        """Refuse, as ``submit`` does."""
        raise self._no()

    def open_blob(self, blob: Blob) -> BlobReader:
        """Open a stored body; ``FileNotFoundError`` when it is not kept any more."""
        return self._blobs.open(blob)

    def _no(self) -> ReadOnly:
        return ReadOnly(f"this is a replay up to seq {self._machine.seq}; nothing can change")


def past_app(app: AppConfig, machine: Machine, path: Path) -> App:
    """Return an application as it was, with the settings of then where its journal has them.

    Raises ``Unwell`` when those do not fit its ``Settings`` any more.
    """
    configured = machine.configured
    settings, domains = app.settings, app.domains
    if configured.settings and app.app.Settings is not None:
        try:
            settings = settings_from_bytes(configured.settings, app.app.Settings)
        except BadRequest as error:
            raise Unwell(
                f"{app.name}: the settings of that time do not fit any more: {error}",
                Status.UNUSABLE,
            ) from None
        domains = configured.domains
    return app.app(app.name, PastStream(machine, FileDisk(path)), settings, domains)


def serve_past(app: Application, asked: Wanted, endpoint: str, *, as_json: bool) -> None:
    """Replay, then answer HTTP until Ctrl-C or SIGTERM."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it picks one

    if not app.config.app.has_http():
        raise click.UsageError(f"--serve: {app.config.name} has no HTTP door")
    try:
        where = str(server_endpoint(endpoint, Path()))
    except ValueError as error:
        raise click.UsageError(f"--serve: {error}") from None
    with statuses(app.path), progress("replaying") as tell:
        machine = Replay(app.path, app.config.definition, asked, tell, near=asked).run()
        check_until(app.path, asked, machine.seq)
    past = past_app(app.config, machine, app.path)
    site = site_for(past, limits=app.config.limits, reactor=reactor)
    door = Door("http", where, site)
    failures: list[Any] = []
    listening = serverFromString(reactor, where).listen(door.factory)
    listening.addCallbacks(door.listens, failures.append)
    if failures:
        raise Unwell(f"cannot listen on {where}: {failures[0].getErrorMessage()}", Status.UNUSABLE)
    door.open()
    _say(app, machine, door.where, as_json=as_json)
    reactor.run()


def _say(app: Application, machine: Machine, where: str, *, as_json: bool) -> None:
    time = rfc3339(machine.time_ns) if machine.seq else None
    if as_json:
        write_json({"app": app.config.name, "seq": machine.seq, "time": time, "http": where})
        return
    then = f" ({time})" if time else ""
    click.echo(
        safe(
            f"{app.config.name} as it was after seq {machine.seq}{then}, on http {where}: "
            "questions are answered, nothing can change; Ctrl-C ends it"
        )
    )
