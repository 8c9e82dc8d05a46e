"""Comparing two codes over one journal: the gate before a new version is deployed.

Two processes (``side``) replay the same journal, one stretch of events after the other, and tell
a hash of what became of each event: its outcome, what it owes, the rows that it changed from
what to what. Two states that began alike and changed alike are alike, so no state is ever
compared whole but once, at the end; and the first hash that differs names the event.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import attrs
import click

from happy.cli.bodies import plain
from happy.cli.output import Unwell, counted, progress, rfc3339, safe, write_json
from happy.cli.replaying import check_until, last_seq
from happy.cli.rows import change_lines, change_plain, json_text
from happy.cli.side import (
    HASH_BYTES,
    PROTOCOL,
    Ask,
    Contents,
    Fault,
    Order,
    Ready,
    Shown,
    Stretch,
    receive,
    send,
)
from happy.cli.statuses import Status, statuses
from happy.row_diff import Change, Common, Shape, common, differences, unpacked

if TYPE_CHECKING:
    from happy.cli.applications import Application
    from happy.cli.bounds import Wanted

T = TypeVar("T")

_STRETCH_EVENTS: Final = 1_000
_ROWS_SHOWN_MAX: Final = 20
_CHARS_MAX: Final = 300
"""How much of a debt is shown: its first characters, and those from a little before where it
differs."""
_CHARS_FIRST: Final = 60
_CHARS_BEFORE: Final = 30

_OURS_STATUS: Final = {"not loaded": Status.NOT_DONE}
_THEIRS_STATUS: Final = {
    "not loaded": Status.NOT_LOADED,
    "unfit": Status.UNFIT,
    "broke off": Status.BROKE_OFF,
}


class _Process:
    """One side, seen from here; ``code`` is empty for the configured one."""

    def __init__(self, app: Application, config: Path, code: str, last: int) -> None:
        self.code = code
        self.begin_seq = self.done = 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = spawn(code, self._said)
        journal = str(app.path)
        self._send(Order(PROTOCOL, str(config), app.config.name, journal, code, last))

    def ready(self) -> Shape:
        """Return what its state is made of; where it begins is known then."""
        ready = self._receive(Ready)
        self.check(ready.fault)
        self.begin_seq = self.done = ready.begin_seq
        return Shape(tuple(ready.fields), {n: tuple(c) for n, c in ready.classes.items()})

    def ask(self, **what: Any) -> None:
        """Send a question; its answer is to be received."""
        self._send(Ask(**what))

    def answer(self, kind: type[T]) -> T:
        """Return the answer to a question."""
        return self._receive(kind)

    def check(self, fault: Fault | None) -> None:
        """Raise ``Unwell`` for a fault."""
        if fault is not None:
            statuses_of = _THEIRS_STATUS if self.code else _OURS_STATUS
            where = f"with {self.code}: " if self.code else ""
            raise Unwell(where + fault.sentence, statuses_of.get(fault.kind, Status.UNUSABLE))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, message)
        except BrokenPipeError:
            self._broke_off()

    def _receive(self, kind: type[T]) -> T:
        assert self._process.stdout is not None
        try:
            return receive(self._process.stdout, kind)
        except EOFError:
            self._broke_off()
            raise

    def _broke_off(self) -> None:
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        after = f"behind seq {self.done}" if self.done else "before the first event"
        self.check(Fault("broke off", f"the process ended with {how}, {after}: {last}"))


def spawn(code: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process of a side, which says to ``said`` what it has to say to people."""
    return subprocess.Popen(
        [sys.executable, "-B", "-P", "-m", "happy.cli.side"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env=_environment(code),
    )


def _environment(code: str) -> dict[str, str]:
    """Return an environment in which ``code`` is found before what is installed.

    Both sides have one hash seed, so that only the code is different.
    """
    found = {"PYTHONHASHSEED": "0", **os.environ}
    if code:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (code, found.get("PYTHONPATH", ""))))
    return found


@contextmanager
def _sides(app: Application, config: Path, code: str, last: int) -> Iterator[list[_Process]]:
    with ExitStack() as stack:
        sides = []
        for path in ("", code):
            side = _Process(app, config, path, last)
            stack.callback(side.close)
            sides.append(side)
        yield sides


