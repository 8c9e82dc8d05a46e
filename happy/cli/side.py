"""One of the two processes of a comparison: replays a journal with the code that it finds.

Asked over standard input and answering over standard output, in msgpack, each message behind its
length (4 bytes, little-endian). The first message is an ``Order``; the answer says what the
state is made of. Then, as often as asked: some more events, the details of one of them, or the
contents of the state. The other side is ``gate``.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import attrs
import msgspec

from happy.cli.bodies import plain
from happy.cli.bounds import Wanted
from happy.cli.output import json_line, rfc3339
from happy.cli.replaying import Replay
from happy.cli.rows import json_text
from happy.config import load
from happy.effects import Owed, Timer
from happy.errors import ConfigError, Diverged, JournalError, NotAJournal, UnknownEvent
from happy.event import Entry, FailedOutcome, Outcome, RefusedOutcome, Reply, name_of
from happy.marks import DigestMark
from happy.row_diff import Change, Packer, shape_of, unpacked
from happy.touched import Watch

T = TypeVar("T")

PROTOCOL: Final = 1
HASH_BYTES: Final = 8
_LENGTH: Final = struct.Struct("<I")


class Order(msgspec.Struct):
    """What to replay; ``code`` is what was put first on the module path, empty for nothing."""

    protocol: int
    config: str
    name: str
    journal: str
    code: str
    last: int


class Fault(msgspec.Struct):
    """Why a side cannot go on: a sentence, and the status of the command."""

    kind: str
    sentence: str


class Ready(msgspec.Struct):
    """What the state is made of; see ``happy.row_diff.Shape``."""

    fields: list[str]
    classes: dict[str, list[str]]
    begin_seq: int = 0
    fault: Fault | None = None


class Ask(msgspec.Struct):
    """What is wanted next."""

    fields: list[str] | None = None
    left_out: dict[str, list[str]] | None = None
    events: int = 0
    show: int = 0


class Stretch(msgspec.Struct):
    """Some events: a hash of what became of each, in order; ``ended`` when there are no more."""

    hashes: bytes
    ended: bool
    fault: Fault | None = None


class Shown(msgspec.Struct):
    """One event and what became of it; values are packed as ``happy.row_diff`` has them."""

    seq: int
    time_ns: int
    type: str
    source: str
    key: str | None
    event: bytes
    outcome: str
    owed: list[str]
    owed_in_all: int
    changes: list[tuple[str, bytes | None, bytes | None, bytes | None]]
    """Of each row or field: its place, its key, and both values."""


class Contents(msgspec.Struct):
    """A digest of each field of the state, and of all that is owed."""

    fields: dict[str, bytes]
    owed: bytes


def send(out: IO[bytes], message: Any) -> None:
    """Write a message."""
    data = msgspec.msgpack.encode(message)
    out.write(_LENGTH.pack(len(data)) + data)
    out.flush()


def receive(source: IO[bytes], kind: type[T]) -> T:
    """Return the next message; ``EOFError`` when there is none any more."""
    head = source.read(_LENGTH.size)
    data = source.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    return msgspec.msgpack.decode(data, type=kind)


_Effect = tuple[str, Any, int]
_Row = tuple[str, bytes | None, bytes | None, bytes | None]


@attrs.frozen
class _Kept:
    """An event of the last stretch, to be shown when it is asked for."""

    entry: Entry
    outcome: Outcome
    effects: tuple[_Effect, ...]
    owed_in_all: int
    changes: list[_Row]
    hash: bytes


def _anything(_said: DigestMark, _diverged: Diverged) -> bool:
    """Accept what differs from the journal: the other side is what this one is compared with."""
    return True


class _Side:
    """A replay that says what it comes to; the last stretch can be looked at again."""

    def __init__(self, order: Order) -> None:
        config = Path(order.config)
        # FILE's own directory is first for a start; the code to be tried is before it.
        sys.path[:0] = [order.code, str(config.parent.absolute())] if order.code else []
        (app,) = [app for app in load(config).apps if app.name == order.name]
        if order.code and not _loaded_from(Path(order.code)):
            raise ImportError(f"nothing that {order.name} is made of was found in {order.code}")
        self._watch = Watch(app.definition)
        until = Wanted(last=order.last)
        self._replay = Replay(Path(order.journal), self._watch.definition, until, accepts=_anything)
        self.begin_seq = self._replay.begin_seq
        self._entries = (e for batch in self._replay.batches() for e in batch)
        self._packer = Packer()
        self._kept: list[_Kept] = []
        self.shape = shape_of(app.definition.state)
        self._fields: frozenset[str] = frozenset(self.shape.fields)

    def heed(self, ask: Ask) -> Any:
        """Return the answer to what is asked."""
        if ask.fields is not None:
            self._fields = frozenset(ask.fields)
            self._packer = Packer(ask.left_out)
        if ask.events:
            return self._stretch(ask.events)
        if ask.show:
            return self._shown(next(k for k in self._kept if k.entry.seq == ask.show))
        return self._contents()

    def _stretch(self, count: int) -> Stretch:
        self._kept = []
        fault: Fault | None = None
        try:
            for entry in islice(self._entries, count):
                self._kept.append(self._applied(entry))
        except Exception as error:  # noqa: BLE001 - told, with what came before it
            fault = fault_of(error)
        ended = fault is not None or len(self._kept) < count
        return Stretch(b"".join(kept.hash for kept in self._kept), ended, fault)

    def _applied(self, entry: Entry) -> _Kept:
        machine = self._replay.machine
        (outcome,) = machine.apply([entry])
        touches, owed = self._watch.take()
        effects: tuple[_Effect, ...] = ()
        changes: list[Change] = []
        if isinstance(outcome, Reply):
            effects = tuple(map(_effect, owed))
            here = (touch for touch in touches if touch.field in self._fields)
            changes = self._packer.changes(machine.state, here)
        where = [(c.field, c.key, c.old, c.new) for c in changes]
        owed_in_all = len(machine.outbox)  # so a timer that is cancelled counts
        packed = self._packed((_said_of(outcome), effects, owed_in_all, where))
        digest = hashlib.blake2b(packed, digest_size=HASH_BYTES).digest()
        return _Kept(entry, outcome, effects, owed_in_all, where, digest)

    def _packed(self, what: tuple[Any, ...]) -> bytes:
        try:
            return self._packer.packed(what)
        except TypeError:  # a reply of which nothing can be compared but its class
            said, *others = what
            return self._packer.packed((type(said[1]).__qualname__, *others))

    def _shown(self, kept: _Kept) -> Shown:
        entry = kept.entry
        return Shown(
            entry.seq,
            entry.time_ns,
            name_of(entry.event),
            entry.source,
            entry.key,
            self._packer.packed(entry.event),
            self._outcome(kept.outcome),
            [self._owed(*effect) for effect in kept.effects],
            kept.owed_in_all,
            kept.changes,
        )

    def _outcome(self, outcome: Any) -> str:
        if isinstance(outcome, FailedOutcome):
            error = outcome.error
            return "failed" if error is None else f"failed: {type(error).__name__}: {error}"
        if isinstance(outcome, RefusedOutcome):
            answers = f"HTTP {outcome.http_status}, SMTP {outcome.smtp_code} {outcome.smtp_status}"
            return f"refused: {outcome.reason} ({answers})"
        return f"reply {self._text(outcome.value)}"

    def _text(self, value: Any) -> str:
        try:
            return json_text(unpacked(self._packer.packed(value)))
        except TypeError:
            return f"a {type(value).__qualname__}"

    def _owed(self, what: str, body: Any, due_ns: int) -> str:
        whole = json_line(plain(unpacked(self._packer.packed(body)))).decode().rstrip("\n")
        return f"{what} due {rfc3339(due_ns)[:-1]}{due_ns % 1000:03}Z {whole}"

    def _contents(self) -> Contents:
        machine = self._replay.machine
        found = {}
        for name, parts in self._packer.contents(machine.state, sorted(self._fields)):
            whole = hashlib.blake2b(digest_size=16)
            for part in parts:
                whole.update(_LENGTH.pack(len(part)) + part)
            found[name] = whole.digest()
        owed = sorted((debt.id, debt.due_ns, debt.attempts) for debt in machine.outbox)
        return Contents(found, msgspec.msgpack.encode(owed))


def _effect(debt: Owed) -> _Effect:
    """Return what is owed as it is now: a debt that is tried again changes."""
    effect: Any = debt.effect
    what = type(effect).__name__
    if isinstance(effect, Timer):
        effect = effect.event
        what = f"{what} {name_of(effect)}"
    return what, effect, debt.due_ns


def _said_of(outcome: Outcome) -> tuple[Any, ...]:
    """Return what a peer hears: a replay's exception may have other words, it stays a failure."""
    if isinstance(outcome, Reply):
        return "reply", outcome.value
    return ("failed", None) if isinstance(outcome, FailedOutcome) else ("refused", outcome)


