"""The processes of one core: started with the application, and again whenever one has ended.

The first start waits until the journal has been read there, so that a start is all or nothing.
After that a core that ends is started again with a growing pause. Before each start the note of
the one before is read: who ended it, by whatever it did, is quarantined in the end, as when the
machine is the container's own.
"""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from happy.app import Definition
from happy.applying import NOTE_BYTES, Note, Suspect
from happy.config import AppConfig, Config
from happy.errors import BadSnapshot, Corrupt, Diverged, NoRoom, StartError
from happy.footprint import resident_bytes_of
from happy.inline_core import Events
from happy.journal.appender import Appender
from happy.journal.disk import Disk
from happy.journal.quarantine import Foresight
from happy.journal.recovery import Start
from happy.journal.replay import Reader
from happy.journal.snapshots import Snapshot, snapshot_names
from happy.limits import Limits
from happy.opening import Elsewhere, Replayed
from happy.poison import convict, report_suspect
from happy.split.core_life import Command, Launch, Life, ProcessLife
from happy.split.core_process import End, ProcessCore
from happy.split.queries import queries_of, schema_digest
from happy.world import World

log = Logger()

_OTHER_CODE: Final = (
    "the application on the disk declares other events, rows or state than the one that runs; "
    "start the container anew"
)


@attrs.frozen
class _Doubt:
    """The events that no core has answered yet; see ``happy.journal.quarantine.Foresight``."""

    seqs: Container[int]

    def in_doubt(self, seq: int) -> bool:
        """Say whether an event may never have been applied."""
        return seq in self.seqs

    def quarantine(self, seq: int) -> None:
        """Do no more: the next core reads the mark."""