@attrs.frozen
class _Verdict:
    """What a comparison came to; ``seq`` is 0 when the two are alike, all along."""

    events: int
    both: Common
    seq: int = 0
    ours: Shown | None = None
    theirs: Shown | None = None
    places: tuple[str, ...] = ()
    """What differs at the end, though no event did: it was changed past the tables; or what
    differs in the snapshot that both began with."""
    begin_seq: int = 0


def compare(app: Application, config: Path, code: Path, asked: Wanted, *, as_json: bool) -> None:
    """Replay with the configured code and with that in ``code``; ``Unwell`` when they differ."""
    if not (code.is_dir() or zipfile.is_zipfile(code)):
        raise click.UsageError(f"--with {code}: it is no directory and no wheel")
    path = str(code.absolute())
    with statuses(app.path):
        last = _bound(app.path, asked)
        with _sides(app, config, path, last) as sides, progress("comparing", "events") as tell:
            verdict = _compare(sides, last, tell)
    if as_json:
        write_json(_plain(app, verdict, code))
    else:
        for line in _lines(verdict, app, code):
            click.echo(safe(line))
    if verdict.seq or verdict.places:
        where = f", from seq {verdict.seq} on" if verdict.seq else ""
        raise Unwell(f"{app.config.name}: different with {code}{where}", Status.DIFFERENT)


def _bound(path: Path, asked: Wanted) -> int:
    """Return the seq to end with; both sides need the same, though the journal may grow."""
    from happy.cli.entries import entries  # noqa: PLC0415 - only for a moment

    last = last_seq(path)
    check_until(path, asked, last)
    if asked.last is not None:
        return asked.last
    if asked.until_ns is None:
        return last
    return max((entry.seq for entry in entries(path, asked)), default=0)


def _compare(sides: list[_Process], last: int, tell: Any) -> _Verdict:
    both = common(*[side.ready() for side in sides])
    left_out = {name: list(fields) for name, fields in both.left_out.items()}
    question: dict[str, Any] = {"fields": list(both.fields), "left_out": left_out}
    ours, theirs = sides
    if ours.begin_seq != theirs.begin_seq:
        raise Unwell(
            f"with {theirs.code}: the first events are not kept any more, and not the same "
            f"snapshot can be used: that of seq {ours.begin_seq} here, of {theirs.begin_seq} there",
            Status.UNFIT,
        )
    begin = done = ours.begin_seq
    places = _places(sides, question) if begin else ()
    if places:
        return _Verdict(0, both, places=places, begin_seq=begin)
    ended = done >= last
    while not ended:
        for side in sides:
            side.ask(events=_STRETCH_EVENTS, **question)
        mine, others = [side.answer(Stretch) for side in sides]
        question = {}
        index = _first_different(mine.hashes, others.hashes)
        if index is not None:
            return _shown(sides, both, done + index + 1)
        done += min(len(mine.hashes), len(others.hashes)) // HASH_BYTES
        for side, stretch in zip(sides, (mine, others), strict=True):
            side.done = done
            side.check(stretch.fault)
        ended = mine.ended or done >= last
        tell(done, last)
    return _Verdict(done - begin, both, places=_places(sides, question), begin_seq=begin)


def _places(sides: list[_Process], question: dict[str, Any]) -> tuple[str, ...]:
    """Return which fields of the two states differ now."""
    for side in sides:
        side.ask(**question)
    mine, others = [side.answer(Contents) for side in sides]
    places = [name for name, digest in mine.fields.items() if others.fields[name] != digest]
    return (*places, "what is owed") if mine.owed != others.owed else tuple(places)


