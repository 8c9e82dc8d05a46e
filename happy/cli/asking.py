"""Asking a container that runs, over its control socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from happy.cli.output import Unwell, reason

_TIMEOUT_S: Final = 30  # for a command that waits for a slow disk
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


class NoAnswer(Exception):
    """Nobody answers on the control socket; the message says why."""


class NotRunning(NoAnswer):
    """There is no container."""


def ask(data: Path, command: bytes) -> bytes:
    """Return the container's answer, a line of JSON; ``NoAnswer`` when there is none."""
    from happy.control import SOCKET_NAME  # noqa: PLC0415 - nobody else needs Twisted

    if not data.is_dir():
        raise Unwell(f"{data}: no such directory")
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_TIMEOUT_S)
            asking.connect(str(data / SOCKET_NAME))
            asking.sendall(command + b"\n")
            with asking.makefile("rb") as answering:
                return answering.readline(_ANSWER_BYTES_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning("no container runs here") from None
    except TimeoutError:
        raise NoAnswer(f"the container did not answer within {_TIMEOUT_S} s") from None
    except OSError as error:
        raise NoAnswer(f"the container cannot be asked: {reason(error)}") from None
