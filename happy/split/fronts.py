"""The fronts of one application, as the container sees them: started, watched, started again.

The first start waits until every front is ready, so that a start is all or nothing. After that a
front that ends is started again with a growing pause; its connections are lost, the others'
are not, and what it had handed over keeps its place.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, LogLevel

from happy.config import AppConfig, Config
from happy.doors import SharedDoor
from happy.errors import StartError
from happy.split.counterpart import Counterpart
from happy.split.link import Link
from happy.split.messages import Kind, Line, Order, Ready
from happy.split.pipe import socket_pair
from happy.split.queries import queries_of, schema_digest
from happy.split.shares import Shares
from happy.stream import Stream
from happy.world import Run

log = Logger()

FRONT: Final = "happy.split.front"
"""The module that is the process."""
_LOOK_S: Final = 1.0
_END_GRACE_S: Final = 5
_encode = msgspec.msgpack.Encoder().encode


class Front:
    """One front, over all its lives."""

    def __init__(self, number: int, fronts: Fronts) -> None:
        self._number = number
        self._fronts = fronts
        self._state = "ended"
        self._why = ""
        self._restarts = 0
        self._connections = 0
        self._silent_s = 0
        self._pause_s = 0.0
        self._served_s = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link
        self._counterpart: Counterpart
        self._restart: IDelayedCall | None = None
        self._drained: Deferred[None] | None = None

    # --- starting -----------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the process, and tell it what to serve; ``OSError`` when there can be none."""
        fronts = self._fronts
        self._process, self._why = None, ""
        self._connections, self._silent_s, self._served_s = 0, 0, 0
        ours, theirs = socket_pair()
        order = fronts.order_of(self._number)
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    (sys.executable, "-P", "-m", FRONT, str(theirs.fileno()), str(os.getpid())),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), order.shares, *(fd for *_, fd in order.doors)),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            except OSError:
                ours.close()
                raise
        self._state = "starting"
        link = self._link = Link(ours, fronts.reactor, self._received, self._lost)
        stream = fronts.stream
        self._counterpart = Counterpart(stream, fronts.queries, link.send, stream.soon)
        link.send(Kind.ORDER, _encode(order))

    def await_ready(self, until_s: float) -> None:
        """Wait, blocking, until it is ready; ``StartError`` says why it is not."""
        where = f"{self._fronts.name}: front {self._number}"
        try:
            there = self._link.await_message(Kind.READY, max(0.0, until_s - time.monotonic()))
        except TimeoutError:
            raise StartError(
                f"{where} was not ready after {self._fronts.limits.front_start_timeout_s} s "
                "(front_start_timeout_s)"
            ) from None
        if not there or self._why:
            raise StartError(f"{where} cannot start: {self._why or 'its process has ended'}")

    def begin(self) -> None:
        """Let it accept connections."""
        self._link.start()
        self._serve()

    def _serve(self) -> None:
        self._state, self._served_s = "serving", 0
        self._link.send(Kind.GO, self._fronts.stream.return_paths.key)

    def _start_again(self) -> None:
        self._restart = None
        self._restarts += 1
        try:
            self.launch()
        except OSError as error:
            self._why = f"no process can be started: {error.strerror}"
            self._lost()
        else:
            self._link.start()

    def _ready(self, ready: Ready) -> None:
        if ready.schema != self._fronts.schema:
            self._why = (
                "the application on the disk declares other events, rows or state than the one "
                "that runs; start the container anew"
            )
            self.kill()
        elif self._fronts.serving:
            self._serve()

    def look(self) -> None:
        """Kill it when nothing has been heard of it for too long; called each second.

        The calls are counted, and no clock is read: when the container itself could not run,
        they are left out, and no front is to blame for it.
        """
        if self._state == "ended":
            return
        limits = self._fronts.limits
        self._served_s += 1
        self._silent_s += 1
        name = "front_start_timeout_s" if self._state == "starting" else "front_silence_s"
        if self._silent_s > getattr(limits, name):
            self._why = f"nothing was heard of it for {getattr(limits, name)} s ({name})"
            self.kill()

    # --- messages -----------------------------------------------------------------------------

    def _received(self, kind: Kind, body: bytes) -> None:
        self._silent_s = 0
        match kind:
            case Kind.EVENTS:
                self._counterpart.take_events(body)
            case Kind.ASK:
                self._counterpart.take_questions(body)
            case Kind.COUNTS:
                self._connections = msgspec.msgpack.decode(body, type=int)
            case Kind.LINES:
                self._log(msgspec.msgpack.decode(body, type=list[Line]))
            case Kind.READY:
                self._ready(msgspec.msgpack.decode(body, type=Ready))
            case Kind.FAILED:
                self._why = body.decode(errors="replace")
            case Kind.DRAINED:
                self._drain_done()

    def _log(self, lines: list[Line]) -> None:
        for line in lines:
            Logger(line.namespace).emit(
                LogLevel.lookupByName(line.level),
                "{name}: front {number}: {text}",
                name=self._fronts.name,
                number=self._number,
                text=line.text,
            )

    # --- the end ------------------------------------------------------------------------------

    def _lost(self) -> None:
        """Take note that the process is gone, or no use any more."""
        self._state, self._connections = "ended", 0
        self._fronts.shares.leave(self._number)
        self._counterpart.lose()
        self._drain_done()
        if self._fronts.serving:
            reactor = self._fronts.reactor
            self._pause_s = self._next_pause_s()
            self._restart = reactor.callLater(self._pause_s, self._start_again)
            self._fronts.run_aside(partial(_reap, self._process)).addCallback(self._tell)

    def _next_pause_s(self) -> float:
        limits = self._fronts.limits
        longest_s = limits.front_restart_max_s
        if not self._pause_s or self._served_s >= longest_s:
            return limits.front_restart_ms / 1000
        return min(self._pause_s * 2, longest_s)

    def _tell(self, how: str) -> None:
        log.error(
            "{name}: front {number} {how}; it is started again after {pause_s} s",
            name=self._fronts.name,
            number=self._number,
            how=f"{how}: {self._why}" if self._why else how,
            pause_s=self._pause_s,
        )

    def kill(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()

    def drain(self) -> Deferred[None]:
        """Let it accept no more and finish what runs; fires when that is done."""
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._state != "serving":
            return succeed(None)
        self._state = "draining"
        self._drained = Deferred()
        self._link.send(Kind.DRAIN)
        return self._drained

    def _drain_done(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def send(self, kind: Kind) -> None:
        """Send it a message without a body."""
        if self._process is not None:
            self._link.send(kind)

    def close(self) -> None:
        """Close the link, which ends the process."""
        if self._process is not None:
            self._link.close()
            self._state = "ended"

    def wait(self) -> None:
        """Return when the process is gone."""
        if self._process is None:
            return
        try:
            self._process.wait(_END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def status(self) -> dict[str, Any]:
        """Return how it is."""
        process = self._process if self._state != "ended" else None
        return {
            "number": self._number,
            "pid": None if process is None else process.pid,
            "state": self._state,
            "restarts": self._restarts,
            "connections": self._connections,
        }


def _reap(process: subprocess.Popen[bytes] | None) -> str:
    """End a process that is of no use any more; return how it ended."""
    if process is None:
        return "is not there"
    process.kill()
    status = process.wait()
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"(process {process.pid}) {how}"


class Fronts:
    """All fronts of one application."""

    def __init__(  # noqa: PLR0913 - what they are of, and what they run on
        self,
        config: AppConfig,
        container: Config,
        stream: Stream,
        doors: Sequence[SharedDoor],
        reactor: Any,
        run_aside: Run,
    ) -> None:
        self.name = config.name
        self.limits = config.limits
        self.stream = stream
        self.reactor = reactor
        self.run_aside = run_aside
        self.queries = queries_of(config.app)
        self.schema = schema_digest(config.definition)
        self.serving = False
        self.shares = Shares.create(config.fronts)
        self._config = config
        self._container = container
        self._doors = doors
        self._fronts = [Front(number, self) for number in range(1, config.fronts + 1)]
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor

    def order_of(self, number: int) -> Order:
        """Return what a front is to serve."""
        config, container = self._config, self._container
        app = config.app
        access_file, certificate = container.log.access_file, container.mail.certificate
        users_file = container.mail.users_file
        return Order(
            number=number,
            name=config.name,
            app=f"{app.__module__}:{app.__qualname__}",
            base=str(container.path.parent.absolute()),
            journal=str((container.data / config.name).absolute()),
            hostname=container.mail.hostname,
            domains=config.domains,
            settings=config.settings_json,
            limits=attrs.asdict(config.limits),
            doors=[(door.kind, door.endpoint, door.fileno()) for door in self._doors],
            shares=self.shares.descriptor,
            access=container.log.access,
            access_file=None if access_file is None else str(Path(access_file).absolute()),
            certificate=None if certificate is None else str(certificate.absolute()),
            relays=container.mail.relays,
            trust=[
                *(("untrusted", False, ()) for _ in config.http),
                *((each.trust, each.proxied, each.check) for each in (*config.smtp, *config.lmtp)),
            ],
            accept=config.accept,
            users={name: str(kept) for name, kept in container.mail.users.items()},
            users_file=None if users_file is None else str(users_file.absolute()),
        )

    def launch(self) -> None:
        """Start all processes; ``StartError`` when one cannot be."""
        try:
            for front in self._fronts:
                front.launch()
        except OSError as error:
            self.kill()
            raise StartError(f"{self.name}: a front cannot be started: {error.strerror}") from None

    def await_ready(self) -> None:
        """Wait, blocking, until all are ready; ``StartError`` says why one is not."""
        until_s = time.monotonic() + self.limits.front_start_timeout_s
        for front in self._fronts:
            front.await_ready(until_s)

    def begin(self) -> None:
        """Let them accept connections, and watch over them."""
        self.serving = True
        for front in self._fronts:
            front.begin()
        self._watch.start(_LOOK_S, now=False)

    def kill(self) -> None:
        """End what was started, when the start comes to nothing."""
        for front in self._fronts:
            front.kill()
            front.close()
            front.wait()
        self.shares.close()

    def reopen(self) -> None:
        """Let them go on in a new file of the access log."""
        for front in self._fronts:
            front.send(Kind.REOPEN)

    def drain(self) -> Deferred[Any]:
        """Let them accept no more and finish what runs; fires when no connection is left."""
        self.serving = False
        return gatherResults([front.drain() for front in self._fronts])

    def cut(self) -> None:
        """Let them close all connections."""
        for front in self._fronts:
            front.send(Kind.CUT)

    def stop(self) -> Deferred[Any]:
        """End them; fires when they are gone."""
        if self._watch.running:
            self._watch.stop()
        self.shares.close()
        for front in self._fronts:
            front.close()
        return gatherResults([self.run_aside(front.wait) for front in self._fronts])

    def _look(self) -> None:
        for front in self._fronts:
            front.look()

    def status(self) -> list[dict[str, Any]]:
        """Return how each of them is."""
        return [front.status() for front in self._fronts]
