"""A front: a process that has the doors of one application, and nothing else of it.

It is started by the container, with one end of a link and the sockets that listen. It is told
what to serve, says that it could, and begins when it is told to. It ends when the container is
gone, by the end of the link or, should it be stuck, by the kernel's signal; and it heeds no
signal of its own, for a terminal or a supervisor sends one to all processes of the house.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet import tcp, unix
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    formatEvent,
    globalLogBeginner,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from happy.codec import settings_from_bytes
from happy.config import AppConfig, MailConfig
from happy.config.endpoints import Endpoint
from happy.config.imports import import_application, importable_from
from happy.config.mail_doors import MailEndpoint
from happy.doors import Door, MailDoors, doors_of
from happy.errors import HappyError
from happy.journal.blobs import Blobs
from happy.journal.disk import FileDisk
from happy.limits import Limits
from happy.return_paths import ReturnPaths
from happy.split.front_stream import FrontStream
from happy.split.link import Link
from happy.split.messages import Kind, Line, Order, Ready
from happy.split.queries import schema_digest
from happy.split.shares import Shares
from happy.wire.access import AccessFile, AccessLog, access_log_of
from happy.wire.passwords import read_hash

_SYSTEMD: Final = re.compile(r"systemd:.*")
_PDEATHSIG: Final = 1  # prctl(2)
_COUNT_S: Final = 1.0
_LEFT_S: Final = 0.002  # for which a connection is left to the other fronts
_ACCEPTS_MAX: Final = 64  # in one turn; then those that are there have theirs
_UNSENT_LINES_BYTES_MAX: Final = 8 * 1024 * 1024
_BLOB_NUMBERS: Final = 10**12

log = Logger()

_encode = msgspec.msgpack.Encoder().encode


@implementer(ILogObserver)
class LogLines:
    """An observer of the log that sends its lines to the container, all of a turn at once."""

    def __init__(self, link: Link, reactor: Any) -> None:
        self._link = link
        self._reactor = reactor
        self._lines: list[Line] = []
        self._dropped = 0

    def __call__(self, event: LogEvent) -> None:
        """Keep a line until the end of the turn."""
        if self._link.unsent_bytes > _UNSENT_LINES_BYTES_MAX:
            self._dropped += 1
            return
        if not self._lines:
            self._reactor.callLater(0, self.flush)
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        self._lines.append(Line(event["log_level"].name, event["log_namespace"], text))

    def flush(self) -> None:
        """Send what is there."""
        lines, self._lines = self._lines, []
        if self._dropped:
            text = f"{self._dropped} lines were dropped: the container did not take them"
            lines.append(Line("warn", __name__, text))
            self._dropped = 0
        if lines:
            self._link.send(Kind.LINES, _encode(lines))


class Accepting:
    """Accepts the connections there is ``room`` for, and leaves the next to fronts that have fewer.

    It does so for a moment: if the others have not taken it then, they may be stuck.
    """

    room: Callable[[], int]
    reactor: Any
    startReading: Callable[[], object]
    stopReading: Callable[[], object]
    _again: IDelayedCall | None = None

    def doRead(self) -> None:
        """See ``IReadDescriptor``."""
        room = self.room()
        if room < 1:
            self.stopReading()
            self._again = self.reactor.callLater(_LEFT_S, self._accept_again)
        else:
            self._accept(min(room, _ACCEPTS_MAX))

    def stop_accepting(self) -> None:
        """Accept no more; the socket is the container's, and stays."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self.stopReading()

    def _accept(self, count: int) -> None:
        self.numberAccepts = count
        super().doRead()  # type: ignore[misc] # of the port that this is mixed into

    def _accept_again(self) -> None:
        self._again = None
        self._accept(1)
        self.startReading()


class _TcpPort(Accepting, tcp.Port):
    """A socket that others accept from too."""


class _UnixPort(Accepting, unix.Port):
    """The same on the file system."""


class _Inheriting:
    """A reactor whose listening makes a port of a socket that listens already.

    So endpoints of any kind - with TLS, behind a proxy's protocol - wrap our factories as they
    would in one process.
    """

    def __init__(
        self, reactor: Any, endpoint: str, descriptor: int, room: Callable[[], int]
    ) -> None:
        self.ports: list[Any] = []
        self._room = room
        self._reactor = reactor
        self._descriptor = descriptor
        # What systemd passed to the container is adopted as any other socket is.
        self._endpoint = serverFromString(self, _SYSTEMD.sub("tcp:0", endpoint))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, _port: int, factory: Any, *_: Any, **__: Any) -> Any:
        return self._adopt(factory)

    def listenSSL(self, _port: int, factory: Any, contextFactory: Any, *_: Any, **__: Any) -> Any:
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))

    def listenUNIX(self, _address: str, factory: Any, *_: Any, **__: Any) -> Any:
        return self._adopt(factory)

    def _adopt(self, factory: Any) -> Any:
        with socket.socket(fileno=os.dup(self._descriptor)) as listening:
            family = listening.family
        kind: Any
        form: tuple[Any, ...]
        if family == socket.AF_UNIX:
            kind, form = _UnixPort, (self._descriptor, factory)
        else:
            kind, form = _TcpPort, (self._descriptor, family, factory)
        port = kind._fromListeningDescriptor(self._reactor, *form)  # noqa: SLF001 - no other way
        port.room = self._room
        port.startListening()
        self.ports.append(port)
        return port

    def listen(self, factory: Any) -> Any:
        """Serve the socket as its endpoint says."""
        return self._endpoint.listen(factory)


