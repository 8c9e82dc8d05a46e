"""The access log: one ``Access`` for each answer, and what keeps it.

A door calls its ``AccessLog`` with each answer: an ``AccessFile`` appends it to a file of its own,
``AccessLines`` passes it to the ordinary log, as a line of Apache's combined format or of JSON.
What peers send is escaped, so that a line is always one line and a terminal is never told
anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from twisted.logger import Logger

from happy.answers import Soon

NAMESPACE: Final = "happy.access"

_UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip

log = Logger()
_log = Logger(namespace=NAMESPACE)


class Requested(msgspec.Struct, eq=False, gc=False):
    """What the log tells of a request; a head that is known again has it with it.

    A request that could not be read has ``-`` for what is not known of it.
    """

    method: str = "-"
    uri: str = "-"
    protocol: str = "-"
    referer: str | None = None
    user_agent: str | None = None
    combined: tuple[str, str] | None = None
    """What Apache's format has of it before and behind the answer, once a line was made."""


class Answered(msgspec.Struct, frozen=True, gc=False):
    """What the log tells of an answer.

    ``size_bytes`` counts the body as it was sent; ``seqs`` are the events it committed.
    """

    status: int
    size_bytes: int
    seqs: tuple[int, ...] = ()


class Access(msgspec.Struct, frozen=True, gc=False):
    """One answer, as the log tells it: of which application, to whom, and after how long."""

    app: str
    peer: str
    requested: Requested
    answered: Answered
    duration_s: float


AccessLog = Callable[[Access], None]
"""Where a door reports its answers; a door that has none does no work for it."""
LineOf = Callable[[Access, float], str]
"""Makes a line of an answer and the time of day, in seconds since 1970."""


def escaped(text: str) -> str:
    r"""Return text with quotes, backslashes and all but printable ASCII as ``\xNN``."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text  # as nearly all are; to look for each of the others takes three times as long
    return _UNSAFE.sub(lambda match: _as_bytes(match[0]), text)


def _as_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def combined_line(access: Access, time_s: float) -> str:
    """Return the line that Apache calls ``combined``, the time in UTC."""
    answered, requested = access.answered, access.requested
    before, behind = requested.combined or _combined(requested)
    return (
        f"{access.peer} - - [{_date(int(time_s))}] {before} {answered.status} "
        f"{answered.size_bytes or '-'} {behind}\n"
    )


def _combined(requested: Requested) -> tuple[str, str]:
    line = f"{requested.method} {requested.uri} {requested.protocol}"
    behind = f'"{_or_dash(requested.referer)}" "{_or_dash(requested.user_agent)}"'
    requested.combined = made = f'"{escaped(line)}"', behind
    return made


@lru_cache(maxsize=4)
def _date(time_s: int) -> str:
    when = datetime.fromtimestamp(time_s, UTC)
    return f"{when.day:02}/{_MONTHS[when.month - 1]}/{when.year}:{when:%H:%M:%S} +0000"


def _or_dash(text: str | None) -> str:
    return "-" if text is None else escaped(text)


def json_line(access: Access, time_s: float) -> str:
    """Return one JSON object: all there is to tell, and ``time`` in RFC 3339, UTC."""
    requested, answered = access.requested, access.answered
    moment = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")
    members: dict[str, Any] = {
        "time": moment.replace("+00:00", "Z"),
        "app": access.app,
        "peer": access.peer,
        "method": requested.method,
        "uri": requested.uri,
        "protocol": requested.protocol,
        "status": answered.status,
        "size_bytes": answered.size_bytes,
        "duration_s": access.duration_s,
        "referer": _unicode(requested.referer),
        "user_agent": _unicode(requested.user_agent),
        "seqs": answered.seqs,
    }
    line = msgspec.json.encode(members).decode()
    # JSON leaves DEL and the C1 controls as they are; a terminal does not.
    return _CONTROLS.sub(lambda m: f"\\u{ord(m[0]):04x}", line) + "\n"


def _unicode(text: str | None) -> str | None:
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


class AccessFile:
    """Appends the access log to a file, the lines of a turn in one write at its end.

    ``soon`` calls a function at the end of the turn. ``reopen`` is for those who rotate: rename
    the file, then call it. A file that takes no more costs lines, and no answer.
    """

    def __init__(self, path: Path, line_of: LineOf, soon: Soon) -> None:
        self.path = path
        self._line_of = line_of
        self._soon = soon
        self._lines: list[str] = []
        self._lost = 0
        self._torn = False
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        """Open the file, which is made when there is none; ``OSError`` when it cannot be."""
        self._file = self._opened()

    def __call__(self, access: Access) -> None:
        """Append an answer."""
        if not self._lines:
            self._soon(self.flush)
        self._lines.append(self._line_of(access, time.time()))

    def flush(self) -> None:
        """Write what is there."""
        lines, self._lines = self._lines, []
        if self._file is None or not lines:
            return
        try:
            self._write(self._file, "".join(lines).encode())
        except OSError as error:
            self._lose(len(lines), error.strerror or str(error))
        else:
            self._go_on()

    def reopen(self) -> None:
        """Go on in a new file of the same name; the old one stays open if that fails."""
        fresh = self._opened()
        self.close()
        self._file = fresh

    def close(self) -> None:
        """Write what is there and let go of the file; nothing is logged after that."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        return self.path.open("ab", buffering=0)

    def _lose(self, count: int, reason: str) -> None:
        if not self._lost:
            log.error(
                "the access log {path} takes no more: {reason}",
                path=self.path,
                reason=reason.lower(),
            )
        self._lost += count

    def _go_on(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            log.warn("the access log {path} goes on, {lost} lines short", path=self.path, lost=lost)

    def _write(self, file: IO[bytes], data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        while data:
            data = data[file.write(data) :]
            self._torn = bool(data)  # when the next write fails, it ends within a line


class AccessLines:
    """Passes the access log to the ordinary log, a line for each answer."""

    def __init__(self, line_of: LineOf) -> None:
        self._line_of = line_of

    def __call__(self, access: Access) -> None:
        """Pass an answer on as a line."""
        line = self._line_of(access, time.time())
        _log.info("{line}", line=line.rstrip("\n"), access=access)


def access_log_of(form: str, path: Path | None, soon: Soon) -> AccessFile | AccessLines | None:
    """Return the access log that a configuration asks for; a file is still to be opened."""
    if form == "off":
        return None
    line_of = json_line if form == "json" else combined_line
    return AccessLines(line_of) if path is None else AccessFile(path, line_of, soon)
