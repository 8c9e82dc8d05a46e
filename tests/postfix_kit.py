"""A real Postfix with the shipped lines, in a folder of its own and on a port of its own."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conftest import need
from edge_kit import answers, free_port, need_root, open_folder, shipped, wait_until
from mail_kit import HOSTNAME

# What every Postfix has, as far as it is needed here. Mail for elsewhere goes to the sink.
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = {hostname}
mydestination = localhost
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_peername_lookup = no
relayhost = [127.0.0.1]:{smarthost}
"""
MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix n - n 60   1 pickup
cleanup   unix n - n -    0 cleanup
qmgr      unix n - n 300  1 qmgr
rewrite   unix - - n -    - trivial-rewrite
bounce    unix - - n -    0 bounce
defer     unix - - n -    0 bounce
trace     unix - - n -    0 bounce
verify    unix - - n -    1 verify
flush     unix n - n 1000 0 flush
proxymap  unix - - n -    - proxymap
smtp      unix - - n -    - smtp
relay     unix - - n -    - smtp
lmtp      unix - - n -    - lmtp
showq     unix n - n -    - showq
error     unix - - n -    - error
retry     unix - - n -    - error
local     unix - n n -    - local
anvil     unix - - n -    1 anvil
scache    unix - - n -    1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A running Postfix: ``port`` takes mail; 127.0.0.1 may relay."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    @property
    def log(self) -> str:
        """What it logged so far."""
        log = self.folder / "mail.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def command(self, program: str, *arguments: str) -> str:
        """Run one of Postfix's own programs on this instance; return what it says."""
        with tempfile.TemporaryFile("w+") as said:  # not a pipe, which a daemon would keep open
            done = subprocess.run(
                [need(program), "-c", str(self.folder / "etc"), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=30,
                check=False,
            )
            said.seek(0)
            words = said.read()
        assert done.returncode == 0, words + self.log
        return words

    def queued(self) -> list[str]:
        """Return the recipients that mail in the queue still waits for."""
        entries = map(json.loads, self.command("postqueue", "-j").splitlines())
        return [to["address"] for entry in entries for to in entry["recipients"]]

    def flush(self) -> None:
        """Try all that waits in the queue now, not in five minutes."""
        self.command("postqueue", "-f")


# Postfix compares the clock of the file system with its own, which a virtual machine may set.
OF_THE_MACHINE = re.compile(r": (?:file system clock is \d+ seconds ahead|resetting file time) ")


@contextmanager
def postfix(
    *,
    happy: int,
    smarthost: int,
    domains: Sequence[str] = ("lists.example",),
    more: str = "",
    lines: str | None = None,
) -> Iterator[Postfix]:
    """Run a Postfix that relays ``domains`` to the port ``happy``, all else to ``smarthost``.

    ``more`` are lines of main.cf besides the shipped ones, ``lines`` are others in their place.
    """
    need("postfix")
    need_root()
    with open_folder() as folder:
        one = Postfix(folder, free_port())
        (folder / "etc").mkdir()
        (folder / "queue").mkdir()
        around = MAIN.format(folder=folder, hostname=HOSTNAME, smarthost=smarthost)
        relayed = ", ".join(f"{{ {domain} = relay:[127.0.0.1]:{happy} }}" for domain in domains)
        changes = {
            "relay_domains = lists.example": f"relay_domains = {' '.join(domains)}",
            "{ lists.example = relay:[127.0.0.1]:2525 }": relayed,
        }
        lines = lines or shipped("postfix/main.cf", changes)
        (folder / "etc/main.cf").write_text(f"{around}{lines}\n{more}\n")
        (folder / "etc/master.cf").write_text(MASTER.format(port=one.port))
        one.command("postfix", "start")
        try:
            wait_until(lambda: answers(one.port), "Postfix answers")
            yield one
            complaints = re.findall(r"(?m)^.*(?:warning|error|fatal|panic): .*$", one.log)
            complaints = [line for line in complaints if not OF_THE_MACHINE.search(line)]
            assert complaints == [], complaints
        finally:
            one.command("postfix", "stop")