def _loaded_from(code: Path) -> bool:
    """Say whether any module was found in a directory or wheel, as a place of the module path."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        place = name.replace(".", "/")
        for root in {code.absolute(), code.resolve()}:
            if file.startswith((f"{root}/{place}.", f"{root}/{place}/__init__.")):
                return True
    return False


def fault_of(error: BaseException) -> Fault:
    """Return an error as it is told to the other side."""
    if isinstance(error, ConfigError | ImportError):
        return Fault("not loaded", str(error))
    if isinstance(error, UnknownEvent | NotAJournal):  # no snapshot of this code's state
        return Fault("unfit", str(error))
    if isinstance(error, JournalError | OSError):
        return Fault("unreadable", str(error))
    return Fault("broke off", f"{type(error).__name__}: {error}")


def _talk(source: IO[bytes], out: IO[bytes]) -> None:
    order = receive(source, Order)
    if order.protocol != PROTOCOL:
        other = Fault("not loaded", "the happy in there is of another version: install this one")
        send(out, Ready([], {}, fault=other))
        return
    try:
        side = _Side(order)
    except Exception as error:  # noqa: BLE001 - told to the other side
        send(out, Ready([], {}, fault=fault_of(error)))
        return
    shape = side.shape
    classes = {name: list(fields) for name, fields in shape.classes.items()}
    send(out, Ready(list(shape.fields), classes, side.begin_seq))
    for ask in _asked(source):
        send(out, side.heed(ask))


def _asked(source: IO[bytes]) -> Iterator[Ask]:
    while True:
        try:
            yield receive(source, Ask)
        except EOFError:
            return


def main() -> None:
    """Answer until standard input ends; what the application prints goes to standard error."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _talk(sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
