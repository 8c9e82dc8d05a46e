"""A real OpenSMTPD with the shipped configuration, in a folder of its own, on a port of its own.

``OPENSMTPD_ROOT`` names the files of Debian's package opensmtpd; see ``jail_kit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_kit import free_port, open_folder, running, shipped
from jail_kit import Jail, unpacked
from mail_kit import HOSTNAME

USERS = ("opensmtpd", "opensmtpq")
SMTPD, SMTPCTL = "/usr/sbin/smtpd", "/usr/sbin/smtpctl"
EMPTY = "/var/lib/opensmtpd/empty"


class OpenSMTPD:
    """A running OpenSMTPD: ``port`` takes mail; 127.0.0.1 may relay."""

    def __init__(self, jail: Jail, port: int) -> None:
        self.jail = jail
        self.port = port

    @property
    def log(self) -> str:
        """What it said so far."""
        return self.jail.path("/said").read_text(errors="replace")

    def run(self, *words: str) -> str:
        """Tell it something; return what it says."""
        return self.jail.run(SMTPCTL, *words)

    def queued(self) -> list[str]:
        """Return the recipients that mail in the queue still waits for."""
        lines = self.run("show", "queue").splitlines()
        return [line.split("|")[6] for line in lines]

    def flush(self) -> None:
        """Try all that waits in the queue now, whatever was tried before."""
        for number in re.findall(r"(?m)^(\d+)\. ", self.run("show", "routes")):
            self.run("resume", "route", number)
        self.run("schedule", "all")


@contextmanager
def opensmtpd(*, happy: int, smarthost: int) -> Iterator[OpenSMTPD]:
    """Run one that relays lists.example to the port ``happy``, all else to ``smarthost``."""
    root = unpacked("OPENSMTPD_ROOT")
    with open_folder() as folder:
        one = OpenSMTPD(make(folder, root), free_port())
        changes = {
            "listen on 0.0.0.0 port 25": f"listen on 127.0.0.1 port {one.port}",
            "127.0.0.1:2525\naction": f"127.0.0.1:{happy}\naction",
            '"elsewhere" relay': f'"elsewhere" relay host smtp+notls://127.0.0.1:{smarthost}',
        }
        one.jail.write("/etc/smtpd.conf", shipped("opensmtpd/smtpd.conf", changes))
        command = one.jail.command(SMTPD, "-d")
        with closing(one.jail), running(command, one.port, folder / "said"):
            yield one


def make(folder: Path, root: Path) -> Jail:
    """Put OpenSMTPD and all that it needs in a folder."""
    jail = Jail(folder, *USERS)
    jail.install(root / SMTPD.lstrip("/"), SMTPD)
    jail.install(root / SMTPCTL.lstrip("/"), SMTPCTL, group="opensmtpq", mode=0o2755)
    jail.write("/etc/mailname", f"{HOSTNAME}\n")
    jail.make(EMPTY)
    jail.make("/var/spool")
    jail.make("/run")
    jail.path("/var/run").symlink_to("../run")
    return jail
