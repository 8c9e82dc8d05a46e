"""The console script ``happy``: what an operator and an author do beside ``twistd happy``.

``segments``, ``frames`` and ``verdict`` look at a journal, ``ahead`` in several processes,
``bodies`` and ``entries`` make its events readable, ``copying`` and ``salvage`` make journals of
journals, ``output`` is how anything is said and ``statuses`` how it ends; the other modules are
one command each.
"""

from __future__ import annotations

import click

from happy.cli.backup import backup
from happy.cli.bench import bench
from happy.cli.check import check
from happy.cli.diff import diff
from happy.cli.filter import core
from happy.cli.init import init
from happy.cli.journal import journal
from happy.cli.mail import mail
from happy.cli.output import Commands
from happy.cli.quarantine import quarantine
from happy.cli.replay import replay
from happy.cli.restore import restore
from happy.cli.schema import schema
from happy.cli.snapshot import snapshot
from happy.cli.status import status
from happy.cli.why import why


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (
    init,
    check,
    status,
    journal,
    backup,
    restore,
    replay,
    diff,
    why,
    schema,
    snapshot,
    quarantine,
    mail,
    core,
    bench,
):
    main.add_command(_command)

__all__ = ["main"]
