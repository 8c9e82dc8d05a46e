"""A real Exim with the shipped configuration, in a folder of its own and on a port of its own.

``EXIM_ROOT`` names the files of Debian's package exim4-daemon-light; see ``jail_kit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_kit import free_port, open_folder, running, shipped
from jail_kit import Jail, unpacked

USER = "Debian-exim"
EXIM = "/usr/sbin/exim4"
SPOOL, LOG, RUN = "/var/spool/exim4", "/var/log/exim4", "/run/exim4"
BY_DNS = "  driver = dnslookup\n"
BY_ROUTE = "  driver = manualroute\n  route_list = * 127.0.0.1::{port} byname\n  self = send\n"
NO_ADDRESS = "  ignore_target_hosts = <; 0.0.0.0 ; 127.0.0.0/8 ; ::1\n"


class Exim:
    """A running Exim: ``port`` takes mail; 127.0.0.1 may relay."""

    def __init__(self, jail: Jail, port: int) -> None:
        self.jail = jail
        self.port = port

    @property
    def log(self) -> str:
        """What it logged so far."""
        logs = sorted(self.jail.path(LOG).iterdir())
        return "".join(log.read_text(errors="replace") for log in logs)

    def run(self, *words: str) -> str:
        """Run Exim with these words; return what it says."""
        return self.jail.run(EXIM, *words)

    def queued(self) -> list[str]:
        """Return the recipients that mail in the queue still waits for."""
        return re.findall(r"(?m)^ {10}(\S+@\S+)$", self.run("-bpu"))

    def flush(self) -> None:
        """Try all that waits in the queue now, whatever was tried before."""
        self.run("-qff")


@contextmanager
def exim(*, happy: int, smarthost: int) -> Iterator[Exim]:
    """Run an Exim that relays lists.example to the port ``happy``, all else to ``smarthost``."""
    root = unpacked("EXIM_ROOT")
    with open_folder() as folder:
        one = Exim(make(folder, root), free_port())
        changes = {
            "daemon_smtp_ports = 25": f"daemon_smtp_ports = {one.port}\n"
            "local_interfaces = 127.0.0.1\nhost_lookup =\nnotifier_socket =",
            "port = 2525": f"port = {happy}",
            BY_DNS: BY_ROUTE.format(port=smarthost),
            NO_ADDRESS: "",
            "elsewhere:\n  driver = smtp\n": "elsewhere:\n  driver = smtp\n  allow_localhost\n",
        }
        one.jail.write("/etc/exim4/exim4.conf", shipped("exim/exim4.conf", changes))
        command = one.jail.command(EXIM, "-bdf", "-q1m")
        with closing(one.jail), running(command, one.port, folder / "said"):
            yield one
        assert not one.jail.path(f"{LOG}/paniclog").exists(), one.log


def make(folder: Path, root: Path) -> Jail:
    """Put Exim and all that it needs in a folder."""
    jail = Jail(folder, USER)
    jail.install(root / EXIM.lstrip("/"), EXIM, mode=0o4755)
    for place in (SPOOL, LOG, RUN):
        jail.make(place, USER)
    return jail
