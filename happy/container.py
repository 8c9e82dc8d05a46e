"""The house: several applications in one process, each with its stream and its doors.

Starting is all or nothing, in this order: ports are bound (nobody is served yet), journals are
locked and replayed, and then the reactor serves. Whatever fails is one sentence and an exit
status that is not 0. Stopping is the way back: doors close, what was admitted is finished, and
the journals get their close marks, all within a bounded time.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from signal import SIGHUP, signal
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults, succeed
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.config import AppConfig, Config
from happy.config.endpoints import with_backlog
from happy.control import SOCKET_MODE, SOCKET_NAME, Commands, ControlFactory
from happy.doors import Door, MailDoors, doors_of, runners_of, shared_doors_of
from happy.errors import HappyError, NoRoom, StartError
from happy.event import Configured, Mail
from happy.journal.disk import FileDisk, network_file_system
from happy.mail_again import mail_at
from happy.mail_queue import MailQueue
from happy.side_process import housekeeping_of
from happy.split.cores import elsewhere_of
from happy.split.fronts import Fronts
from happy.stream import Stream
from happy.wire.access import AccessFile, AccessLog, access_log_of
from happy.world import real_world

log = Logger()

_SOCKET_PATH_BYTES_MAX: Final = 107  # sun_path, unix(7)


class Hosted:
    """One application in the container."""

    def __init__(  # noqa: PLR0913 - what the container has
        self,
        config: AppConfig,
        container: Config,
        reactor: Any,
        access_log: AccessLog | None,
        one_at_a_time: DeferredLock,
        mail_doors: MailDoors,
    ) -> None:
        self.config = config
        self._reactor = reactor
        world, self._thread = real_world(reactor, config.name)
        self._path = container.data / config.name
        disk = FileDisk(self._path, self._thread.waits)
        elsewhere = elsewhere_of(config, container, disk, world, reactor)
        self.stream = Stream(config.name, config.definition, disk, world, config.limits, elsewhere)
        self._housekeeping = housekeeping_of(self.stream, world, config, container, one_at_a_time)
        self.doors: Sequence[Door]
        self.fronts: Fronts | None = None
        if config.fronts:
            shared = shared_doors_of(config)
            self.doors = shared
            self.fronts = Fronts(config, container, self.stream, shared, reactor, world.run_aside)
        else:
            app = config.app(config.name, self.stream, config.settings, config.domains)
            self.doors = doors_of(app, config, mail_doors, reactor, access_log)
        self._runners = runners_of(self.stream, config, container, reactor)

    def open(self, *, accept_tail_loss: bool, accept_divergence: bool) -> None:
        """Replay the journal; ``StartError`` says why not."""
        try:
            self.stream.open(accept_tail_loss=accept_tail_loss, accept_divergence=accept_divergence)
        except NoRoom:
            raise StartError(
                f"{self.config.name}: {self._path}: the disk is too full to start"
            ) from None
        except HappyError as error:
            raise StartError(f"{self.config.name}: {error}") from error
        served = network_file_system(self._path)
        if served is not None:
            log.warn(
                "{name}: {path} is on {type}, which another machine serves: two processes may both "
                "get the lock, and a sync may reach no disk; put it on a disk of this machine",
                name=self.config.name,
                path=self._path,
                type=served,
            )

    def begin(self) -> Deferred[Any]:
        """Admit events, perform what is owed; fires when queries tell of the configuration."""
        self._thread.start()
        self.stream.debts.runners.update(self._runners)
        told = self.stream.begin(Configured(self.config.settings_json, self.config.domains))
        self._housekeeping.begin(self.stream.opened)
        return told

    def serve(self) -> None:
        """Accept connections."""
        for door in self.doors:
            door.open()
        if self.fronts is not None:
            self.fronts.begin()

    def status(self) -> dict[str, Any]:
        """Return how the application is, its doors included."""
        return {
            **self.stream.status(),
            "snapshot": self._housekeeping.status(),
            "doors": [door.status() for door in self.doors],
            "fronts": [] if self.fronts is None else self.fronts.status(),
        }

    def close(self) -> Deferred[None]:
        """Let the doors and the runners finish, then seal the journal."""
        self._housekeeping.stop()
        finishing: list[Deferred[Any]] = [door.factory.drain() for door in self.doors]
        if self.fronts is not None:
            finishing.append(self.fronts.drain())
        finishing += [runner.stop() for runner in self._runners.values()]
        return (
            gatherResults(finishing, consumeErrors=True)
            .addTimeout(self.config.limits.drain_timeout_s, self._reactor, self._cut)
            .addErrback(lambda f: log.failure("{name}: closing", f, name=self.config.name))
            .addCallback(lambda _: self.stream.close())
            .addBoth(self._stop_thread)
            .addBoth(self._stop_fronts)
        )

    def release(self) -> None:
        """Let go of a journal that was opened and never begun."""
        self.stream.abandon()

    def _cut(self, _result: Any, _timeout_s: float) -> None:
        for door in self.doors:
            door.factory.cut()
        if self.fronts is not None:
            self.fronts.cut()

    def _stop_fronts(self, result: Any) -> Any:
        if self.fronts is None:
            return result
        return self.fronts.stop().addCallback(lambda _: result)

    def _stop_thread(self, result: Any) -> Any:
        if self._thread.started:
            self._thread.stop()
        return result


class Container(Service):
    """The service that ``twistd happy`` runs.

    ``give_up`` is called when the container cannot start or cannot go on, with the sentence that
    the log has by then; it must end the process with a status that is not 0.
    ``accept_tail_loss`` names the applications whose journals are opened though their ends may
    be damaged, ``accept_divergence`` those whose replays count though they are not what was
    answered.
    """

    name = "happy"

    def __init__(
        self,
        config: Config,
        reactor: Any,
        give_up: Callable[[str], None],
        *,
        accept_tail_loss: Collection[str] = (),
        accept_divergence: Collection[str] = (),
    ) -> None:
        self._config = config
        self._accept_tail_loss = accept_tail_loss
        self._accept_divergence = accept_divergence
        self._reactor = reactor
        self._give_up = give_up
        self._ports: list[IListeningPort] = []
        self._access = access_log_of(
            config.log.access, config.log.access_file, partial(reactor.callLater, 0)
        )
        one_at_a_time = DeferredLock()
        mail_doors = MailDoors(config.mail, reactor)
        self.hosted = [
            Hosted(app, config, reactor, self._access, one_at_a_time, mail_doors)
            for app in config.apps
        ]

    def privilegedStartService(self) -> None:
        """Bind the ports, while the process may still bind low ones."""
        try:
            # A door that applications share listens once.
            doors = {id(d): (h.config.name, d) for h in self.hosted for d in h.doors}
            for name, door in doors.values():
                self._listen(name, door)
        except StartError as error:
            self._close_ports()
            self._fail(str(error))

    def startService(self) -> None:
        """Replay the journals and serve."""
        if not self._ports:
            self.privilegedStartService()
        opened: list[Hosted] = []
        try:
            self._open_all(opened)
        except HappyError as error:
            for done in opened:
                done.release()
            for fronts in self._fronts():
                fronts.kill()
            self._close_ports()
            self._fail(str(error))
            return
        # What was replayed stays: the collector need not go through it again and again.
        gc.collect()
        gc.freeze()
        begun = []
        for hosted in opened:
            begun.append(hosted.begin())
            hosted.stream.halted.addCallback(self._halted, hosted.config.name)
        self._listen_for_control()
        super().startService()
        gatherResults(begun, consumeErrors=True).addBoth(self._serve)

    def _serve(self, _told: object) -> None:
        if not self.running:
            return
        for hosted in self.hosted:
            hosted.serve()
            for door in hosted.doors:
                log.info(
                    "{name}: {kind} on {where}",
                    name=hosted.config.name,
                    kind=door.kind,
                    where=door.where,
                )
        log.info("happy is serving {apps}", apps=", ".join(h.config.name for h in self.hosted))

    def _open_all(self, opened: list[Hosted]) -> None:
        """Open each application and note it in ``opened``; raises what keeps one from it."""
        for fronts in self._fronts():
            fronts.launch()  # they get ready while the journals are read
        for hosted in self.hosted:
            name = hosted.config.name
            hosted.open(
                accept_tail_loss=name in self._accept_tail_loss,
                accept_divergence=name in self._accept_divergence,
            )
            opened.append(hosted)
        self._open_access_log()
        for fronts in self._fronts():
            fronts.await_ready()

    def _fronts(self) -> list[Fronts]:
        return [hosted.fronts for hosted in self.hosted if hosted.fronts is not None]

    def stopService(self) -> Deferred[None]:
        """Close the doors, finish what was admitted, seal the journals."""
        super().stopService()
        closing = self._close_ports()
        closed = gatherResults([hosted.close() for hosted in self.hosted], consumeErrors=True)
        grace_s = max(app.limits.drain_timeout_s for app in self._config.apps)
        closed.addTimeout(grace_s + 1, self._reactor)
        stopped = gatherResults([closing, closed]).addErrback(self._not_closed)
        return stopped.addCallback(self._stopped)

    def status(self) -> dict[str, Any]:
        """Return how the container is, for ``happy status``."""
        return {
            "config": str(self._config.path),
            "data": str(self._config.data),
            "pid": os.getpid(),
            "apps": [hosted.status() for hosted in self.hosted],
        }

    def _listen(self, name: str, door: Door) -> None:
        failures: list[Failure] = []

        def listens(port: IListeningPort) -> None:
            self._ports.append(port)
            door.listens(port)

        def too_late(_: object) -> None:
            if failures and self.running:
                self._close_ports()
                self._fail(str(_cannot_listen(name, door, failures[0])))

        try:
            endpoint = serverFromString(self._reactor, with_backlog(door.endpoint))
        except (LookupError, ValueError, OSError):  # a systemd socket that was not passed on
            raise _cannot_listen(name, door, Failure()) from None
        endpoint.listen(door.factory).addCallbacks(listens, failures.append).addCallback(too_late)
        # Nearly every endpoint answers at once; then the failure ends the start here, for a
        # Deferred would keep it.
        if failures:
            raise _cannot_listen(name, door, failures[0])

    def _open_access_log(self) -> None:
        file = self._access
        try:
            if isinstance(file, AccessFile):
                file.open()
        except OSError as error:
            path, reason = self._config.log.access_file, (error.strerror or str(error)).lower()
            raise StartError(f"the access log {path} cannot be written: {reason}") from None
        if self._config.log.access_file is not None:
            # What logrotate sends after it has renamed the file.
            signal(SIGHUP, lambda *_: self._reactor.callFromThread(self._reopen))

    def _reopen(self) -> None:
        if isinstance(self._access, AccessFile):
            self._access.reopen()
        for fronts in self._fronts():
            fronts.reopen()

    def _listen_for_control(self) -> None:
        path = self._config.data / SOCKET_NAME
        if len(bytes(path)) > _SOCKET_PATH_BYTES_MAX:
            log.warn("{path} is too long for a socket: `happy status` cannot ask", path=path)
            return
        path.unlink(missing_ok=True)
        endpoint = UNIXServerEndpoint(self._reactor, str(path), mode=SOCKET_MODE)
        mail = MailQueue(
            {hosted.config.name: hosted.stream for hosted in self.hosted},
            self._mail_at,
            self._config.mail.hostname,
        )
        commands: Commands = {"status": self.status, "mail": mail.command}
        endpoint.listen(ControlFactory(commands)).addCallbacks(
            self._ports.append,
            lambda f: log.warn("no control socket: {why}", why=f.getErrorMessage()),
        )

    def _mail_at(self, name: str, seq: int) -> Deferred[Mail]:
        """Find a mail that came in, where reading a segment holds nobody up."""
        pool, path = self._reactor.getThreadPool(), self._config.data / name
        return deferToThreadPool(self._reactor, pool, mail_at, path, seq)

    def _close_ports(self) -> Deferred[Any]:
        ports, self._ports = self._ports, []
        return gatherResults([_stop(port) for port in ports])

    def _fail(self, sentence: str) -> None:
        log.critical("{sentence}", sentence=sentence)
        self._give_up(sentence)

    def _halted(self, reason: BaseException, name: str) -> None:
        # The stream has said it in the log.
        self._close_ports()
        self._give_up(f"{name}: halted: {reason}")

    def _stopped(self, _: object) -> None:
        if isinstance(self._access, AccessFile):
            self._access.close()

    def _not_closed(self, failure: Failure) -> None:
        log.warn("not everything was finished in time: {why}", why=failure.getErrorMessage())


def _stop(port: IListeningPort) -> Deferred[Any]:
    return port.stopListening() or succeed(None)


def _cannot_listen(name: str, door: Door, failure: Failure) -> StartError:
    why = _why_not(failure.value)
    return StartError(f"{name}: {door.kind} cannot listen on {door.endpoint}: {why}")


def _why_not(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
        return reason.lower()
    if isinstance(error, FileNotFoundError):  # of a unix socket, with two names that say nothing
        return "there is no such directory"
    return str(error)