class Cores:
    """The core of one application over all its lives; a ``happy.opening.Replaying``."""

    def __init__(  # noqa: PLR0913 - what it is of, and where it lives
        self,
        name: str,
        definition: Definition,
        disk: Disk,
        world: World,
        limits: Limits,
        launch: Launch,
        *,
        accept_divergence: bool,
        ahead: bool = False,
    ) -> None:
        """``ahead`` says that mail is accepted before it is applied."""
        self._ahead = ahead
        self.quarantined: tuple[int, ...] = ()
        self.convicted: tuple[int, ...] = ()
        """The events that were quarantined since the journal was opened."""
        self._events: Events
        self._name = name
        self._definition = definition
        self._disk = disk
        self._world = world
        self._limits = limits
        self._launch = launch
        self._accepting = accept_divergence
        self._foresight = Foresight()
        self._snapshot = _newest_snapshot(disk)
        self._schema = schema_digest(definition)
        self._note = Note(disk.shared_bytes(NOTE_BYTES))
        self._journal_id = b""
        self._appender: Appender
        self._core: ProcessCore
        self._life: Life | None = None
        self._state = "starting"
        self._why = ""
        self._restarts = 0
        self._pause_s = 0.0
        self._began_s = 0.0
        self._call: IDelayedCall | None = None
        self._stopping = False

    # --- the first start, with the journal ------------------------------------------------------

    @property
    def start(self) -> Start | None:
        """See ``Replaying``. The core looks for itself which snapshot is good."""
        return None if self._snapshot is None else self._snapshot.start

    def read(self, reader: Reader) -> None:
        """See ``Replaying``. What the last frames are is all that is needed here."""
        for frame in reader.frames():
            for known in self._foresight.take(frame):
                self.quarantined += tuple(sorted(known.quarantined))

    def explain(self, error: Corrupt) -> Corrupt:
        """See ``Replaying``."""
        return error

    def finish(self, journal_id: bytes, appender: Appender) -> Replayed:
        """See ``Replaying``. Raises what keeps the core from starting."""
        name = self._name
        self._journal_id, self._appender = journal_id, appender
        names = {query: name for name, query in queries_of(self._definition.app).items()}
        core = self._core = ProcessCore(name, self._disk, appender, names, self, ahead=self._ahead)
        suspect = self._look_for_poison(self._foresight, self._world.time_ns())
        while not self._started():
            before, suspect = suspect, self._look_for_poison(self._foresight, self._world.time_ns())
            if (
                suspect is None
                or suspect == before
                or suspect.deaths > self._limits.poison_deaths_max
            ):
                raise StartError(f"the core cannot start: {self._why}")
        for frame in self._foresight.rest():
            self.quarantined += tuple(sorted(frame.quarantined))
        self.convicted = ()
        ready = core.told
        assert ready is not None
        if ready.accepted:
            log.warn("{name}: accepted: {diverged}", name=name, diverged=ready.accepted)
        elif self._accepting:
            log.warn("{name}: nothing differed: leave --accept-divergence away", name=name)
        snapshot = Snapshot(self._disk, ready.snapshot) if ready.snapshot else None
        return Replayed(core, snapshot, ready.events, bool(ready.accepted))

    def begin(self, events: Events) -> None:
        """Serve from now on, by the reactor; see ``Core.begin``."""
        self._events = events
        assert self._life is not None
        self._life.serve()

    def _started(self) -> bool:
        """Start a core and wait until it is ready; False when it ended before."""
        try:
            life = self._begin_life(self._core.end_of_journal())
        except OSError as error:
            raise StartError(f"the core cannot be started: {error.strerror}") from None
        while self._state == "starting":
            if not life.receive():
                self._state = "ended"
        if self._state == "serving":
            return True
        life.close()
        how = life.reap()
        said = self._core.told_error
        if isinstance(said, Diverged):
            raise Diverged(
                f"{said}; or start once with --accept-divergence {self._name}, which goes on from "
                "what this replay makes of it",
                said.first_seq,
                said.last_seq,
            )
        if said is not None:
            raise said
        self._why = self._why or f"its process {how}"
        return False

    # --- every start ------------------------------------------------------------------------------

    def _look_for_poison(self, doubt: Foresight | _Doubt, time_ns: int) -> Suspect | None:
        """Look what ended the last process; quarantine an event that has ended too many."""
        name, appender = self._name, self._appender
        suspect = self._note.suspect_of(self._journal_id)
        if suspect is not None:
            report_suspect(name, suspect, self._limits)
            time_ns = max(time_ns, appender.position.time_ns)
            if convict(name, suspect, doubt, appender, time_ns, self._limits):
                self._note.clear()
                self.convicted += (suspect.first_seq,)
        return suspect

    def _begin_life(self, end: End) -> Life:
        """Start a core, and tell it where the frames go on; ``OSError`` when there can be none."""
        self._state, self._why = "starting", ""
        # What was accepted stands in the journal by then: nothing else is to be.
        accepting = self._accepting and not self._core.vouched
        life = self._life = self._launch(accepting, self._received, self._lost)
        self._core.take_up(life, end)
        return life

    def _received(self, data: bytes) -> None:
        core = self._core
        core.received(data)
        ready = core.told
        if self._state != "starting" or ready is None:
            return
        if ready.schema != self._schema:
            self._why, self._state = _OTHER_CODE, "ended"
            assert self._life is not None
            self._life.kill()
            return
        core.take_over(ready)
        self._state, self._began_s = "serving", self._world.clock.seconds()
        if self._restarts:
            log.info("{name}: the core is there again, at seq {seq}", name=self._name, seq=core.seq)
            self._events.back()

    # --- the end, and the next beginning --------------------------------------------------------

    def _lost(self) -> None:
        """Take note that the process is gone, or no use any more."""
        served = self._state == "serving"
        self._state = "ended"
        if self._stopping:
            return
        limits = self._limits
        first_s, longest_s = limits.core_restart_ms / 1000, limits.core_restart_max_s
        lasted = served and self._world.clock.seconds() - self._began_s >= longest_s
        self._pause_s = first_s if lasted or not self._pause_s else self._pause_s * 2
        self._pause_s = min(self._pause_s, longest_s)
        why = self._core.told_error
        self._why = self._why or ("" if why is None else str(why))
        self._core.lose()
        assert self._life is not None
        self._world.run_aside(self._life.reap).addCallback(self._tell)
        self._call = self._world.clock.callLater(self._pause_s, self._start_again)

    def _tell(self, how: str) -> None:
        log.error(
            "{name}: the core {how}; it is started again after {pause_s} s, and until it has read "
            "the journal no events are taken",
            name=self._name,
            how=f"{how}: {self._why}" if self._why else how,
            pause_s=self._pause_s,
        )

    def _start_again(self) -> None:
        self._call = None
        doubt, now_ns = _Doubt(self._core.in_doubt), self._events.now_ns()
        # In the journal's own thread: what was being written there is on the disk by then.
        looked = self._world.run(partial(self._look_again, doubt, now_ns))
        looked.addCallback(self._launch_again).addErrback(self._not_looked)

    def _look_again(self, doubt: _Doubt, now_ns: int) -> End:
        self._look_for_poison(doubt, now_ns)
        return self._core.end_of_journal()

    def _launch_again(self, end: End) -> None:
        if self._stopping:
            return
        self._restarts += 1
        try:
            self._begin_life(end).serve()
        except OSError as error:
            self._why = f"its process cannot be started: {error.strerror}"
            self._try_later()

    def _not_looked(self, failure: Failure) -> None:
        if not failure.check(NoRoom):
            self._events.halt(failure)
            return
        self._why = "there is no room for a quarantine mark"
        self._try_later()

    def _try_later(self) -> None:
        log.error("{name}: no core: {why}", name=self._name, why=self._why)
        if not self._stopping:
            longest_s = self._limits.core_restart_max_s
            self._call = self._world.clock.callLater(longest_s, self._start_again)

    def stop(self) -> Deferred[None]:
        """End the process; fires when it is gone."""
        self._stopping = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._life is None:
            return succeed(None)
        self._life.close()
        self._state = "ended"
        return self._world.run_aside(self._life.wait)

    def status(self) -> dict[str, Any]:
        """Return how the process is."""
        pid = None if self._life is None or self._state == "ended" else self._life.pid
        return {
            "pid": pid,
            "state": self._state,
            "restarts": self._restarts,
            "resident_bytes": None if pid is None else resident_bytes_of(pid),
        }


def elsewhere_of(
    config: AppConfig, container: Config, disk: Disk, world: World, reactor: Any
) -> Elsewhere | None:
    """Return what starts the core of an application; None when that is the container itself."""
    if config.core != "process":
        return None
    limits, base = config.limits, container.path.parent.absolute()
    journal = container.data / config.name
    command = Command(config.app, base, journal, limits.handler_timeout_s)
    launch = partial(ProcessLife, command, reactor)

    def begin(accept_divergence: bool) -> Cores:
        return Cores(
            config.name,
            config.definition,
            disk,
            world,
            limits,
            launch,
            accept_divergence=accept_divergence,
            ahead=config.accept == "durable",
        )

    return begin


def _newest_snapshot(disk: Disk) -> Snapshot | None:
    for name in snapshot_names(disk):
        try:
            return Snapshot(disk, name)
        except BadSnapshot:
            continue
    return None
