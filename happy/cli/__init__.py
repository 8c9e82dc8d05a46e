"""The console script ``happy``: what an operator and an author do beside ``twistd happy``.

``segments``, ``frames`` and ``verdict`` look at a journal, ``ahead`` in several processes,
``bodies`` and ``entries`` make its events readable, ``copying`` and ``salvage`` make journals of
journals, ``facing`` tells ``edge`` of applications, ``output`` is how anything is said and
``statuses`` how it ends; the other modules are one command each.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from happy.cli.output import Commands

_MODULES: Final = {
    "backup": "backup",
    "bench": "bench",
    "check": "check",
    "core": "filter",
    "diff": "diff",
    "edge": "edge",
    "init": "init",
    "journal": "journal",
    "mail": "mail",
    "quarantine": "quarantine",
    "replay": "replay",
    "restore": "restore",
    "schema": "schema",
    "snapshot": "snapshot",
    "status": "status",
    "why": "why",
}
"""The commands, and the module of each, in which it has the same name."""


class _Main(Commands):
    """Imports a command when it is asked for, and none that is not."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(_MODULES)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command = getattr(import_module(f"happy.cli.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="happy", message="happy %(version)s")
def main() -> None:
    """Look after applications that `twistd happy` hosts.

    What a command finds goes to standard output, what is wrong to standard error. Where a
    command shows a table, a terminal gets the table and a pipe gets lines of JSON.

    \b
    Exit status, unless a command says otherwise:
      0  all is well
      1  what was looked at is not well, or cannot be looked at
     64  the command line was not understood: nothing was done; so it is for all commands
    """  # noqa: D301 - a backspace keeps click from filling the lines after it


__all__ = ["main"]
