"""A real Sendmail with the shipped lines, in a folder of its own and on a port of its own.

Sendmail and Postfix cannot both be installed. ``SENDMAIL_ROOT`` names a folder with the files of
Debian's packages sendmail-bin and sendmail-cf; see ``jail_kit``. m4 is installed, too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from edge_kit import changed, free_port, need_root, open_folder, running, shipped
from jail_kit import unpacked
from mail_kit import HOSTNAME

# What every sendmail.mc has around our lines, as far as it is needed here. Without a resolver;
# mail for elsewhere goes to the sink. However busy the machine is, mail is taken and sent.
BEFORE = """\
OSTYPE(`linux')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`confDOMAIN_NAME', `{hostname}')dnl
define(`confCR_FILE', `-o {folder}/relay-domains')dnl
define(`confSERVICE_SWITCH_FILE', `{folder}/switch')dnl
define(`confDONT_BLAME_SENDMAIL', `ClassFileInUnsafeDirPath,MapInUnsafeDirPath')dnl
define(`confPID_FILE', `{folder}/pid')dnl
define(`confTO_IDENT', `0')dnl
define(`QUEUE_DIR', `{folder}/queue')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `{folder}/statistics')dnl
define(`HELP_FILE', `{folder}/help')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`SMART_HOST', `relay:[127.0.0.1]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {smarthost}')dnl
DAEMON_OPTIONS(`Family=inet, Addr=127.0.0.1, Port={port}')dnl
"""
AFTER = "MAILER(`smtp')dnl\n"

# Where the machine's name has no dot Sendmail waits for a minute at each start, hoping; so it
# gets to see another name.
RENAMED = ("unshare", "--uts", "sh", "-c", f'hostname {HOSTNAME} && exec "$@"', "sh")
NAMED = () if "." in socket.getfqdn() else RENAMED


@frozen
class Sendmail:
    """A Sendmail with the shipped lines; ``port`` takes mail, 127.0.0.1 may relay."""

    folder: Path
    port: int
    root: Path

    def run(self, *command: str, said: str = "") -> str:
        """Run a command with the programs of Sendmail at hand; return what it says."""
        done = subprocess.run(
            [*NAMED, *command],
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """Where the programs and their libraries are."""
        libraries = next((self.root / "usr/lib").glob("*-linux-gnu"), self.root)
        places = [str(self.folder / "bin"), str(self.root / "usr/bin"), os.environ["PATH"]]
        return os.environ | {"PATH": ":".join(places), "LD_LIBRARY_PATH": str(libraries)}

    @property
    def options(self) -> list[str]:
        """What each run of it is told: its configuration, and where to log what is said."""
        return ["-C", str(self.folder / "happy.cf"), "-X", str(self.folder / "log")]

    @property
    def log(self) -> str:
        """What it and other servers said to each other so far."""
        return (self.folder / "log").read_text(errors="replace")

    def queued(self) -> list[str]:
        """Return the recipients that mail in the queue still waits for."""
        found = []
        for envelope in (self.folder / "queue").glob("qf*"):
            with contextlib.suppress(FileNotFoundError):  # it is sent meanwhile
                found += re.findall(r"(?m)^R[A-Z]*:<(.*)>$", envelope.read_text("latin-1"))
        return found

    def flush(self) -> None:
        """Try all that waits in the queue now, whatever is known of other servers."""
        self.run("sendmail", *self.options, "-O", "Timeout.hoststatus=0s", "-q")

    def resolve(self, address: str) -> str:
        """Return which mailer takes an address, and to which host."""
        out = self.run("sendmail", "-C", "happy.cf", "-bt", said=f"3,0 {address}\n")
        return re.search(r"parse +returns: \$# (.+) \$:", out)[1]


def build(one: Sendmail, smarthost: int, lines: str) -> None:
    """Make the configuration from these lines, and do what they say to do."""
    (one.folder / "bin").mkdir()
    for program in ("sendmail", "makemap"):  # as copies: without their set-group-id bit
        shutil.copyfile(one.root / "usr/libexec/sendmail" / program, one.folder / "bin" / program)
        (one.folder / "bin" / program).chmod(0o755)
    (one.folder / "queue").mkdir(mode=0o700)
    (one.folder / "switch").write_text("hosts files\naliases files\n")
    lines = changed(lines, {"/etc/mail": str(one.folder)})
    before = BEFORE.format(folder=one.folder, hostname=HOSTNAME, smarthost=smarthost, port=one.port)
    (one.folder / "happy.mc").write_text(before + lines + AFTER)
    macros = one.root / "usr/share/sendmail/cf"
    cf = one.run("m4", f"-D_CF_DIR_={macros}/", f"{macros}/m4/cf.m4", "happy.mc")
    (one.folder / "happy.cf").write_text(cf)
    commands = re.findall(r"(?m)^dnl {5}(\S.*)$", lines)
    assert commands.pop() == f"make -C {one.folder} && service sendmail restart"
    assert commands.pop() == f"makemap hash {one.folder}/mailertable < {one.folder}/mailertable"
    commands.append("makemap -C happy.cf hash mailertable < mailertable")
    for command in commands:
        one.run("sh", "-c", command)


@contextmanager
def sendmail(*, happy: int, smarthost: int) -> Iterator[Sendmail]:
    """Run one that relays lists.example to the port ``happy``, all else to ``smarthost``."""
    root = unpacked("SENDMAIL_ROOT")
    need_root()
    with open_folder() as folder:
        one = Sendmail(folder, free_port(), root)
        build(one, smarthost, shipped("sendmail/happy.mc", {"$h 2525": f"$h {happy}"}))
        command = [*NAMED, str(folder / "bin/sendmail"), *one.options, "-bD", "-q1s"]
        with running(command, one.port, folder / "said", one.environment):
            yield one