class Front:
    """The process; see the head of this module."""

    def __init__(self, end: socket.socket, reactor: Any) -> None:
        self._reactor = reactor
        self._link = Link(end, reactor, self._received, self._container_gone)
        self._lines = LogLines(self._link, reactor)
        self._order: Order
        self._stream: FrontStream
        self._shares: Shares
        self._doors: list[Door] = []
        self._listening: list[_Inheriting] = []
        self._access_file: AccessFile | None = None

    def run(self) -> None:
        """Be told what to serve, and serve it until the container is gone."""
        globalLogBeginner.beginLoggingTo([self._lines], redirectStandardIO=False)
        if not self._link.await_message(Kind.ORDER):
            return
        try:
            schema = self._prepare()
        except (HappyError, ValueError, OSError) as error:
            self._lines.flush()
            self._link.send(Kind.FAILED, str(error).encode())
            sys.exit(1)
        gc.collect()
        gc.freeze()
        self._link.send(Kind.READY, _encode(Ready(schema)))
        self._link.start()
        self._reactor.run(installSignalHandlers=False)

    def _received(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.OUTCOMES:
                self._stream.take_outcomes(body)
            case Kind.FOUND:
                self._stream.take_found(body)
            case Kind.ORDER:
                self._order = msgspec.msgpack.decode(body, type=Order)
            case Kind.GO:
                self._stream.return_paths = ReturnPaths(body)
                self._serve()
            case Kind.REOPEN if self._access_file is not None:
                self._access_file.reopen()
            case Kind.DRAIN:
                self._drain()
            case Kind.CUT:
                for door in self._doors:
                    door.factory.cut()

    def _prepare(self) -> str:
        """Make all that is needed to serve; return the schema of the application."""
        order, reactor = self._order, self._reactor
        self._shares = Shares(order.shares)
        with importable_from(Path(order.base)):
            definition = import_application(order.app)
        limits = Limits(**order.limits)
        aside = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        blobs = Blobs(FileDisk(Path(order.journal)), aside, order.number * _BLOB_NUMBERS)
        self._stream = FrontStream(
            definition,
            limits,
            blobs,
            self._link.send,
            partial(reactor.callLater, 0),
            lambda: self._link.unsent_bytes,
        )
        app_class = definition.app
        settings = (
            settings_from_bytes(order.settings, app_class.Settings)
            if app_class.Settings is not None and order.settings
            else None
        )
        config = AppConfig(
            name=order.name,
            app=app_class,
            definition=definition,
            domains=order.domains,
            settings=settings,
            limits=limits,
            http=_endpoints(order),
            smtp=_mail_endpoints(order, "smtp"),
            lmtp=_mail_endpoints(order, "lmtp"),
            accept=order.accept,
        )
        app = app_class(order.name, self._stream, settings, order.domains)
        certificate = None if order.certificate is None else Path(order.certificate)
        mail = MailConfig(
            order.hostname,
            certificate=certificate,
            relays=order.relays,
            users={name: read_hash(written) for name, written in order.users.items()},
            users_file=None if order.users_file is None else Path(order.users_file),
        )
        mail_doors = MailDoors(mail, reactor)
        self._doors = doors_of(app, config, mail_doors, reactor, self._access_log())
        for _, endpoint, descriptor in order.doors:
            self._listening.append(_Inheriting(reactor, endpoint, descriptor, self._room))
        return schema_digest(definition)

    def _access_log(self) -> AccessLog | None:
        order = self._order
        path = None if order.access_file is None else Path(order.access_file)
        made = access_log_of(order.access, path, partial(self._reactor.callLater, 0))
        if isinstance(made, AccessFile):
            made.open()
            self._access_file = made
        return made

    def _serve(self) -> None:
        for door, inheriting in zip(self._doors, self._listening, strict=True):
            door.open()  # the container says so when queries are true to what is configured
            inheriting.listen(door.factory).addCallbacks(door.listens, self._cannot_listen)
        self._count()

    def _cannot_listen(self, failure: Failure) -> None:
        log.failure("a socket that was inherited cannot be used", failure)
        self._lines.flush()
        os._exit(1)

    def _count(self) -> None:
        self._reactor.callLater(_COUNT_S, self._count)
        self._link.send(Kind.COUNTS, _encode(self._put_count()))

    def _put_count(self) -> int:
        count = sum(door.factory.connections_count for door in self._doors)
        self._shares.put(self._order.number, count)
        return count

    def _room(self) -> int:
        self._put_count()
        return self._shares.room(self._order.number)

    def _drain(self) -> None:
        for inheriting in self._listening:
            for port in inheriting.ports:
                port.stop_accepting()
        drained = gatherResults([door.factory.drain() for door in self._doors])
        drained.addCallback(lambda _: self._link.send(Kind.DRAINED))

    def _container_gone(self) -> None:
        if self._access_file is not None:
            self._access_file.close()
        os._exit(0)


def _endpoints(order: Order) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(endpoint) for of, endpoint, _ in order.doors if of == "http")


def _mail_endpoints(order: Order, kind: str) -> tuple[MailEndpoint, ...]:
    return tuple(
        MailEndpoint(endpoint, trust=trust, proxied=proxied, check=check)
        for (of, endpoint, _), (trust, proxied, check) in zip(order.doors, order.trust, strict=True)
        if of == kind
    )


def die_with(parent: int) -> bool:
    """Let the kernel end this process when its parent ends; False when that is gone already."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def main() -> None:
    """Serve for the process that started this one: the descriptor of the link, and its pid."""
    descriptor, parent = map(int, sys.argv[1:])
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    if not die_with(parent):
        return
    from twisted.internet import reactor  # noqa: PLC0415 - picks one

    Front(socket.socket(fileno=descriptor), reactor).run()


if __name__ == "__main__":
    main()
