"""``twistd happy --config FILE``: the options, and how a start that fails ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python import usage

from happy.errors import ConfigError

_HALT_GRACE_S = 0.2
"""How long answers that were made already may leave after a halt."""


class Options(usage.Options):
    """The command line of ``twistd happy``."""

    synopsis = "[options]"
    longdesc = "Hosts the applications of a configuration file; `happy check` tests one."
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "The configuration, a TOML file."]
    ]

    def __init__(self) -> None:
        super().__init__()
        self["accept_tail_loss"] = []
        self["accept_divergence"] = []

    def opt_accept_tail_loss(self, name: str) -> None:
        """Open application NAME, this once, though its journal's end may be damaged: cut it off."""
        self["accept_tail_loss"].append(name)

    def opt_accept_divergence(self, name: str) -> None:
        """Open application NAME, this once, though its replay is not what was answered."""
        self["accept_divergence"].append(name)

    def postOptions(self) -> None:
        """Read the configuration before anything is forked, written or opened."""
        from happy.config import load  # noqa: PLC0415 - importing applications picks a reactor

        if self["config"] is None:
            raise usage.UsageError("--config FILE is required")
        try:
            self["loaded"] = load(Path(self["config"]))
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        apps = [app.name for app in self["loaded"].apps]
        for option in ("accept_tail_loss", "accept_divergence"):
            for name in self[option]:
                if name not in apps:
                    raise usage.UsageError(
                        f"--{option.replace('_', '-')} {name}: the applications are "
                        f"{', '.join(apps)}"
                    )


def makeService(options: Options) -> IService:
    """Return the container for a configuration that was loaded."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd has chosen one by now

    from happy.container import Container  # noqa: PLC0415 - as above
    from happy.world import show_stacks_at_the_end, use_steady_clock  # noqa: PLC0415 - as above

    show_stacks_at_the_end()
    use_steady_clock(reactor)
    return Container(
        options["loaded"],
        reactor,
        _Ending(options.parent or {}, reactor).give_up,
        accept_tail_loss=options["accept_tail_loss"],
        accept_divergence=options["accept_divergence"],
    )


class _Ending:
    """Ends the process as twistd itself would not: with a sentence and a status."""

    def __init__(self, twistd: Any, reactor: Any) -> None:
        self._twistd = twistd
        self._reactor = reactor

    def give_up(self, sentence: str) -> None:
        """End with status 1: at once while starting, and saying why; else after a short grace."""
        if self._reactor.running:
            self._reactor.callLater(_HALT_GRACE_S, self._end)
            return
        self._tell_parent(sentence)
        self._remove_pidfile()
        if not self._log_is_in_sight() and sys.__stderr__ is not None:
            print(sentence, file=sys.__stderr__)  # sys.stderr is the log by now
        raise SystemExit(1)

    def _log_is_in_sight(self) -> bool:
        """Say whether the log, which has the sentence, goes to where twistd was called."""
        twistd = self._twistd
        elsewhere = twistd.get("syslog") or twistd.get("logger")
        return (
            bool(twistd.get("nodaemon")) and not elsewhere and twistd.get("logfile") in {None, "-"}
        )

    def _end(self) -> None:
        self._remove_pidfile()
        # Not reactor.stop(): that would end with status 0, and might wait for a dead disk.
        os._exit(1)

    def _tell_parent(self, sentence: str) -> None:
        """Answer the process that daemonized us, which waits to hear how the start went."""
        pipe = self._twistd.get("statusPipe")
        if pipe is not None:
            os.write(pipe, b"1 " + sentence.encode()[:95])
            os.close(pipe)

    def _remove_pidfile(self) -> None:
        pidfile = self._twistd.get("pidfile")
        if pidfile:
            with contextlib.suppress(OSError):
                Path(pidfile).unlink()
