"""The access log: one event of ``twisted.logger`` for each answer, and observers that keep it.

The doors emit under the namespace ``happy.access``; an ``AccessFile`` takes those events and
nothing else, as lines of Apache's combined format or of JSON. What peers send is escaped, so
that a line is always one line and a terminal is never told anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from attrs import asdict, frozen
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from zope.interface import implementer

NAMESPACE: Final = "happy.access"

_UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


@frozen(kw_only=True)
class Access:
    """One answer, as the log tells it.

    ``size_bytes`` counts the body as it was sent; ``seqs`` are the events it committed.
    A request that could not be read has ``-`` for what is not known of it.
    """

    app: str
    peer: str
    method: str
    uri: str
    protocol: str
    status: int
    size_bytes: int
    duration_s: float
    referer: str | None = None
    user_agent: str | None = None
    seqs: tuple[int, ...] = ()


AccessLog = Callable[[Access], None]
"""Where a door reports its answers; a door that has none does no work for it."""


def access_logger(log: Logger | None = None) -> AccessLog:
    """Return the access log that emits through ``twisted.logger``."""
    logger = log if log is not None else Logger(namespace=NAMESPACE)

    def report(access: Access) -> None:
        logger.emit(
            LogLevel.info,
            "{access.peer} {access.method} {access.uri} {access.status}",
            access=access,
        )

    return report


def escaped(text: str) -> str:
    r"""Return text with quotes, backslashes and all but printable ASCII as ``\xNN``."""
    return _UNSAFE.sub(lambda match: _as_bytes(match[0]), text)


def _as_bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def combined_line(access: Access, time_s: float) -> str:
    """Return the line that Apache calls ``combined``, the time in UTC."""
    when = datetime.fromtimestamp(time_s, UTC)
    date = f"{when.day:02}/{_MONTHS[when.month - 1]}/{when.year}:{when:%H:%M:%S} +0000"
    request = f"{escaped(access.method)} {escaped(access.uri)} {escaped(access.protocol)}"
    size = access.size_bytes or "-"
    return (
        f'{escaped(access.peer)} - - [{date}] "{request}" {access.status} {size} '
        f'"{_or_dash(access.referer)}" "{_or_dash(access.user_agent)}"\n'
    )


def _or_dash(text: str | None) -> str:
    return "-" if text is None else escaped(text)


def json_line(access: Access, time_s: float) -> str:
    """Return one JSON object: the fields of ``Access``, and ``time`` in RFC 3339, UTC."""
    time = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")
    members: dict[str, Any] = {"time": time.replace("+00:00", "Z")}
    for name, value in asdict(access).items():
        clean = isinstance(value, str)
        members[name] = value.encode("utf-8", "replace").decode() if clean else value
    line = msgspec.json.encode(members).decode()
    # JSON leaves DEL and the C1 controls as they are; a terminal does not.
    return re.sub(r"[\x7f-\x9f\u2028\u2029]", lambda m: f"\\u{ord(m[0]):04x}", line) + "\n"


@implementer(ILogObserver)
class AccessFile:
    """An observer that appends the access log to a file; other events pass it by.

    ``reopen`` is for those who rotate: rename the file, then call it.
    """

    def __init__(
        self, path: Path, format_line: Callable[[Access, float], str] = combined_line
    ) -> None:
        self.path = path
        self._format_line = format_line
        self._file: IO[str] = self._open()

    def __call__(self, event: LogEvent) -> None:
        """Append the event when it is an access."""
        access = event.get("access")
        if isinstance(access, Access):
            self._file.write(self._format_line(access, event["log_time"]))

    def reopen(self) -> None:
        """Go on in a new file of the same name; the old one stays open if that fails."""
        fresh = self._open()
        self._file.close()
        self._file = fresh

    def close(self) -> None:
        """Let go of the file; nothing is logged after that."""
        self._file.close()

    def _open(self) -> IO[str]:
        # Line by line: what was answered is in the file when someone looks, or a crash comes.
        return self.path.open("a", buffering=1, encoding="utf-8", newline="\n")


@implementer(ILogObserver)
class AccessLines:
    """An observer that writes the access log into the ordinary log, a line for each answer."""

    def __init__(self, format_line: Callable[[Access, float], str] = combined_line) -> None:
        self._format_line = format_line
        self._log = Logger(namespace=NAMESPACE)

    def __call__(self, event: LogEvent) -> None:
        """Pass the event on as a line."""
        access = event.get("access")
        if isinstance(access, Access):
            line = self._format_line(access, event["log_time"])
            self._log.info("{line}", line=line.rstrip("\n"), access=access)
