"""Reading the segments of a journal in several processes, ahead of who needs them in order.

The header of a segment tells with which seq and chain its frames begin, so each can be read by
itself; whether one continues the other is seen where they meet. A process only ever says how far
the frames of a segment are good. Who asked takes it from there, reads on in order, and is the
only one who says what is wrong: a fault has one sentence, however many processes there are.

The processes are forked, before there is any thread: what they need is in memory already.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

import attrs

from happy.cli.bodies import gather
from happy.cli.keepsakes import Keepsakes
from happy.cli.segments import header_of
from happy.errors import JournalError
from happy.journal.disk import Disk
from happy.journal.frame import Frame
from happy.journal.recovery import after, next_frame, start_of
from happy.journal.replay import FileBytes, Segment, Tail

_PROCESSES_MAX: Final = 8
"""More would wait for the disk, or for memory."""
_ALONE_BYTES_MAX: Final = 32 * 1024 * 1024
"""As little is read sooner than processes have begun."""
_TELL_BYTES: Final = 8 * 1024 * 1024

Tell = Callable[[str, int], None]
"""Is told up to which offset a file was read."""


@attrs.frozen
class Stretch:
    """The good frames with which a segment begins, at least one."""

    tail: Tail
    """Where they end."""
    first_ns: int
    """The time of the first."""
    blobs: dict[str, int]
    """The blobs that mails in them name, and the seq of the first such mail."""
    snapshots: list[int]
    """Of the places behind them, the next seqs of those where snapshots end."""


def processes_for(segments: int, size: int) -> int:
    """Return how many processes read so many segments of so many bytes; 0: only who asks."""
    processes = min(len(os.sched_getaffinity(0)), segments, _PROCESSES_MAX)
    return processes if processes > 1 and size > _ALONE_BYTES_MAX else 0


def read_stretch(
    disk: Disk, keepsakes: Keepsakes, name: str, tell: Callable[[int], None]
) -> Stretch | None:
    """Return the good frames of a segment; None when it does not begin with one.

    ``tell`` is told up to which offset it was read.
    """
    blobs: dict[str, int] = {}
    snapshots: list[int] = []
    first_ns = 0
    last: Frame | None = None
    told = 0
    try:
        segment = Segment(name, header_of(disk, name))
        content = FileBytes(disk, name)
        position = start_of(segment.header)
        while isinstance(frame := next_frame(content, segment.header, position), Frame):
            gather(frame, blobs)
            position = after(frame)
            if keepsakes.holds(position.next_seq, position.chain):
                snapshots.append(position.next_seq)
            first_ns = frame.time_ns if last is None else first_ns
            last = frame
            if position.offset - told >= _TELL_BYTES:
                told = position.offset
                tell(told)
    except Exception:  # noqa: BLE001, S110 - whatever it is, who reads on from here meets it
        pass
    if last is None:
        return None
    return Stretch(Tail.behind(segment, last), first_ns, blobs, snapshots)


class Ahead:
    """Segments being read in processes, in order; a context, at whose end there are none left."""

    def __init__(
        self,
        processes: int,
        names: Sequence[str],
        read: Callable[[str, Callable[[int], None]], Stretch | None],
        tell: Tell,
    ) -> None:
        """Read with ``read``, called in other processes with a name and whom to tell how far."""
        self._count = processes
        self._waiting = deque(names)
        self._read = read
        self._tell = tell
        self._busy: dict[connection.Connection, tuple[BaseProcess, str]] = {}
        self._processes: list[BaseProcess] = []
        self._found: dict[str, Stretch | None] = {}

    def __enter__(self) -> Self:
        """Begin the processes; where the system has no room for more, fewer do."""
        fork = multiprocessing.get_context("fork")
        with _no_interrupt(), suppress(OSError):
            for _ in range(self._count):
                ours, its = multiprocessing.Pipe()
                process = fork.Process(
                    target=_serve, args=(its, [*self._busy, ours], self._read), daemon=True
                )
                with its:
                    process.start()
                self._processes.append(process)
                self._give(ours, process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes, whatever they do: they hold nothing."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for ours in self._busy:
            ours.close()

    def take(self, name: str) -> Stretch | None:
        """Return what was found of the next segment; None: read it yourself.

        Raises ``JournalError`` when a process has ended before it was through.
        """
        while name not in self._found and self._busy:
            for ours in connection.wait(list(self._busy)):
                assert isinstance(ours, connection.Connection)
                self._hear(ours)
        return self._found.pop(name, None)

    def _hear(self, ours: connection.Connection) -> None:
        process, name = self._busy[ours]
        try:
            said = ours.recv()
        except (EOFError, OSError):
            process.join()
            raise JournalError(f"{name}: {_last_words(process)}") from None
        if isinstance(said, int):
            self._tell(name, said)
        else:
            self._found[name] = said
            self._give(ours, process)

    def _give(self, ours: connection.Connection, process: BaseProcess) -> None:
        if not self._waiting:
            self._busy.pop(ours, None)
            ours.close()
            return
        name = self._waiting.popleft()
        self._busy[ours] = process, name
        with suppress(OSError):  # when it has ended, ``_hear`` will hear of it
            ours.send(name)


def _serve(
    its: connection.Connection,
    inherited: Sequence[connection.Connection],
    read: Callable[[str, Callable[[int], None]], Stretch | None],
) -> None:
    """Read what is asked for until nobody asks any more: in a process of its own."""
    for ours in inherited:  # else it would never end, for it would ask itself
        ours.close()
    with suppress(EOFError, OSError):
        while True:
            its.send(read(its.recv(), its.send))


def _last_words(process: BaseProcess) -> str:
    code = process.exitcode or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return (
        f"the process that read it was ended {how}: nothing is known of the journal; read it "
        "once more, with `taskset -c 0` in one process"
    )


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C from the processes that are begun meanwhile; who began them ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