def _first_different(ours: bytes, theirs: bytes) -> int | None:
    """Return the place of the first event that both have and that differs."""
    if ours == theirs:
        return None
    for at in range(0, min(len(ours), len(theirs)), HASH_BYTES):
        if ours[at : at + HASH_BYTES] != theirs[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    return None


def _shown(sides: list[_Process], both: Common, seq: int) -> _Verdict:
    for side in sides:
        side.ask(show=seq)
    ours, theirs = [side.answer(Shown) for side in sides]
    return _Verdict(seq - sides[0].begin_seq, both, seq, ours, theirs, (), sides[0].begin_seq)


def _rows(verdict: _Verdict) -> list[Change]:
    assert verdict.ours is not None
    assert verdict.theirs is not None
    ours, theirs = ([Change(*c) for c in side.changes] for side in (verdict.ours, verdict.theirs))
    return differences(ours, theirs)


def _lines(verdict: _Verdict, app: Application, code: Path) -> Iterator[str]:
    both = verdict.both
    for what, names in (("only with", both.added), ("not with", both.removed)):
        if names:
            yield f"{what} {code}, so not compared: {', '.join(names)}"
    if verdict.places:
        when = "at the end" if verdict.events else f"in the snapshot of seq {verdict.begin_seq}"
        yield f"no event differs, and yet {when} {', '.join(verdict.places)} does"
    ours, theirs = verdict.ours, verdict.theirs
    if ours is None or theirs is None:
        if not verdict.places:
            yield f"{app.config.name}: the same over {counted(verdict.events, 'event')}"
        return
    yield from _event_lines(verdict, ours, theirs)


def _event_lines(verdict: _Verdict, ours: Shown, theirs: Shown) -> Iterator[str]:
    key = "" if ours.key is None else f", key {ours.key}"
    yield f"seq {ours.seq}, {rfc3339(ours.time_ns)}: {ours.type} from {ours.source or '-'}{key}"
    yield f"  event: {json_text(unpacked(ours.event))}"
    if ours.outcome == theirs.outcome:
        yield f"  outcome: {ours.outcome}"
    else:
        yield f"  outcome: {ours.outcome} -> {theirs.outcome}"
    for sign, owed, others in (("-", ours.owed, theirs.owed), ("+", theirs.owed, ours.owed)):
        for n, effect in enumerate(owed):
            if effect not in others:
                other = others[n] if n < len(others) else ""
                yield f"  {sign} owes {_around_difference(effect, other)}"
    if ours.owed_in_all != theirs.owed_in_all:
        yield f"  owed in all: {ours.owed_in_all} -> {theirs.owed_in_all}"
    rows = _rows(verdict)
    for change in rows[:_ROWS_SHOWN_MAX]:
        yield from (f"  {line}" for line in _change_lines(change))
    if len(rows) > _ROWS_SHOWN_MAX:
        yield f"  and {counted(len(rows) - _ROWS_SHOWN_MAX, 'row')} more"
    if not rows and ours.changes != theirs.changes:
        yield "  the rows that it adds stand in another order"


def _around_difference(text: str, other: str) -> str:
    """Return a text, when it is long only its beginning and where it differs from the other."""
    if len(text) <= _CHARS_MAX:
        return text
    pairs = enumerate(zip(text, other, strict=False))
    begin = next((n for n, (a, b) in pairs if a != b), len(other)) - _CHARS_BEFORE
    if begin <= _CHARS_FIRST:
        return f"{text[:_CHARS_MAX]} ... ({len(text)} characters)"
    end = begin + _CHARS_MAX - _CHARS_FIRST
    tail = f" ... ({len(text)} characters)" if end < len(text) else ""
    return f"{text[:_CHARS_FIRST]} ... {text[begin:end]}{tail}"


def _change_lines(change: Change) -> list[str]:
    """Return lines in which a row that only one of the two has is no event's doing."""
    lines = change_lines(change)
    if change.kind == "added":
        return [line.replace(" added: ", ": - -> ", 1) for line in lines]
    if change.kind == "removed":
        return [f"{line.replace(' removed: ', ': ', 1)} -> -" for line in lines]
    return lines


def _plain(app: Application, verdict: _Verdict, code: Path) -> dict[str, Any]:
    said: dict[str, Any] = {
        "app": app.config.name,
        "with": str(code),
        "same": not (verdict.seq or verdict.places),
        "events": verdict.events,
        "added": verdict.both.added,
        "removed": verdict.both.removed,
        "different_without_event": verdict.places,
        "begin_seq": verdict.begin_seq,
        "first_different": None,
    }
    if verdict.ours is not None and verdict.theirs is not None:
        ours = verdict.ours
        said["first_different"] = {
            "seq": ours.seq,
            "time": rfc3339(ours.time_ns),
            "type": ours.type,
            "source": ours.source,
            "key": ours.key,
            "event": plain(unpacked(ours.event)),
            "ours": _side(ours),
            "theirs": _side(verdict.theirs),
            "rows": [change_plain(row, "ours", "theirs") for row in _rows(verdict)],
        }
    return said


def _side(shown: Shown) -> dict[str, Any]:
    return {"outcome": shown.outcome, "owed": shown.owed, "owed_in_all": shown.owed_in_all}
